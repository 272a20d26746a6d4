"""HOTA, higher order tracking accuracy (Luiten et al., IJCV 2020): detection, association and localisation of tracks.

What a video contributes are sums, per class and threshold; every member of the family is a quotient of such sums.
Axes: K classes, F sums, A = 19 thresholds, T frames, G true and P predicted tracks of one class.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from acvis_kit.metrics.sequence import Floats, Sequence

ALPHAS = np.arange(1, 20) / 20
SUMS = ("TP", "FN", "FP", "AssA", "AssRe", "AssPr", "LocA")  # the last four summed over true positives
FAMILY = ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "AssRe", "AssPr", "LocA")
EPS = np.finfo(float).eps


def tally(sequence: Sequence, categories: Many[int]) -> Floats:
    """What one video adds: (K, F, A), for classes in the order of `categories`, sums in the order of `SUMS`."""
    out = np.zeros((len(categories), len(SUMS), len(ALPHAS)))
    for k, category in enumerate(categories):
        true = np.flatnonzero(sequence.true_classes == category)
        pred = np.flatnonzero(sequence.pred_classes == category)
        if len(true) or len(pred):
            similarity = sequence.iou[:, true][:, :, pred]
            out[k] = _tally_class(similarity, sequence.true_listed[:, true], sequence.pred_listed[:, pred])
    return out


def family(sums: Floats) -> dict[str, Floats]:
    """The members of `FAMILY`, (..., A) each in [0, 1], from sums (..., F, A).

    Without a true positive, LocA is 1 and the others are 0, as in the reference implementation of HOTA.
    """
    tp, fn, fp, ass_a, ass_re, ass_pr, loc_a = np.moveaxis(sums, -2, 0)
    some = np.maximum(tp, 1)
    out = {
        "DetA": tp / np.maximum(tp + fn + fp, 1),
        "DetRe": tp / np.maximum(tp + fn, 1),
        "DetPr": tp / np.maximum(tp + fp, 1),
        "AssA": ass_a / some,
        "AssRe": ass_re / some,
        "AssPr": ass_pr / some,
        "LocA": np.where(tp > 0, loc_a / some, 1.0),
    }
    out["HOTA"] = np.sqrt(out["DetA"] * out["AssA"])
    return {name: out[name] for name in FAMILY}


def alignment(similarity: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]) -> Floats:
    """(G, P), how well two tracks agree over the whole video (eq. 12 of the paper), from similarities (T, G, P).

    In each frame a pair's similarity is divided by all similarity that its two members have; the sum over frames is
    compared with the number of frames in which either is listed.
    """
    rivals = similarity.sum(1, keepdims=True) + similarity.sum(2, keepdims=True) - similarity
    potential = np.divide(similarity, rivals, out=np.zeros_like(similarity), where=rivals > EPS).sum(0)
    either = true_listed.sum(0)[:, None] + pred_listed.sum(0)[None, :] - potential
    return np.divide(potential, either, out=np.zeros_like(potential), where=either > 0)


def _tally_class(similarity: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]) -> Floats:
    """(F, A), one class of one video."""
    n_true, n_pred = true_listed.sum(0), pred_listed.sum(0)  # frames per track
    wanted = alignment(similarity, true_listed, pred_listed) * similarity
    t, g, p = _pairs(wanted, true_listed, pred_listed)
    similar = similarity[t, g, p]
    hit = similar[:, None] >= ALPHAS - EPS  # (pairs, A)
    together = np.zeros((*similarity.shape[1:], len(ALPHAS)))  # in how many frames two tracks are matched
    np.add.at(together, (g, p), hit)
    tp = hit.sum(0)
    either = n_true[:, None, None] + n_pred[None, :, None] - together
    shares = [np.maximum(either, 1), np.maximum(n_true, 1)[:, None, None], np.maximum(n_pred, 1)[None, :, None]]
    association = [(together * together / share).sum((0, 1)) for share in shares]
    return np.stack([tp, n_true.sum() - tp, n_pred.sum() - tp, *association, (similar[:, None] * hit).sum(0)])


def _pairs(
    wanted: Floats, true_listed: NDArray[np.bool_], pred_listed: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], ...]:
    """Frame, truth and prediction of the one-to-one pairs that maximise the sum of `wanted` (T, G, P) in each frame.

    Pairs of 0 are left out. Only frames that list two truths and two predictions need the Hungarian algorithm; its
    choice between equally good pairs depends on all that is listed, so none of it is left out.
    """
    crowded = np.minimum(true_listed.sum(1), pred_listed.sum(1)) > 1
    found = []
    simple = np.flatnonzero(~crowded & wanted.any((1, 2)))
    if len(simple):
        best = wanted[simple].reshape(len(simple), -1).argmax(1)
        found.append((simple, *np.unravel_index(best, wanted.shape[1:])))
    for t in np.flatnonzero(crowded & wanted.any((1, 2))):
        g, p = np.flatnonzero(true_listed[t]), np.flatnonzero(pred_listed[t])
        i, j = linear_sum_assignment(wanted[t][np.ix_(g, p)], maximize=True)
        kept = wanted[t, g[i], p[j]] > 0
        found.append((np.full(kept.sum(), t), g[i][kept], p[j][kept]))
    if not found:
        return (np.zeros(0, np.int64),) * 3
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))
