"""From four maps to one: SegFormer's all-MLP head (DDESeg), or a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.models.encoders.feature_pyramid import FeaturePyramid
from acvis_kit.models.ravs.config import RAVSNetwork


class MLPDecoder(nn.Module):
    """A linear layer on each map, all resized to the finest, concatenated and mixed (Xie et al. 2021).

    Args:
        channels: of the four maps, finest first.
        dim: C of the result.
        dropout: of channels, in training.
    """

    def __init__(self, channels: Sequence[int], dim: int, dropout: float) -> None:
        super().__init__()
        self.linear = nn.ModuleList(nn.Conv2d(c, dim, 1) for c in channels)
        self.mix = nn.Sequential(
            nn.Conv2d(len(channels) * dim, dim, 1, bias=False), nn.BatchNorm2d(dim), nn.ReLU(), nn.Dropout2d(dropout)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, C_i, H / s_i, W / s_i), finest first -> (N, C, H / s_0, W / s_0)."""
        size = maps[0].shape[-2:]
        levels = [
            F.interpolate(linear(level), size, mode="bilinear", align_corners=False)
            for linear, level in zip(self.linear, maps, strict=True)
        ]
        return self.mix(torch.cat(levels[::-1], dim=1))


class PyramidDecoder(nn.Module):
    """The finest map of a feature pyramid."""

    def __init__(self, channels: Sequence[int], dim: int, dropout: float) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(dim, channels)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """As `MLPDecoder`."""
        return self.dropout(self.pyramid(maps).fine)


def build_decoder(config: RAVSNetwork, channels: Sequence[int]) -> MLPDecoder | PyramidDecoder:
    """The decoder that `config.decoder` names."""
    kind = MLPDecoder if config.decoder == "segformer" else PyramidDecoder
    return kind(channels, config.decoder_dim, config.dropout)
