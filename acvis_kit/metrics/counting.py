"""How well a model counts the objects that sound: accuracy, mean absolute error, confusion, calibration.

A count head tells 0, 1, ..., K_max, and its highest class means "K_max or more". Truth and predictions are therefore
clamped to K_max before anything is compared: all numbers here are about the K_max + 1 classes, and nothing is known of
how far off a count above K_max is. Everything is pooled by seconds: every second weighs the same, a longer video more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import ConfigError, DataError

SUM_TOLERANCE = 1e-2  # by how much a row of probabilities may miss 1: half precision does by some thousandths


@dataclass(frozen=True, eq=False)
class CountScore:
    """What `score_counts` counted, in sums that add up: `score_a + score_b` is the score of both videos together.

    Attributes:
        confusion: int64 (K_max + 1, K_max + 1), seconds; rows are the true class, columns the predicted one.
        bin_frames: int64 (bins,), seconds whose winning probability fell into the bin; none without probabilities.
        bin_confidence: float64 (bins,), sum of those probabilities.
        bin_correct: int64 (bins,), how many of those seconds had the winning class right.
    """

    confusion: NDArray[np.int64]
    bin_frames: NDArray[np.int64]
    bin_confidence: NDArray[np.float64]
    bin_correct: NDArray[np.int64]

    @classmethod
    def empty(cls, k_max: int, bins: int = 15) -> CountScore:
        """The score of no seconds: what to start a sum with."""
        if k_max < 1 or bins < 1:
            raise ConfigError(f"k_max={k_max} and bins={bins} must both be at least 1.")
        whole = np.zeros(bins, dtype=np.int64)
        return cls(np.zeros((k_max + 1, k_max + 1), dtype=np.int64), whole, np.zeros(bins), whole.copy())

    def __add__(self, other: CountScore) -> CountScore:
        """The score of both.

        Raises:
            ConfigError: another K_max or number of bins.
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
        """Share of the seconds whose class of {0, 1, ..., "K_max or more"} is right; NaN without seconds."""
        return _share(self.confusion.trace(), self.frames)

    @property
    def mean_absolute_error(self) -> float:
        """Mean of |min(predicted, K_max) - min(true, K_max)| over the seconds; NaN without seconds.

        Counts of 3 and 7 are both "2 or more" to K_max = 2 and differ by 0: a lower bound of the error of the counts.
        """
        classes = np.arange(self.k_max + 1)
        return _share((self.confusion * abs(classes[:, None] - classes)).sum(), self.frames)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the winning class, in [0, 1]; NaN without probabilities.

        Over bins of equal width, the mean of |share right - mean winning probability|, weighted by seconds (Guo et al.,
        On Calibration of Modern Neural Networks, 2017, eq. 5).
        """
        return _share(abs(self.bin_correct - self.bin_confidence).sum(), self.bin_frames.sum())

    @property
    def reliability(self) -> dict[str, NDArray]:
        """The reliability curve, to be plotted.

        Returns:
            "edges" float64 (bins + 1,) from 0 to 1; per bin "confidence", the mean winning probability, and "accuracy",
            the share right, both float64 (bins,) and NaN in empty bins; "seconds" int64 (bins,).
        """
        below = np.where(self.bin_frames > 0, self.bin_frames, np.nan)
        return {
            "edges": bin_edges(self.bins),
            "confidence": self.bin_confidence / below,
            "accuracy": self.bin_correct / below,
            "frames": self.bin_frames,
        }

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain numbers, lists and strings; NaN where undefined."""
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
    """Compare counts, second by second, of one video or of several put end to end.

    Args:
        true_counts: integers (T,) >= 0, as they are (not clamped): how many objects sound.
        count_probs: float (T, K_max + 1), the probabilities of 0, 1, ..., "K_max or more"; needed for calibration.
        predicted_counts: integers (T,) >= 0, clamped here; by default the winning class of `count_probs` (the lower
            one of equals). Give it alone for a model without a count head, e.g. its number of masks per second, or
            beside `count_probs` to judge other counts than the winning class; calibration is of `count_probs` always.
        k_max: the class that means "or more"; by default that of `count_probs`, needed without them.
        bins: of equal width on [0, 1], for the calibration; a probability on an edge belongs to the bin below.

    Raises:
        ConfigError: neither prediction given, no `k_max`, one that contradicts `count_probs`, or no bins.
        DataError: lengths that differ, counts that are not whole or negative, rows that are not probabilities.
    """
    true = _counts(true_counts, "true_counts")
    probabilities = None if count_probs is None else _probabilities(count_probs, len(true))
    score = CountScore.empty(_k_max(k_max, probabilities), bins)
    if predicted_counts is not None:
        predicted = _counts(predicted_counts, "predicted_counts")
    elif probabilities is not None:
        predicted = probabilities.argmax(1)
    else:
        raise ConfigError("nothing to score: give count_probs, predicted_counts, or both.")
    if len(predicted) != len(true):
        raise DataError(f"{len(predicted)} predicted counts for {len(true)} true ones: one of each per second.")
    true = np.minimum(true, score.k_max)
    np.add.at(score.confusion, (true, np.minimum(predicted, score.k_max)), 1)
    if probabilities is not None:
        winning = probabilities.max(1)
        place = np.clip(np.searchsorted(bin_edges(bins), winning, side="left") - 1, 0, bins - 1)
        np.add.at(score.bin_frames, place, 1)
        np.add.at(score.bin_confidence, place, winning)
        np.add.at(score.bin_correct, place, probabilities.argmax(1) == true)
    return score


def bin_edges(bins: int) -> NDArray[np.float64]:
    """(bins + 1,), from 0 to 1."""
    return np.arange(bins + 1) / bins


def _k_max(given: int | None, probabilities: NDArray | None) -> int:
    if probabilities is None:
        if given is None:
            raise ConfigError("without count_probs nothing says which count means 'or more': give k_max.")
        return given
    own = probabilities.shape[1] - 1
    if given not in (None, own):
        raise ConfigError(f"k_max={given}, but count_probs has {own + 1} columns, of 0 to {own}: leave k_max out.")
    return own


def _counts(values: ArrayLike, name: str) -> NDArray[np.int64]:
    counts = np.asarray(values)
    if not counts.size:
        counts = counts.astype(np.int64)
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise DataError(
            f"{name} is {counts.dtype} {counts.shape}, lowest {counts.min() if counts.size else 'none'}: "
            "integers (T,) from 0 are needed, one per second."
        )
    return counts.astype(np.int64)


def _probabilities(values: ArrayLike, seconds: int) -> NDArray[np.float64]:
    rows = np.asarray(values).astype(np.float64)
    if rows.ndim != 2 or len(rows) != seconds or rows.shape[1] < 2:
        raise DataError(
            f"count_probs is of shape {rows.shape} for {seconds} true counts: ({seconds}, K_max + 1) is needed."
        )
    inside = (rows >= -SUM_TOLERANCE) & (rows <= 1 + SUM_TOLERANCE)
    if not inside.all() or (abs(rows.sum(1) - 1) > SUM_TOLERANCE).any():
        raise DataError("count_probs has rows that are not probabilities, in [0, 1] with sum 1: not logits, no NaN.")
    return rows.clip(0, 1)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
