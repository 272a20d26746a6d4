"""AVSC, connected as in figure 2 of the paper.

frames ── backbone ── proposal head ── filter ── candidates (one mask m_c of each class c)
             stage 1: potential sounding objects              │
                                                              ├── S = sum of p_c m_c ── mask, classes, instances
                                                              │
sound ─── audio encoder (frozen) ── classifier ── P_a ────────┘
             stage 2: audio-visual semantic correlation
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.avsc.candidates import Candidates, filter_candidates
from acvis_kit.models.avsc.config import AVSCConfig
from acvis_kit.models.avsc.correlation import SoundClassifier, best_candidate, correlate
from acvis_kit.models.avsc.proposals import ProposalHead, Proposals
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.encoders.pictures import build_picture_encoder
from acvis_kit.models.encoders.sounds import SoundEncoder
from acvis_kit.models.semantic import SemanticMaps, normalised

STAGES = ("proposals", "correlation")


class AVSCOutput(NamedTuple):
    """What the losses compare with the ground truth: of stage 1 without a sound, of stage 2 with one.

    Attributes:
        proposals: of B * T frames; None in stage 2.
        candidates: of B * T frames; None in stage 1.
        class_probabilities: P_a, (B, T, K); None in stage 1.
        soft_mask: S, (B, T, H, W) in [0, 1]; None in stage 1.
    """

    proposals: Proposals | None = None
    candidates: Candidates | None = None
    class_probabilities: Tensor | None = None
    soft_mask: Tensor | None = None


class AVSC(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="acvis-kit",
    tags=["audio-visual-segmentation", "video", "audio"],
    license="mit",
    coders={AVSCConfig: (AVSCConfig.to_dict, AVSCConfig.from_dict)},
):
    """Audio-visual segmentation: which pixels of which class sound.

    Args:
        config: the configuration, or its fields as a dictionary (as in `config.json`).

    Raises:
        ConfigError: a dictionary with unknown fields or invalid values, or an encoder that is not available.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    window: int | None = None  # frames are independent of each other: any number may be decoded together

    def __init__(self, config: AVSCConfig | dict[str, Any]) -> None:
        super().__init__()
        config = AVSCConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = config
        self._hub_mixin_config = config.to_dict()  # what save_pretrained writes: with model_type, in sections
        self.backbone = build_picture_encoder(config)
        self.proposal_head = ProposalHead(config, self.backbone.channels)
        self.sound_encoder = SoundEncoder(config) if config.audio_use else None
        self.sound_classifier = (
            SoundClassifier(config.audio_dim, config.audio_hidden, config.num_classes, config.audio_act)
            if config.audio_use
            else None
        )
        self.stage = STAGES[0]
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    def propose(self, frames: Tensor) -> Proposals:
        """Stage 1 on frames (N, 3, H, W), RGB, 0..255, H and W multiples of 32."""
        return self.proposal_head(self.backbone(normalised(frames, self.pixel_mean, self.pixel_std)))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Candidates:
        """Stage 1 and the filter, on frames as in `propose`. The result does not depend on the sound."""
        return filter_candidates(self.propose(frames), (frames.shape[-2], frames.shape[-1]))

    def hear(self, spectrogram: Tensor | None = None, audio_features: Tensor | None = None) -> AudioFeatures | None:
        """Encode the sound of B clips, see `SoundEncoder`; None with `audio_use=False`."""
        return self.sound_encoder(spectrogram, audio_features) if self.sound_encoder is not None else None

    def decode(self, candidates: Candidates, sound: AudioFeatures | None) -> SemanticMaps:
        """Stage 2: which of the candidates sound.

        Args:
            candidates: of N = B * T frames.
            sound: of B clips of T frames; not used with `audio_use=False`, where B = 1.
        """
        clips = 1 if sound is None else len(sound.clip)
        probabilities, soft = self._correlate(candidates, sound)
        weighted = probabilities[..., None, None] * candidates.masks  # (N, K, H, W)
        # Pixels beside a mask that sounds have its class, too: a resized S exceeds the threshold there.
        beside = F.max_pool2d(weighted, 3, stride=1, padding=1).argmax(1)
        labels = torch.where(weighted.amax(1) > self.config.threshold, weighted.argmax(1), beside)
        return SemanticMaps(
            scores=soft.unflatten(0, (clips, -1)),
            labels=labels.unflatten(0, (clips, -1)),
            class_scores=probabilities.unflatten(0, (clips, -1)),
            objects=candidates.masks.unflatten(0, (clips, -1)),
        )

    def forward(
        self,
        frames: Tensor | None = None,
        spectrogram: Tensor | None = None,
        audio_features: Tensor | None = None,
        candidates: Candidates | None = None,
    ) -> AVSCOutput:
        """What the losses of the present stage need. For inference see `SemanticPredictor`.

        Args:
            frames: (B, T, 3, H, W), as in `propose`.
            spectrogram: (B, T, times, bands), as in `hear`. For stage 2.
            audio_features: (B, T, C_a), as in `hear`. For stage 2.
            candidates: of B * T frames, computed before; instead of the frames. For stage 2.

        Raises:
            DataError: neither frames nor candidates, or no frames in stage 1.
        """
        if self.stage == "proposals":
            if frames is None:
                raise DataError("stage 1 makes proposals of frames: give frames, or choose train_stage('correlation')")
            return AVSCOutput(self.propose(frames.flatten(0, 1)))
        if candidates is None:
            if frames is None:
                raise DataError("give frames, or candidates computed before with AVSC.encode")
            candidates = self.encode(frames.flatten(0, 1))
        sound = self.hear(spectrogram, audio_features)
        probabilities, soft = self._correlate(candidates, sound)
        clips = len(sound.clip) if sound is not None else len(frames) if frames is not None else 1
        shape = (clips, -1)
        return AVSCOutput(None, candidates, probabilities.unflatten(0, shape), soft.unflatten(0, shape))

    def _correlate(self, candidates: Candidates, sound: AudioFeatures | None) -> tuple[Tensor, Tensor]:
        """P_a (N, K) and S (N, H, W)."""
        if self.sound_classifier is None:
            probabilities = best_candidate(candidates)
        else:
            if sound is None:
                raise DataError("this network has audio input: give spectrogram or audio_features of the frames")
            probabilities = self.sound_classifier(sound.clip.flatten(0, 1))
        return probabilities, correlate(probabilities, candidates, self.config.overlap)

    def train_stage(self, stage: str) -> None:
        """Choose what is trained: "proposals", or "correlation" with everything of stage 1 frozen (the paper).

        Frozen parts keep their weights and stay in evaluation mode.

        Raises:
            ConfigError: another stage.
        """
        if stage not in STAGES:
            raise ConfigError(f"stage={stage!r} is unknown: choose one of {', '.join(STAGES)}")
        self.stage = stage
        self.backbone.requires_grad_(stage == "proposals")
        self.proposal_head.requires_grad_(stage == "proposals")
        if self.sound_encoder is not None and self.sound_classifier is not None:
            self.sound_encoder.requires_grad_(stage == "correlation" and not self.sound_encoder.frozen)
            self.sound_classifier.requires_grad_(stage == "correlation")
        self.train(self.training)

    def train(self, mode: bool = True) -> AVSC:
        """Training mode of the parts that the present stage trains."""
        super().train(mode)
        if self.stage == "correlation":
            self.backbone.eval()
            self.proposal_head.eval()
        return self

    @classmethod
    def _from_pretrained(cls, **kwargs: Any) -> AVSC:
        """`from_pretrained` with strict loading: by default the mixin leaves missing weights random."""
        return super()._from_pretrained(**{**kwargs, "strict": True})
