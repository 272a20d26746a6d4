"""Backbones: from a normalised frame to four feature maps of strides 4, 8, 16 and 32.

Each backbone declares `channels` and `strides` and returns one map per entry. ResNets and Swin transformers keep
torchvision's parameter names, so that its ImageNet weights load unchanged.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.config import ACVISConfig
from acvis_kit.errors import WeightsError

if TYPE_CHECKING:
    from acvis_kit.models.encoders.resnet import ResNet
    from acvis_kit.models.encoders.swin import Swin

RESNET_BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}  # of the four stages
# width of the first stage, blocks of the four stages, heads of the four stages
SWIN_LAYOUTS = {
    "swin_t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "swin_s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "swin_b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "swin_l": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


def build_backbone(config: ACVISConfig) -> ResNet | Swin | CompactBackbone:
    """The backbone that `config.backbone` names, with random weights.

    torchvision takes 2 s to import: only the backbones built from it do so.
    """
    if config.backbone in RESNET_BLOCKS:
        from acvis_kit.models.encoders.resnet import ResNet

        return ResNet(RESNET_BLOCKS[config.backbone])
    if config.backbone in SWIN_LAYOUTS:
        from acvis_kit.models.encoders.swin import Swin

        return Swin(*SWIN_LAYOUTS[config.backbone], window=config.swin_window, drop_path=config.drop_path)
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

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
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


def load_imagenet_weights(backbone: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy torchvision's ImageNet classification weights into a ResNet or Swin.

    The classifier and the batch counters of batch norm are left out. Swin's four output norms are not in torchvision's
    weights and keep their values.

    Args:
        backbone: a ResNet or Swin; changed in place.
        weights: a state dict, or the `.pth` file that torchvision publishes.

    Raises:
        WeightsError: a file that cannot be read; keys or shapes that do not fit, the first eight named.
    """
    state: Mapping[str, Tensor]
    if isinstance(weights, str | Path):
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{weights} is not a file of torchvision's weights ({error})") from error
    else:
        state = weights
    ignored = ("fc.", "head.", "norm.")
    given = {k: v for k, v in state.items() if not k.startswith(ignored) and not k.endswith("num_batches_tracked")}
    needed = {k: v for k, v in backbone.state_dict().items() if not k.startswith("norms.")}
    wrong = [f"missing {k}" for k in needed if k not in given] + [f"unexpected {k}" for k in given if k not in needed]
    wrong += [
        f"{k}: {tuple(given[k].shape)} in the file, {tuple(v.shape)} in the model"
        for k, v in needed.items()
        if k in given and given[k].shape != v.shape
    ]
    if wrong:
        raise WeightsError(
            f"these are not torchvision weights of this {type(backbone).__name__}: {'; '.join(wrong[:8])}"
            + (f"; and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        )
    backbone.load_state_dict({**backbone.state_dict(), **given})
