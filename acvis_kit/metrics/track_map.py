"""Track-level mean average precision (Yang et al., Video Instance Segmentation, 2019), with the areas of YouTube-VIS.

A predicted track is right if its IoU with a true track of its class, over all frames together, reaches the threshold.
A video's contribution (`TrackMatches`) depends on that video alone; precision and recall depend on all of them.
Axes: V videos, R area ranges, I IoU thresholds, K classes, N detections, B weightings of the videos.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acvis_kit.metrics.sequence import Floats, Sequence

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREA_RANGES = {"all": (0.0, np.inf), "s": (0.0, 128.0**2), "m": (128.0**2, 256.0**2), "l": (256.0**2, 1e10)}
EPS = np.finfo(float).eps


@dataclass(frozen=True, eq=False)
class TrackMatches:
    """One video's contribution to mAP.

    Attributes:
        classes: int64 (N,), of the predicted tracks.
        scores: float64 (N,), of the predicted tracks.
        hit: bool (R, I, N), matched to a true track of its class.
        ignored: bool (R, I, N), outside the area range: neither right nor wrong.
        true_classes: int64 (G,).
        counted: bool (R, G), true tracks inside the area range.
    """

    classes: NDArray[np.int64]
    scores: Floats
    hit: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    true_classes: NDArray[np.int64]
    counted: NDArray[np.bool_]


def match(sequence: Sequence, unrecorded: int | None = None) -> TrackMatches:
    """Match predicted to true tracks greedily by falling score (equal scores in their order), within each class.

    Args:
        sequence: one video.
        unrecorded: index of a predicted track whose match is not recorded, so that another prediction may match the
            same truth. The published evaluator has one: its first track of all, since it reads number 0 as "unmatched".
    """
    ranges = np.array(list(AREA_RANGES.values()))
    inside = _inside(sequence.true_mean_area, ranges)  # (R, G)
    outside = ~_inside(sequence.pred_mean_area, ranges)  # (R, P)
    shape = (len(ranges), len(IOU_THRESHOLDS), len(sequence.pred_classes))
    hit, ignored = np.zeros(shape, bool), np.zeros(shape, bool)
    by_score = np.argsort(-sequence.scores, kind="stable")
    for category in np.unique(sequence.pred_classes):
        true = np.flatnonzero(sequence.true_classes == category)
        if not len(true):
            continue
        pred = by_score[sequence.pred_classes[by_score] == category]
        iou = sequence.track_iou[np.ix_(true, pred)]
        alike: dict[tuple[bool, ...], list[int]] = {}  # area ranges by the true tracks that are inside
        for number, row in enumerate(inside[:, true].tolist()):
            alike.setdefault(tuple(row), []).append(number)
        for counted, r in alike.items():
            order = sorted(range(len(true)), key=[not one for one in counted].__getitem__)  # counted tracks first
            ignore = [not counted[g] for g in order]
            table = iou[order].T.tolist()  # (P, G)
            for i, threshold in enumerate(IOU_THRESHOLDS.tolist()):
                for p, g in _greedy(table, ignore, threshold, pred.tolist(), unrecorded):
                    hit[r, i, pred[p]] = True
                    ignored[r, i, pred[p]] = ignore[g]
    ignored |= ~hit & outside[:, None, :]
    return TrackMatches(sequence.pred_classes, sequence.scores, hit, ignored, sequence.true_classes, inside)


def average_precision(
    videos: Seq[TrackMatches], categories: Seq[int], weights: Floats, ties_together: bool
) -> tuple[Floats, Floats]:
    """Mean precision over 101 recalls, and the highest recall.

    Args:
        videos: V matches.
        categories: K category ids.
        weights: (B, V), how often each video counts.
        ties_together: detections with equal scores enter the curve as one step, so that their order does not matter;
            otherwise one after the other, in the order of videos and files.

    Returns:
        Precision and recall, (B, R, K, I) each, in [0, 1]; NaN where a class has no true track in the area range.
    """
    shape = (len(weights), len(AREA_RANGES), len(categories), len(IOU_THRESHOLDS))
    precision, recall = np.full(shape, np.nan), np.full(shape, np.nan)
    for r, k, total, (raised, recalls) in _curves(videos, categories, weights, ties_together):
        steps = np.searchsorted(RECALLS, recalls, side="right")  # number of recalls reached so far, (B, I, N)
        width = np.diff(steps, axis=2, prepend=0) / len(RECALLS)
        defined = total > 0
        precision[defined, r, k] = (raised * width).sum(2)[defined]
        recall[defined, r, k] = recalls.max(axis=2, initial=0)[defined]
    return precision, recall


def precision_at_recall(videos: Seq[TrackMatches], categories: Seq[int], ties_together: bool) -> Floats:
    """Precision at `RECALLS`, (I, 101), for tracks of any size: mean over the classes with true tracks, NaN if none."""
    curves = []
    for r, _, total, (raised, recalls) in _curves(videos, categories, np.ones((1, len(videos))), ties_together):
        if r == 0 and total[0] > 0:
            padded = np.pad(raised[0], ((0, 0), (0, 1)))  # beyond the curve's end: 0
            curves.append([row[np.searchsorted(x, RECALLS)] for row, x in zip(padded, recalls[0], strict=True)])
    return np.mean(curves, axis=0) if curves else np.full((len(IOU_THRESHOLDS), len(RECALLS)), np.nan)


def _inside(area: Floats, ranges: Floats) -> NDArray[np.bool_]:
    """Whether areas are in the ranges, (R, N). Both ends are in: a track of exactly 128² pixels is small and medium."""
    return (area >= ranges[:, :1] - EPS) & (area <= ranges[:, 1:] + EPS)


def _greedy(
    iou: list[list[float]], ignore: list[bool], threshold: float, numbers: list[int], unrecorded: int | None
) -> Iterator[tuple[int, int]]:
    """Pairs (prediction, truth). Each prediction takes the free truth with the highest IoU, of equal ones the later.

    A truth outside the area range is taken only if none inside reaches the threshold.
    """
    taken: set[int] = set()
    for p, row in enumerate(iou):
        best, found = min(threshold, 1 - 1e-10), None
        for g, value in enumerate(row):
            if g in taken:
                continue
            if ignore[g] and found is not None and not ignore[found]:
                break
            if value >= best - EPS:
                best, found = value, g
        if found is not None:
            if numbers[p] != unrecorded:
                taken.add(found)
            yield p, found


def _curves(
    videos: Seq[TrackMatches], categories: Seq[int], weights: Floats, ties_together: bool
) -> Iterator[tuple[int, int, Floats, tuple[Floats, Floats]]]:
    """Area range, class, number of true tracks (B,), and the curve: precision, made monotone, and recall, (B, I, N)."""
    if not videos:
        return
    video_of = np.repeat(np.arange(len(videos)), [len(v.scores) for v in videos])
    true_video_of = np.repeat(np.arange(len(videos)), [len(v.true_classes) for v in videos])
    classes, scores = (np.concatenate([getattr(v, name) for v in videos]) for name in ("classes", "scores"))
    hit, ignored = (np.concatenate([getattr(v, name) for v in videos], axis=2) for name in ("hit", "ignored"))
    true_classes = np.concatenate([v.true_classes for v in videos])
    counted = np.concatenate([v.counted for v in videos], axis=1)
    for k, category in enumerate(categories):
        chosen = np.flatnonzero(classes == category)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        falling = np.diff(scores[chosen], append=-1.0) != 0
        ends = np.flatnonzero(falling) if ties_together else np.arange(len(chosen))
        weight = weights[:, video_of[chosen]][:, None, :]  # (B, 1, N)
        for r in range(len(AREA_RANGES)):
            truths = true_video_of[(true_classes == category) & counted[r]]
            total = weights[:, truths].sum(1)
            if not total.any():
                continue
            used = ~ignored[r][:, chosen]
            right = np.cumsum(weight * (hit[r][:, chosen] & used), axis=2)[:, :, ends]
            wrong = np.cumsum(weight * (~hit[r][:, chosen] & used), axis=2)[:, :, ends]
            precision = right / (right + wrong + EPS)
            raised = np.maximum.accumulate(precision[:, :, ::-1], axis=2)[:, :, ::-1]
            yield r, k, total, (raised, right / np.maximum(total, EPS)[:, None, None])
