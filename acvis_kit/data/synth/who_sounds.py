"""Which objects sound when: a Markov chain over their number, and a choice of objects that follows it.

Twins are two objects of one class of which at most one sounds at a time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# AVISeg's training videos (616, 37,689 frames): fraction of seconds with 0, 1, 2, 3 and "4 or more" sounding objects,
# and of the changes from one second to the next (row: now, column: next). Counted from the annotations, cut at 4.
COUNT_SHARES = np.array([0.0571, 0.36934, 0.4781, 0.06665, 0.02881])
COUNT_TRANSITIONS = np.array(
    [
        [0.6533, 0.3062, 0.0371, 0.0029, 0.0005],
        [0.0472, 0.8576, 0.0906, 0.0044, 0.0002],
        [0.0050, 0.0675, 0.9157, 0.0105, 0.0012],
        [0.0020, 0.0263, 0.0703, 0.8772, 0.0242],
        [0.0037, 0.0028, 0.0281, 0.0486, 0.9167],
    ]
)
# "dense", not from AVISeg: 3 to 6 at once, to test whether a method counts further than AVISeg's data require.
DENSE_LEAST = 3
DENSE_SHARES = np.array([0.3, 0.3, 0.25, 0.15])  # of 3, 4, 5 and 6
DENSE_STAYS = 0.85  # probability that the number stays; else it is drawn again
COUNTS = ("usual", "dense")
SOUNDS_FROM = 0.25  # fraction of an object that must be in view for it to sound
HAND_OVER = 0.06  # probability per second that one object falls silent and another starts
TWIN_WEIGHT = 4.0  # weight of a twin when an object is chosen to start; the others have 1


def draw_counts(rng: np.random.Generator, length: int, counts: str = "usual") -> np.ndarray:
    """Number of sounding objects per second, int (T,): 0..4 as in AVISeg ("usual"), or 3..6 ("dense")."""
    if counts == "dense":
        steps = (1 - DENSE_STAYS) * DENSE_SHARES + DENSE_STAYS * np.eye(len(DENSE_SHARES))
        return DENSE_LEAST + _chain(rng, length, DENSE_SHARES, steps)
    return _chain(rng, length, COUNT_SHARES, COUNT_TRANSITIONS)


def _chain(rng: np.random.Generator, length: int, shares: np.ndarray, transitions: np.ndarray) -> np.ndarray:
    """Random states 0..n - 1 of a Markov chain, int (T,)."""
    draws = rng.random(length)
    states = np.zeros(length, np.int64)
    first = np.cumsum(shares / shares.sum())
    steps = np.cumsum(transitions / transitions.sum(1, keepdims=True), 1)
    for t in range(length):
        states[t] = np.searchsorted(first if t == 0 else steps[states[t - 1]], draws[t], side="right")
    return np.minimum(states, len(shares) - 1)


def draw_sounding(
    rng: np.random.Generator,
    counts: np.ndarray,
    eligible: NDArray[np.bool_],
    twins: tuple[int, int] | None = None,
    fixed: NDArray[np.bool_] | None = None,
    weights: np.ndarray | None = None,
) -> NDArray[np.bool_]:
    """Choose the sounding objects: those that sound go on as long as they can, others start or stop at random.

    Args:
        rng: source of all random draws.
        counts: int (T,), number of objects that are to sound.
        eligible: bool (N, T), which objects are in view far enough to sound.
        twins: indices of the twins, if there are any.
        fixed: bool (N, T), sounding that is decided already; it counts, and these objects get nothing else.
        weights: float (N,), weight of each object in the choice of who starts; 1 by default. A twin's is multiplied by
            TWIN_WEIGHT.

    Returns:
        bool (N, T). Where fewer objects are eligible than the count, fewer sound.
    """
    number, length = eligible.shape
    weights = np.ones(number) if weights is None else weights.astype(np.float64)
    if twins is not None:
        weights[list(twins)] *= TWIN_WEIGHT
    fixed = np.zeros_like(eligible) if fixed is None else fixed
    sounding = fixed.copy()
    free = ~np.any(fixed, axis=1)
    current: list[int] = []
    for t in range(length):
        current = [n for n in current if eligible[n, t]]
        target = max(int(counts[t]) - int(fixed[:, t].sum()), 0)
        while len(current) > target:
            current.pop(int(rng.integers(len(current))))
        if current and len(current) == target and rng.random() < HAND_OVER:
            stopped = current.pop(int(rng.integers(len(current))))
        else:
            stopped = -1
        while len(current) < target:
            candidates = [n for n in range(number) if eligible[n, t] and free[n] and n not in current]
            if twins is not None and any(n in twins for n in current):
                candidates = [n for n in candidates if n not in twins]
            if not candidates:
                break
            if len(candidates) > 1 and stopped in candidates:
                candidates.remove(stopped)
            chances = weights[candidates]
            if chances.sum() == 0:
                break
            current.append(int(rng.choice(candidates, p=chances / chances.sum())))
        sounding[current, t] = True
    return sounding
