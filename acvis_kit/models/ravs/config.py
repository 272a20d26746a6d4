"""`RAVSConfig`, its presets and ablation rows. Every number stands beside its source.

[P] is the paper, [C] the code of DDESeg, by RAVS' first author on the same data, [D] a default where both are silent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from acvis_kit.config import check_classes
from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, choice, number, setting
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.semantic_config import SemanticConfig, SemanticInference


@dataclass(frozen=True)
class RAVSNetwork(EncoderConfig):
    """The network. Defaults are RAVS on the binary task with PVTv2-B5 and HTSAT.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    backbone: str = setting("pvt_v2_b5", "name of the picture encoder, one that runs stage by stage")
    audio_encoder: str = choice("htsat", "beats", "vggish", "compact", "precomputed")
    # "binary": one channel, whether a pixel sounds; "semantic": a channel for each class, and the background.
    task: str = choice("binary", "semantic")
    class_names: tuple[str, ...] = ("sounding object",)

    # --- audio-guided modality alignment (AMA), at three levels
    ama: bool = setting(True, "False: the baseline, each level is fused with the sound by cross-attention alone")
    gtf: bool = setting(False, "in training, the baseline's tokens outside of the sounding objects become 0 (GTF)")
    groups: tuple[int, int, int] = (14, 7, 5)  # [P] P of the levels, the finest first
    neighbours: int = number(5, 1, 1_000)  # [D] k of DPC-KNN
    density: str = choice("tcformer", "paper")  # [D] "paper": equation 3
    assign: str = choice("nearest", "chain")  # [D] "chain": equation 4
    centres: str = choice("score", "peak")  # [D] "peak": equation 4 read literally, which makes one group
    num_heads: int = number(8, 1, 256)  # [C]
    mca: str = choice("sigmoid_res", "softmax_res")  # [C] the softmax over one audio key is 1 whatever sounds
    merge_src: str = choice("fv", "fhat")  # [D] tokens that are merged: before the interaction, or after it
    update_layers: int = number(2, 1, 100)  # [D]
    plain_update: bool = setting(False, "equation 7 without learned projections, once")
    # [D] Initial gain of what is added to the tokens, learned for each channel; None: 1, not learned.
    remap_scale_init: float | None = number(None, least=0, most=1)

    # --- decoder
    decoder: str = choice("segformer", "fpn")  # [C]
    decoder_dim: int = number(768, 1, 8_192)  # [C]
    dropout: float = number(0.1, least=0, below=1)  # [C]
    temporal_dim: int = number(256, 1, 8_192)  # [D] channels after the reduction
    temporal: bool = setting(True, "attention over the frames of a clip")
    max_frames: int = number(10, 1, 1_000)  # longest clip that is decoded at once

    # --- uncertainty estimation (UE)
    ue: bool = setting(True, "estimate an uncertainty for each pixel and lower uncertain ones")
    # Channels of the Dirichlet distribution; None: one for each channel of the masks, and at least two.
    uncertainty_channels: int | None = number(None, 1, 100_000)
    ue_alpha: str = choice("softplus", "evidential")  # [P]; "evidential": plus 1
    ue_norm: str = choice("minmax", "bound")  # [D] over the clip; "bound": times 4, which depends on no other pixel
    ue_combine: str = choice("div1p", "mult", "paper", "none")  # [D] "paper": equation 11

    def __post_init__(self) -> None:
        super().__post_init__()
        check_classes(self.class_names)
        if self.task == "binary" and self.num_classes != 1:
            raise ConfigError(f"task='binary' has one class, class_names has {self.num_classes}: choose 'semantic'")
        if len(self.groups) != 3 or not all(isinstance(p, int) and 1 <= p <= 10_000 for p in self.groups):
            raise ConfigError(f"groups={self.groups!r} must be three whole numbers from 1 to 10000, one for each level")
        if self.gtf and self.ama:
            raise ConfigError("gtf=True is a variant of the baseline: set ama=False")
        if self.temporal_dim % self.num_heads:
            raise ConfigError(f"temporal_dim={self.temporal_dim} must be a multiple of num_heads={self.num_heads}")
        if self.decoder == "fpn" and self.decoder_dim % 32:
            raise ConfigError(f"decoder_dim={self.decoder_dim} must be a multiple of 32, the groups of the FPN's norms")
        if self.uncertainty_channels is not None and self.uncertainty_channels != max(self.num_channels, 2):
            raise ConfigError(
                f"uncertainty_channels={self.uncertainty_channels} must be {max(self.num_channels, 2)}: one for each "
                "channel of the masks, and at least 2, because the variance of a Dirichlet distribution with one is 0"
            )

    @property
    def num_classes(self) -> int:
        """K, without the background."""
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        """Channels of the masks: 1, or K + 1 with the background first."""
        return 1 if self.task == "binary" else self.num_classes + 1

    @property
    def ama_levels(self) -> tuple[int, int, int]:
        """The maps that are aligned: those of strides 4, 8, 16 (two readings of the paper, see `first_stride`)."""
        return (0, 1, 2) if self.first_stride == 4 else (1, 2, 3)


@dataclass(frozen=True)
class RAVSLoss(Checked):
    """The losses.

    Raises:
        ConfigError: a value outside its range.
    """

    ce_weight: float = number(5.0, least=0, most=1e6)  # [C], and so are the next two
    dice_weight: float = number(5.0, least=0, most=1e6)
    iou_weight: float = number(2.0, least=0, most=1e6)
    focal_weight: float = number(0.0, least=0, most=1e6)
    dice_form: str = choice("linear", "squared")  # DDESeg's; AVSegFormer's
    aux_logit_loss: float = number(0.5, least=0, most=1e6)  # [D] the same losses of the masks without uncertainty
    contrast_weight: float = number(0.1, least=0, most=1e6)  # [P]
    contrast_tau: float = number(0.1, above=0, most=100)  # [D] CAVP's
    contrast_sigma: float = number(10.0, above=0, most=1e6)  # [D] has no effect while the threshold is 0.5
    contrast_threshold: float = number(0.5, above=0, below=1)  # [P] eps_a
    contrast_mask_silent: bool = setting(True, "leave silent frames out of the contrast, where annotations say so")


@dataclass(frozen=True)
class RAVSConfig(SemanticInference, RAVSLoss, RAVSNetwork, SemanticConfig):
    """Network, losses and inference in one: `replace(RAVS_PRESETS[name], field=value)` reaches every field.

    Raises:
        ConfigError: a value outside its range, or fields that contradict each other.
    """

    model_type: ClassVar[str] = "ravs"
    parts: ClassVar[dict[str, type[Checked]]] = {
        "network": RAVSNetwork,
        "loss": RAVSLoss,
        "inference": SemanticInference,
    }


RAVS_PRESETS = {
    "ravs-pvt-b5": RAVSConfig(),
    "ravs-mit-b5": RAVSConfig(backbone="mit_b5"),
}
# Small enough to be trained on AVIS-Synth on two CPU cores, with the encoders of acvis-synth-tiny in the place of
# ImageNet's and AudioSet's. What is merged has heard the sound, and changes the maps little at first: with the
# defaults, masks hardly follow the sound after so short a training.
RAVS_PRESETS["ravs-synth-tiny"] = replace(
    RAVS_PRESETS["ravs-pvt-b5"],
    backbone="compact",
    audio_encoder="compact",
    merge_src="fhat",
    remap_scale_init=0.1,
    decoder_dim=96,
    temporal_dim=64,
    max_frames=5,
    input_size=96,
)

# The rows of the paper's table 3, as changes of a configuration.
ABLATION_ROWS: dict[str, dict[str, Any]] = {
    "baseline": {"ama": False, "contrast_weight": 0.0, "ue": False},
    "+GTF": {"ama": False, "gtf": True, "contrast_weight": 0.0, "ue": False},
    "+SGSM": {"contrast_weight": 0.0, "ue": False},
    "+SGSM+CST": {"ue": False},
    "full": {},
}
