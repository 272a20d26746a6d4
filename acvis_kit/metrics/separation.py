"""How well a number separates two kinds of frames."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from acvis_kit.errors import DataError


def rank_auc(values: ArrayLike, positive: ArrayLike) -> float:
    """The probability that a positive has a higher value than another one, ties counted as half; NaN without either.

    It is the area under the ROC curve of `values`, in [0, 1]; 0.5 if they say nothing.

    Args:
        values: float (N,).
        positive: bool (N,).

    Raises:
        DataError: shapes differ, or a value is NaN.
    """
    numbers, flags = np.asarray(values, np.float64), np.asarray(positive)
    if numbers.ndim != 1 or numbers.shape != flags.shape or np.isnan(numbers).any():
        raise DataError(f"values are of shape {numbers.shape} and flags of {flags.shape}: give (N,) each, without NaN.")
    flags = flags.astype(bool)
    high, low = numbers[flags], np.sort(numbers[~flags])
    if not len(high) or not len(low):
        return float("nan")
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / 2 / len(low))
