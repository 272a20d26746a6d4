"""Backbones: from a normalised frame to four feature maps of strides 4, 8, 16 and 32.

Each backbone declares `channels` and `strides` and returns one map per entry. ResNets and Swin transformers keep
torchvision's parameter names, so that its ImageNet weights load unchanged; `timm_backbones` keep timm's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.config import TIMM, TIMM_BACKBONES

if TYPE_CHECKING:
    from acvis_kit.models.encoders.resnet import ResNet
    from acvis_kit.models.encoders.swin import Swin
    from acvis_kit.models.encoders.timm_backbones import TimmBackbone

RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}  # of the four stages
# width of the first stage, blocks of the four stages, heads of the four stages
SWIN_LAYOUTS = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_l": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


class BackboneConfig(Protocol):
    """The part of a configuration that `build_backbone` reads."""

    @property
    def backbone(self) -> str: ...

    @property
    def swin_window(self) -> int: ...

    @property
    def drop_path(self) -> float: ...


def build_backbone(config: BackboneConfig) -> ResNet | Swin | TimmBackbone | CompactBackbone:
    """The backbone that `config.backbone` names, with random weights.

    torchvision and timm take 2 s to import: only the backbones built from them do so.

    Raises:
        ConfigError: timm has no such backbone.
    """
    if config.backbone in RESNET_BLOCKS:
        from acvis_kit.models.encoders.resnet import ResNet

        return ResNet(RESNET_BLOCKS[config.backbone])
    if config.backbone in SWIN_LAYOUTS:
        from acvis_kit.models.encoders.swin import Swin

        return Swin(*SWIN_LAYOUTS[config.backbone], window=config.swin_window, drop_path=config.drop_path)
    if config.backbone.startswith(TIMM_BACKBONES):
        from acvis_kit.models.encoders.timm_backbones import TIMM_NAMES, TimmBackbone

        name = TIMM_NAMES.get(config.backbone, config.backbone.removeprefix(TIMM))
        return TimmBackbone(
            name,
            class_map=getattr(config, "backbone_class_map", False),
            classifier=getattr(config, "class_head", "") == "backbone",
        )
    return CompactBackbone()


class CompactBackbone(nn.Module):
    """A ResNet-10 with group norm, 1 M parameters, trained from random weights: for AVIS-Synth and experiments."""

    channels = (48, 96, 144, 192)
    strides = (4, 8, 16, 32)

    def __init__(self) -> None:
        super().__init__()
        stem = 32
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, stem), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList(
            _BasicBlock(before, after) for before, after in zip((stem, *self.channels[:-1]), self.channels, strict=True)
        )

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Map `number` from the map before it; map 0 from the image."""
        return self.stages[number](self.stem(x) if number == 0 else x)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = image
        maps = []
        for number in range(len(self.stages)):
            x = self.stage(number, x)
            maps.append(x)
        return tuple(maps)


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions with a 1x1 convolution as shortcut; halves height and width."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(8, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(8, after)
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=2, bias=False), nn.GroupNorm(8, after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))
