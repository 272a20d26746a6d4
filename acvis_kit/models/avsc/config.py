"""`AVSCConfig` and its presets. Every number stands beside its source; [D] marks a default where the paper is silent.

Rows of the paper's tables: 3 without L_soas `soas_weight=0`; 4 without AVSC `audio_use=False`; 7 and 8 `backbone`,
`audio_encoder`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from acvis_kit.config import check_classes
from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, choice, number, setting
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.semantic_config import SemanticConfig, SemanticInference

# The 23 categories of AVSBench-object (S4) in alphabetical order.
AVSBENCH_CLASSES = (
    "ambulance_siren", "baby_laughter", "cap_gun_shooting", "cat_meowing", "chainsawing_trees", "coyote_howling",
    "dog_barking", "driving_buses", "female_singing", "helicopter", "horse_clip-clop", "lawn_mowing", "lions_roaring",
    "male_speech", "mynah_bird_singing", "playing_acoustic_guitar", "playing_glockenspiel", "playing_piano",
    "playing_tabla", "playing_ukulele", "playing_violin", "race_car", "typing_on_computer_keyboard",
)  # fmt: skip


@dataclass(frozen=True)
class AVSCNetwork(EncoderConfig):
    """The network. Defaults are AVSC with ResNet-50 and BEATs.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    class_names: tuple[str, ...] = AVSBENCH_CLASSES

    # --- stage 1: potential sounding objects (MaskFormer)
    pixel_decoder: str = choice("fpn", "deformable")  # [D] MaskFormer's; "deformable" is Mask2Former's
    hidden_dim: int = number(256, 1, 8_192)  # C
    num_heads: int = number(8, 1, 256)
    num_queries: int = number(100, 1, 10_000)  # Q; N in the paper
    decoder_layers: int = number(6, 1, 100)
    feedforward_dim: int = number(2048, 1, 65_536)
    pixel_layers: int = number(6, 1, 100)  # this and the next two: of the deformable pixel decoder
    pixel_points: int = number(4, 1, 64)
    pixel_feedforward_dim: int = number(1024, 1, 65_536)

    # --- stage 2: audio-visual semantic correlation
    audio_use: bool = setting(True, "False: the output is the candidate with the highest score, whatever sounds")
    audio_hidden: int = number(512, 1, 65_536)  # width of the classifier of the sound
    # [D] The paper writes probabilities that sum to 1, but needs two near 1 for mixtures and all near 0 for silence.
    audio_act: str = choice("sigmoid", "softmax", "softmax_null")
    overlap: str = choice("clamp", "noisy_or")  # [D] of masks that overlap, whose sum may exceed 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.class_names)
        if self.hidden_dim % self.num_heads or self.hidden_dim % 32:
            raise ConfigError(
                f"hidden_dim={self.hidden_dim} must be a multiple of 32, the groups of the norms, and of "
                f"num_heads={self.num_heads}"
            )

    @property
    def num_classes(self) -> int:
        """K, without "no object"."""
        return len(self.class_names)


@dataclass(frozen=True)
class AVSCLoss(Checked):
    """The losses of both stages. Weights of the mask losses are the costs of matching, too (MaskFormer).

    Raises:
        ConfigError: a value outside its range.
    """

    class_weight: float = number(1.0, least=0, most=1e6)
    focal_weight: float = number(20.0, least=0, most=1e6)
    dice_weight: float = number(1.0, least=0, most=1e6)
    none_weight: float = number(0.1, least=0, most=1)  # [D] of "no object" in the cross-entropy
    deep_supervision: bool = True  # [D] losses on all decoder layers
    soas_weight: float = number(1.0, least=0, most=1e6)  # of the silent-object-aware loss
    soas_reduction: str = choice("sum", "mean")  # over the non-object queries of a frame; eq. 5 is a sum
    nonobj: str = choice("hungarian", "argmax")  # [D] non-object queries: unmatched ones, or those classified so
    correlation_weight: float = number(1.0, least=0, most=1e6)
    # [D] Fraction of training frames whose sound is replaced by silence or by another frame's; 0 is the paper.
    neg_audio_prob: float = number(0.0, least=0, most=1)


@dataclass(frozen=True)
class AVSCConfig(SemanticInference, AVSCLoss, AVSCNetwork, SemanticConfig):
    """Network, losses and inference in one: `replace(AVSC_PRESETS[name], field=value)` reaches every field.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    model_type: ClassVar[str] = "avsc"
    parts: ClassVar[dict[str, type[Checked]]] = {
        "network": AVSCNetwork,
        "loss": AVSCLoss,
        "inference": SemanticInference,
    }


AVSC_PRESETS = {
    "avsc-r50": AVSCConfig(),
    "avsc-swin-b": AVSCConfig(backbone="swin_b"),  # the paper's main results
    "avsc-pvt-b5": AVSCConfig(backbone="pvt_v2_b5"),
}
# Small enough to be trained on AVIS-Synth on two CPU cores, with the encoders of acvis-synth-tiny in the place of
# ImageNet's and AudioSet's; its data gives the classes.
AVSC_PRESETS["avsc-synth-tiny"] = replace(
    AVSC_PRESETS["avsc-r50"],
    backbone="compact",
    audio_encoder="compact",
    pixel_decoder="deformable",
    pixel_layers=2,
    pixel_feedforward_dim=192,
    hidden_dim=96,
    num_heads=4,
    num_queries=16,
    decoder_layers=3,
    feedforward_dim=192,
    audio_hidden=128,
    neg_audio_prob=0.15,
    input_size=128,
)
