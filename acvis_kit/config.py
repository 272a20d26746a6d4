"""The configuration: `NetworkConfig`, `LossConfig` and `InferenceConfig`, which make up `ACVISConfig`; presets; JSON.

Every number stands beside its source. A variant is a field, never a copied class:
`dataclasses.replace(PRESETS["acvis-r50"], audio_tokens="patch")`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acvis_kit.errors import ConfigError, brief
from acvis_kit.fields import Checked, choice, number, setting

# AVISeg's 26 classes in the order of their ids 1..26.
AVISEG_CLASSES = (
    "person", "violin", "guitar", "cello", "flute", "piano", "ukulele", "accordion", "guzheng", "clarinet", "cat",
    "car", "saxophone", "dog", "lawn_mover", "tuba", "banjo", "pipa", "bassoon", "airplane", "tree_harvester",
    "trumpet", "lion", "bass", "erhu", "horse",
)  # fmt: skip

# Those with photographs or a class of ImageNet, and with recordings: what the weights for filmed video can name.
FILMED_CLASSES = (
    "person", "violin", "guitar", "cello", "flute", "piano", "accordion", "clarinet", "cat", "car", "saxophone", "dog",
    "tuba", "banjo", "bassoon", "airplane", "trumpet", "horse",
)  # fmt: skip

MODEL_TYPE = "acvis"  # of config.json, see `models.registry`
FORMAT = 2  # of config.json: sections for the three parts; format 1, without a number, is flat
# Fields of earlier versions: those that are no longer part of a configuration, and those with another name now.
RETIRED = {"counterfactual_audio"}  # a field of `Recipe` now
RENAMED = {"pixel_signs": "auxiliary_targets", "pixel_sign_weight": "auxiliary_weight"}
MOST_CLASSES = 10_000
TIMM = "timm:"  # before the name of a model of timm, or of its weights
TIMM_BACKBONES = ("efficientnet_lite", TIMM)  # beginnings of the names of backbones that timm makes


@dataclass(frozen=True, repr=False)
class NetworkConfig(Checked):
    """The network: what decides the shapes of the weights and the forward pass. Defaults are ACVIS with ResNet-50.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    # --- picture: backbone and pixel decoder (Mask2Former's, as used by AVISM)
    backbone: str = choice(
        "resnet50", "resnet101", "swin_t", "swin_s", "swin_b", "swin_l", "compact",
        "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", prefix=TIMM,
    )  # fmt: skip
    # ImageNet's classifier, applied at every place, as further channels of the last map (ours; of timm's EfficientNets)
    backbone_class_map: bool = False
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # of RGB in 0..255; EfficientNet-Lite: 127.5
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)  # EfficientNet-Lite: 127.5
    size_divisor: int = number(32, 1, 1_024)  # height and width are padded with zeros to multiples of this
    swin_window: int = number(7, 1, 64)  # 12 in Swin-L
    drop_path: float = number(0.3, least=0, most=1)  # of the Swin backbones, in training
    hidden_dim: int = number(256, 1, 8_192)  # C of every query and token
    num_heads: int = number(8, 1, 256)
    # "deformable" is Mask2Former's; "pyramid" sums the maps from coarse to fine: half the cost, for training on a CPU.
    pixel_decoder: str = choice("deformable", "pyramid")
    pixel_layers: int = number(6, 1, 100)  # of deformable attention
    pixel_points: int = number(4, 1, 64)  # samples per head and level
    pixel_feedforward_dim: int = number(1024, 1, 65_536)
    # Of the pyramid: whether it adds each place's position (ours), and transformer layers on its coarsest map.
    pyramid_positions: bool = False
    pyramid_layers: int = number(0, 0, 100)

    # --- sound
    # "efficientnet_lite0" sees the spectrogram as a picture, and starts from ImageNet's weights (ours).
    audio_encoder: str = choice("vggish", "compact", "efficientnet_lite0", "precomputed")
    # VGGish embeddings: whitened and rounded to 0..255, or raw.
    audio_features: str = choice("vggish_quantized", "vggish_raw")
    # "clip": one vector a frame (the papers); "patch": the encoder's last map, 6 time steps x 4 frequency bands.
    audio_tokens: str = choice("clip", "patch")
    audio_dim: int = number(128, 1, 65_536)  # of that one vector
    audio_classes: bool = False  # classify the sound too; this supports objects of the classes found in it (ours)

    # --- classes: from the states of the "queries" (the papers), or from the "backbone": what its frozen ImageNet
    # classifier sees inside a mask, see `models.acvis.naming` (ours; of timm's EfficientNets)
    class_head: str = choice("queries", "backbone")
    # Classes that are visible and have no voice: they never sound and are not part of predictions.
    voiceless: tuple[str, ...] = ()

    # --- what a query stands for: only "sounding" objects (the papers), or every "visible" one, with a logit per frame
    # for whether it sounds (ours: segmentation is trained apart from sounding, and masks can follow the sound)
    targets: str = choice("sounding", "visible")

    # --- frame level: queries, their generator, masked decoder
    query_generator: str = choice("acqg", "additive", "none")  # ACVIS; "additive" is AVISM's, "none" is VITA's
    query_layers: int = number(3, 1, 100)  # cross-attentions of the ACQG
    frame_fusion: bool = True  # False: the frame queries receive no audio, whatever the generator
    num_frame_queries: int = number(100, 1, 10_000)  # Q_f
    frame_layers: int = number(9, 1, 100)
    feedforward_dim: int = number(2048, 1, 65_536)

    # --- count
    count_head: str = choice("ordinal", "ce", "none")  # SAOC; "ce" is the ablation with cross-entropy
    k_max: int = number(2, 1, 1_000)  # counts are 0, 1, ..., k_max "or more"
    # What the count is computed from: the "token" (the paper), the "queries" that show an object, or "both" (ours).
    count_from: str = choice("token", "queries", "both")

    # --- video level: the tracker
    video_fusion: bool = True  # False: the tracker receives no audio
    num_video_queries: int = number(100, 1, 10_000)  # Q_v
    window_size: int = number(6, 1, 10_000)  # frames; W in the papers
    tracker_layers: int = number(6, 1, 100)  # of each of its two encoders
    video_layers: int = number(3, 1, 100)  # of its decoder
    supervised_frame_layers: int = number(
        3, 1, 101
    )  # the tracker is trained on the queries of this many last layers (AVISM)

    # --- classes
    class_names: tuple[str, ...] = AVISEG_CLASSES

    # --- heads for training only
    pixel_classes: bool = False  # classify every pixel too: for backbones with random weights
    # Size of the embeddings of another audio encoder that the vector of a frame is trained to predict, see
    # `training.teacher`; 0: none.
    audio_teacher_dim: int = number(0, 0, 65_536)
    # Dense auxiliary targets: for each name a head predicts at every pixel of an object whether the object has this
    # label. The data must supply the labels, see `Targets.auxiliary`; AVIS-Synth has "cue".
    auxiliary_targets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_dim % self.num_heads:
            raise ConfigError(f"hidden_dim={self.hidden_dim} must be a multiple of num_heads={self.num_heads}")
        if self.hidden_dim % 32:  # hence by 4, as the sine position with its two halves of pairs needs
            raise ConfigError(f"hidden_dim={self.hidden_dim} must be a multiple of 32, the groups of the norms")
        if min(self.pixel_std) <= 0:
            raise ConfigError(f"pixel_std={self.pixel_std!r} must be above 0")
        check_classes(self.class_names)
        if self.backbone_class_map and not self.is_timm_backbone:
            raise ConfigError(
                f"backbone_class_map=True needs a backbone with ImageNet's classifier, such as efficientnet_lite0, not "
                f"{self.backbone}"
            )
        if self.class_head == "backbone" and not self.is_timm_backbone:
            raise ConfigError(
                f"class_head='backbone' needs a backbone with ImageNet's classifier, such as efficientnet_lite0, not "
                f"{self.backbone}"
            )
        if self.voiceless and self.targets != "visible":
            raise ConfigError(
                f"voiceless={self.voiceless!r} needs targets='visible': with 'sounding' no query stands for them"
            )
        if self.audio_tokens == "patch" and self.audio_encoder == "precomputed":
            raise ConfigError("audio_tokens='patch' needs an audio encoder: precomputed features hold one vector")
        for name in ("pixel_classes", "auxiliary_targets"):
            if (value := getattr(self, name)) and self.targets != "visible":
                raise ConfigError(
                    f"{name}={value!r} needs targets='visible': masks of sounding objects leave silent ones unlabelled"
                )
        if len(set(self.auxiliary_targets)) < len(self.auxiliary_targets) or not all(
            name.isidentifier() for name in self.auxiliary_targets
        ):
            raise ConfigError(
                f"auxiliary_targets={self.auxiliary_targets!r} must be different names, of letters, digits and _"
            )
        if self.audio_teacher_dim and (self.audio_encoder == "precomputed" or not self.uses_audio):
            raise ConfigError(
                f"audio_teacher_dim={self.audio_teacher_dim} needs a network with an audio encoder: set 0"
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
    def class_logits(self) -> int:
        """Outputs of the class heads of queries: K and "none", or only whether there is an object."""
        return self.num_classes + 1 if self.class_head == "queries" else 1

    @property
    def voiceless_classes(self) -> tuple[int, ...]:
        """Numbers of the `voiceless` classes that the network has."""
        return tuple(number for number, name in enumerate(self.class_names) if name in self.voiceless)

    @property
    def is_timm_backbone(self) -> bool:
        """Whether the backbone is made by timm."""
        return self.backbone.startswith(TIMM_BACKBONES)

    @property
    def uses_audio_in_frames(self) -> bool:
        """Whether the frame queries receive audio."""
        return self.frame_fusion and self.query_generator != "none"

    @property
    def uses_audio(self) -> bool:
        """Whether any part of the network receives audio."""
        return self.uses_audio_in_frames or self.video_fusion


@dataclass(frozen=True, repr=False)
class LossConfig(Checked):
    """The losses: read by `Criterion`, not by the network. Defaults are ACVIS' (reference code).

    Raises:
        ConfigError: a value outside its range.
    """

    num_points: int = number(12_544, 1, 1_000_000)  # points per mask at which masks are compared
    oversample_ratio: float = number(3.0, least=1, most=100)  # candidate points drawn for each point kept
    importance_ratio: float = number(0.75, least=0, most=1)  # of the kept points that are the most uncertain candidates
    # Weights of the losses; 0 switches a loss off.
    class_weight: float = number(2.0, least=0, most=1e6)
    mask_weight: float = number(5.0, least=0, most=1e6)
    dice_weight: float = number(5.0, least=0, most=1e6)
    none_weight: float = number(0.1, least=0, most=1)  # of the class "none"
    similarity_weight: float = number(0.5, least=0, most=1e6)  # the paper's; the reference trains with 1.0 by mistake
    count_weight: float = number(1.0, least=0, most=1e6)
    saoc_reduction: str = choice("corn", "paper")  # the reference's; "paper": eq. 7
    sounding_weight: float = number(2.0, least=0, most=1e6)  # with targets="visible"
    audio_class_weight: float = number(1.0, least=0, most=1e6)  # with audio_classes
    audio_teacher_weight: float = number(0.15, least=0, most=1e6)  # with audio_teacher_dim, in audio pretraining
    pixel_class_weight: float = number(1.0, least=0, most=1e6)  # with pixel_classes
    auxiliary_weight: float = number(1.0, least=0, most=1e6)  # of each of the auxiliary_targets


@dataclass(frozen=True, repr=False)
class InferenceConfig(Checked):
    """Inference: saved with the weights; the arguments of `Predictor` override it.

    Raises:
        ConfigError: a value outside its range.
    """

    # The reference's configuration of ResNet-50; 448 for Swin-L.
    short_side: int = number(360, 8, 100_000, help="pixels of the short side at the network's input")
    long_side: int = number(1333, 8, 100_000, help="pixels of the long side at the network's input, at most")
    score_threshold: float = number(0.3, least=0, below=1, help="tracks must score above it to be shown and counted")
    # With targets="visible".
    sounding_threshold: float = number(0.5, least=0, below=1, help="masks are shown where a track sounds so probably")
    sounding_bias: float = number(0.0, -20, 20, help="added to the logit that a track sounds; above 0: hears more")
    top_k: int = number(100, 1, 1_000_000, help="pairs of query and class that are examined")
    # Ours, for queries that are few steps old: several stand for one object then.
    duplicate_iou: float = number(1.0, above=0, most=1, help="drop tracks whose masks overlap a better one's by more")
    duplicate_share: float = number(
        1.0, above=0, most=1, help="drop tracks that lie in a better one of their class by more"
    )
    # Ours, for masks with specks.
    part_share: float = number(0.0, least=0, most=1, help="drop connected parts smaller than this share of the largest")
    # Ours, with audio_classes: most sounds last longer than a second.
    audio_smoothing: float = number(0.0, least=0, most=1 / 3, help="weight of each neighbouring frame's sound classes")
    count_gate: bool = setting(False, "show no more masks in a frame than the predicted count")


def inference_of(config: InferenceConfig) -> InferenceConfig:
    """The inference part of a whole configuration, alone."""
    return InferenceConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(InferenceConfig)})


PARTS: dict[str, type[Checked]] = {"network": NetworkConfig, "loss": LossConfig, "inference": InferenceConfig}


@dataclass(frozen=True, repr=False)
class ACVISConfig(InferenceConfig, LossConfig, NetworkConfig):
    """Network, losses and inference in one: `replace(PRESETS[name], field=value)` reaches every field.

    Defaults are ACVIS with ResNet-50 as published.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, in three sections; `from_dict` restores the same configuration."""
        return in_sections(self, MODEL_TYPE, PARTS)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ACVISConfig:
        """The configuration of a JSON object: sections as `to_dict` writes them, or the flat fields of format 1.

        Unknown fields of the losses are left out with a warning: they do not change what the weights compute.

        Raises:
            ConfigError: another model type or a later format; another unknown field, or a wrong value.
        """
        if not isinstance(values, dict):
            raise ConfigError(f"a configuration must be an object with fields, not {values!r:.60}")
        model_type, number_of_format = values.get("model_type", MODEL_TYPE), values.get("format", 1)
        if model_type != MODEL_TYPE:
            raise ConfigError(f"model_type={model_type!r} is not {MODEL_TYPE!r}: load it with the class of that model")
        if number_of_format not in range(1, FORMAT + 1):
            raise ConfigError(f"format={number_of_format!r} must be a whole number from 1 to {FORMAT}: update the kit")
        content = {name: value for name, value in values.items() if name not in ("model_type", "format")}
        if number_of_format == 1:
            return cls(**_known_fields("the configuration", content, cls))
        if unknown := sorted(set(content) - set(PARTS)):
            raise ConfigError(f"unknown sections {', '.join(unknown)}: choose from {', '.join(PARTS)}")
        fields: dict[str, Any] = {}
        for name, part in PARTS.items():
            fields |= _known_fields(name, content.get(name, {}), part)
        return cls(**fields)


def check_classes(names: tuple[str, ...]) -> None:
    """Check that there is a class and none twice.

    Raises:
        ConfigError: names the bound.
    """
    if not 0 < len(names) <= MOST_CLASSES or len(set(names)) < len(names):
        raise ConfigError(f"class_names must contain 1 to {MOST_CLASSES} names and no name twice")


def in_sections(config: Checked, model_type: str, parts: Mapping[str, type[Checked]]) -> dict[str, Any]:
    """A configuration as plain values for JSON: its model type, the format, and a section for each of its parts."""
    sections = {
        name: {field.name: getattr(config, field.name) for field in dataclasses.fields(part)}
        for name, part in parts.items()
    }
    return {"model_type": model_type, "format": FORMAT, **sections}


def _known_fields(section: str, values: dict[str, Any], part: type[Checked]) -> dict[str, Any]:
    """The fields of one section under their present names; unknown ones of the losses are left out with a warning.

    Raises:
        ConfigError: a section that is no object, or another unknown field.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"the section {section} must be an object with fields, not {values!r:.60}")
    values = {RENAMED.get(name, name): value for name, value in values.items() if name not in RETIRED}
    if isinstance(cue := values.get("auxiliary_targets"), bool):  # the value of pixel_signs
        values["auxiliary_targets"] = ("cue",) * cue
    known = {field.name for field in dataclasses.fields(part)}
    unknown = sorted(set(values) - known)
    if unknown and part is not LossConfig:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise ConfigError(f"unknown fields of {section}, {shown:.200}: choose from {', '.join(sorted(known))}")
    if unknown:
        warnings.warn(f"unknown loss fields are left out: {', '.join(unknown):.200}", stacklevel=4)
    return {name: value for name, value in values.items() if name in known}


CHOICES: dict[str, tuple[str, ...]] = {
    field.name: field.metadata["choices"] for field in dataclasses.fields(ACVISConfig) if "choices" in field.metadata
}


def _acvis(backbone: str, **changes: Any) -> ACVISConfig:
    return ACVISConfig(backbone=backbone, **changes)


class UnknownPreset(ConfigError, KeyError):
    """There is no preset of this name. A KeyError too, as of any mapping."""

    __str__ = Exception.__str__  # a KeyError shows the repr


class Presets(dict[str, ACVISConfig]):
    """Configurations by name."""

    def __missing__(self, name: str) -> ACVISConfig:
        raise UnknownPreset(
            f"{brief(name)} is no preset of ACVIS: choose from {', '.join(self)}; those of AVSC and RAVS are in "
            "acvis_kit.models.presets.ALL_PRESETS"
        )


_CONFIGURATIONS: dict[str, ACVISConfig] = {
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
        audio_class_weight=5.0,
        pixel_classes=True,
        auxiliary_targets=("cue",),
        short_side=128,
        score_threshold=0.5,
    ),
    # For filmed video, trained on 982 photographs: masks are learned without classes, ImageNet's classifier names them.
    "acvis-filmed-small": _acvis(
        "efficientnet_lite0",
        backbone_class_map=True,
        class_head="backbone",
        pixel_mean=(127.5, 127.5, 127.5),
        pixel_std=(127.5, 127.5, 127.5),
        pixel_decoder="pyramid",
        pyramid_positions=True,
        pyramid_layers=2,
        hidden_dim=96,
        num_heads=4,
        audio_encoder="efficientnet_lite0",
        audio_tokens="patch",
        num_frame_queries=20,
        num_video_queries=20,
        frame_layers=3,
        feedforward_dim=192,
        tracker_layers=2,
        video_layers=2,
        supervised_frame_layers=1,
        num_points=512,
        targets="visible",
        class_names=(*FILMED_CLASSES, "other"),
        voiceless=("other",),
        audio_classes=True,
        audio_teacher_dim=1024,
        count_from="queries",
        audio_class_weight=5.0,
        pixel_classes=True,
        short_side=256,
        score_threshold=0.4,
    ),
}
PRESETS = Presets(_CONFIGURATIONS)
