"""HOTA, higher order tracking accuracy (Luiten et al., IJCV 2020): detection, association and localisation of tracks.

Each video contributes sums per class and threshold; every member of the family is a quotient of such sums.
Axes: K classes, F sums, A = 19 thresholds, T frames, G true and P predicted tracks of one class.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from acvis_kit.metrics.sequence import Floats, Sequence

ALPHAS = np.arange(1, 20) / 20
SUMS = ("TP", "FN", "FP", "AssA", "AssRe", "AssPr", "LocA")  # the last four summed over true positives
FAMILY = ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "AssRe", "AssPr", "LocA")
EPS = np.finfo(float).eps


def tally(sequence: Sequence, categories: Seq[int]) -> Floats:
    """The sums of one video, (K, F, A), with classes in the order of `categories` and sums in the order of `SUMS`."""
    out = np.zeros((len(categories), len(SUMS), len(ALPHAS)))
    present = {*sequence.true_classes.tolist(), *sequence.pred_classes.tolist()}
    for k, category in enumerate(categories):
        if category in present:
            true = np.flatnonzero(sequence.true_classes == category)
            pred = np.flatnonzero(sequence.pred_classes == category)
            similarity = sequence.iou[:, true][:, :, pred]
            out[k] = _tally_class(similarity, sequence.true_listed[:, true], sequence.pred_listed[:, pred])
    return out


def family(sums: Floats) -> dict[str, Floats]:
    """The members of `FAMILY`, (..., A) each, in [0, 1], from sums (..., F, A).

    Without a true positive, LocA is 1 and the others are 0, as in the reference implementation of HOTA.
    """
    tp, fn, fp, ass_a, ass_re, ass_pr, loc_a = np.moveaxis(sums, -2, 0)
    matched = np.maximum(tp, 1)
    out = {
        "DetA": tp / np.maximum(tp + fn + fp, 1),
        "DetRe": tp / np.maximum(tp + fn, 1),
        "DetPr": tp / np.maximum(tp + fp, 1),
        "AssA": ass_a / matched,
        "AssRe": ass_re / matched,
        "AssPr": ass_pr / matched,
        "LocA": np.where(tp > 0, loc_a / matched, 1.0),
    }
    out["HOTA"] = np.sqrt(out["DetA"] * out["AssA"])
    return {name: out[name] for name in FAMILY}


def alignment(similarity: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]) -> Floats:
    """Agreement of two tracks over the whole video, (G, P), eq. 12 of the paper.

    In each frame a pair's similarity is divided by the sum of all similarities of its two members. The sum over frames
    is then related to the number of frames in which either is listed.

    Args:
        similarity: (T, G, P), in [0, 1].
        true_listed: bool (T, G).
        pred_listed: bool (T, P).
    """
    total = similarity.sum(1, keepdims=True) + similarity.sum(2, keepdims=True) - similarity
    potential = np.divide(similarity, total, out=np.zeros_like(similarity), where=total > EPS).sum(0)
    either = true_listed.sum(0)[:, None] + pred_listed.sum(0)[None, :] - potential
    return np.divide(potential, either, out=np.zeros_like(potential), where=either > 0)


def _tally_class(similarity: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]) -> Floats:
    """The sums of one class in one video, (F, A)."""
    n_true, n_pred = true_listed.sum(0), pred_listed.sum(0)  # frames per track
    gain = alignment(similarity, true_listed, pred_listed) * similarity
    t, g, p = _pairs(gain, true_listed, pred_listed)
    similar = similarity[t, g, p]
    hit = similar[:, None] >= ALPHAS - EPS  # (pairs, A)
    together = np.zeros((*similarity.shape[1:], len(ALPHAS)))  # number of frames in which two tracks match
    np.add.at(together, (g, p), hit)
    tp = hit.sum(0)
    either = n_true[:, None, None] + n_pred[None, :, None] - together
    wholes = [np.maximum(either, 1), np.maximum(n_true, 1)[:, None, None], np.maximum(n_pred, 1)[None, :, None]]
    association = [(together * together / whole).sum((0, 1)) for whole in wholes]
    return np.stack([tp, n_true.sum() - tp, n_pred.sum() - tp, *association, (similar[:, None] * hit).sum(0)])


def _pairs(
    gain: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], ...]:
    """Frame, truth and prediction of the one-to-one pairs that maximise the sum of `gain` (T, G, P) in each frame.

    Pairs of gain 0 are left out. Only frames with two or more truths and predictions need the Hungarian algorithm. Its
    choice between equally good pairs depends on all listed masks, so it receives all of them.
    """
    crowded = np.minimum(true_listed.sum(1), pred_listed.sum(1)) > 1
    found = []
    simple = np.flatnonzero(~crowded & gain.any((1, 2)))
    if len(simple):
        best = gain[simple].reshape(len(simple), -1).argmax(1)  # of (frames, G * P)
        found.append((simple, *np.unravel_index(best, gain.shape[1:])))
    for t in np.flatnonzero(crowded & gain.any((1, 2))):
        g, p = np.flatnonzero(true_listed[t]), np.flatnonzero(pred_listed[t])
        i, j = linear_sum_assignment(gain[t][np.ix_(g, p)], maximize=True)
        kept = gain[t, g[i], p[j]] > 0
        found.append((np.full(kept.sum(), t), g[i][kept], p[j][kept]))
    if not found:
        return (np.zeros(0, np.int64),) * 3
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
