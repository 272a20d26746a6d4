"""Multi-scale deformable attention (Zhu et al. 2021, eq. 3) in plain PyTorch.

A token does not attend to every other token. It predicts a few sampling points around itself on each level, samples
the values there by bilinear interpolation, and sums the samples with predicted weights. A bilinear sample is a weighted
sum of four rows of a table, and so is the sum of samples. Hence a CPU computes it by `embedding_bag` with weights; a
CUDA device by one kernel (`fused_sampling`) where Triton is installed; other devices use `grid_sample`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Sequence[tuple[int, int]]  # (H, W) of each level


class PyramidLinear(nn.Linear):
    """A linear layer on the tokens (N, S, C) of an image at strides 32, 16 and 8."""

    def forward(self, tokens: Tensor) -> Tensor:
        return linear_on_pyramid(tokens, self.weight, self.bias)


def linear_on_pyramid(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear`; at inference on a CPU as a 1x1 convolution, which adds the bias while it multiplies: 8 % less time.

    The convolved array need not have the layout of the original image. For each token of stride 32 there are 4 of
    stride 16 and 16 of stride 8, so the tokens always fill 21 rows.
    """
    n, length, dim = tokens.shape
    if torch.is_grad_enabled() or tokens.device.type != "cpu" or length % 21 or length == 21:
        return F.linear(tokens, weight, bias)
    rows = tokens.reshape(n, 21, length // 21, dim).permute(0, 3, 1, 2)  # channels innermost in memory
    return F.conv2d(rows, weight[:, :, None, None], bias).permute(0, 2, 3, 1).reshape(n, length, -1)


class DeformableAttention(nn.Module):
    """Each token samples `num_points` points per head and level and sums them with weights.

    Args:
        dim: C.
        num_heads: number of heads; must divide C.
        num_levels: L.
        num_points: points per head and level.
    """

    def __init__(self, dim: int, num_heads: int, num_levels: int, num_points: int) -> None:
        super().__init__()
        self.num_heads, self.num_levels, self.num_points = num_heads, num_levels, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, samples * 2)  # laid out head, level, point, xy
        self.attention_weights = nn.Linear(dim, samples)
        self.value_proj = PyramidLinear(dim, dim)
        self.output_proj = PyramidLinear(dim, dim)
        self._initialise()

    def _initialise(self) -> None:
        """Start with one direction per head, point p at p + 1 cells, and equal weights."""
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
        """Sample `tokens` around the reference points and sum the samples.

        Args:
            query: (N, S, C), from which the sampling points and weights are predicted; S tokens of all levels.
            reference: (S, 2), the x and y in [0, 1] of each token's centre; float32, or float64 in a float64 model.
            tokens: (N, S, C), from which values are sampled, the levels one after another.
            shapes: (H, W) of each level.

        Returns:
            (N, S, C).
        """
        x, y, logits = self._points(query, reference, shapes)
        values = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # (N, S, heads, C / heads)
        if (fused := _fused_sampling(values)) is not None:
            return self.output_proj(fused(values, shapes, x, y, logits))
        weights = _over_samples(logits)
        # On a CPU `sample_rows` is faster forward, but takes twice as long where gradients go back through it.
        sample = sample_rows if values.device.type == "cpu" and not values.requires_grad else sample_grid
        return self.output_proj(sample(values, shapes, x, y, weights))

    def where(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor, Tensor]:
        """The sampling points of each token and their weights; arguments as in `forward`.

        Returns:
            x and y, (N, S, heads, L, points), in cells of the level, with the centre of its first cell at 0: in units
            of the image that is (x + 0.5) / W. weights (N, S, heads, L, points), which sum to 1 over levels and points
            together.
        """
        x, y, logits = self._points(query, reference, shapes)
        return x, y, _over_samples(logits)

    def _points(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor, Tensor]:
        """As `where`, with the logits of the weights."""
        split = (self.num_heads, self.num_levels, self.num_points)
        offsets, mix = self.sampling_offsets, self.attention_weights
        # One multiplication instead of three; x and y are separate, so that arithmetic runs along whole rows.
        rows = torch.cat([offsets.weight[0::2], offsets.weight[1::2], mix.weight])
        projected = linear_on_pyramid(query, rows, torch.cat([offsets.bias[0::2], offsets.bias[1::2], mix.bias]))
        x, y, logits = projected.chunk(3, dim=-1)  # (N, S, heads * L * points) each
        # Half precision would be off by a few cells: the sum has the precision of `reference`.
        height, width = self._per_sample(shapes, reference)
        x, y = x + (reference[:, :1] * width - 0.5), y + (reference[:, 1:] * height - 0.5)
        return x.unflatten(-1, split), y.unflatten(-1, split), logits.unflatten(-1, split)

    def _per_sample(self, shapes: Shapes, like: Tensor) -> Tensor:
        """Height and width of the level of each of a token's samples: (2, heads * L * points)."""
        # Not on the device at once: the host would wait for it in every layer.
        sizes = torch.tensor(shapes, dtype=like.dtype).to(like.device, non_blocking=True).T  # (2, L)
        return sizes.repeat_interleave(self.num_points, dim=1).repeat(1, self.num_heads)


def _over_samples(logits: Tensor) -> Tensor:
    """Logits (..., L, points) -> weights that sum to 1 over levels and points together."""
    return _softmax(logits.flatten(-2)).unflatten(-1, logits.shape[-2:])


def _fused_sampling(values: Tensor) -> Callable[[Tensor, Shapes, Tensor, Tensor, Tensor], Tensor] | None:
    """The kernel that samples `values`; None where there is none, or torch.compile makes its own kernels."""
    if not values.is_cuda or values.dtype == torch.float64 or torch.compiler.is_compiling():
        return None
    return _kernel()


@lru_cache
def _kernel() -> Callable[[Tensor, Shapes, Tensor, Tensor, Tensor], Tensor] | None:
    try:
        from acvis_kit.models.layers.fused_sampling import sample  # imports Triton
    except ImportError:  # no Triton: on Windows, or beside a torch for CPUs
        return None
    return sample


def _softmax(x: Tensor) -> Tensor:
    """Softmax over the last axis. PyTorch's takes seven times as long on a CPU where that axis is as short as here."""
    powers = (x - x.detach().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def sample_rows(values: Tensor, shapes: Shapes, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Weighted bilinear samples as weighted sums of table rows; zeros outside the image.

    The levels lie below each other in one table, each within a border of zeros. Points far outside are moved onto the
    border, so that no sample has to be tested for lying inside. All rows are equally long: the corners to the right of,
    below and diagonal to a sample's first corner are at constant offsets in the table.

    Args:
        values: (N, S, heads, D).
        shapes: (H, W) of each level.
        x: (N, Q, heads, L, points), in cells.
        y: as x.
        weights: as x.

    Returns:
        (N, Q, heads * D).
    """
    n, queries, heads, num_levels, points = x.shape
    pitch = max(w for _, w in shapes) + 2
    rows_above = [sum(h + 2 for h, _ in shapes[:level]) for level in range(num_levels)]

    def per_sample(numbers: Sequence[int]) -> Tensor:
        """One number per level -> one per head, level and point, so that arithmetic runs along whole rows."""
        return torch.tensor(numbers, dtype=x.dtype, device=x.device).repeat_interleave(points).repeat(heads)

    left, right_fraction = _split(x.flatten(2), per_sample([w for _, w in shapes]))
    top, bottom_fraction = _split(y.flatten(2), per_sample([h for h, _ in shapes]))
    lower = weights.flatten(2) * bottom_fraction
    upper = weights.flatten(2) - lower
    lower_right, upper_right = lower * right_fraction, upper * right_fraction

    table = _bordered(values, shapes, pitch)  # (N * cells * heads + two rows, D)
    cells = (sum(h for h, _ in shapes) + 2 * num_levels) * pitch
    head = torch.arange(heads, dtype=torch.int32, device=x.device).repeat_interleave(num_levels * points)
    clip = torch.arange(n, dtype=torch.int32, device=x.device).view(n, 1, 1) * cells * heads
    cell = (top + per_sample(rows_above)) * pitch + left  # exact in float32 below 2^24 cells
    index = (cell.int() * heads + (head + clip)).view(n * queries * heads, -1)

    def corner(offset: int, weight: Tensor) -> Tensor:
        weight = weight.to(table.dtype).reshape(n * queries * heads, -1)
        return F.embedding_bag(index, table[offset * heads :], per_sample_weights=weight, mode="sum")

    summed = corner(0, upper - upper_right) + corner(1, upper_right)
    summed = summed + corner(pitch, lower - lower_right) + corner(pitch + 1, lower_right)
    return summed.view(n, queries, -1)


def _split(place: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The bordered cell at or before each place, as a float, and the weight in [0, 1] of the next cell."""
    place = torch.minimum((place + 1).clamp(min=0), length + 1)
    first = place.detach().floor()
    return first, place - first


def _bordered(values: Tensor, shapes: Shapes, pitch: int) -> Tensor:
    """All levels of all clips as rows of one table, each level with a border of zeros and `pitch` cells wide.

    The table ends with two extra rows of cells: they are read, with weight 0, by samples on the last border.
    """
    n, _, heads, dim = values.shape
    height = sum(h + 2 for h, _ in shapes)
    table = values.new_zeros((n * height + 2) * pitch * heads, dim)
    canvas = table[: n * height * pitch * heads].view(n, height, pitch, heads, dim)
    above = 1
    for level, (h, w) in zip(values.split([h * w for h, w in shapes], dim=1), shapes, strict=True):
        canvas[:, above : above + h, 1 : 1 + w] = level.unflatten(1, (h, w))
        above += h + 2
    return table


def sample_grid(values: Tensor, shapes: Shapes, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """As `sample_rows`, but by `grid_sample`: faster on a GPU."""
    n, _, heads, dim = values.shape
    queries = x.shape[1]
    summed = values.new_zeros(n * heads, dim, queries)
    levels = values.split([h * w for h, w in shapes], dim=1)
    for i, (tokens, (height, width)) in enumerate(zip(levels, shapes, strict=True)):
        image = tokens.permute(0, 2, 3, 1).reshape(n * heads, dim, height, width)
        grid = torch.stack([(2 * x[..., i, :] + 1) / width - 1, (2 * y[..., i, :] + 1) / height - 1], dim=-1)
        # Queries innermost, so that multiplying by weights runs along whole rows: (N * heads, points, Q, 2)
        grid = grid.permute(0, 2, 3, 1, 4).flatten(0, 1).to(image.dtype)
        samples = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        level_weights = weights[..., i, :].permute(0, 2, 3, 1).flatten(0, 1)  # (N * heads, points, Q)
        summed = summed + (samples * level_weights[:, None]).sum(2)  # (N * heads, D, Q)
    return summed.view(n, heads * dim, queries).transpose(1, 2)
