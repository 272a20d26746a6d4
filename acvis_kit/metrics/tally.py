"""What videos add up to: per-video sums from which every score of any set of videos follows.

Scores of a whole set, of one class, of one video, of resampled videos and of merged halves are all the same function of
these sums. Axes: V videos, B weightings of them, K classes, R area ranges, I and A thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
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
WEIGHTINGS_AT_ONCE = 100  # bounds memory: mAP needs some (weightings, thresholds, detections) arrays


@dataclass(frozen=True, eq=False)
class VideoTally:
    """One video's share of all metrics.

    Attributes:
        name: unique in a set.
        true_counts, pred_counts: int64 (T,), masks with a pixel in each frame.
        matches: for mAP.
        hota: (K, F, A) sums, see `hota.SUMS`.
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
    """Scores in [0, 1] before any mean over classes or thresholds, NaN where undefined; one per weighting.

    Attributes:
        precision, recall: (B, R, K, I).
        hota: members of `hota.FAMILY`, (B, K, A) each.
        frames: (B, 3), of each kind.
        right: (B, 3, A), how many of them are right.
    """

    precision: Floats
    recall: Floats
    hota: dict[str, Floats]
    frames: Floats
    right: Floats


def tally(sequences: Many[Sequence], categories: Many[int], protocol: Protocol) -> list[VideoTally]:
    """All videos' shares, sorted by name.

    Raises:
        DataError: two videos of one name, a class that is none of `categories`, or, under "official", an unlisted
            predicted mask.
    """
    ordered = sorted(sequences, key=lambda s: s.name)
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise DataError(f"two videos are named {first.name!r}: scores are kept by name, give each its own.")
    out = []
    first_track_is_ahead = protocol == "official"
    for sequence in ordered:
        _check_sequence(sequence, categories, protocol)
        # the published evaluator numbers predictions from 0, video after video, and forgets what number 0 matched
        forgetful = 0 if first_track_is_ahead and len(sequence.pred_classes) else None
        first_track_is_ahead = first_track_is_ahead and forgetful is None
        out.append(_tally_video(sequence, categories, protocol, forgetful))
    return out


def parts(tallies: Many[VideoTally], categories: Many[int], protocol: Protocol, weights: Floats | None = None) -> Parts:
    """Everything that follows from the shares of V videos, each counted `weights` (B, V) times, by default once."""
    weights = np.ones((1, len(tallies))) if weights is None else weights
    matches = [t.matches for t in tallies]
    precision, recall = track_map.average_precision(matches, categories, weights, protocol == "paper")
    sums = _weighted(weights, [t.hota for t in tallies], (len(categories), len(hota.SUMS), len(hota.ALPHAS)))
    family = hota.family(sums)
    if protocol == "paper":
        occurs = sums[:, :, :3].any((2, 3))  # (B, K), in truth or prediction
        family = {name: np.where(occurs[:, :, None], values, np.nan) for name, values in family.items()}
    frames = _weighted(weights, [t.fsla for t in tallies], (len(fsla.KINDS), 1 + len(hota.ALPHAS)))
    return Parts(precision, recall, family, frames[:, :, 0], frames[:, :, 1:])


def scores(
    tallies: Many[VideoTally], categories: Many[int], protocol: Protocol, weights: Floats | None = None
) -> Floats:
    """(B, len(KEYS)): percent, and numbers of frames; NaN where there is nothing to score."""
    if weights is not None and len(weights) > WEIGHTINGS_AT_ONCE:
        chunks = np.array_split(weights, -(-len(weights) // WEIGHTINGS_AT_ONCE))
        return np.concatenate([scores(tallies, categories, protocol, chunk) for chunk in chunks])
    found = parts(tallies, categories, protocol, weights)
    ap = mean_defined(found.precision, axis=2).mean(2)  # (B, R)
    ar = mean_defined(found.recall[:, 0], axis=1).mean(1)  # (B,)
    family = [mean_defined(found.hota[name], axis=1).mean(1) for name in hota.FAMILY]
    share = quotient(found.right, found.frames[:, :, None]).mean(2)  # (B, 3)
    total = quotient(found.right.sum(1), found.frames.sum(1)[:, None]).mean(1)
    whole = found.right.sum(2) // found.right.shape[2]  # mean over thresholds, cut to a whole number
    by_kind = np.stack([100 * share, whole, found.frames], axis=2).reshape(len(share), -1)
    return np.concatenate([100 * np.column_stack([ap, ar, *family, total]), by_kind], axis=1)


def mean_defined(values: Floats, axis: int) -> Floats:
    """Mean over what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    return quotient(np.where(known, values, 0).sum(axis), known.sum(axis))


def quotient(part: Floats, whole: Floats) -> Floats:
    """Part / whole, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _weighted(weights: Floats, shares: list[NDArray[Any]], shape: tuple[int, ...]) -> Floats:
    """Sum of V arrays of `shape` under each of the weightings (B, V): (B, *shape)."""
    flat = np.array(shares, float).reshape(len(shares), math.prod(shape))
    return (weights @ flat).reshape(len(weights), *shape)


def _check_sequence(sequence: Sequence, categories: Many[int], protocol: Protocol) -> None:
    unknown = set(sequence.true_classes.tolist() + sequence.pred_classes.tolist()) - set(categories)
    if unknown:
        raise DataError(f"video {sequence.name}: classes {sorted(unknown)} are none of {sorted(categories)}.")
    if protocol == "official" and not sequence.pred_listed.all():
        t, p = np.argwhere(~sequence.pred_listed)[0]
        raise DataError(
            f"video {sequence.name}, predicted track {p}, frame {t}: a null segmentation crashes the published "
            f'evaluator. Give an empty mask instead, or use protocol="paper".'
        )


def _tally_video(sequence: Sequence, categories: Many[int], protocol: Protocol, forgetful: int | None) -> VideoTally:
    """With "paper", all metrics see the video `as_defined`."""
    if protocol == "paper":
        sequence = sequence.as_defined()
    return VideoTally(
        name=sequence.name,
        true_counts=(sequence.true_area > 0).sum(1),
        pred_counts=(sequence.pred_area > 0).sum(1),
        matches=track_map.match(sequence, forgetful),
        hota=hota.tally(sequence, categories),
        fsla=fsla.defined(sequence) if protocol == "paper" else fsla.published(sequence),
    )
