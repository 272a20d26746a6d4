"""Losses of every pixel: its class, and dense auxiliary targets, to train visual parts from random weights (ours).

With matched queries alone the visual features are trained slowly, because the queries need long to specialise. The
losses here need no matching. They train the features that the queries attend to; their heads are not used at inference.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import moved
from acvis_kit.losses.truth import Truth


def pixel_class_loss(logits: Tensor, truth: Truth, none_weight: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every cell of the fine map.

    Cells inside several masks (annotations may overlap) are left out.

    Args:
        logits: (B, T, K + 1, h, w), "none" last.
        truth: with masks of everything visible.
        none_weight: weight of cells without an object; the others have weight 1.

    Returns:
        The weighted sum, and the sum of the weights.
    """
    _, _, classes, height, width = logits.shape
    labels = logits.new_full((truth.batch, truth.frames, height, width), classes - 1, dtype=torch.int64)
    claims = torch.zeros_like(labels)
    for label, clip, mask in zip(truth.labels, truth.clips.tolist(), _cells(truth, height, width), strict=True):
        labels[clip].masked_fill_(mask, label)
        claims[clip] += mask
    weights = torch.where(claims == 0, none_weight, (claims == 1).to(logits))  # (B, T, h, w)
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, 1), reduction="none").view_as(weights)
    return (losses * weights).sum(), weights.sum()


def auxiliary_loss(name: str, logits: Tensor, truth: Truth, none_weight: float) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of every cell of an object: does the object have the label `name`?

    AVIS-Synth's label is "cue". Its twins (two objects of one class) sound alike. Only a visible cue shows which of
    them sounds (trembling arcs beside it, outside of the mask), and no other loss trains the network to detect cues.

    Args:
        name: of the target, a key of `Targets.auxiliary`.
        logits: (B, T, h, w).
        truth: with masks of everything visible. Clips without this label are left out.
        none_weight: weight of cells of objects without the label, which are most; the others have weight 1.

    Returns:
        The weighted sum, and the sum of the weights.
    """
    if name not in truth.auxiliary:
        return logits.sum() * 0, logits.new_zeros(())
    labels, known = truth.auxiliary[name]
    masks = _cells(truth, *logits.shape[-2:]) & known[:, None, None, None]  # (G, T, h, w)
    of_objects = logits[moved(truth.clips, logits.device)]
    of_cells = labels[..., None, None].expand_as(masks).to(logits)
    losses = F.binary_cross_entropy_with_logits(of_objects, of_cells, reduction="none")
    weights = masks * (none_weight + (1 - none_weight) * of_cells)
    return (losses * weights).sum(), weights.sum()


def _cells(truth: Truth, height: int, width: int) -> Tensor:
    """The masks on a coarser grid, bool (G, T, h, w): their value in the middle of each cell."""
    rows, columns = (truth.masks.shape[-2] // height, truth.masks.shape[-1] // width)
    return truth.masks[:, rows // 2 :: rows, columns // 2 :: columns].unflatten(0, (-1, truth.frames))
