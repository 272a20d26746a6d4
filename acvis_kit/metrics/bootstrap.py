"""Bootstrap intervals of numbers that are measured on few clips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import ConfigError


def bootstrap_intervals(
    sums: NDArray[np.float64],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    level: float = 0.95,
    draws: int = 2000,
    generator: np.random.Generator | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap of m numbers that are computed from n sums over clips; a clip is drawn as a whole.

    The interval is too narrow with few clips or if all clips are perfect; with one clip it is a point.

    Args:
        sums: (clips, n), what each clip adds to each of n sums.
        statistic: takes sums (draws, n), returns numbers (draws, m); NaN where a draw has no number, which is then left
            out.
        level: fraction of the draws inside the interval, in (0, 1).
        draws: number of resamples; each draws as many clips as there are, with replacement.
        generator: by default a new one with seed 0, so that a repeated call gives the same interval.

    Returns:
        Lower and upper ends, (m,) each; NaN where no draw has a number, and without clips.

    Raises:
        ConfigError: `level` or `draws` is outside its range.
    """
    if not 0 < level < 1 or draws < 1:
        raise ConfigError(f"level={level} must be inside (0, 1) and draws={draws} at least 1.")
    generator = np.random.default_rng(0) if generator is None else generator
    clips = len(sums)
    times = generator.multinomial(clips, np.full(clips, 1 / clips), size=draws) if clips else np.zeros((draws, 0))
    numbers = statistic(times @ sums)  # (draws, clips) @ (clips, n)
    ends = np.full((2, numbers.shape[1]), np.nan)
    for column, values in enumerate(numbers.T):
        present = values[~np.isnan(values)]
        if present.size:
            ends[:, column] = np.quantile(present, [(1 - level) / 2, (1 + level) / 2])
    return ends[0], ends[1]
