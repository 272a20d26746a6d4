"""Metrics of counting the sounding objects: accuracy, mean absolute error, confusion, calibration.

A count head predicts 0, 1, ..., K_max, and its highest class means "K_max or more". Truth and predictions are therefore
clamped to K_max before they are compared: all numbers refer to the K_max + 1 classes, and errors among counts above
K_max are not measured. All frames are pooled with equal weight, so a longer video weighs more. Axis: T frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import ConfigError, DataError

SUM_TOLERANCE = 1e-2  # of a row of probabilities, whose sum is off by some thousandths in half precision


@dataclass(frozen=True, eq=False)
class CountScore:
    """Sums from `score_counts`; `score_a + score_b` is the score of both videos together.

    Attributes:
        confusion: int64 (K_max + 1, K_max + 1), frames; rows are the true class, columns the predicted one.
        bin_frames: int64 (bins,), frames whose highest probability is in the bin; 0 without probabilities.
        bin_confidence: float64 (bins,), sum of those probabilities.
        bin_correct: int64 (bins,), number of those frames whose most probable class is right.
    """

    confusion: NDArray[np.int64]
    bin_frames: NDArray[np.int64]
    bin_confidence: NDArray[np.float64]
    bin_correct: NDArray[np.int64]

    @classmethod
    def empty(cls, k_max: int, bins: int = 15) -> CountScore:
        """The score of no frames, to start a sum with.

        Raises:
            ConfigError: `k_max` or `bins` is below 1.
        """
        if k_max < 1 or bins < 1:
            raise ConfigError(f"k_max={k_max} and bins={bins} must both be at least 1.")
        zeros = np.zeros(bins, dtype=np.int64)
        return cls(np.zeros((k_max + 1, k_max + 1), dtype=np.int64), zeros, np.zeros(bins), zeros.copy())

    def __add__(self, other: CountScore) -> CountScore:
        """The pooled score.

        Raises:
            ConfigError: K_max or the numbers of bins differ.
        """
        if (self.k_max, self.bins) != (other.k_max, other.bins):
            raise ConfigError(
                f"cannot pool counts of k_max={self.k_max}, bins={self.bins} with k_max={other.k_max}, "
                f"bins={other.bins}: score both with the same."
            )
        return CountScore(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def k_max(self) -> int:
        return len(self.confusion) - 1

    @property
    def bins(self) -> int:
        return len(self.bin_frames)

    @property
    def frames(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Fraction of the frames whose class of {0, 1, ..., "K_max or more"} is right; NaN without frames."""
        return _ratio(self.confusion.trace(), self.frames)

    @property
    def mean_absolute_error(self) -> float:
        """Mean of |min(predicted, K_max) - min(true, K_max)| over the frames; NaN without frames.

        A lower bound of the true error: with K_max = 2, counts of 3 and 7 are both "2 or more" and differ by 0.
        """
        classes = np.arange(self.k_max + 1)
        return _ratio((self.confusion * abs(classes[:, None] - classes)).sum(), self.frames)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the most probable class, in [0, 1]; NaN without probabilities.

        The mean over bins of equal width of |accuracy - mean highest probability|, weighted by frames (Guo et al., On
        Calibration of Modern Neural Networks, 2017, eq. 5).
        """
        return _ratio(abs(self.bin_correct - self.bin_confidence).sum(), self.bin_frames.sum())

    @property
    def reliability(self) -> dict[str, NDArray]:
        """The reliability curve.

        Returns:
            "edges", float64 (bins + 1,), from 0 to 1; "confidence", the mean highest probability, and "accuracy", the
            fraction of right frames, both float64 (bins,) and NaN in empty bins; "frames", int64 (bins,).
        """
        frames = np.where(self.bin_frames > 0, self.bin_frames, np.nan)
        return {
            "edges": bin_edges(self.bins),
            "confidence": self.bin_confidence / frames,
            "accuracy": self.bin_correct / frames,
            "frames": self.bin_frames,
        }

    def to_dict(self) -> dict[str, Any]:
        """All scores in plain numbers, lists and strings; NaN where undefined."""
        return {
            "k_max": self.k_max,
            "classes": [*map(str, range(self.k_max)), f"{self.k_max}+"],
            "frames": self.frames,
            "accuracy": self.accuracy,
            "mean_absolute_error": self.mean_absolute_error,
            "calibration_error": self.calibration_error,
            "frames_with_probabilities": int(self.bin_frames.sum()),
            "confusion": self.confusion.tolist(),
            "reliability": {key: values.tolist() for key, values in self.reliability.items()},
        }


def score_counts(
    true_counts: ArrayLike,
    count_probs: ArrayLike | None = None,
    predicted_counts: ArrayLike | None = None,
    k_max: int | None = None,
    bins: int = 15,
) -> CountScore:
    """Compare predicted with true counts, frame by frame, of one video or of several concatenated ones.

    Args:
        true_counts: integers (T,) >= 0, number of sounding objects, not clamped.
        count_probs: float (T, K_max + 1), the probabilities of 0, 1, ..., "K_max or more"; needed for calibration.
        predicted_counts: integers (T,) >= 0, clamped here; by default the most probable class of `count_probs` (of
            equal ones the lower). Pass it alone for a model without a count head, e.g. its number of masks per frame,
            or with `count_probs` to score other counts; calibration always refers to `count_probs`.
        k_max: the class that means "or more"; by default that of `count_probs`, required without them.
        bins: number of calibration bins, of equal width on [0, 1]; a probability on an edge belongs to the lower bin.

    Raises:
        ConfigError: no prediction is given, `k_max` is missing or contradicts `count_probs`, or `bins` is below 1.
        DataError: lengths differ, counts are negative or not integers, or rows are not probabilities.
    """
    true = _counts(true_counts, "true_counts")
    probabilities = None if count_probs is None else _probabilities(count_probs, len(true))
    score = CountScore.empty(_k_max(k_max, probabilities), bins)
    if predicted_counts is not None:
        predicted = _counts(predicted_counts, "predicted_counts")
    elif probabilities is not None:
        predicted = probabilities.argmax(1)
    else:
        raise ConfigError("nothing to score: pass count_probs, predicted_counts, or both.")
    if len(predicted) != len(true):
        raise DataError(f"{len(predicted)} predicted counts for {len(true)} true ones: pass one of each per frame.")
    true = np.minimum(true, score.k_max)
    np.add.at(score.confusion, (true, np.minimum(predicted, score.k_max)), 1)
    if probabilities is not None:
        confidence = probabilities.max(1)
        index = np.clip(np.searchsorted(bin_edges(bins), confidence, side="left") - 1, 0, bins - 1)
        np.add.at(score.bin_frames, index, 1)
        np.add.at(score.bin_confidence, index, confidence)
        np.add.at(score.bin_correct, index, probabilities.argmax(1) == true)
    return score


def bin_edges(bins: int) -> NDArray[np.float64]:
    """Edges of bins of equal width, (bins + 1,), from 0 to 1."""
    return np.arange(bins + 1) / bins


def _k_max(given: int | None, probabilities: NDArray | None) -> int:
    if probabilities is None:
        if given is None:
            raise ConfigError("without count_probs it is unknown which count means 'or more': pass k_max.")
        return given
    found = probabilities.shape[1] - 1
    if given not in (None, found):
        raise ConfigError(f"k_max={given}, but count_probs has {found + 1} columns, 0 to {found}: leave k_max out.")
    return found


def _counts(values: ArrayLike, name: str) -> NDArray[np.int64]:
    counts = np.asarray(values)
    if not counts.size:
        counts = counts.astype(np.int64)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise DataError(
            f"{name} is {counts.dtype} {counts.shape}, lowest {counts.min() if counts.size else 'none'}: "
            "pass integers (T,) of at least 0, one per frame."
        )
    return counts.astype(np.int64)


def _probabilities(values: ArrayLike, frames: int) -> NDArray[np.float64]:
    rows = np.asarray(values).astype(np.float64)
    if rows.ndim != 2 or len(rows) != frames or rows.shape[1] < 2:
        raise DataError(
            f"count_probs is of shape {rows.shape} for {frames} true counts: ({frames}, K_max + 1) is needed."
        )
    inside = (rows >= -SUM_TOLERANCE) & (rows <= 1 + SUM_TOLERANCE)
    if not inside.all() or (abs(rows.sum(1) - 1) > SUM_TOLERANCE).any():
        raise DataError(
            "count_probs has rows that are not probabilities, in [0, 1] with sum 1: pass no logits, no NaN."
        )
    return rows.clip(0, 1)


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
