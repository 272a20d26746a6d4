"""The silent-object-aware loss of AVSC (equation 5): queries without an object leave the sounding region.

They then describe other, silent things, which are candidates when another sound is heard. Without this loss nearly all
queries describe what sounds in the training data.
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-6  # least union


def silent_object_loss(masks: Tensor, union: Tensor, nonobject: Tensor, reduction: str = "sum") -> Tensor:
    """The soft IoU of each non-object mask with the sounding region, |m n G| / |m u G|.

    Args:
        masks: probabilities, (N, Q, h, w) in [0, 1].
        union: G, (N, h, w), 0 or 1. Frames without a sounding region have loss 0.
        nonobject: bool (N, Q), the queries that are pushed away.
        reduction: over the non-object queries of a frame, "sum" (the paper) or "mean".

    Returns:
        The sum over the frames.
    """
    m, g = masks.flatten(2), union.flatten(1).to(masks.dtype)[:, None]  # (N, Q, P), (N, 1, P)
    inter = (m * g).sum(-1)
    whole = m.sum(-1) + g.sum(-1) - inter
    iou = torch.where(nonobject, inter / whole.clamp(min=EPSILON), 0.0)  # (N, Q)
    of_frames = iou.sum(1)
    if reduction == "mean":
        of_frames = of_frames / nonobject.sum(1).clamp(min=1)
    return of_frames.sum()
