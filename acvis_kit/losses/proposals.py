"""The losses of proposals: each class that is present in a frame is matched with one query (MaskFormer, AVSC eq. 2-4).

Unlike the set losses of ACVIS, masks are compared as wholes: costs at the resolution of the mask logits, losses at that
of the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import IGNORED
from acvis_kit.losses.focal import focal_costs, focal_loss
from acvis_kit.losses.masks import class_loss, mask_loss
from acvis_kit.losses.matcher import Matches, assign, mask_costs
from acvis_kit.losses.truth import Sets

CostWeights = tuple[float, float, float]  # of class, focal and dice


class PresentClasses(NamedTuple):
    """The ground truth of N frames as sets of (class, mask), G in all.

    Attributes:
        labels: int64 (G,), from 0.
        masks: bool (G, H, W).
        sets: one per frame; its objects are rows of `labels` and `masks`.
    """

    labels: Tensor
    masks: Tensor
    sets: Sets


def present_classes(class_maps: Tensor) -> PresentClasses:
    """One mask for each class of each frame.

    Args:
        class_maps: int64 (N, H, W), 0 background, class k is k + 1, 255 ignored.
    """
    found = [[v for v in one.unique().tolist() if v not in (0, IGNORED)] for one in class_maps]
    frame = torch.tensor([n for n, values in enumerate(found) for _ in values], dtype=torch.int64)
    value = torch.tensor([v for values in found for v in values], dtype=torch.int64, device=class_maps.device)
    masks = class_maps[frame.to(class_maps.device)] == value[:, None, None]
    sizes = torch.tensor([len(values) for values in found], dtype=torch.int64)
    return PresentClasses(value - 1, masks, sets_of(sizes))


def sets_of(sizes: Tensor) -> Sets:
    """Sets of single frames whose objects lie one after another, from the number of objects of each, int64 (N,)."""
    number, most = len(sizes), int(sizes.max()) if len(sizes) else 0
    first = (sizes.cumsum(0) - sizes)[:, None]
    place = torch.arange(most)
    objects = torch.where(place < sizes[:, None], first + place, 0)
    return Sets(objects, sizes, torch.zeros(number, 1, dtype=torch.int64), torch.arange(number))


@torch.no_grad()
def proposal_costs(class_logits: Tensor, mask_logits: Tensor, truth: PresentClasses, weights: CostWeights) -> Tensor:
    """The cost of matching a query with an object: w0 * (-p of its class) + w1 * focal + w2 * dice.

    Args:
        class_logits: (D, N, Q, K + 1).
        mask_logits: (D, N, Q, h, w).
        truth: of the N frames.
        weights: (w0, w1, w2).

    Returns:
        (D, N, Q, M); columns beyond the objects of a frame are undefined.
    """
    objects = truth.sets.objects.to(mask_logits.device)  # (N, M)
    if not truth.labels.numel():
        return mask_logits.new_zeros(*class_logits.shape[:3], objects.shape[1])
    small = F.interpolate(truth.masks[:, None].to(mask_logits.dtype), mask_logits.shape[-2:], mode="nearest")
    true = small.flatten(1)[objects]  # (N, M, h * w)
    labels = truth.labels[objects][:, None].expand(-1, class_logits.shape[2], -1)  # (N, Q, M)
    costs = []
    for classes, masks in zip(
        class_logits, mask_logits.flatten(3), strict=True
    ):  # one layer at a time bounds the memory
        _, dice = mask_costs(masks, true)
        probability = classes.softmax(-1).gather(-1, labels)
        costs.append(weights[1] * focal_costs(masks, true) + weights[2] * dice - weights[0] * probability)
    return torch.stack(costs)


def match_proposals(class_logits: Tensor, mask_logits: Tensor, truth: PresentClasses, weights: CostWeights) -> Matches:
    """The assignment of least total cost in every frame and layer; arguments as in `proposal_costs`."""
    return assign(proposal_costs(class_logits.detach(), mask_logits.detach(), truth, weights), truth.sets)


def proposal_losses(
    class_logits: Tensor, mask_logits: Tensor, truth: PresentClasses, matches: Matches, none_weight: float
) -> dict[str, tuple[Tensor, Tensor | float]]:
    """Class, focal and dice losses, summed over the D layers.

    Args:
        class_logits: (D, N, Q, K + 1), "no object" last.
        mask_logits: (D, N, Q, h, w).
        truth: of the N frames.
        matches: of the same layers, on the CPU.
        none_weight: of "no object" in the cross-entropy.

    Returns:
        "class", "focal" and "dice": each the sum over all layers, and the number of terms of one layer. The terms of
        the last two are the objects of the truth, matched or not.
    """
    layers, _, queries, classes = class_logits.shape
    found = matches.to(class_logits.device)
    rows = found.answers * queries + found.queries  # (D, R), in the flat (N, Q)
    labels = torch.full((layers, class_logits[0, ..., 0].numel()), classes - 1, device=class_logits.device)
    labels.scatter_(1, rows, truth.labels[found.objects])
    entropy, weight = class_loss(class_logits.flatten(1, 2), labels, none_weight)

    picked = mask_logits.flatten(1, 2)[torch.arange(layers, device=rows.device)[:, None], rows].flatten(0, 1)
    large = F.interpolate(picked[:, None], truth.masks.shape[-2:], mode="bilinear", align_corners=False).flatten(1)
    true = truth.masks[found.objects.flatten()].flatten(1).to(large.dtype)  # (D * R, H * W)
    _, dice = mask_loss(large, true)
    objects = float(truth.sets.num_objects)
    return {
        "class": (entropy, weight / layers),
        "focal": (focal_loss(large, true).sum(), objects),
        "dice": (dice, objects),
    }


def unmatched(matches: Matches, frames: int, queries: int) -> Tensor:
    """Bool (N, Q) on the CPU, the queries without an object in the last layer."""
    free = torch.ones(frames, queries, dtype=torch.bool)
    free[matches.answers, matches.queries[-1]] = False
    return free


def union_of(class_maps: Tensor, size: Sequence[int]) -> Tensor:
    """G, the region of everything that sounds, on another grid: float32 (N, h, w) of 0 and 1."""
    inside = (class_maps > 0) & (class_maps != IGNORED)
    return F.interpolate(inside[:, None].float(), tuple(size), mode="nearest")[:, 0]
