"""MaskFormer's pixel decoder: a feature pyramid from stride 32 to stride 4 (Cheng et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.models.encoders.pixel_decoder import NORM_GROUPS, PixelFeatures
from acvis_kit.models.layers.attention import FeedForwardLayer, SelfAttentionLayer
from acvis_kit.models.layers.positions import sine_position


class FeaturePyramid(nn.Module):
    """Top-down sums of the backbone's maps, each followed by a 3x3 convolution.

    Args:
        dim: C of all outputs.
        channels: channels of the backbone's maps, finest first.
        positions: add a projection of the sine position to every sum (ours). Convolutions do not know where they are:
            without it two alike objects have the same features, and one query marks both.
        layers: transformer layers on the coarsest map, before the sums (MaskFormer has 6).
        num_heads: of these layers.
    """

    def __init__(
        self, dim: int, channels: Sequence[int], *, positions: bool = False, layers: int = 0, num_heads: int = 8
    ) -> None:
        super().__init__()
        *finer, coarsest = channels
        self.top = _convolution(coarsest, dim, 3)
        self.encoder = nn.ModuleList(EncoderLayer(dim, num_heads) for _ in range(layers))
        self.lateral = nn.ModuleList(_convolution(c, dim, 1, relu=False) for c in reversed(finer))
        self.position = nn.ModuleList(_position_projection(dim) for _ in finer if positions)
        self.output = nn.ModuleList(_convolution(dim, dim, 3) for _ in finer)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """The backbone's maps (N, C_i, H / s, W / s), finest first -> three scales, and the finest map."""
        *finer, coarsest = maps
        x = self.top(coarsest)
        if self.encoder:
            tokens, place = x.flatten(2).transpose(1, 2), _position(x)  # (N, H * W, C) and (H * W, C)
            for layer in self.encoder:
                tokens = layer(tokens, place)
            x = tokens.transpose(1, 2).unflatten(2, x.shape[-2:])
        levels = [x]
        for i, (lateral, output, level) in enumerate(zip(self.lateral, self.output, reversed(finer), strict=True)):
            total = lateral(level) + F.interpolate(x, level.shape[-2:], mode="nearest")
            if self.position:
                total = total + self.position[i](_position(total).transpose(0, 1).unflatten(1, total.shape[-2:])[None])
            x = output(total)
            levels.append(x)
        return PixelFeatures((levels[0], levels[1], levels[2]), levels[-1])


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, post-norm. The position is added to queries and keys."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(dim, num_heads)
        self.feed_forward = FeedForwardLayer(dim, 2 * dim)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """Tokens (N, H * W, C) and their position (H * W, C). Returns (N, H * W, C)."""
        return self.feed_forward(self.attention(tokens, position))


def _position(x: Tensor) -> Tensor:
    """The sine position of a map (N, C, H, W): (H * W, C)."""
    return sine_position(x.shape[-2], x.shape[-1], x.shape[1], dtype=x.dtype, device=x.device)


def _position_projection(dim: int) -> nn.Conv2d:
    """Zero at first: it can be added to trained weights."""
    projection = nn.Conv2d(dim, dim, 1, bias=False)
    nn.init.zeros_(projection.weight)
    return projection


def _convolution(before: int, after: int, kernel: int, relu: bool = True) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    steps: list[nn.Module] = [conv, nn.GroupNorm(NORM_GROUPS, after)]
    return nn.Sequential(*steps, nn.ReLU()) if relu else nn.Sequential(*steps)
