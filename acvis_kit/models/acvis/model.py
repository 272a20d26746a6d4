"""ACVIS, connected as in figure 2 of the paper. AVISM and VITA are configurations of the same class.

frames ── backbone ── pixel decoder ──┬───────────────┬─────────────────┐
                                      │               │                 │
sound ─── audio encoder ──┬── query generator ── frame decoder ── tracker ── masks, classes, identities
                          │                           │            │
                          └───────────────────────────┼────────────┘
                                                      └── count head ── number of sounding objects
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from huggingface_hub.constants import SAFETENSORS_SINGLE_FILE
from torch import Tensor, nn

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.files import write_tensors
from acvis_kit.models.acvis.count import CountHead
from acvis_kit.models.acvis.frame_decoder import FrameDecoder
from acvis_kit.models.acvis.naming import MaskClassifier, pool
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.acvis.tracker import Tracker, VideoOutput
from acvis_kit.models.encoders.audio import AudioFeatures
from acvis_kit.models.encoders.audio_encoders import build_audio_encoder
from acvis_kit.models.encoders.backbones import build_backbone
from acvis_kit.models.encoders.feature_pyramid import FeaturePyramid
from acvis_kit.models.encoders.pixel_decoder import PixelDecoder, PixelFeatures

if TYPE_CHECKING:
    from acvis_kit.models.encoders.timm_backbones import TimmBackbone

SURE = 10.0  # mask logit of what is known
RENAMED = {"pixel_sign_head.": "auxiliary_heads.cue."}  # beginnings of keys in weights of earlier versions


class FrameState(NamedTuple):
    """Output of the frame level for N frames.

    Attributes:
        queries: (D, N, Q_f, C), normed; D = 1 at inference, see `FrameOutput`. The tracker reads the last layers.
        count_logits: (N, K_max) for "ordinal", (N, K_max + 1) for "ce"; None without a count head.
    """

    queries: Tensor
    count_logits: Tensor | None


class ModelOutput(NamedTuple):
    """What the losses compare with the ground truth.

    D_f is frame_layers + 1, D_v is video_layers, L is supervised_frame_layers; in evaluation mode all three are 1. The
    tracker runs on the last L of the D_f states; clip b with state l has index l * B + b.

    Attributes:
        frame_class_logits: (D_f, B, T, Q_f, K + 1).
        frame_mask_logits: (D_f, B, T, Q_f, H / 4, W / 4).
        count_logits: (B, T, K_max or K_max + 1), None without a count head.
        video: class logits (D_v, L * B, Q_v, K + 1) and embeddings.
        video_mask_logits: (D_v, L * B, Q_v, T, H / 4, W / 4).
        frame_sounding_logits: (D_f, B, T, Q_f), None with `targets="sounding"`.
        audio_class_logits: (B, T, K), None without `audio_classes`.
        pixel_class_logits: (B, T, K + 1, H / 4, W / 4), None without `pixel_classes`.
        auxiliary_logits: (B, T, H / 4, W / 4) for each of the `auxiliary_targets`; None without any.
    """

    frame_class_logits: Tensor
    frame_mask_logits: Tensor
    count_logits: Tensor | None
    video: VideoOutput
    video_mask_logits: Tensor
    frame_sounding_logits: Tensor | None = None
    audio_class_logits: Tensor | None = None
    pixel_class_logits: Tensor | None = None
    auxiliary_logits: dict[str, Tensor] | None = None


class ACVIS(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="acvis-kit",
    tags=["audio-visual-instance-segmentation", "video", "audio"],
    license="mit",
    coders={ACVISConfig: (ACVISConfig.to_dict, ACVISConfig.from_dict)},
):
    """Audio-visual instance segmentation: masks, classes and identities of sounding objects in every frame.

    Args:
        config: the configuration, or its fields as a dictionary (as in `config.json`).

    Raises:
        ConfigError: a dictionary with unknown fields or invalid values, or something else.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, config: ACVISConfig | dict[str, Any]) -> None:
        super().__init__()
        config = ACVISConfig.from_dict(config) if isinstance(config, dict) else config
        if not isinstance(config, ACVISConfig):
            raise ConfigError(
                f"ACVIS({config!r:.60}) needs an ACVISConfig: write load_model(...) for a model with trained weights, "
                f"or ACVIS(PRESETS[...]) for random ones, with one of {', '.join(PRESETS)}"
            )
        self.config = config
        self.backbone = build_backbone(config)
        self.pixel_decoder = (
            PixelDecoder(config, self.backbone.channels)
            if config.pixel_decoder == "deformable"
            else FeaturePyramid(
                config.hidden_dim,
                self.backbone.channels,
                positions=config.pyramid_positions,
                layers=config.pyramid_layers,
                num_heads=config.num_heads,
            )
        )
        self.audio_encoder = build_audio_encoder(config)
        self.audio_class_head = nn.Linear(config.audio_dim, config.num_classes) if config.audio_classes else None
        self.audio_teacher_head = (
            nn.Linear(config.audio_dim, config.audio_teacher_dim) if config.audio_teacher_dim else None
        )
        patch_dim = self.audio_encoder.patch_dim if self.audio_encoder is not None else None
        self.query_generator = QueryGenerator(config, patch_dim)
        self.frame_decoder = FrameDecoder(config)
        self.count_head = (
            CountHead(config.hidden_dim, config.k_max, config.count_head) if config.count_head != "none" else None
        )
        self.tracker = Tracker(config)
        self.mask_classifier = (
            MaskClassifier(config.class_names, cast("TimmBackbone", self.backbone).classifier_channels)
            if config.class_head == "backbone"
            else None
        )
        classes = config.num_classes + 1  # "none" last
        self.pixel_class_head = nn.Conv2d(config.hidden_dim, classes, 1) if config.pixel_classes else None
        self.auxiliary_heads = nn.ModuleDict(
            {name: nn.Conv2d(config.hidden_dim, 1, 1) for name in config.auxiliary_targets}
        )
        self.register_load_state_dict_pre_hook(_rename_given_keys)
        self.register_buffer("pixel_mean", torch.tensor(config.pixel_mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(config.pixel_std).view(3, 1, 1), persistent=False)

    def encode(self, frames: Tensor) -> PixelFeatures:
        """Backbone and pixel decoder. The result does not depend on the sound.

        Args:
            frames: (N, 3, H, W), RGB, 0..255, uint8 or float; normalised, then padded with zeros to multiples of 32.
        """
        _check_shape("frames", frames, "N", 3, "H", "W")
        height, width = frames.shape[-2:]
        image = (frames.to(self.pixel_mean.dtype) - self.pixel_mean) / self.pixel_std
        divisor = self.config.size_divisor
        right, below = ((side + divisor - 1) // divisor * divisor - side for side in (width, height))
        image = F.pad(image, (0, right, 0, below))
        maps = self.backbone(image)
        if self.mask_classifier is None:
            return self.pixel_decoder(maps)
        return self.pixel_decoder(maps[:-1])._replace(semantics=maps[-1])

    def hear(self, log_mel: Tensor | None = None, audio_features: Tensor | None = None) -> AudioFeatures | None:
        """Encode the sound of B clips; None without audio input.

        Args:
            log_mel: (B, T, 96, 64), of one second of sound around each frame.
            audio_features: (B, T, 128), precomputed vectors, used in place of the audio encoder's.

        Raises:
            DataError: neither is given to a network with audio input, or one of another shape.
        """
        if not self.config.uses_audio:
            return None
        if audio_features is not None:
            _check_shape("audio_features", audio_features, "B", "T", self.config.audio_dim)
            sound = AudioFeatures(audio_features.to(self.pixel_mean.dtype))
        else:
            if self.audio_encoder is None or log_mel is None:
                missing = "audio_features" if self.audio_encoder is None else "log_mel or audio_features"
                raise DataError(f"this network has audio input: give {missing} of the frames, or use Predictor")
            _check_shape("log_mel", log_mel, "B", "T", 96, 64)
            sound = self.audio_encoder(log_mel.to(self.pixel_mean.dtype))
        if self.audio_class_head is not None:
            sound = AudioFeatures(sound.clip, sound.patches, self.audio_class_head(sound.clip))
        return sound

    def decode_frames(self, pixels: PixelFeatures, sound: AudioFeatures | None) -> FrameState:
        """Query generator, frame decoder and count head on N frames; B * T of the sound must equal N."""
        tokens = self.frame_decoder.tokens(pixels.scales)
        queries = self.query_generator(sound, tokens)
        out = self.frame_decoder(queries, self.query_generator.positions(), tokens, pixels)
        count_logits = self.count_head(out.count_token) if self.count_head is not None else None
        return FrameState(out.queries, count_logits)

    def track(self, queries: Tensor, sound: AudioFeatures | None, pixels: Iterable[PixelFeatures] = ()) -> VideoOutput:
        """The tracker on whole clips.

        Args:
            queries: (B, T, Q_f, C), of the frames.
            sound: of the same B clips; None without audio input.
            pixels: features of the T frames, in parts if B = 1; read only with `class_head="backbone"`.
        """
        if self.mask_classifier is None:
            return self.tracker(queries, sound)
        return self.tracker(queries, sound, partial(self._classify_tracks, pixels=pixels))

    def name_masks(self, masks: Tensor, pixels: PixelFeatures, frames: Tensor) -> Tensor | None:
        """Log-probabilities of the classes of given masks, (G, K + 1); None with `class_head="queries"`.

        Args:
            masks: bool (G, H, W), at the padded size.
            pixels: of N frames.
            frames: int64 (G,), the frame of each mask.
        """
        if self.mask_classifier is None:
            return None
        assert pixels.semantics is not None, "this backbone returns what its classifier pools"
        logits = torch.where(masks, SURE, -SURE)[:, None, None]  # (G, 1, 1, H, W)
        pooled = pool([(logits, pixels.semantics[frames, None])]).squeeze(1)  # (G, E)
        return self.mask_classifier.of_objects(pooled, cast("TimmBackbone", self.backbone).classifier)

    def forward(
        self, frames: Tensor, log_mel: Tensor | None = None, audio_features: Tensor | None = None
    ) -> ModelOutput:
        """Everything that the losses need, from all layers in training mode. For inference see `Predictor`.

        Args:
            frames: (B, T, 3, H, W), as in `encode`.
            log_mel: (B, T, 96, 64), as in `hear`.
            audio_features: (B, T, 128), as in `hear`.

        Raises:
            DataError: a tensor of another shape, or no sound for a network with audio input.
        """
        _check_shape("frames", frames, "B", "T", 3, "H", "W")
        clips, length = frames.shape[:2]
        for name, given in (("log_mel", log_mel), ("audio_features", audio_features)):
            if given is not None and given.shape[:2] != (clips, length):
                raise DataError(
                    f"{name} is {tuple(given.shape)}: expected {clips} clips of {length} frames, as the frames are"
                )
        pixels = self.encode(frames.flatten(0, 1))
        sound = self.hear(log_mel, audio_features)
        state = self.decode_frames(pixels, sound)
        states = state.queries  # (D_f, B * T, Q_f, C)
        class_logits, mask_logits = self.frame_decoder.predict(states, pixels.fine)
        if self.mask_classifier is not None:
            assert pixels.semantics is not None, "this backbone returns what its classifier pools"
            semantics = pixels.semantics[:, None].expand(len(states), *[-1] * 5)  # (D_f, B * T, 1, E, h, w)
            seen = pool([(mask_logits[:, :, :, None], semantics)])
            class_logits = self.mask_classifier(class_logits, seen, self.backbone.classifier)
        audio_class_logits = sound.class_logits if sound is not None else None  # (B, T, K)
        sounding_logits = None
        if self.config.targets == "visible":
            of_frames = audio_class_logits.flatten(0, 1) if audio_class_logits is not None else None
            sounding_logits = self.frame_decoder.sounding_head(states, class_logits, of_frames)  # (D_f, B * T, Q_f)

        queries = states[-self.config.supervised_frame_layers :]  # (L, B * T, Q_f, C)
        layers = queries.shape[0]
        queries = queries.unflatten(1, (clips, length)).flatten(0, 1)  # (L * B, T, Q_f, C)
        video = self.track(queries, sound.repeat(layers) if sound is not None else None, [pixels])

        def by_clip(x: Tensor | None, dim: int = 0) -> Tensor | None:
            return x.unflatten(dim, (clips, length)) if x is not None else None  # B * T -> B, T

        return ModelOutput(
            frame_class_logits=class_logits.unflatten(1, (clips, length)),
            frame_mask_logits=mask_logits.unflatten(1, (clips, length)),
            count_logits=by_clip(state.count_logits),
            video=video,
            video_mask_logits=self.video_masks(video.mask_embeds, pixels.fine, layers),
            frame_sounding_logits=by_clip(sounding_logits, dim=1),
            audio_class_logits=audio_class_logits,
            pixel_class_logits=by_clip(self.pixel_class_head(pixels.fine) if self.pixel_class_head else None),
            auxiliary_logits={
                name: head(pixels.fine).squeeze(1).unflatten(0, (clips, length))
                for name, head in self.auxiliary_heads.items()
            }
            or None,
        )

    def _classify_tracks(self, objectness: Tensor, embeds: Tensor, pixels: Iterable[PixelFeatures]) -> Tensor:
        """Class logits of tracks, of all their masks together; the arguments are those of `track` and its tracker.

        Clips of training come L times, once per supervised frame layer, with one part of features for all.
        """
        assert self.mask_classifier is not None, "called only with class_head='backbone'"
        answers = embeds.shape[1]  # L * B
        layers = self.config.supervised_frame_layers if self.training else 1

        def masked(part: PixelFeatures) -> tuple[Tensor, Tensor]:
            assert part.semantics is not None, "this backbone returns what its classifier pools"
            semantics = part.semantics.unflatten(0, (answers // layers, -1))  # (B, T, E, h, w)
            semantics = semantics.repeat(layers, 1, 1, 1, 1).expand(len(embeds), *[-1] * 5)
            return self.video_masks(embeds.detach(), part.fine, layers), semantics

        return self.mask_classifier(objectness, pool(map(masked, pixels)), self.backbone.classifier)

    def video_masks(self, embeds: Tensor, fine: Tensor, layers: int) -> Tensor:
        """Mask logits of video queries in every frame: (D_v, L * B, Q_v, T, H / 4, W / 4).

        Args:
            embeds: (D_v, L * B, Q_v, C), from the tracker.
            fine: (B * T, C, H / 4, W / 4), F of all frames; the same for each of the L frame layers.
            layers: L.
        """
        clips = embeds.shape[1] // layers
        length = fine.shape[0] // clips
        of_clip = embeds.unflatten(1, (layers, clips)).permute(2, 0, 1, 3, 4).flatten(1, 3)  # (B, D_v * L * Q_v, C)
        masks = self.tracker.pixel_embedding.mask_logits(of_clip.repeat_interleave(length, 0), fine)
        masks = masks.unflatten(1, (len(embeds), layers, -1)).unflatten(0, (clips, length))
        # (B, T, D_v, L, Q_v, h, w) -> (D_v, L * B, Q_v, T, h, w)
        return masks.permute(2, 3, 0, 4, 1, 5, 6).flatten(1, 2)

    def _save_pretrained(self, save_directory: Path) -> None:
        """The weights of `save_pretrained`; the mixin's own file could be read by nobody else."""
        write_tensors(save_directory / SAFETENSORS_SINGLE_FILE, self.state_dict())

    @classmethod
    def _from_pretrained(cls, **kwargs: Any) -> ACVIS:
        """`from_pretrained` with strict loading: by default the mixin leaves missing weights random."""
        return super()._from_pretrained(**{**kwargs, "strict": True})


def _check_shape(name: str, tensor: Tensor, *axes: int | str) -> None:
    """Check that `tensor` has these axes: a number is a length, a letter stands for any length.

    Raises:
        DataError: it does not.
    """
    shape = tuple(tensor.shape)
    if len(shape) != len(axes) or any(isinstance(a, int) and a != n for a, n in zip(axes, shape, strict=True)):
        raise DataError(f"{name} is {shape}: expected ({', '.join(map(str, axes))})")


def _rename_given_keys(_: nn.Module, state: dict[str, Tensor], *__: object) -> None:
    """`rename_keys` before a state is loaded; a function of the module, so that a model can be pickled."""
    rename_keys(state)


def rename_keys(state: dict[str, Tensor]) -> None:
    """Give the tensors of weights of earlier versions their present names, in place."""
    for old, new in RENAMED.items():
        for key in [key for key in state if key.startswith(old)]:
            state[new + key.removeprefix(old)] = state.pop(key)
