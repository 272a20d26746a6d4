"""From the backbone's four maps to tokens of three scales and one fine map (Mask2Former's pixel decoder)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.models.layers.attention import FeedForwardLayer
from acvis_kit.models.layers.deform_attn import DeformableAttention, PyramidLinear, Shapes
from acvis_kit.models.layers.positions import sine_position

NORM_GROUPS = 32


class PixelFeatures(NamedTuple):
    """Visual features of N frames; they do not depend on the sound.

    Attributes:
        scales: three maps (N, C, H / s, W / s), s = 32, 16, 8.
        fine: F, (N, C, H / 4, W / 4), from which the pixel embeddings of the frame masks (E) and video masks (V) are
            computed.
        semantics: (N, E, H / 32, W / 32), what the backbone's ImageNet classifier pools; None unless
            `class_head="backbone"`.
    """

    scales: tuple[Tensor, Tensor, Tensor]
    fine: Tensor
    semantics: Tensor | None = None


class PixelDecoderConfig(Protocol):
    """The part of a configuration that `PixelDecoder` reads."""

    @property
    def hidden_dim(self) -> int: ...

    @property
    def num_heads(self) -> int: ...

    @property
    def pixel_layers(self) -> int: ...

    @property
    def pixel_points(self) -> int: ...

    @property
    def pixel_feedforward_dim(self) -> int: ...


class PixelDecoder(nn.Module):
    """Deformable self-attention over strides 32, 16 and 8 together, then one feature-pyramid step to stride 4.

    Args:
        config: uses hidden_dim, num_heads, pixel_layers, pixel_points, pixel_feedforward_dim.
        channels: channels of the backbone's maps at strides 4, 8, 16, 32.
    """

    def __init__(self, config: PixelDecoderConfig, channels: Sequence[int]) -> None:
        super().__init__()
        dim = config.hidden_dim
        finest, *coarse = channels
        self.input_proj = nn.ModuleList(  # strides 32, 16, 8
            nn.Sequential(nn.Conv2d(c, dim, 1), nn.GroupNorm(NORM_GROUPS, dim)) for c in reversed(coarse)
        )
        self.level_embed = nn.Parameter(torch.randn(len(coarse), dim))
        self.layers = nn.ModuleList(DeformableLayer(config, len(coarse)) for _ in range(config.pixel_layers))
        self.fpn_lateral = nn.Sequential(nn.Conv2d(finest, dim, 1, bias=False), nn.GroupNorm(NORM_GROUPS, dim))
        self.fpn_output = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(NORM_GROUPS, dim), nn.ReLU()
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor]) -> PixelFeatures:
        """The backbone's maps (N, C_i, H / s, W / s), s = 4, 8, 16, 32, H and W multiples of 32 -> features."""
        finest, *coarse = maps
        levels = [project(level) for project, level in zip(self.input_proj, reversed(coarse), strict=True)]
        shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)  # (N, S, C)

        dim, dtype, device = tokens.shape[-1], tokens.dtype, tokens.device
        position = torch.cat(  # (S, C)
            [
                sine_position(h, w, dim, dtype=dtype, device=device) + e
                for (h, w), e in zip(shapes, self.level_embed, strict=True)
            ]
        )
        exact = torch.promote_types(dtype, torch.float32)  # under autocast a CPU's tokens have half precision
        reference = torch.cat([_cell_centres(h, w, dtype=exact, device=device) for h, w in shapes])  # (S, 2)
        for layer in self.layers:
            tokens = layer(tokens, position, reference, shapes)

        scales = tuple(
            part.transpose(1, 2).unflatten(2, shape)  # (N, H * W, C) -> (N, C, H, W)
            for part, shape in zip(tokens.split([h * w for h, w in shapes], dim=1), shapes, strict=True)
        )
        up = F.interpolate(scales[-1], finest.shape[-2:], mode="bilinear", align_corners=False)
        return PixelFeatures(scales, self.fpn_output(self.fpn_lateral(finest) + up))


class DeformableLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, post-norm. The position is added to the queries only."""

    def __init__(self, config: PixelDecoderConfig, num_levels: int) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.attention = DeformableAttention(dim, config.num_heads, num_levels, config.pixel_points)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForwardLayer(dim, config.pixel_feedforward_dim, PyramidLinear)

    def forward(self, tokens: Tensor, position: Tensor, reference: Tensor, shapes: Shapes) -> Tensor:
        """Tokens (N, S, C), position (S, C), reference (S, 2), shapes of the levels. Returns (N, S, C)."""
        return self.feed_forward(self.norm(tokens + self.attention(tokens + position, reference, tokens, shapes)))


def _cell_centres(height: int, width: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The x and y of every cell's centre in units of the image: (H * W, 2)."""
    y = (torch.arange(height, dtype=dtype, device=device) + 0.5) / height
    x = (torch.arange(width, dtype=dtype, device=device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1).flatten(0, 1)
