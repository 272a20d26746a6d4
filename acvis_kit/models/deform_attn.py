"""Multi-scale deformable attention (Zhu et al. 2021, eq. 3) in plain PyTorch.

A token does not look at every other token. It asks for a few points around itself on each scale, reads the picture there
by bilinear interpolation, and mixes what it read. A bilinear sample is a weighted sum of four rows of a table, and the
mix is a weighted sum of samples, so on a CPU the whole is one `embedding_bag` with weights; elsewhere it is `grid_sample`.
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
            reference: (S, 2), x and y in [0, 1] around which each token looks.
            tokens: (N, S, C), what is looked at, the levels one after another.
            shapes: (H, W) of each level.

        Returns:
            (N, S, C).
        """
        locations, weights = self.where(query, reference, shapes)
        values = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # (N, S, heads, C / heads)
        read = sample_rows if values.device.type == "cpu" else sample_grid
        return self.output_proj(read(values, shapes, locations, weights))

    def where(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Where each token looks, and how much it weighs what it sees there.

        Returns:
            locations (N, S, heads, L, points, 2), x and y in units of the picture; weights (N, S, heads, L, points),
            which sum to 1 over levels and points together.
        """
        split = (self.num_heads, self.num_levels, self.num_points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*split, 2))
        sizes = torch.tensor([(w, h) for h, w in shapes], dtype=offsets.dtype, device=offsets.device)
        locations = reference[:, None, None, None] + offsets / sizes[:, None]
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1)).softmax(-1)
        return locations, weights.unflatten(-1, split[1:])


def sample_rows(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted bilinear samples as a weighted sum of table rows; zeros outside the picture, `align_corners=False`.

    Args:
        values: (N, S, heads, D). shapes: (H, W) of each level.
        locations: (N, Q, heads, L, points, 2) in units of the picture. weights: (N, Q, heads, L, points).

    Returns:
        (N, Q, heads * D).
    """
    n, tokens, heads, _ = values.shape
    width = torch.tensor([w for _, w in shapes], device=values.device)
    height = torch.tensor([h for h, _ in shapes], device=values.device)
    start = (height * width).cumsum(0) - height * width  # (L,), the first token of each level
    width, height, start = (x[:, None] for x in (width, height, start))  # beside (.., L, points)

    x = locations[..., 0] * width - 0.5
    y = locations[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    right_share, bottom_share = x - left, y - top
    left, top = left.long(), top.long()
    rows, shares = [], []
    for row, row_share in ((top, 1 - bottom_share), (top + 1, bottom_share)):
        for column, column_share in ((left, 1 - right_share), (left + 1, right_share)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            rows.append(start + row.clamp(min=0).minimum(height - 1) * width + column.clamp(min=0).minimum(width - 1))
            shares.append(weights * row_share * column_share * inside)
    clip_start = (torch.arange(n, device=values.device) * tokens).view(n, 1, 1, 1, 1, 1)
    head = torch.arange(heads, device=values.device).view(heads, 1, 1, 1)
    index = (torch.stack(rows, dim=-1) + clip_start) * heads + head  # (N, Q, heads, L, points, 4)
    share = torch.stack(shares, dim=-1)
    summed = F.embedding_bag(
        index.flatten(3).flatten(0, 2),  # (N * Q * heads, L * points * 4)
        values.flatten(0, 2),  # (N * S * heads, D)
        per_sample_weights=share.flatten(3).flatten(0, 2),
        mode="sum",
    )
    return summed.view(n, -1, heads * values.shape[-1])


def sample_grid(values: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """The same as `sample_rows`, by `grid_sample`: faster on a GPU."""
    n, _, heads, dim = values.shape
    queries = locations.shape[1]
    summed = values.new_zeros(n * heads, dim, queries)
    levels = values.split([h * w for h, w in shapes], dim=1)
    for level, (tokens, (height, width)) in enumerate(zip(levels, shapes, strict=True)):
        image = tokens.permute(0, 2, 3, 1).reshape(n * heads, dim, height, width)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # (N * heads, Q, points, 2)
        seen = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (N * heads, Q, points)
        summed = summed + (seen * share[:, None]).sum(-1)  # (N * heads, D, Q)
    return summed.view(n, heads * dim, queries).transpose(1, 2)
