"""The configuration of the network, its losses and its inference: each number with its source, presets, JSON.

A variant is a field of `ACVISConfig`, never a copied class: `dataclasses.replace(PRESETS["acvis-r50"],
audio_tokens="patch")`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from acvis_kit.errors import ConfigError

# AVISeg's 26 classes in the order of their ids 1..26.
AVISEG_CLASSES = (
    "person", "violin", "guitar", "cello", "flute", "piano", "ukulele", "accordion", "guzheng", "clarinet", "cat",
    "car", "saxophone", "dog", "lawn_mover", "tuba", "banjo", "pipa", "bassoon", "airplane", "tree_harvester",
    "trumpet", "lion", "bass", "erhu", "horse",
)  # fmt: skip

CHOICES = {
    "backbone": ("resnet50", "resnet101", "swin_t", "swin_s", "swin_b", "swin_l", "compact"),
    "audio_encoder": ("vggish", "compact", "precomputed"),
    "audio_features": ("vggish_quantized", "vggish_raw"),
    "audio_tokens": ("clip", "patch"),
    "query_generator": ("acqg", "additive", "none"),
    "count_head": ("ordinal", "ce", "none"),
    "count_from": ("token", "queries", "both"),
    "targets": ("sounding", "visible"),
    "saoc_reduction": ("corn", "paper"),
}


@dataclass(frozen=True)
class ACVISConfig:
    """The network, its losses and its inference. Defaults are ACVIS with ResNet-50 as published.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    # --- picture: backbone and pixel decoder (Mask2Former's, as used by AVISM)
    backbone: str = "resnet50"
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # of RGB in 0..255
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    size_divisor: int = 32  # height and width are padded with zeros to multiples of this
    swin_window: int = 7  # 12 in Swin-L
    drop_path: float = 0.3  # of the Swin backbones, in training
    hidden_dim: int = 256  # C of every query and token
    num_heads: int = 8
    pixel_layers: int = 6  # of deformable attention
    pixel_points: int = 4  # samples per head and level
    pixel_feedforward_dim: int = 1024

    # --- sound
    audio_encoder: str = "vggish"
    audio_features: str = "vggish_quantized"  # VGGish embeddings: whitened and rounded to 0..255, or raw
    # "clip": one vector a frame (the papers); "patch": the encoder's last map, 6 time steps x 4 frequency bands.
    audio_tokens: str = "clip"
    audio_dim: int = 128  # of that one vector
    audio_classes: bool = False  # classify the sound too; this supports objects of the classes found in it (ours)

    # --- what a query stands for: only "sounding" objects (the papers), or every "visible" one, with a logit per frame
    # for whether it sounds (ours: segmentation is trained apart from sounding, and masks can follow the sound)
    targets: str = "sounding"

    # --- frame level: queries, their generator, masked decoder
    query_generator: str = "acqg"  # ACVIS; "additive" is AVISM's, "none" is VITA's
    query_layers: int = 3  # cross-attentions of the ACQG
    frame_fusion: bool = True  # False: the frame queries receive no audio, whatever the generator
    num_frame_queries: int = 100  # Q_f
    frame_layers: int = 9
    feedforward_dim: int = 2048

    # --- count
    count_head: str = "ordinal"  # SAOC; "ce" is the ablation with cross-entropy
    k_max: int = 2  # counts are 0, 1, ..., k_max "or more"
    # What the count is computed from: the "token" (the paper), the "queries" that show an object, or "both" (ours).
    count_from: str = "token"

    # --- video level: the tracker
    video_fusion: bool = True  # False: the tracker receives no audio
    num_video_queries: int = 100  # Q_v
    window_size: int = 6  # frames; W in the papers
    tracker_layers: int = 6  # of each of its two encoders
    video_layers: int = 3  # of its decoder

    # --- classes
    class_names: tuple[str, ...] = AVISEG_CLASSES

    # --- training: read by losses and training, not by the network's forward pass at inference
    supervised_frame_layers: int = 3  # the tracker is trained on the queries of this many last layers (AVISM)
    num_points: int = 12_544  # points per mask at which masks are compared
    oversample_ratio: float = 3.0  # candidate points drawn for each point kept
    importance_ratio: float = 0.75  # fraction of the kept points that are the most uncertain candidates
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    none_weight: float = 0.1  # of the class "none"
    similarity_weight: float = 0.5  # the paper's; the reference trains with 1.0 by mistake
    count_weight: float = 1.0
    saoc_reduction: str = "corn"  # the reference's; "paper": eq. 7
    sounding_weight: float = 2.0  # with targets="visible"
    audio_class_weight: float = 1.0  # with audio_classes
    pixel_classes: bool = False  # classify every pixel too, in training only: for backbones with random weights
    pixel_class_weight: float = 1.0
    pixel_signs: bool = False  # predict the cue label of every pixel too, likewise; needs cue labels (AVIS-Synth)
    pixel_sign_weight: float = 1.0
    counterfactual_audio: float = 0.0  # fraction of training clips with another soundtrack and its truth

    # --- inference: saved with the weights; the Predictor's arguments override it
    short_side: int = 360  # pixels; the reference's configuration of ResNet-50 (448 for Swin-L)
    long_side: int = 1333  # pixels, at most
    score_threshold: float = 0.3
    sounding_threshold: float = 0.5  # masks are shown where a track sounds with this probability (targets="visible")
    top_k: int = 100  # pairs of query and class kept
    count_gate: bool = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # JSON turns tuples into lists
            if isinstance(getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(getattr(self, field.name)))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name}={getattr(self, name)!r} is unknown: choose one of {', '.join(allowed)}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"{field.name}={value!r} must be a whole number, at least 1")
        if self.hidden_dim % self.num_heads:
            raise ConfigError(f"hidden_dim={self.hidden_dim} must be a multiple of num_heads={self.num_heads}")
        if self.hidden_dim % 32:  # hence by 4, as the sine position with its two halves of pairs needs
            raise ConfigError(f"hidden_dim={self.hidden_dim} must be a multiple of 32, the groups of the norms")
        for name in ("drop_path", "importance_ratio", "none_weight", "counterfactual_audio"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}={getattr(self, name)!r} must lie in [0, 1]")
        for name in (field.name for field in dataclasses.fields(self) if field.name.endswith("_weight")):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)!r} must not be negative: 0 switches the loss off")
        if self.oversample_ratio < 1:
            raise ConfigError(f"oversample_ratio={self.oversample_ratio!r} must be at least 1")
        for name in ("score_threshold", "sounding_threshold"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)} must lie in [0, 1)")
        if not self.class_names or len(set(self.class_names)) < len(self.class_names):
            raise ConfigError("class_names must contain at least one name and no name twice")
        if self.audio_tokens == "patch" and self.audio_encoder == "precomputed":
            raise ConfigError("audio_tokens='patch' needs an audio encoder: precomputed features hold one vector")
        for name in ("pixel_classes", "pixel_signs"):
            if getattr(self, name) and self.targets != "visible":
                raise ConfigError(
                    f"{name}=True needs targets='visible': masks of sounding objects leave silent objects unlabelled"
                )
        if self.audio_classes and not self.uses_audio:
            raise ConfigError("audio_classes=True needs a network with audio input: set frame_fusion or video_fusion")
        if self.supervised_frame_layers > self.frame_layers + 1:
            raise ConfigError(
                f"supervised_frame_layers={self.supervised_frame_layers} must be at most frame_layers + 1 = "
                f"{self.frame_layers + 1}: the queries have that many states"
            )
        if self.audio_tokens == "patch" and self.query_generator == "additive":
            raise ConfigError(
                "query_generator='additive' adds one vector to the queries: use audio_tokens='clip' or 'acqg'"
            )

    @property
    def num_classes(self) -> int:
        """K, without "none"."""
        return len(self.class_names)

    @property
    def uses_audio_in_frames(self) -> bool:
        """Whether the frame queries receive audio."""
        return self.frame_fusion and self.query_generator != "none"

    @property
    def uses_audio(self) -> bool:
        """Whether any part of the network receives audio."""
        return self.uses_audio_in_frames or self.video_fusion

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` restores the same configuration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ACVISConfig:
        """The configuration of a JSON object.

        Raises:
            ConfigError: an unknown field (weights of a later version, or a misspelling) or a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"a configuration must be an object with fields, not {values!r:.60}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(
                f"unknown configuration fields {', '.join(unknown)}: choose from {', '.join(sorted(known))}"
            )
        return cls(**values)


def _acvis(backbone: str, **changes: Any) -> ACVISConfig:
    return ACVISConfig(backbone=backbone, **changes)


PRESETS: dict[str, ACVISConfig] = {
    "acvis-r50": _acvis("resnet50"),
    "acvis-r101": _acvis("resnet101"),
    "acvis-swin-t": _acvis("swin_t"),
    "acvis-swin-s": _acvis("swin_s"),
    "acvis-swin-b": _acvis("swin_b"),
    "acvis-swin-l": _acvis("swin_l", swin_window=12, num_frame_queries=200, short_side=448),
    # AVISM was trained on raw VGGish embeddings computed beforehand; here the network includes VGGish and takes videos.
    "avism-r50": _acvis("resnet50", query_generator="additive", count_head="none", audio_features="vggish_raw"),
    "vita-r50": _acvis("resnet50", query_generator="none", count_head="none", frame_fusion=False, video_fusion=False),
    # Small enough to be trained on AVIS-Synth from random weights on two CPU cores.
    "acvis-synth-tiny": _acvis(
        "compact",
        hidden_dim=96,
        num_heads=4,
        pixel_layers=2,
        pixel_feedforward_dim=192,
        audio_encoder="compact",
        audio_tokens="patch",
        num_frame_queries=16,
        num_video_queries=16,
        frame_layers=3,
        feedforward_dim=192,
        tracker_layers=2,
        video_layers=2,
        supervised_frame_layers=1,
        num_points=512,
        targets="visible",
        audio_classes=True,
        count_from="both",
        counterfactual_audio=0.4,
        audio_class_weight=5.0,
        pixel_classes=True,
        pixel_signs=True,
        short_side=128,
        score_threshold=0.5,
    ),
}
