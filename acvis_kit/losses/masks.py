"""The set losses: classes of all queries, masks of the matched ones (Mask2Former; the video level follows VITA).

All return a sum, not a mean: the criterion divides by the number of terms of all processes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import moved
from acvis_kit.config import LossConfig
from acvis_kit.losses.matcher import Matches
from acvis_kit.losses.points import Generators, sample_logits, sample_masks, uncertain_points
from acvis_kit.losses.truth import Sets, Truth


def class_loss(logits: Tensor, labels: Tensor, none_weight: float) -> tuple[Tensor, Tensor]:
    """Weighted cross-entropy; the last class is "none".

    Args:
        logits: (..., K + 1).
        labels: int64 (...), K for "none".
        none_weight: weight of "none"; the other classes have weight 1.

    Returns:
        The sum of weight * cross-entropy, and the sum of the weights.
    """
    weight = logits.new_ones(logits.shape[-1])
    weight[-1] = none_weight
    total = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), weight, reduction="sum")
    return total, weight[labels].sum()


def mask_loss(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy (mean over points) and dice, 1 - (2s + 1) / (d + 1), each summed over the masks.

    s is the sum of p * truth over the points, d is the sum of p plus that of truth.

    Args:
        logits: (R, P), masks at P points each.
        truth: (R, P) in [0, 1], at the same points.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / max(logits.shape[1], 1)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * truth).sum(1) + 1) / (p.sum(1) + truth.sum(1) + 1)
    return entropy, dice.sum()


def set_losses(
    class_logits: Tensor,
    mask_logits: Tensor,
    truth: Truth,
    sets: Sets,
    matches: Matches,
    config: LossConfig,
    generators: Generators,
) -> dict[str, tuple[Tensor, Tensor | float]]:
    """Class, mask and dice losses, summed over the D layers.

    Args:
        class_logits: (D, A, Q, K + 1), A answers as in `Sets`.
        mask_logits: (D, A, Q, S, H, W).
        truth: of the batch.
        sets: of the level.
        matches: of the same sets, on the CPU.
        config: uses none_weight, num_points, oversample_ratio and importance_ratio.
        generators: as in `draw`.

    Returns:
        "class", "mask" and "dice", each the sum over all layers and the number of terms of *one* layer (they are equal
        in all). The terms of "mask" and "dice" are the objects of the truth, matched or not.
    """
    device, dtype = class_logits.device, torch.promote_types(class_logits.dtype, torch.float32)
    queries = class_logits.shape[2]
    clips = sets.clips.repeat(sets.repeats)[matches.answers]  # (R,)
    frames = moved(sets.frames.repeat(sets.repeats, 1)[matches.answers], device)  # (R, S)
    found = matches.to(device)
    rows = found.answers * queries + found.queries  # (D, R), in the flat (A, Q)

    labels = torch.full((len(class_logits), class_logits.shape[1] * queries), class_logits.shape[-1] - 1, device=device)
    labels.scatter_(1, rows, truth.labels[found.objects])
    classes, weights = class_loss(class_logits.to(dtype).flatten(1, 2), labels, config.none_weight)

    # All layers at once: a GPU has done the work of one before its host has asked for that of the next.
    layers = len(mask_logits)
    place = found.answers * layers + torch.arange(layers, device=device)[:, None]  # in the flat (A, D), as in memory
    picked = (place * queries + found.queries).flatten()
    logits = mask_logits.transpose(0, 1).flatten(0, 2).index_select(0, picked).to(dtype)  # (D * R, S, H, W)
    points = uncertain_points(
        logits.detach().unflatten(0, (layers, -1)),
        clips,
        config.num_points,
        config.oversample_ratio,
        config.importance_ratio,
        generators,
    ).flatten(0, 1)  # (D * R, S, P, 2)
    planes = found.objects.flatten()[:, None] * truth.frames + frames.repeat(layers, 1)  # (D * R, S)
    true = sample_masks(truth.masks, planes, points, dtype).flatten(1)  # (D * R, S * P)
    predicted = sample_logits(logits.flatten(0, 1)[:, None], points.flatten(0, 1))  # (D * R * S, 1, P)
    entropy, dice = mask_loss(predicted.reshape(true.shape), true)
    return {
        "class": (classes, weights / len(class_logits)),
        "mask": (entropy, float(sets.num_objects)),
        "dice": (dice, float(sets.num_objects)),
    }
