"""Multi-scale deformable attention (Zhu et al. 2021, eq. 3) in plain PyTorch.

A token does not look at every other token. It asks for a few points around itself on each scale, reads the picture
there by bilinear interpolation, and mixes what it read. A bilinear sample is a weighted sum of four rows of a table,
and the mix is a weighted sum of samples, so on a CPU the whole is one `embedding_bag` with weights; elsewhere it is
`grid_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]  # (H, W) of each level


class DeformableAttention(nn.Module):
    """Each token reads `num_points` points per head and level and mixes them.

    Args:
        dim: C. num_heads: heads. num_levels: L. num_points: points per head and level.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, samples * 2)  # laid out head, level, point, xy
        self.attention_weights = nn.Linear(dim, samples)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._initialise()

    def _initialise(self) -> None:
        """At first every head looks in its own direction, point p at p + 1 pixels, with equal weights."""
        turn = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([turn.cos(), turn.sin()], dim=-1)  # (heads, 2)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        steps = torch.arange(1, self.num_points + 1, dtype=torch.float32)
        offsets = direction[:, None, None] * steps[:, None]  # (heads, 1, points, 2)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference: Tensor, tokens: Tensor, shapes: Shapes) -> Tensor:
        """
        Args:
            query: (N, S, C), what decides where to look. S is the number of tokens of all levels.
            reference: (S, 2), x and y in [0, 1] around which each token looks; float32, or float64 in a float64 model.
            tokens: (N, S, C), what is looked at, the levels one after another.
            shapes: (H, W) of each level.

        Returns:
            (N, S, C).
        """
        x, y, weights = self.where(query, reference, shapes)
        values = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # (N, S, heads, C / heads)
        read = sample_rows if values.device.type == "cpu" else sample_grid
        return self.output_proj(read(values, shapes, x, y, weights))

    def where(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor, Tensor]:
        """Where each token looks, and how much it weighs what it sees there.

        Returns:
            x and y, (N, S, heads, L, points), in cells of the level, the centre of its first cell at 0: in units of the
            picture that is (x + 0.5) / W. weights (N, S, heads, L, points), which sum to 1 over levels and points
            together.
        """
        split = (self.num_heads, self.num_levels, self.num_points)
        height, width = self._per_sample(shapes, reference)
        weight, bias = self.sampling_offsets.weight, self.sampling_offsets.bias
        # Half precision would place a sample to within a few cells only: the sum is in the precision of `reference`.
        x = F.linear(query, weight[0::2], bias[0::2]) + (reference[:, :1] * width - 0.5)
        y = F.linear(query, weight[1::2], bias[1::2]) + (reference[:, 1:] * height - 0.5)
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        return x.unflatten(-1, split), y.unflatten(-1, split), weights.unflatten(-1, split[1:])

    def _per_sample(self, shapes: Shapes, like: Tensor) -> Tensor:
        """Heights and widths of the level that each of a token's samples falls on: (2, heads * L * points)."""
        sizes = torch.tensor(shapes, dtype=like.dtype, device=like.device).T  # (2, L)
        return sizes.repeat_interleave(self.num_points, dim=1).repeat(1, self.num_heads)


def sample_rows(values: Tensor, shapes: Shapes, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Weighted bilinear samples as a weighted sum of table rows; zeros outside the picture.

    Each level gets a border of zeros one cell wide, and places further out are moved onto it: no sample needs a test
    whether it lies inside.

    Args:
        values: (N, S, heads, D). shapes: (H, W) of each level.
        x, y: (N, Q, heads, L, points), in cells. weights: the same shape.

    Returns:
        (N, Q, heads * D).
    """
    n, queries, heads, num_levels, points = x.shape
    table, starts = _bordered(values, shapes)

    def per_sample(numbers: Tensor) -> Tensor:
        """One number per level -> one per head, level and point, so that arithmetic runs along whole rows."""
        return numbers.to(x.device).repeat_interleave(points).repeat(heads)

    height, width = (per_sample(torch.tensor(sides, dtype=x.dtype)) for sides in zip(*shapes, strict=True))
    left, right_share = _split(x.flatten(2), width)
    top, bottom_share = _split(y.flatten(2), height)
    head = torch.arange(heads, device=x.device).repeat_interleave(num_levels * points)
    clip = torch.arange(n, device=x.device).view(n, 1, 1) * (len(table) // n)
    cell = (top * (width + 2) + left).int()  # exact in float32 below 2^24 cells
    top_left = cell * heads + (per_sample(starts) * heads + head + clip).int()
    down, right = ((width + 2) * heads).int(), heads

    lower = weights.flatten(2) * bottom_share
    upper = weights.flatten(2) - lower
    lower_right, upper_right = lower * right_share, upper * right_share
    rows = (top_left, top_left + right, top_left + down, top_left + (down + right))
    shares = (upper - upper_right, upper_right, lower - lower_right, lower_right)
    summed = F.embedding_bag(
        _bags(rows, heads), table, per_sample_weights=_bags(shares, heads).to(table.dtype), mode="sum"
    )
    return summed.view(n, queries, -1)


def _split(place: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The bordered cell at or before each place, as a float, and the share of the cell after it."""
    place = torch.minimum((place + 1).clamp(min=0), length + 1)
    first = place.detach().floor()
    return first, place - first


def _bags(corners: tuple[Tensor, ...], heads: int) -> Tensor:
    """What each token's head reads, side by side: 4 x (N, Q, heads * samples) -> (N * Q * heads, 4 * samples)."""
    return torch.stack([c.unflatten(-1, (heads, -1)) for c in corners], dim=-2).flatten(3).flatten(0, 2)


def _bordered(values: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
    """Levels with a border of zeros as rows of one table, (N * cells * heads, D), and each level's first cell, (L,).

    Left, right and top get one cell; the bottom gets two rows and one cell more, because the corners beyond the border
    are read too, with weight 0.
    """
    levels = [
        F.pad(level.unflatten(1, shape), (0, 0, 0, 0, 1, 1, 1, 2)).flatten(1, 2)
        for level, shape in zip(values.split([h * w for h, w in shapes], dim=1), shapes, strict=True)
    ]
    lengths = torch.tensor([level.shape[1] for level in levels])
    table = torch.cat([*levels, values.new_zeros(values.shape[0], 1, *values.shape[2:])], dim=1)
    return table.flatten(0, 2), lengths.cumsum(0) - lengths


def sample_grid(values: Tensor, shapes: Shapes, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """The same as `sample_rows`, by `grid_sample`: faster on a GPU."""
    n, _, heads, dim = values.shape
    queries = x.shape[1]
    summed = values.new_zeros(n * heads, dim, queries)
    levels = values.split([h * w for h, w in shapes], dim=1)
    for i, (tokens, (height, width)) in enumerate(zip(levels, shapes, strict=True)):
        image = tokens.permute(0, 2, 3, 1).reshape(n * heads, dim, height, width)
        grid = torch.stack([(2 * x[..., i, :] + 1) / width - 1, (2 * y[..., i, :] + 1) / height - 1], dim=-1)
        grid = grid.transpose(1, 2).flatten(0, 1).to(image.dtype)  # (N * heads, Q, points, 2)
        seen = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        share = weights[..., i, :].transpose(1, 2).flatten(0, 1)  # (N * heads, Q, points)
        summed = summed + (seen * share[:, None]).sum(-1)  # (N * heads, D, Q)
    return summed.view(n, heads * dim, queries).transpose(1, 2)
