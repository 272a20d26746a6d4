"""Where objects are: paths through the frame, sizes, turns, absences, depth; and the drift of camera and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Sizes in pixels at frames of 128: the longer side of the object. Below 24 nothing is drawn.
SIZES = {False: (29.0, 46.0), True: (38.0, 56.0)}  # by "is slender"
SMALLEST = 25.0
TALLEST_SHARE = {False: 50.0, True: 60.0}
FEWEST = 3  # objects that are in the picture at any time


@dataclass(frozen=True)
class Path:
    """One object's way: all float64 (T,), positions of the middle and sizes in pixels, turns in radians.

    Attributes:
        flip: bool (T,), mirrored. stretch: width by height of the drawing, a factor near 1. depth: larger is nearer.
    """

    x: np.ndarray
    y: np.ndarray
    size: np.ndarray
    turn: np.ndarray
    flip: np.ndarray
    stretch: float
    depth: float


@dataclass(frozen=True)
class Camera:
    """Per second, float64: zoom (T,) of at least 1, shift (T, 2) in pixels, light (T, 3) as gains of R, G, B."""

    zoom: np.ndarray
    shift: np.ndarray
    light: np.ndarray


def wave(rng: np.random.Generator, length: int, slow: float = 40.0, fast: float = 10.0) -> np.ndarray:
    """A smooth random curve within about [-1, 1], float64 (T,): two sines of periods between fast and slow seconds."""
    t = np.arange(length)
    periods, phases = rng.uniform(fast, slow, 2), rng.uniform(0, 2 * np.pi, 2)
    weights = rng.dirichlet([1.5, 1.5])
    return (weights[:, None] * np.sin(2 * np.pi * t / periods[:, None] + phases[:, None])).sum(0)


def draw_camera(rng: np.random.Generator, length: int, size: int) -> Camera:
    """Slow pan, zoom and light; still in one clip of three."""
    strength = 0.0 if rng.random() < 0.33 else rng.uniform(0.3, 1.0)
    zoom = 1 + 0.06 * strength * (1 + wave(rng, length))
    shift = 0.05 * size * strength * np.stack([wave(rng, length), wave(rng, length)], 1)
    common, tint = rng.uniform(0.02, 0.16) * wave(rng, length), rng.uniform(0.0, 0.06)
    light = 1 + common[:, None] + tint * np.stack([wave(rng, length) for _ in range(3)], 1)
    return Camera(zoom, shift, light * rng.uniform(0.9, 1.06))


def draw_paths(
    rng: np.random.Generator, slender: list[bool], upright: list[bool], length: int, size: int, wanted: np.ndarray
) -> list[Path]:
    """Ways of N objects.

    Args:
        slender, upright: per object: drawn longer; turned by a little only.
        size: height and width of the frame, pixels.
        wanted: int (T,), objects that are to be in the picture; at least FEWEST are, if there are so many.
    """
    cells = rng.permutation(6)[: len(slender)]
    absent = _draw_absences(rng, len(slender), length, np.maximum(wanted, FEWEST))
    paths = []
    for n, cell in enumerate(cells):
        paths.append(_draw_path(rng, int(cell), slender[n], upright[n], length, size, absent[n]))
    return paths


def _draw_path(
    rng: np.random.Generator, cell: int, slender: bool, upright: bool, length: int, size: int, absent: np.ndarray
) -> Path:
    unit = size / 128
    extent = rng.uniform(*SIZES[slender])
    sizes = np.clip(extent * (1 + rng.uniform(0.05, 0.22) * wave(rng, length)), SMALLEST, TALLEST_SHARE[slender]) * unit
    home = np.array([(cell % 3 + 0.5) / 3, (cell // 3 + 0.5) / 2]) + rng.uniform(-0.07, 0.07, 2)
    goal = home
    if rng.random() < 0.3:  # walks across to another place
        goal = rng.uniform(0.2, 0.8, 2)
    share = np.clip(np.arange(length) / max(length - 1, 1) * rng.uniform(0.8, 1.6), 0, 1)[:, None]
    sway = rng.uniform(0.02, 0.12) * np.stack([wave(rng, length, fast=7.0), wave(rng, length, fast=7.0)], 1)
    place = (home * (1 - share) + goal * share + sway) * size  # (T, 2)
    place = np.clip(place, 0.42 * sizes[:, None], size - 0.42 * sizes[:, None])
    away = _leaving(rng, absent)
    side = 0 if place[:, 0].mean() < size / 2 else 1
    outside = -0.6 * sizes if side == 0 else size + 0.6 * sizes
    x = place[:, 0] * (1 - away) + outside * away
    lean = rng.uniform(-0.25, 0.25) if upright else rng.uniform(-1.2, 1.2)
    swing = rng.uniform(0.05, 0.25) if upright else rng.uniform(0.1, 0.7)
    flip = np.full(length, rng.random() < 0.5)
    for second in np.flatnonzero(rng.random(length) < 0.04):
        flip[second:] = ~flip[second:]
    return Path(
        x, place[:, 1], sizes, lean + swing * wave(rng, length, fast=6.0), flip, rng.uniform(0.9, 1.1), rng.random()
    )


def _draw_absences(rng: np.random.Generator, count: int, length: int, wanted: np.ndarray) -> np.ndarray:
    """Bool (N, T): who is out of the picture; late entries, early exits, and leaving to come back."""
    absent = np.zeros((count, length), bool)
    for n in rng.permutation(count):
        if rng.random() > 0.6:
            continue
        stay = min(max(int(rng.uniform(0.15, 0.45) * length), 2), length - 3)
        first = {0: 0, 1: length - stay}.get(int(rng.integers(4)), int(rng.integers(1, max(length - stay, 2))))
        trial = absent.copy()
        trial[n, first : first + stay] = True
        # one second around it in which the object is partly out
        near = trial.copy()
        near[n, max(first - 1, 0) : first + stay + 1] = True
        if np.all(count - near.sum(0) >= wanted):
            absent = trial
    return absent


def _leaving(rng: np.random.Generator, absent: np.ndarray) -> np.ndarray:
    """How far out of the picture, float64 (T,): 1 outside; on the way in and out something between."""
    away = absent.astype(np.float64)
    for edge in np.flatnonzero(np.diff(absent.astype(int))):
        inside = edge if absent[edge + 1] else edge + 1
        away[inside] = rng.uniform(0.0, 0.6)
    return away
