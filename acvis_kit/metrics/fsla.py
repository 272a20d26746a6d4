"""FSLA, frame-level sound localisation accuracy: the fraction of frames whose sounding objects are all right.

A frame is right at a threshold if the number of sounding objects, their classes and, with IoU above the threshold,
their masks are right (Guo et al., Audio-Visual Instance Segmentation, CVPR 2025). Frames are of three kinds: no object
sounds (n), one does (s), several do (m). `defined` follows this definition; `published` reproduces the published
evaluator, which departs from it. Axes: T frames, G true and P predicted tracks, A = 19 thresholds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from acvis_kit.metrics.hota import ALPHAS, alignment
from acvis_kit.metrics.sequence import Sequence

KINDS = ("n", "s", "m")
# The published evaluator's thresholds. By rounding one lies above k / 20 and some below, which matters only for an IoU
# of exactly k / 20.
PUBLISHED_ALPHAS = np.arange(0.05, 0.99, 0.05)


def defined(sequence: Sequence) -> NDArray[np.int64]:
    """Count right frames by the definition.

    Tracks are matched once per video, one to one, so that the sum of their IoUs over all frames is highest; only tracks
    of one class with IoU above 0 match. A frame is right if it has as many predicted masks as sounding objects and each
    object's match has a mask there, with IoU above the threshold. A silent frame is right if it has no predicted mask.

    Args:
        sequence: the video in the form of `Sequence.as_defined`.

    Returns:
        int64 (3, 1 + A): number of frames of each of `KINDS`, then how many of them are right at each threshold.
    """
    same_class = sequence.true_classes[:, None] == sequence.pred_classes[None, :]
    candidates = np.where(same_class, sequence.track_iou, 0.0)  # (G, P)
    g, p = linear_sum_assignment(candidates, maximize=True)
    g, p = g[candidates[g, p] > 0], p[candidates[g, p] > 0]
    overlap = np.zeros(sequence.true_area.shape)  # (T, G), IoU of every object with its match
    overlap[:, g] = sequence.iou[:, g, p]
    sounding = sequence.true_area > 0
    number_right = sounding.sum(1) == (sequence.pred_area > 0).sum(1)
    found = overlap[:, :, None] > ALPHAS
    right = number_right[:, None] & (found | ~sounding[:, :, None]).all(1)
    return _by_kind(sounding.sum(1), right)


def published(sequence: Sequence) -> NDArray[np.int64]:
    """Count right frames as the published evaluator does; a perfect prediction is wrong in about half of all frames.

    * A predicted mask is empty only if its text is that of an empty 720x1280 mask; any other mask is an object.
    * Classes are right if the sounding objects have the classes of all predicted tracks of the video, also of tracks
      without a mask in this frame.
    * Tracks are matched by HOTA's alignment, regardless of class. Rows of the matching are truths sorted by id, but are
      used as positions in the file.
    * One sounding object, at position g of the file: its match should be the prediction in row g of the matching. The
      evaluator takes the prediction whose number is that of the row that has *prediction* g.
    * Several: every pair of the video must be of one class with IoU above the threshold, or absent on both sides.

    Args:
        sequence: the video in file order, with every predicted mask listed.

    Returns:
        As `defined`.
    """
    true_present, pred_present = sequence.true_listed, ~sequence.pred_blank_text
    number = true_present.sum(1)
    same_classes = _same_classes(sequence)
    admitted = same_classes & (number == pred_present.sum(1))
    by_id = np.argsort(sequence.true_ids, kind="stable")
    by_id = by_id[np.any(true_present, axis=0)[by_id]]
    aligned = alignment(sequence.iou[:, by_id], true_present[:, by_id], sequence.pred_listed)
    rows, columns = linear_sum_assignment(aligned, maximize=True)
    right = np.zeros((len(sequence), len(PUBLISHED_ALPHAS)), bool)
    right[admitted & (number == 0)] = True
    for t in np.flatnonzero(admitted & (number == 1)):
        (g,) = np.flatnonzero(true_present[t])
        for row in np.flatnonzero(columns == g):
            right[t] = sequence.iou[t, g, row] > PUBLISHED_ALPHAS
    several = np.flatnonzero(admitted & (number > 1))
    one_class = (sequence.true_classes[rows] == sequence.pred_classes[columns])[None, :, None]
    overlaps = sequence.iou[np.ix_(several)][:, rows, columns][:, :, None] > PUBLISHED_ALPHAS  # (frames, pairs, A)
    both_absent = (~true_present[several][:, rows] & ~pred_present[several][:, columns])[:, :, None]
    overlaps &= true_present[several][:, rows][:, :, None]
    right[several] = (one_class & (overlaps | both_absent)).all(1)
    return _by_kind(number, right)


def _same_classes(sequence: Sequence) -> NDArray[np.bool_]:
    """Whether the true classes listed in a frame are those of all predicted tracks, (T,)."""
    predicted = np.unique(sequence.pred_classes)
    is_predicted = np.isin(sequence.true_classes, predicted)  # (G,)
    no_other = ~(sequence.true_listed & ~is_predicted).any(1)
    listed = [sequence.true_listed[:, sequence.true_classes == c].any(1) for c in predicted]
    return no_other & np.all(np.array(listed, bool).reshape(len(predicted), len(sequence)), axis=0)  # (classes, T)


def _by_kind(number: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The table of `defined`, (3, 1 + A), from numbers of sounding objects (T,) and right frames (T, A)."""
    kind = np.minimum(number, 2)
    return np.stack([[(kind == k).sum(), *right[kind == k].sum(0)] for k in range(len(KINDS))])
