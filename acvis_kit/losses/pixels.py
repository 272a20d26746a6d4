"""What stands at each pixel: dense supervision for a backbone that starts from nothing (ours).

Queries that are matched to objects teach a network to see slowly, because for long they do not know what to look for.
Naming every pixel needs no matching; it teaches the features that the queries feed on, and is not used later.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.losses.truth import Truth


def pixel_class_loss(logits: Tensor, truth: Truth, none_weight: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every cell of the fine map, cells without an object weighing `none_weight`.

    Cells that several masks claim (annotations may overlap) are left out.

    Args:
        logits: (B, T, K + 1, h, w), "none" last. truth: with masks of everything visible.

    Returns:
        The weighted sum, and the sum of the weights.
    """
    _, _, classes, height, width = logits.shape
    labels = logits.new_full((truth.batch, truth.seconds, height, width), classes - 1, dtype=torch.int64)
    rows, columns = (truth.masks.shape[-2] // height, truth.masks.shape[-1] // width)
    masks = truth.masks[:, rows // 2 :: rows, columns // 2 :: columns]  # what is in the middle of a cell
    masks = masks.unflatten(0, (-1, truth.seconds))  # (G, T, h, w)
    claims = torch.zeros_like(labels)
    for label, clip, mask in zip(truth.labels, truth.clips.tolist(), masks, strict=True):
        labels[clip][mask] = label
        claims[clip] += mask
    weights = torch.where(claims == 0, none_weight, (claims == 1).to(logits))  # (B, T, h, w)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none").view_as(weights)
    return (losses * weights).sum(), weights.sum()
