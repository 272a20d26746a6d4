"""The sine encoding of a token's place in the image (as in Mask2Former)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TEMPERATURE = 10_000.0


def sine_position(
    height: int, width: int, dim: int, *, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """Sines and cosines of both coordinates, interleaved; the first half of the channels is y, the second x.

    The coordinate of row i (from 1) is i / (height + 1e-6) * 2 pi. Computed in float32, or in float64 for that `dtype`.

    Returns:
        (H * W, C), row by row.
    """
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    rows = _encode(height, dim // 2, exact, device)
    columns = _encode(width, dim // 2, exact, device)
    both = torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=-1)
    return both.flatten(0, 1).to(dtype)  # (H, W, C) -> (H * W, C)


def _encode(length: int, dim: int, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    place = torch.arange(1, length + 1, dtype=dtype, device=device) / (length + 1e-6) * (2 * math.pi)
    pair = torch.arange(0, dim, 2, dtype=dtype, device=device)
    angle = place[:, None] / TEMPERATURE ** (pair / dim)  # (length, dim / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (length, dim)
