"""Masks are compared at a few random points instead of at every pixel (PointRend, as Mask2Former uses it).

Points are (x, y) in [0, 1], from the left and upper edge of the picture, so that one point means the same place in mask
logits and in masks of another size. Every clip has a generator of its own: what is drawn for a clip depends on that
clip alone, not on its neighbours in the batch nor on the process that it was given to.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Generators = Sequence[torch.Generator] | None


def draw(clips: Tensor, shape: tuple[int, ...], generators: Generators, device: torch.device) -> Tensor:
    """Uniform points for each row, every clip from its own generator.

    Args:
        clips: int64 (R,) on the CPU, the clip that each row belongs to. shape: of the points of a row, P last.
        generators: one per clip; None draws everything from torch's global generator.

    Returns:
        float32 (R, *shape, 2) in [0, 1). Rows of one clip get its draws in their order.
    """
    if generators is None:
        return torch.rand(len(clips), *shape, 2, device=device)
    rows = torch.bincount(clips, minlength=len(generators)).tolist()
    per_clip = zip(rows, generators, strict=True)
    drawn = torch.cat([torch.rand(n, *shape, 2, generator=g, device=g.device).to(device) for n, g in per_clip])
    order = clips.argsort(stable=True)
    if torch.equal(order, torch.arange(len(clips))):
        return drawn
    return drawn[order.argsort().to(device)]


def sample_logits(logits: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of maps at points of their own; zero outside, as the reference samples.

    Args:
        logits: (R, X, H, W). points: (R, P, 2), shared by the X maps of a row.

    Returns:
        (R, X, P), differentiable.
    """
    grid = (2 * points.to(logits.dtype) - 1)[:, None]  # (R, 1, P, 2)
    return F.grid_sample(logits, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[:, :, 0]


def sample_masks(masks: Tensor, planes: Tensor, points: Tensor, dtype: torch.dtype) -> Tensor:
    """As `sample_logits`, for boolean masks that lie in one stack: four look-ups a point, and no copy of any mask.

    Args:
        masks: bool (M, H, W). planes: int64 (...), which of them. points: (..., P, 2).

    Returns:
        (..., P) in [0, 1].
    """
    height, width = masks.shape[-2:]
    x, y = (points.to(dtype) * points.new_tensor([width, height], dtype=dtype) - 0.5).unbind(-1)  # of pixel centres
    left, top = x.floor(), y.floor()
    right_share, lower_share = x - left, y - top
    first = (planes * (height * width))[..., None]
    flat, out = masks.reshape(-1), 0
    for column, x_share in ((left, 1 - right_share), (left + 1, right_share)):
        for row, y_share in ((top, 1 - lower_share), (top + 1, lower_share)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            out = out + x_share * y_share * (inside & flat[first + place])
    return out


@torch.no_grad()
def uncertain_points(
    logits: Tensor, clips: Tensor, count: int, oversample: float, importance: float, generators: Generators
) -> Tensor:
    """Where a mask is least decided, and some points anywhere.

    Of `oversample` * P uniform points the `importance` * P with the smallest |logit| are kept; the rest of the P are
    uniform (Mask2Former: P = 12,544, 3, 75 %).

    Args:
        logits: (R, S, H, W), each map with points of its own. clips: int64 (R,) on the CPU.
        count: P.

    Returns:
        (R, S, P, 2).
    """
    rows, frames = logits.shape[:2]
    sure = int(importance * count)
    candidates = draw(clips, (frames, int(count * oversample)), generators, logits.device).flatten(0, 1)
    certainty = sample_logits(logits.flatten(0, 1)[:, None], candidates)[:, 0].abs()  # (R * S, oversample * P)
    chosen = certainty.topk(sure, dim=1, largest=False, sorted=False).indices
    kept = candidates.gather(1, chosen[..., None].expand(-1, -1, 2)).unflatten(0, (rows, frames))
    anywhere = draw(clips, (frames, count - sure), generators, logits.device)
    return torch.cat([kept, anywhere], dim=2)
