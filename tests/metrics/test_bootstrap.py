"""Bootstrap intervals over clips."""

import numpy as np
import pytest

from acvis_kit.errors import ConfigError
from acvis_kit.metrics.bootstrap import bootstrap_intervals


def ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return sums[:, :1] / sums[:, 1:]


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution() -> None:
    """400 clips of one frame, half right: the mean's standard error is 1/40, its 95 % interval 1/2 +- 1.96/40."""
    sums = np.column_stack([np.arange(400) % 2, np.ones(400)])
    low, high = bootstrap_intervals(sums, ratio, draws=20_000)
    assert low == pytest.approx([1 / 2 - 1.96 / 40], abs=0.004)
    assert high == pytest.approx([1 / 2 + 1.96 / 40], abs=0.004)


def test_clips_are_drawn_as_a_whole() -> None:
    """Two clips, 0 of 1 and 3 of 3 frames right: a draw gives 0/2, 3/4 or 6/6, with probability 1/4, 1/2, 1/4."""
    sums = np.array([[0.0, 1.0], [3.0, 3.0]])
    low, high = bootstrap_intervals(sums, ratio, level=0.4)
    assert (low, high) == (3 / 4, 3 / 4)
    low, high = bootstrap_intervals(sums, ratio)
    assert (low, high) == (0, 1)


def test_the_generator_determines_the_interval() -> None:
    sums = np.random.default_rng(1).random((9, 2))
    first, again = bootstrap_intervals(sums, ratio), bootstrap_intervals(sums, ratio)
    other = bootstrap_intervals(sums, ratio, generator=np.random.default_rng(5))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_draws_without_a_number_are_left_out_and_ends_without_any_are_nan() -> None:
    assert bootstrap_intervals(np.array([[1.0, 2.0], [0.0, 0.0]]), ratio)[0] == 1 / 2
    for nothing in (np.zeros((3, 2)), np.zeros((0, 2))):
        assert np.isnan(bootstrap_intervals(nothing, ratio)).all()


def test_one_clip_gives_a_point() -> None:
    low, high = bootstrap_intervals(np.array([[1.0, 3.0]]), ratio)
    assert low == high == pytest.approx(1 / 3)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 0.0}, {"draws": 0}])
def test_a_level_or_number_of_draws_outside_its_range_is_an_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be inside"):
        bootstrap_intervals(np.ones((2, 2)), ratio, **wrong)
