"""MaskFormer's pixel decoder: a feature pyramid from stride 32 to stride 4 (Cheng et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.models.encoders.pixel_decoder import NORM_GROUPS, PixelFeatures


class FeaturePyramid(nn.Module):
    """Top-down sums of the backbone's maps, each followed by a 3x3 convolution.

    Args:
        dim: C of all outputs.
        channels: channels of the backbone's maps, finest first.
    """

    def __init__(self, dim: int, channels: Sequence[int]) -> None:
        super().__init__()
        *finer, coarsest = channels
        self.top = _convolution(coarsest, dim, 3)
        self.lateral = nn.ModuleList(_convolution(c, dim, 1, relu=False) for c in reversed(finer))
        self.output = nn.ModuleList(_convolution(dim, dim, 3) for _ in finer)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """The backbone's maps (N, C_i, H / s, W / s), finest first -> three scales, and the finest map."""
        *finer, coarsest = maps
        x = self.top(coarsest)
        levels = [x]
        for lateral, output, level in zip(self.lateral, self.output, reversed(finer), strict=True):
            x = output(lateral(level) + F.interpolate(x, level.shape[-2:], mode="nearest"))
            levels.append(x)
        return PixelFeatures((levels[0], levels[1], levels[2]), levels[-1])


def _convolution(before: int, after: int, kernel: int, relu: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    steps: list[nn.Module] = [conv, nn.GroupNorm(NORM_GROUPS, after)]
    return nn.Sequential(*steps, nn.ReLU()) if relu else nn.Sequential(*steps)
