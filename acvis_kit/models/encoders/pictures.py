"""The one interface of picture encoders: the kit's backbones, timm's by name, and MiT from transformers.

All declare `channels` and `strides` and return four maps. Those with a method `stage` compute one map from the one
before, so that a system can change a map between two stages, as RAVS does. Nothing is downloaded: weights are random.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, cast

from torch import Tensor, nn

from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.models.encoders.backbones import RESNET_BLOCKS, SWIN_LAYOUTS, CompactBackbone, build_backbone
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.encoders.htsat import require_transformers

OWN = (*RESNET_BLOCKS, *SWIN_LAYOUTS, "compact")
# Blocks of the four stages and their widths (Xie et al. 2021, table 6).
MIT_LAYOUTS = {
    "mit_b0": ((2, 2, 2, 2), (32, 64, 160, 256)),
    "mit_b1": ((2, 2, 2, 2), (64, 128, 320, 512)),
    "mit_b2": ((3, 4, 6, 3), (64, 128, 320, 512)),
    "mit_b3": ((3, 4, 18, 3), (64, 128, 320, 512)),
    "mit_b4": ((3, 8, 27, 3), (64, 128, 320, 512)),
    "mit_b5": ((3, 6, 40, 3), (64, 128, 320, 512)),
}
STRIDES = (4, 8, 16, 32)


class PictureEncoder(Protocol):
    """From a normalised image (N, 3, H, W) to four maps (N, C_i, H / s_i, W / s_i).

    Attributes:
        channels: C_i of the maps.
        strides: s_i of the maps.
    """

    @property
    def channels(self) -> tuple[int, ...]: ...

    @property
    def strides(self) -> tuple[int, ...]: ...

    def __call__(self, image: Tensor) -> tuple[Tensor, ...]: ...

    def requires_grad_(self, requires_grad: bool = True) -> Any: ...

    def eval(self) -> Any: ...


class StagedEncoder(PictureEncoder, Protocol):
    """A picture encoder whose maps can be computed one after another."""

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Map `number` from the map before it; map 0 from the image."""
        ...


def build_picture_encoder(config: EncoderConfig) -> PictureEncoder:
    """The encoder that `config.backbone` names, with random weights.

    Raises:
        ConfigError: no such encoder, one without four maps, or transformers is missing.
    """
    encoder: nn.Module
    if config.backbone in OWN:
        encoder = build_backbone(config)
    elif config.backbone in MIT_LAYOUTS:
        encoder = MiT(*MIT_LAYOUTS[config.backbone], config.drop_path)
    else:
        encoder = TimmPictureEncoder(config.backbone, config.drop_path)
    if config.first_stride == 2:
        _halve_first_stride(encoder, config.backbone)
    return cast(PictureEncoder, encoder)


def build_staged_encoder(config: EncoderConfig) -> StagedEncoder:
    """As `build_picture_encoder`, for systems that change maps between the stages.

    Raises:
        ConfigError: also where the encoder does not compute a map from the map before it.
    """
    encoder = build_picture_encoder(config)
    if not hasattr(encoder, "stage"):
        raise ConfigError(
            f"backbone={config.backbone!r} cannot be run stage by stage: choose resnet50, resnet101, compact, mit_b0 "
            "to mit_b5, or a timm model such as pvt_v2_b5"
        )
    return cast(StagedEncoder, encoder)


class TimmPictureEncoder(nn.Module):
    """A model of timm, cut into the parts that end with the maps of strides 4, 8, 16 and 32.

    Args:
        name: timm's, such as "pvt_v2_b5".
        drop_path: stochastic depth in training, where the model has it.
    """

    strides: tuple[int, ...] = STRIDES

    def __init__(self, name: str, drop_path: float = 0.0) -> None:
        super().__init__()
        import timm  # takes seconds to import
        from timm.models import FeatureListNet

        # timm would fetch "hf-hub:..." from the Hub; a configuration must not make it do so.
        if name.partition(".")[0] not in timm.list_models():
            raise ConfigError(
                f"backbone={name!r} is unknown: choose {', '.join(OWN)}, mit_b0 to mit_b5, or a model of timm "
                f"{timm.__version__}, see timm.list_models()"
            )
        self.net: Any
        try:
            self.net = timm.create_model(name, features_only=True, pretrained=False, drop_path_rate=drop_path)
        except TypeError:  # models without stochastic depth do not know the argument
            self.net = timm.create_model(name, features_only=True, pretrained=False)
        except (RuntimeError, AssertionError, AttributeError) as error:
            raise ConfigError(f"backbone={name!r} of timm gives no feature maps: {error}") from error
        self.name = name
        found = dict(zip(self.net.feature_info.reduction(), self.net.feature_info.channels(), strict=True))
        if not isinstance(self.net, FeatureListNet) or not set(STRIDES) <= set(found):
            raise ConfigError(
                f"backbone={name!r} of timm has maps of strides {', '.join(map(str, found))}: strides 4, 8, 16 and 32 "
                "are needed"
            )
        self.channels = tuple(found[stride] for stride in STRIDES)
        self.channels_last = str(getattr(self.net, "output_fmt", "NCHW")).endswith("NHWC")
        ends = [name for name, key in self.net.return_layers.items()]
        wanted = [stride in STRIDES for stride in self.net.feature_info.reduction()]
        self._ends = [end for end, keep in zip(ends, wanted, strict=True) if keep]  # last module of each stage

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Load weights as timm or the authors of the model publish them, with the classifier, which is left out.

        Args:
            state: tensors by name, of a file that is already read.

        Raises:
            WeightsError: they do not fit.
        """
        import timm

        if not state:  # timm would ask the Hub
            raise WeightsError(f"these weights of timm's {self.name} are an empty dictionary")
        overlay = {"state_dict": dict(state)}  # takes precedence over the Hub: nothing is downloaded
        try:
            whole = timm.create_model(self.name, pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
            # Parts of a model that lie in a list have a name with "_" here, such as stages_0.
            self.net.load_state_dict(
                {key: whole[re.sub(r"^(\w+)_(\d+)\.", r"\1.\2.", key)] for key in self.net.state_dict()}
            )
        except (RuntimeError, KeyError, AttributeError, TypeError) as error:
            raise WeightsError(f"these weights do not fit timm's {self.name}: {str(error).strip()[:300]}") from error

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Map `number` from the map before it; map 0 from the image."""
        names = list(self.net)
        start = 0 if number == 0 else names.index(self._ends[number - 1]) + 1
        if number and self.channels_last:
            x = x.permute(0, 2, 3, 1)
        for name in names[start : names.index(self._ends[number]) + 1]:
            x = self.net[name](x)
        return x.permute(0, 3, 1, 2) if self.channels_last else x

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return run_stages(self, image)


class MiT(nn.Module):
    """SegFormer's Mix Transformer from transformers (extra `avs`); its weights load into `model`.

    Args:
        blocks: of the four stages.
        widths: channels of the four maps.
        drop_path: stochastic depth of the last block, in training.
    """

    strides: tuple[int, ...] = STRIDES

    def __init__(self, blocks: tuple[int, ...], widths: tuple[int, ...], drop_path: float = 0.0) -> None:
        super().__init__()
        transformers = require_transformers("backbone='mit_...'")
        layout = transformers.SegformerConfig(
            depths=list(blocks), hidden_sizes=list(widths), drop_path_rate=drop_path, hidden_dropout_prob=0.0
        )
        self.model = transformers.SegformerModel(layout)
        self.channels = tuple(widths)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Map `number` from the map before it; map 0 from the image."""
        return self.model.stages[number](x)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return run_stages(self, image)


def run_stages(encoder: StagedEncoder, image: Tensor) -> tuple[Tensor, ...]:
    """All maps of an encoder that is computed stage by stage."""
    maps = [encoder.stage(0, image)]
    for number in range(1, len(encoder.channels)):
        maps.append(encoder.stage(number, maps[-1]))
    return tuple(maps)


def _halve_first_stride(encoder: nn.Module, name: str) -> None:
    """Strides 2, 4, 8, 16 instead of 4, 8, 16, 32: the first convolution steps half as far, with the same weights."""
    first: nn.Module | None = None
    if isinstance(encoder, TimmPictureEncoder) and hasattr(encoder.net, "patch_embed"):
        first = getattr(encoder.net.patch_embed, "proj", None)
    elif isinstance(encoder, MiT):
        first = encoder.model.stages[0].patch_embeddings.proj
    elif isinstance(encoder, CompactBackbone):
        first = encoder.stem[0]
    if not isinstance(first, nn.Conv2d) or first.kernel_size[0] <= first.stride[0]:
        raise ConfigError(
            f"first_stride=2 needs a backbone whose first convolution overlaps (pvt_v2_*, mit_*, compact), not {name!r}"
        )
    first.stride = (first.stride[0] // 2, first.stride[1] // 2)
    encoder.strides = tuple(stride // 2 for stride in STRIDES)  # type: ignore[assignment]  # nn.Module's own types
