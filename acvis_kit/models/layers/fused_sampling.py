"""The sampling of deformable attention as one Triton kernel forward and one backward; importing this needs Triton.

`sample_grid` writes every sample to memory, multiplies it by its weight there, and adds: on a GPU half of the time of
encoding. Here a program takes a block of tokens of one clip and one head; softmax, bilinear reads and the weighted sum
stay in its registers. Computed in float32 whatever the values are; `TRITON_INTERPRET=1` runs it on a CPU, for tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

TOKENS_AT_ONCE = 32  # of a program: 32 x 32 channels are 8 registers of each thread of 4 warps


def sample(values: Tensor, shapes: Sequence[tuple[int, int]], x: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """Weighted bilinear samples, zeros outside the image, with weights that are the softmax of logits.

    Args:
        values: (N, S, heads, D), float32 or less precise.
        shapes: (H, W) of each level.
        x: (N, Q, heads, L, points), in cells.
        y: as x.
        logits: as x; their softmax is over levels and points together.

    Returns:
        (N, Q, heads * D), of the dtype of the values.
    """
    return _Sampling.apply(values.contiguous(), x.contiguous(), y.contiguous(), logits.contiguous(), tuple(shapes))


class _Sampling(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, x: Tensor, y: Tensor, logits: Tensor, shapes: tuple[tuple[int, int], ...]
    ) -> Tensor:
        n, queries, heads = x.shape[:3]
        out = values.new_empty(n, queries, heads, values.shape[-1])
        grid, sizes = _launch(values, x, shapes)
        _forward[grid](values, x, y, logits, out, *sizes)
        ctx.save_for_backward(values, x, y, logits)
        ctx.shapes = shapes
        return out.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values, x, y, logits = ctx.saved_tensors
        of_values = torch.zeros_like(values, dtype=torch.float32)  # tokens add to it, in any order
        of_x, of_y, of_logits = torch.empty_like(x), torch.empty_like(y), torch.empty_like(logits)
        grid, sizes = _launch(values, x, ctx.shapes)
        _backward[grid](
            values, x, y, logits, grads[0].contiguous(), of_values, of_x, of_y, of_logits, *sizes
        )  # fmt: skip
        return of_values.to(values.dtype), of_x, of_y, of_logits, None


def _launch(values: Tensor, x: Tensor, shapes: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], tuple[Any, ...]]:
    """The grid of programs, and the kernels' last arguments."""
    n, queries, heads, levels, points = x.shape
    dim, samples = values.shape[-1], levels * points
    grid = (triton.cdiv(queries, TOKENS_AT_ONCE), n * heads)
    sides = tuple(side for shape in shapes for side in shape)
    powers = triton.next_power_of_2(dim), triton.next_power_of_2(samples)
    return grid, (sides, values.shape[1], queries, heads, dim, levels, points, TOKENS_AT_ONCE, *powers)


@triton.jit
def _weights(logits, rows, in_rows, samples: tl.constexpr, SAMPLES: tl.constexpr):
    """The softmax of the block's logits, (tokens, SAMPLES)."""
    column = tl.arange(0, SAMPLES)
    inside = in_rows[:, None] & (column < samples)[None, :]
    power = tl.load(logits + rows[:, None] * samples + column[None, :], mask=inside, other=float("-inf")).to(tl.float32)
    power = tl.where(in_rows[:, None], power, 0.0)  # a row of nothing but -inf would be NaN
    power = tl.exp(power - tl.max(power, 1)[:, None])
    return power / tl.sum(power, 1)[:, None]


@triton.jit
def _column(table, number: tl.constexpr, SAMPLES: tl.constexpr):
    """A column of (tokens, SAMPLES)."""
    return tl.sum(tl.where(tl.arange(0, SAMPLES)[None, :] == number, table, 0.0), 1)


@triton.jit
def _place(x, y, place, in_rows, height, width):
    """The first corner of samples and the fractions to the next; far outside is moved just outside."""
    across = tl.load(x + place, mask=in_rows, other=-2.0).to(tl.float32)
    down = tl.load(y + place, mask=in_rows, other=-2.0).to(tl.float32)
    across = tl.minimum(tl.maximum(across, -2.0), width + 1.0)
    down = tl.minimum(tl.maximum(down, -2.0), height + 1.0)
    left, top = tl.floor(across), tl.floor(down)
    return left.to(tl.int32), top.to(tl.int32), across - left, down - top


@triton.jit
def _corner(values, base, row, column, height, width, channel, in_channel, heads: tl.constexpr, dim: tl.constexpr):
    """The values at a corner of samples, (tokens, D), zeros outside; their places, and which are inside."""
    inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width))[:, None] & in_channel[None, :]
    place = base + ((row * width + column) * heads * dim)[:, None] + channel[None, :]
    return tl.load(values + place, mask=inside, other=0.0).to(tl.float32), place, inside


@triton.jit
def _forward(
    values, x, y, logits, out, sides, length, queries, heads: tl.constexpr, dim: tl.constexpr, levels: tl.constexpr,
    points: tl.constexpr, TOKENS: tl.constexpr, DIM: tl.constexpr, SAMPLES: tl.constexpr,
):  # fmt: skip
    clip, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    in_rows = token < queries
    rows = (clip * queries + token) * heads + head  # of x, y, logits and out
    channel = tl.arange(0, DIM)
    in_channel = channel < dim
    weights = _weights(logits, rows, in_rows, levels * points, SAMPLES)
    total = tl.zeros((TOKENS, DIM), tl.float32)
    base = (clip * length * heads + head) * dim
    for level in tl.static_range(levels):
        height, width = sides[2 * level], sides[2 * level + 1]
        for point in tl.static_range(points):
            number = level * points + point
            left, top, fx, fy = _place(x, y, rows * (levels * points) + number, in_rows, height, width)
            weight = _column(weights, number, SAMPLES)
            for corner in tl.static_range(4):
                right, below = corner % 2, corner // 2
                share = (fx if right else 1 - fx) * (fy if below else 1 - fy) * weight
                value, _, _ = _corner(
                    values, base, top + below, left + right, height, width, channel, in_channel, heads, dim
                )
                total += share[:, None] * value
        base += height * width * heads * dim
    tl.store(out + rows[:, None] * dim + channel[None, :], total, mask=in_rows[:, None] & in_channel[None, :])


@triton.jit
def _backward(
    values, x, y, logits, grad, of_values, of_x, of_y, of_logits, sides, length, queries, heads: tl.constexpr,
    dim: tl.constexpr, levels: tl.constexpr, points: tl.constexpr, TOKENS: tl.constexpr, DIM: tl.constexpr,
    SAMPLES: tl.constexpr,
):  # fmt: skip
    clip, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    in_rows = token < queries
    rows = (clip * queries + token) * heads + head
    channel = tl.arange(0, DIM)
    in_channel = channel < dim
    weights = _weights(logits, rows, in_rows, levels * points, SAMPLES)
    of_out = tl.load(
        grad + rows[:, None] * dim + channel[None, :], mask=in_rows[:, None] & in_channel[None, :], other=0.0
    ).to(tl.float32)
    of_weights = tl.zeros((TOKENS, SAMPLES), tl.float32)
    base = (clip * length * heads + head) * dim
    for level in tl.static_range(levels):
        height, width = sides[2 * level], sides[2 * level + 1]
        for point in tl.static_range(points):
            number = level * points + point
            place = rows * (levels * points) + number
            left, top, fx, fy = _place(x, y, place, in_rows, height, width)
            weight = _column(weights, number, SAMPLES)
            of_weight = tl.zeros((TOKENS,), tl.float32)
            across = tl.zeros((TOKENS,), tl.float32)
            down = tl.zeros((TOKENS,), tl.float32)
            for corner in tl.static_range(4):
                right, below = corner % 2, corner // 2
                of_width = fx if right else 1 - fx
                of_height = fy if below else 1 - fy
                value, where, inside = _corner(
                    values, base, top + below, left + right, height, width, channel, in_channel, heads, dim
                )
                product = tl.sum(value * of_out, 1)
                of_weight += of_width * of_height * product
                across += (1 if right else -1) * of_height * product
                down += (1 if below else -1) * of_width * product
                share = (of_width * of_height * weight)[:, None] * of_out
                tl.atomic_add(of_values + where, share, mask=inside & in_rows[:, None])
            tl.store(of_x + place, weight * across, mask=in_rows)
            tl.store(of_y + place, weight * down, mask=in_rows)
            of_weights += tl.where(tl.arange(0, SAMPLES)[None, :] == number, of_weight[:, None], 0.0)
        base += height * width * heads * dim
    mean = tl.sum(of_weights * weights, 1)
    column = tl.arange(0, SAMPLES)
    tl.store(
        of_logits + rows[:, None] * (levels * points) + column[None, :], weights * (of_weights - mean[:, None]),
        mask=in_rows[:, None] & (column < levels * points)[None, :],
    )  # fmt: skip
