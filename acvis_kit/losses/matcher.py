"""Which query is matched with which object: the assignment of least total cost (DETR; costs as in Mask2Former)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from acvis_kit.clip import moved
from acvis_kit.losses.points import sample_logits, sample_masks
from acvis_kit.losses.truth import Sets, Truth

NEVER = 1e6  # replaces a cost that is not finite; the criterion reports those


class Matches(NamedTuple):
    """Pairs of a query and an object, R = sum of min(Q, objects of the set), in each of D layers.

    Ordered by answer, then query: the order of the objects in the targets has no effect.

    Attributes:
        answers: int64 (R,), the answer (see `Sets`) of each pair; the same in every layer.
        queries: int64 (D, R), the query of each pair.
        objects: int64 (D, R), the object of each pair, a row of the `Truth`.
        finite: whether every cost was finite.
    """

    answers: Tensor
    queries: Tensor
    objects: Tensor
    finite: bool

    def to(self, device: torch.device) -> Matches:
        """The same on another device, copied at once."""
        layers = len(self.queries)
        answers, queries, objects = moved(torch.cat([self.answers[None], self.queries, self.objects]), device).split(
            [1, layers, layers]
        )
        return Matches(answers[0], queries, objects, self.finite)


def mask_costs(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy (mean over points) and dice of every query with every object.

    Dice is 1 - (2s + 1) / (d + 1), with s the sum of p * truth and d the sum of p plus that of truth.

    Args:
        logits: (..., Q, P), at P points.
        truth: (..., M, P) in [0, 1], at the same points.

    Returns:
        Two tensors (..., Q, M).
    """
    truth = truth.transpose(-1, -2)
    # -log p inside the object and -log (1 - p) elsewhere is softplus(x) - x * truth: one product, not two.
    entropy = (F.softplus(logits).sum(-1, keepdim=True) - logits @ truth) / logits.shape[-1]
    p = logits.sigmoid()
    dice = 1 - (2 * (p @ truth) + 1) / (p.sum(-1, keepdim=True) + truth.sum(-2, keepdim=True) + 1)
    return entropy, dice


@torch.no_grad()
def set_costs(
    class_logits: Tensor,
    mask_logits: Tensor,
    truth: Truth,
    sets: Sets,
    points: Tensor,
    weights: tuple[float, float, float],
) -> Tensor:
    """The cost of matching a query with an object: w0 * (-p of its class) + w1 * BCE + w2 * dice.

    Args:
        class_logits: (D, A, Q, K + 1), A = N * repeats answers.
        mask_logits: (D, A, Q, S, H, W).
        truth: of the batch.
        sets: of the level.
        points: (N, P, 2), shared by all masks of a set, by its S frames, its repeats and the layers. BCE and dice
            are computed over S * P points jointly.
        weights: (w0, w1, w2).

    Returns:
        float32 or float64 (D, A, Q, M); columns beyond the size of a set are undefined.
    """
    device = mask_logits.device
    layers, answers, queries = mask_logits.shape[:3]
    dtype = torch.promote_types(mask_logits.dtype, torch.float32)
    objects = moved(sets.objects, device)
    planes = objects[:, :, None] * truth.frames + moved(sets.frames, device)[:, None]  # (N, M, S)
    if not objects.numel():
        return torch.zeros(layers, answers, queries, objects.shape[1], device=device)
    of_objects = points[:, None, None].expand(-1, *planes.shape[1:], -1, -1)  # (N, M, S, P, 2)
    true = sample_masks(truth.masks, planes, of_objects, dtype).flatten(2)
    true = true.repeat(sets.repeats, 1, 1)  # (A, M, S * P)
    labels = truth.labels[objects].repeat(sets.repeats, 1)[:, None].expand(-1, queries, -1)  # (A, Q, M)
    points = points.repeat(sets.repeats, 1, 1)
    costs = []
    for classes, masks in zip(class_logits, mask_logits, strict=True):  # one layer at a time bounds the memory
        predicted = sample_logits(masks.flatten(1, 2).to(dtype), points)  # (A, Q * S, P)
        entropy, dice = mask_costs(predicted.view(answers, queries, -1), true)
        probability = classes.to(dtype).softmax(-1).gather(-1, labels)
        costs.append(weights[1] * entropy + weights[2] * dice - weights[0] * probability)
    return torch.stack(costs)


def assign_levels(levels: Sequence[tuple[Tensor, Sets]]) -> list[Matches]:
    """`assign` for several levels, whose costs are copied to the CPU together: a device is waited for once."""
    flat = torch.cat([costs.flatten() for costs, _ in levels]).cpu()
    parts = flat.split([costs.numel() for costs, _ in levels])
    return [assign(part.view(costs.shape), sets) for part, (costs, sets) in zip(parts, levels, strict=True)]


def assign(costs: Tensor, sets: Sets) -> Matches:
    """The assignment of least total cost, for every answer in every layer.

    Args:
        costs: (D, A, Q, M); copied to the CPU at once.
        sets: of the level, N sets of up to M objects.
    """
    costs = costs.cpu()
    repeats = costs.shape[1] // max(len(sets.sizes), 1)
    valid = sets.valid.repeat(repeats, 1)[None, :, None]  # (1, A, 1, M)
    finite = bool((costs.isfinite() | ~valid).all())
    table = costs.nan_to_num(NEVER, NEVER, -NEVER).numpy()
    sizes = sets.sizes.repeat(repeats)
    layers, answers, queries = table.shape[:3]
    matched = sizes.clamp(max=queries)
    of_pair = torch.repeat_interleave(torch.arange(answers), matched)  # (R,), the answer of each pair
    rows, columns = [], []
    not_empty = [(i, size) for i, size in enumerate(sizes.tolist()) if size]
    for layer in table:
        for i, size in not_empty:
            row, column = linear_sum_assignment(layer[i, :, :size])  # rows ascend
            rows.append(row)
            columns.append(column)
    shape = (layers, len(of_pair))
    query = torch.cat([torch.from_numpy(r) for r in rows]) if rows else torch.zeros(0, dtype=torch.int64)
    place = torch.cat([torch.from_numpy(c) for c in columns]) if rows else torch.zeros(0, dtype=torch.int64)
    objects = sets.objects.repeat(repeats, 1)[of_pair.expand(shape), place.view(shape)]
    return Matches(of_pair, query.view(shape), objects, finite)
