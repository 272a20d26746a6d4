"""FSLA, frame-level sound localisation accuracy: in how many frames all that sounds is found, named and outlined.

A frame is right at a threshold if the number of sounding objects, their classes and, with IoU above the threshold,
their masks are right (Guo et al., Audio-Visual Instance Segmentation, CVPR 2025). Frames are of three kinds: nothing
sounds (n), one object does (s), several do (m). The published evaluator departs from this definition in several ways;
`published` and `defined` are the two readings. Axes: T frames, G true and P predicted tracks, A = 19 thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from acvis_kit.metrics.hota import ALPHAS, alignment
from acvis_kit.metrics.sequence import Sequence

KINDS = ("n", "s", "m")
# The published evaluator's own, one of which is above and some below the decimal fraction; only an IoU that is exactly
# a multiple of 1/20 can tell.
PUBLISHED_ALPHAS = np.arange(0.05, 0.99, 0.05)


def defined(sequence: Sequence) -> NDArray[np.int64]:
    """By the definition, of a video `as_defined`.

    Tracks are matched once per video, one to one, so that their IoU over all frames adds up to the most; only tracks of
    one class with IoU above 0 match. A frame is right if as many masks are predicted as objects sound and each of these
    has its match there, with IoU above the threshold; a silent one, if nothing is predicted.

    Returns:
        (3, 1 + A): frames of each of `KINDS`, and how many of them are right at each threshold.
    """
    same_class = sequence.true_classes[:, None] == sequence.pred_classes[None, :]
    wanted = np.where(same_class, sequence.track_iou, 0.0)
    g, p = linear_sum_assignment(wanted, maximize=True)
    g, p = g[wanted[g, p] > 0], p[wanted[g, p] > 0]
    overlap = np.zeros(sequence.true_area.shape)  # (T, G), IoU of every object with its match
    overlap[:, g] = sequence.iou[:, g, p]
    sounding = sequence.true_area > 0
    number_right = sounding.sum(1) == (sequence.pred_area > 0).sum(1)
    found = overlap[:, :, None] > ALPHAS
    right = number_right[:, None] & (found | ~sounding[:, :, None]).all(1)
    return _by_kind(sounding.sum(1), right)


def published(sequence: Sequence) -> NDArray[np.int64]:
    """As the published evaluator computes it, in which a perfect prediction is wrong in about half of all frames.

    * An empty predicted mask is known by its text alone, that of an empty 720x1280 mask; any other is an object.
    * Classes are right if the sounding objects' are those of all predicted tracks of the video, in this frame or not.
    * Tracks are matched without regard to class, on HOTA's alignment. Rows of the matching count truths by id, but are
      used as places in the file.
    * One sounding object at place g of the file: its match should be the prediction in g's row; taken is the prediction
      whose number is that of the row in which *prediction* g stands.
    * Several: every pair of the video must hold, of one class and with IoU above the threshold, or both absent.

    Args:
        sequence: in file order, every predicted mask listed.

    Returns:
        As `defined`.
    """
    there, shown = sequence.true_listed, ~sequence.pred_blank_text
    number = there.sum(1)
    same_classes = _same_classes(sequence)
    admitted = same_classes & (number == shown.sum(1))
    by_id = np.argsort(sequence.true_ids, kind="stable")
    by_id = by_id[there.any(0)[by_id]]
    aligned = alignment(sequence.iou[:, by_id], there[:, by_id], sequence.pred_listed)
    rows, columns = linear_sum_assignment(aligned, maximize=True)
    right = np.zeros((len(sequence), len(PUBLISHED_ALPHAS)), bool)
    right[admitted & (number == 0)] = True
    for t in np.flatnonzero(admitted & (number == 1)):
        (g,) = np.flatnonzero(there[t])
        for row in np.flatnonzero(columns == g):
            right[t] = sequence.iou[t, g, row] > PUBLISHED_ALPHAS
    several = np.flatnonzero(admitted & (number > 1))
    one_class = (sequence.true_classes[rows] == sequence.pred_classes[columns])[None, :, None]
    overlaps = sequence.iou[np.ix_(several)][:, rows, columns][:, :, None] > PUBLISHED_ALPHAS  # (frames, pairs, A)
    both_absent = (~there[several][:, rows] & ~shown[several][:, columns])[:, :, None]
    overlaps &= there[several][:, rows][:, :, None]
    right[several] = (one_class & (overlaps | both_absent)).all(1)
    return _by_kind(number, right)


def _same_classes(sequence: Sequence) -> NDArray[np.bool_]:
    """(T,), whether the classes listed in a frame are those of all predicted tracks."""
    predicted = np.unique(sequence.pred_classes)
    known = np.isin(sequence.true_classes, predicted)
    none_else = ~(sequence.true_listed & ~known).any(1)
    all_there = [sequence.true_listed[:, sequence.true_classes == c].any(1) for c in predicted]
    return none_else & np.array(all_there, bool).reshape(len(predicted), len(sequence)).all(0)


def _by_kind(number: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Sounding objects (T,) and right frames (T, A) to (3, 1 + A)."""
    kind = np.minimum(number, 2)
    return np.stack([[(kind == k).sum(), *right[kind == k].sum(0)] for k in range(len(KINDS))])
