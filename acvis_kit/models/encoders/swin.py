"""Swin transformers built from torchvision's modules with its parameter names, and the reference's shifted windows.

torchvision omits the shift where a window covers the whole map. The reference does not, and neither does this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import swin_transformer

SHIFT_BARRIER = -100.0  # added to attention logits between parts of a rolled window that are not adjacent


class Swin(nn.Module):
    """Swin transformer (Liu et al. 2021). Each output has its own LayerNorm; the next stage receives it unnormed.

    Args:
        width: channels of the first stage.
        blocks: number of blocks of each stage.
        heads: number of attention heads of each stage.
        window: side of a window in cells.
        drop_path: stochastic depth of the last block, rising linearly from 0; in training only.

    Attributes:
        recompute: keep the output of each block alone for the gradients, and compute its inside again when they are
            due: less memory, more time, the same gradients.
    """

    strides = (4, 8, 16, 32)

    def __init__(
        self, width: int, blocks: Sequence[int], heads: Sequence[int], window: int = 7, drop_path: float = 0.3
    ) -> None:
        super().__init__()
        whole = swin_transformer.SwinTransformer(
            patch_size=[4, 4],
            embed_dim=width,
            depths=list(blocks),
            num_heads=list(heads),
            window_size=[window, window],
            stochastic_depth_prob=drop_path,
            block=partial(swin_transformer.SwinTransformerBlock, attn_layer=ShiftedWindowAttention),
        )
        self.features = whole.features  # patch embedding, then stage and patch merging in turn
        self.channels = tuple(width * 2**stage for stage in range(4))
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in self.channels)
        self.recompute = False

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = self.features[0](image)  # (N, H / 4, W / 4, C)
        maps = []
        for stage, norm in enumerate(self.norms):
            for block in self.features[1 + 2 * stage]:
                recompute = self.recompute and torch.is_grad_enabled()
                x = checkpoint(block, x, use_reentrant=False) if recompute else block(x)
            maps.append(norm(x).permute(0, 3, 1, 2))
            if stage < 3:
                x = self.features[2 + 2 * stage](x)
        return tuple(maps)


class ShiftedWindowAttention(swin_transformer.ShiftedWindowAttention):
    """torchvision's attention, but windows are shifted in every odd block, whatever the size of the map."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H, W, C)."""
        height, width = x.shape[1:3]
        side, shift = self.window_size[0], self.shift_size[0]
        right, below = ((length + side - 1) // side * side - length for length in (width, height))
        x = F.pad(x, (0, 0, 0, right, 0, below))  # zeros, after the norm
        padded_height, padded_width = x.shape[1:3]
        bias = self.get_relative_position_bias()  # (1, heads, side^2, side^2)
        if shift:
            x = x.roll((-shift, -shift), dims=(1, 2))
            barrier = _shift_barrier(padded_height, padded_width, side, shift, like=x)  # (windows, side^2, side^2)
            bias = (bias + barrier[:, None]).repeat(x.shape[0], 1, 1, 1)  # (N * windows, heads, side^2, side^2)

        windows = _cut(x, side)  # (N * windows, side^2, C)
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))  # (N * windows, heads, side^2, D)
        windows = self.proj(mixed.transpose(1, 2).flatten(2))

        x = _join(windows, side, padded_height, padded_width)
        if shift:
            x = x.roll((shift, shift), dims=(1, 2))
        return x[:, :height, :width]


def _cut(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) -> (N * windows, side^2, C), the windows row by row."""
    x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side))  # (N, rows, side, columns, side, C)
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(0, 2)


def _join(windows: Tensor, side: int, height: int, width: int) -> Tensor:
    """The inverse of `_cut`."""
    x = windows.view(-1, height // side, width // side, side, side, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)


def _shift_barrier(height: int, width: int, side: int, shift: int, like: Tensor) -> Tensor:
    """What to add to attention logits between opposite edges of the map, which share a window after a roll."""

    def regions(length: int) -> Tensor:
        place = torch.arange(length, device=like.device)
        return (place >= length - side).long() + (place >= length - shift).long()  # 0, 1 or 2

    region = regions(height)[:, None] * 3 + regions(width)
    region = _cut(region[None, :, :, None], side).squeeze(-1)  # (windows, side^2)
    return (region[:, :, None] != region[:, None]).to(like.dtype) * SHIFT_BARRIER
