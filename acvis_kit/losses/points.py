"""Masks are compared at a few random points instead of at every pixel (PointRend, as Mask2Former uses it).

Points are (x, y) in [0, 1], from the left and upper edge of the frame, so that a point is the same place in mask logits
and in masks of another size. Every clip has its own generator: its points depend neither on the other clips of the
batch nor on the process that handles it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import moved

Generators = Sequence[torch.Generator] | None


def draw(clips: Tensor, shape: tuple[int, ...], generators: Generators, device: torch.device | str) -> Tensor:
    """Uniform points for each row, every clip from its own generator.

    Args:
        clips: int64 (R,) on the CPU, the clip of each row.
        shape: of the points of a row, P last.
        generators: one per clip; None draws everything from torch's global generator.
        device: of the result.

    Returns:
        float32 (R, *shape, 2) in [0, 1). The draws of a clip go to its rows in order.
    """
    if generators is None:
        return torch.rand(len(clips), *shape, 2, device=device)
    rows = torch.bincount(clips, minlength=len(generators)).tolist()
    per_clip = zip(rows, generators, strict=True)
    drawn = torch.cat([moved(torch.rand(n, *shape, 2, generator=g, device=g.device), device) for n, g in per_clip])
    order = clips.argsort(stable=True)
    if torch.equal(order, torch.arange(len(clips))):
        return drawn
    return drawn[moved(order.argsort(), device)]


def sample_logits(logits: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples of maps at points of their own; zero outside, as in the reference.

    Args:
        logits: (R, X, H, W).
        points: (R, P, 2), shared by the X maps of a row.

    Returns:
        (R, X, P), differentiable.
    """
    grid = (2 * points.to(logits.dtype) - 1)[:, None]  # (R, 1, P, 2)
    return F.grid_sample(logits, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, :, 0]


def sample_masks(masks: Tensor, planes: Tensor, points: Tensor, dtype: torch.dtype) -> Tensor:
    """As `sample_logits`, for boolean masks in one stack: four look-ups per point, and no mask is copied.

    Args:
        masks: bool (M, H, W).
        planes: int64 (...), indices of masks.
        points: (..., P, 2).
        dtype: of the result, floating.

    Returns:
        (..., P) in [0, 1].
    """
    height, width = masks.shape[-2:]
    x, y = points.to(dtype).unbind(-1)
    x, y = x * width - 0.5, y * height - 0.5  # of pixel centres
    left, top = x.floor(), y.floor()
    right_weight, lower_weight = x - left, y - top
    first = (planes * (height * width))[..., None]
    flat, out = masks.reshape(-1), x.new_zeros(())
    for column, x_weight in ((left, 1 - right_weight), (left + 1, right_weight)):
        for row, y_weight in ((top, 1 - lower_weight), (top + 1, lower_weight)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            out = out + x_weight * y_weight * (inside & flat[first + place])
    return out


@torch.no_grad()
def uncertain_points(
    logits: Tensor, clips: Tensor, count: int, oversample: float, importance: float, generators: Generators
) -> Tensor:
    """Points where a mask is least certain, and some uniform ones.

    Of `oversample` * P uniform points the `importance` * P with the smallest |logit| are kept; the others of the P are
    new uniform points (Mask2Former: P = 12,544, oversample 3, importance 0.75).

    Args:
        logits: (D, R, S, H, W); each map of each layer has its own points. They are drawn layer by layer.
        clips: int64 (R,) on the CPU, the clip of each row.
        count: P.
        oversample: candidates per point, at least 1.
        importance: fraction of uncertain points, in [0, 1].
        generators: as in `draw`.

    Returns:
        (D, R, S, P, 2).
    """
    maps, device = logits.shape[:3], logits.device
    uncertain = int(importance * count)
    shapes = ((maps[2], int(count * oversample)), (maps[2], count - uncertain))
    drawn = [[draw(clips, shape, generators, device) for shape in shapes] for _ in range(len(logits))]
    candidates, uniform = (torch.stack(parts) for parts in zip(*drawn, strict=True))
    candidates = candidates.flatten(0, 2)  # (D * R * S, oversample * P, 2)
    certainty = sample_logits(logits.flatten(0, 2)[:, None], candidates)[:, 0].abs()
    chosen = certainty.topk(uncertain, dim=1, largest=False, sorted=False).indices
    kept = candidates.gather(1, chosen[..., None].expand(-1, -1, 2)).unflatten(0, maps)
    return torch.cat([kept, uniform], dim=3)
