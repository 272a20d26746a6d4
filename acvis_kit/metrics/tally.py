"""Per-video sums, from which every score of any set of videos is computed.

Scores of a whole set, of one class, of one video, of resampled videos and of merged halves are all the same function of
these sums. Axes: T frames, V videos, B weightings of them, K classes, R area ranges, F sums, I and A thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Seq
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import DataError
from acvis_kit.metrics import fsla, hota, track_map
from acvis_kit.metrics.checks import Protocol
from acvis_kit.metrics.sequence import Floats, Sequence

MAP_KEYS = ("AP_all", "AP_s", "AP_m", "AP_l", "AR_all")
FSLA_KEYS = ("FA", *(f"FA{kind}{part}" for kind in fsla.KINDS for part in ("", "_count", "_all")))
FRAME_KEYS = tuple(key for key in FSLA_KEYS if "_" in key)  # numbers of frames, not percent
KEYS = (*MAP_KEYS, *hota.FAMILY, *FSLA_KEYS)
WEIGHTINGS_AT_ONCE = 100  # bounds memory: mAP needs several arrays (weightings, thresholds, detections)


@dataclass(frozen=True, eq=False)
class VideoTally:
    """One video's contribution to all metrics.

    Attributes:
        name: unique in a set.
        true_counts: int64 (T,), number of non-empty true masks in each frame.
        pred_counts: int64 (T,), number of non-empty predicted masks in each frame.
        matches: for mAP.
        hota: sums (K, F, A), see `hota.SUMS`.
        fsla: int64 (3, 1 + A), frames and right frames, see `fsla.defined`.
    """

    name: str
    true_counts: NDArray[np.int64]
    pred_counts: NDArray[np.int64]
    matches: track_map.TrackMatches
    hota: Floats
    fsla: NDArray[np.int64]

    @property
    def frames(self) -> int:
        return len(self.true_counts)


@dataclass(frozen=True, eq=False)
class Parts:
    """Scores of each weighting in [0, 1], before any mean over classes or thresholds; NaN where undefined.

    Attributes:
        precision: (B, R, K, I).
        recall: (B, R, K, I).
        hota: members of `hota.FAMILY`, (B, K, A) each.
        frames: (B, 3), number of frames of each of `fsla.KINDS`.
        right: (B, 3, A), number of those frames that are right.
    """

    precision: Floats
    recall: Floats
    hota: dict[str, Floats]
    frames: Floats
    right: Floats


def tally(sequences: Seq[Sequence], categories: Seq[int], protocol: Protocol) -> list[VideoTally]:
    """The contributions of all videos, sorted by name.

    Raises:
        DataError: two videos have one name, a class is not in `categories`, or, under "official", a predicted mask is
            not listed.
    """
    ordered = sorted(sequences, key=lambda s: s.name)
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise DataError(f"two videos are named {first.name!r}: give each its own name.")
    out = []
    first_track_pending = protocol == "official"
    for sequence in ordered:
        _check_sequence(sequence, categories, protocol)
        # the published evaluator numbers predictions from 0 over all videos and does not record the match of number 0
        unrecorded = 0 if first_track_pending and len(sequence.pred_classes) else None
        first_track_pending = first_track_pending and unrecorded is None
        out.append(_tally_video(sequence, categories, protocol, unrecorded))
    return out


def parts(tallies: Seq[VideoTally], categories: Seq[int], protocol: Protocol, weights: Floats | None = None) -> Parts:
    """Scores of V videos, each counted `weights` (B, V) times, by default once."""
    weights = np.ones((1, len(tallies))) if weights is None else weights
    matches = [t.matches for t in tallies]
    precision, recall = track_map.average_precision(matches, categories, weights, protocol == "paper")
    sums = _weighted(weights, [t.hota for t in tallies], (len(categories), len(hota.SUMS), len(hota.ALPHAS)))
    family = hota.family(sums)
    if protocol == "paper":
        occurs = np.any(sums[:, :, :3], axis=(2, 3))  # (B, K), in truth or prediction
        family = {name: np.where(occurs[:, :, None], values, np.nan) for name, values in family.items()}
    frames = _weighted(weights, [t.fsla for t in tallies], (len(fsla.KINDS), 1 + len(hota.ALPHAS)))
    return Parts(precision, recall, family, frames[:, :, 0], frames[:, :, 1:])


def scores(tallies: Seq[VideoTally], categories: Seq[int], protocol: Protocol, weights: Floats | None = None) -> Floats:
    """Scores in percent and numbers of frames, (B, len(KEYS)); NaN where there is nothing to score."""
    if weights is not None and len(weights) > WEIGHTINGS_AT_ONCE:
        chunks = np.array_split(weights, -(-len(weights) // WEIGHTINGS_AT_ONCE))
        return np.concatenate([scores(tallies, categories, protocol, chunk) for chunk in chunks])
    found = parts(tallies, categories, protocol, weights)
    ap = mean_defined(found.precision, axis=2).mean(2)  # (B, R)
    ar = mean_defined(found.recall[:, 0], axis=1).mean(1)  # (B,)
    family = [mean_defined(found.hota[name], axis=1).mean(1) for name in hota.FAMILY]
    accuracy = quotient(found.right, found.frames[:, :, None]).mean(2)  # (B, 3)
    total = quotient(found.right.sum(1), found.frames.sum(1)[:, None]).mean(1)
    whole = found.right.sum(2) // found.right.shape[2]  # mean over thresholds, rounded down
    by_kind = np.stack([100 * accuracy, whole, found.frames], axis=2).reshape(len(accuracy), -1)  # (B, 3 * 3)
    return np.concatenate([100 * np.column_stack([ap, ar, *family, total]), by_kind], axis=1)


def mean_defined(values: Floats, axis: int) -> Floats:
    """Mean over the values that are not NaN; NaN where there is none."""
    defined = ~np.isnan(values)
    return quotient(np.where(defined, values, 0).sum(axis), defined.sum(axis))


def quotient(part: Floats, whole: Floats) -> Floats:
    """Ratio part / whole, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _weighted(weights: Floats, arrays: list[NDArray[Any]], shape: tuple[int, ...]) -> Floats:
    """Sums (B, *shape) of V arrays of `shape` under the weightings (B, V)."""
    flat = np.array(arrays, float).reshape(len(arrays), math.prod(shape))  # (V, values)
    return (weights @ flat).reshape(len(weights), *shape)


def _check_sequence(sequence: Sequence, categories: Seq[int], protocol: Protocol) -> None:
    unknown = set(sequence.true_classes.tolist() + sequence.pred_classes.tolist()) - set(categories)
    if unknown:
        raise DataError(f"video {sequence.name}: classes {sorted(unknown)} are not among {sorted(categories)}.")
    if protocol == "official" and not sequence.pred_listed.all():
        t, p = np.argwhere(~sequence.pred_listed)[0]
        raise DataError(
            f"video {sequence.name}, predicted track {p}, frame {t}: a null segmentation crashes the published "
            f'evaluator. Pass an empty mask instead, or use protocol="paper".'
        )


def _tally_video(sequence: Sequence, categories: Seq[int], protocol: Protocol, unrecorded: int | None) -> VideoTally:
    """One video's contribution; under "paper" that of the video `as_defined`."""
    if protocol == "paper":
        sequence = sequence.as_defined()
    return VideoTally(
        name=sequence.name,
        true_counts=(sequence.true_area > 0).sum(1),
        pred_counts=(sequence.pred_area > 0).sum(1),
        matches=track_map.match(sequence, unrecorded),
        hota=hota.tally(sequence, categories),
        fsla=fsla.defined(sequence) if protocol == "paper" else fsla.published(sequence),
    )
