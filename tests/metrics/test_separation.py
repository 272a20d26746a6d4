"""How well a number separates two kinds of frames, on tables small enough to work out by hand."""

from __future__ import annotations

import math

import pytest

from acvis_kit.errors import DataError
from acvis_kit.metrics.separation import rank_auc


def test_it_is_the_fraction_of_pairs_in_order() -> None:
    assert rank_auc([3, 1, 2, 0], [True, False, True, False]) == 1
    assert rank_auc([0, 1, 2, 3], [True, False, True, False]) == 1 / 4  # of four pairs, 2 above 1 is in order
    assert rank_auc([1, 1, 2], [True, False, False]) == 1 / 4  # a tie counts as half
    assert rank_auc([5, 5, 5], [True, False, True]) == 1 / 2


def test_it_is_undefined_without_pairs() -> None:
    assert math.isnan(rank_auc([1, 2], [True, True])) and math.isnan(rank_auc([], []))


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"\(2,\) and flags of \(3,\)"):
        rank_auc([1, 2], [True, False, True])
    with pytest.raises(DataError, match="NaN"):
        rank_auc([1, float("nan")], [True, False])
