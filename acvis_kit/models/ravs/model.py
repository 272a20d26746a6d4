"""RAVS, connected as in figure 2 of the paper.

frames ── stage 1 ── AMA ── stage 2 ── AMA ── stage 3 ── AMA ── stage 4
                      │              │              │  └─ contrast  │
sound ── encoder ─────┴──────────────┴──────────────┘               │
                      └──────────────┴──────────────┴───────────────┴── decoder ── temporal attention ──┬── m ──────┐
                                                                                                        └── alpha ── Y
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from acvis_kit.errors import DataError
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.encoders.pictures import build_staged_encoder
from acvis_kit.models.encoders.sounds import SoundEncoder
from acvis_kit.models.ravs.alignment import Aligned, Alignment
from acvis_kit.models.ravs.config import RAVSConfig
from acvis_kit.models.ravs.decoder import build_decoder
from acvis_kit.models.ravs.temporal import TemporalAttention
from acvis_kit.models.ravs.uncertainty import combine, concentrations, dirichlet_variance, normalised_uncertainty
from acvis_kit.models.semantic import SemanticMaps, normalised


class RAVSOutput(NamedTuple):
    """What the losses compare with the ground truth, C channels: 1, or K + 1 with the background first.

    Attributes:
        mask_logits: m, (B, T, C, H, W).
        probabilities: Y, (B, T, C, H, W) in [0, 1].
        uncertainty: delta_n, (B, T, C, H, W) in [0, 1]; None with `ue=False`.
        last: the last aligned level, of B * T frames.
    """

    mask_logits: Tensor
    probabilities: Tensor
    uncertainty: Tensor | None
    last: Aligned


class RAVS(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="acvis-kit",
    tags=["audio-visual-segmentation", "video", "audio"],
    license="mit",
    coders={RAVSConfig: (RAVSConfig.to_dict, RAVSConfig.from_dict)},
):
    """Audio-visual semantic segmentation with an uncertainty of every pixel.

    Args:
        config: the configuration, or its fields as a dictionary (as in `config.json`).

    Raises:
        ConfigError: a dictionary with unknown fields or invalid values, or an encoder that is not available.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: RAVSConfig | dict[str, Any]) -> None:
        super().__init__()
        config = RAVSConfig.from_dict(config) if isinstance(config, dict) else config
        self.config = config
        self._hub_mixin_config = config.to_dict()  # what save_pretrained writes: with model_type, in sections
        self.window: int | None = config.max_frames  # longer clips are decoded in parts of this many frames
        self.backbone = build_staged_encoder(config)
        channels = self.backbone.channels
        self.sound_encoder = SoundEncoder(config)
        self.alignments = nn.ModuleList(
            Alignment(config, channels[level], groups)
            for level, groups in zip(config.ama_levels, config.groups, strict=True)
        )
        self.decoder = build_decoder(config, channels)
        self.reduce = nn.Conv2d(config.decoder_dim, config.temporal_dim, 1)
        self.temporal = (
            TemporalAttention(config.temporal_dim, config.num_heads, config.max_frames) if config.temporal else None
        )
        self.mask_head = nn.Conv2d(config.temporal_dim, config.num_channels, 1)
        self.uncertainty_head = nn.Conv2d(config.temporal_dim, max(config.num_channels, 2), 1) if config.ue else None
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    def encode(self, frames: Tensor) -> Tensor:
        """The first map, (N, C_0, H / s, W / s): all that does not depend on the sound.

        Args:
            frames: (N, 3, H, W), RGB, 0..255, H and W multiples of 32.
        """
        return self.backbone.stage(0, normalised(frames, self.pixel_mean, self.pixel_std))

    def hear(self, spectrogram: Tensor | None = None, audio_features: Tensor | None = None) -> AudioFeatures:
        """Encode the sound of B clips, see `SoundEncoder`."""
        return self.sound_encoder(spectrogram, audio_features)

    def align(self, first: Tensor, sound: Tensor, token_filter: Tensor | None = None) -> tuple[list[Tensor], Aligned]:
        """The four maps with the sound in them, and the last aligned level.

        Args:
            first: the first map of N frames, from `encode`.
            sound: (N, C_a), vectors of the same frames.
            token_filter: (N, H, W), see `forward`.
        """
        maps, x, number = [], first, 0
        aligned: Aligned | None = None
        for stage in range(len(self.backbone.channels)):
            x = self.backbone.stage(stage, x) if stage else first
            if stage in self.config.ama_levels:
                small = None
                if token_filter is not None:
                    small = F.interpolate(token_filter[:, None].to(x.dtype), x.shape[-2:], mode="nearest")[:, 0]
                aligned = self.alignments[number](x, sound, small)
                x, number = aligned.map, number + 1
            maps.append(x)
        assert aligned is not None, "there are three aligned levels"
        return maps, aligned

    def segment(
        self, maps: list[Tensor], shape: tuple[int, int], size: tuple[int, int], valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Decoder, temporal attention, heads and uncertainty.

        Args:
            maps: of B * T frames.
            shape: (B, T).
            size: (H, W) of the result.
            valid: bool (B, T), see `forward`.

        Returns:
            m, Y, and delta_n or None: (B, T, C, H, W) each.
        """
        x = self.reduce(self.decoder(maps)).unflatten(0, shape)  # (B, T, C', h, w)
        if self.temporal is not None:
            x = self.temporal(x, valid)
        features = x.flatten(0, 1)

        def resized(y: Tensor) -> Tensor:
            return F.interpolate(y, size, mode="bilinear", align_corners=False).unflatten(0, shape)

        mask_logits = resized(self.mask_head(features))
        binary = mask_logits.shape[2] == 1
        probabilities = mask_logits.sigmoid() if binary else mask_logits.softmax(2)
        if self.uncertainty_head is None:
            return mask_logits, probabilities, None
        c = self.config
        alpha = resized(concentrations(self.uncertainty_head(features), c.ue_alpha))
        delta = dirichlet_variance(alpha, dim=2)
        delta = normalised_uncertainty(delta[:, :, -1:] if binary else delta, c.ue_norm)  # binary: of the foreground
        return mask_logits, combine(probabilities, delta, c.ue_combine), delta

    def decode(self, first: Tensor, sound: AudioFeatures | None) -> SemanticMaps:
        """Everything after the first map.

        Args:
            first: of B * T frames, from `encode`; T at most `window`.
            sound: of B clips of T frames.

        Raises:
            DataError: there is no sound.
        """
        if sound is None:
            raise DataError("this network has audio input: give spectrogram or audio_features of the frames")
        clips, frames = sound.clip.shape[:2]
        maps, _ = self.align(first, sound.clip.flatten(0, 1))
        stride = self.backbone.strides[0]
        size = first.shape[-2] * stride, first.shape[-1] * stride
        _, y, delta = self.segment(maps, (clips, frames), size)
        return semantic_maps(y, delta)

    def forward(
        self,
        frames: Tensor,
        spectrogram: Tensor | None = None,
        audio_features: Tensor | None = None,
        valid: Tensor | None = None,
        token_filter: Tensor | None = None,
    ) -> RAVSOutput:
        """Everything that the losses need. For inference see `SemanticPredictor`.

        Args:
            frames: (B, T, 3, H, W), as in `encode`; T at most `max_frames`.
            spectrogram: (B, T, times, bands), as in `hear`.
            audio_features: (B, T, C_a), as in `hear`.
            valid: bool (B, T), False for padded frames (AVSBench-semantic); None: all are frames.
            token_filter: bool (B, T, H, W), the sounding region, for the ablation `gtf` in training: tokens outside
                become 0. Not used otherwise.
        """
        clips, length = frames.shape[:2]
        sound = self.hear(spectrogram, audio_features)
        filtered = (
            token_filter.flatten(0, 1) if self.config.gtf and self.training and token_filter is not None else None
        )
        maps, last = self.align(self.encode(frames.flatten(0, 1)), sound.clip.flatten(0, 1), filtered)
        size = frames.shape[-2], frames.shape[-1]
        return RAVSOutput(*self.segment(maps, (clips, length), size, valid), last)

    @classmethod
    def _from_pretrained(cls, **kwargs: Any) -> RAVS:
        """`from_pretrained` with strict loading: by default the mixin leaves missing weights random."""
        return super()._from_pretrained(**{**kwargs, "strict": True})


def semantic_maps(y: Tensor, delta: Tensor | None) -> SemanticMaps:
    """Scores, labels and uncertainty of Y (B, T, C, H, W).

    With several channels a pixel sounds where some class exceeds the background: the score is the best class' share of
    both, which is above 0.5 there.
    """
    if y.shape[2] == 1:
        labels = torch.zeros_like(y[:, :, 0], dtype=torch.int64)
        return SemanticMaps(y[:, :, 0], labels, uncertainty=None if delta is None else delta[:, :, 0])
    best, labels = y[:, :, 1:].max(2)
    scores = best / (best + y[:, :, 0].clamp(min=0)).clamp(min=torch.finfo(y.dtype).tiny)
    chosen = y.argmax(2, keepdim=True)
    return SemanticMaps(scores, labels, uncertainty=None if delta is None else delta.gather(2, chosen)[:, :, 0])
