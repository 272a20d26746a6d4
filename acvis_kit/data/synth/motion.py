"""Motion: paths of objects through the frame, their sizes, turns, absences and depth; drift of camera and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Longer sides of objects in pixels, for frames of 128 x 128. None is below 24.
SIZES = {False: (29.0, 46.0), True: (38.0, 56.0)}  # range of the mean, by "is slender"
SMALLEST = 25.0
TALLEST_SHARE = {False: 50.0, True: 60.0}  # upper limit, by "is slender"
FEWEST = 3  # least number of objects in the picture at any time


@dataclass(frozen=True)
class Path:
    """Motion of one object, float64 (T,) where nothing else is given.

    Attributes:
        x: centre from the left, pixels.
        y: centre from the top, pixels.
        size: longer side, pixels.
        turn: rotation, radians.
        flip: bool (T,), whether it is mirrored.
        stretch: factor near 1 on the drawing's ratio of width to height.
        depth: larger is nearer.
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
    """The camera, float64: zoom (T,) of at least 1, shift (T, 2) in pixels, light (T, 3) as gains of R, G, B."""

    zoom: np.ndarray
    shift: np.ndarray
    light: np.ndarray


def wave(rng: np.random.Generator, length: int, slow: float = 40.0, fast: float = 10.0) -> np.ndarray:
    """A smooth random curve in [-1, 1], float64 (T,): two sines with periods of `fast` to `slow` seconds."""
    t = np.arange(length)
    periods, phases = rng.uniform(fast, slow, 2), rng.uniform(0, 2 * np.pi, 2)
    weights = rng.dirichlet([1.5, 1.5])
    return (weights[:, None] * np.sin(2 * np.pi * t / periods[:, None] + phases[:, None])).sum(0)


def draw_camera(rng: np.random.Generator, length: int, size: int) -> Camera:
    """Slow random pan, zoom and change of light; no pan and zoom in one clip of three."""
    strength = 0.0 if rng.random() < 0.33 else rng.uniform(0.3, 1.0)
    zoom = 1 + 0.06 * strength * (1 + wave(rng, length))
    shift = 0.05 * size * strength * np.stack([wave(rng, length), wave(rng, length)], 1)
    common, tint = rng.uniform(0.02, 0.16) * wave(rng, length), rng.uniform(0.0, 0.06)
    light = 1 + common[:, None] + tint * np.stack([wave(rng, length) for _ in range(3)], 1)
    return Camera(zoom, shift, light * rng.uniform(0.9, 1.06))


def draw_paths(
    rng: np.random.Generator, slender: list[bool], upright: list[bool], length: int, size: int, wanted: np.ndarray
) -> list[Path]:
    """Random paths of N objects.

    Args:
        rng: source of all random draws.
        slender: N flags, whether the object is drawn longer.
        upright: N flags, whether it turns only a little.
        length: seconds, T.
        size: height and width of the frame, pixels.
        wanted: int (T,), number of objects that stay in the picture; at least FEWEST do, where N allows it.
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
    if rng.random() < 0.3:  # moves to another place
        goal = rng.uniform(0.2, 0.8, 2)
    progress = np.clip(np.arange(length) / max(length - 1, 1) * rng.uniform(0.8, 1.6), 0, 1)[:, None]
    sway = rng.uniform(0.02, 0.12) * np.stack([wave(rng, length, fast=7.0), wave(rng, length, fast=7.0)], 1)
    place = (home * (1 - progress) + goal * progress + sway) * size  # (T, 2)
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
    """Which objects are out of the picture, bool (N, T): late entries, early exits, absences in between."""
    absent = np.zeros((count, length), bool)
    for n in rng.permutation(count):
        if rng.random() > 0.6:
            continue
        stay = min(max(int(rng.uniform(0.15, 0.45) * length), 2), length - 3)
        first = {0: 0, 1: length - stay}.get(int(rng.integers(4)), int(rng.integers(1, max(length - stay, 2))))
        trial = absent.copy()
        trial[n, first : first + stay] = True
        # and the second before and after, in which the object is partly out
        near = trial.copy()
        near[n, max(first - 1, 0) : first + stay + 1] = True
        if np.all(count - near.sum(0) >= wanted):
            absent = trial
    return absent


def _leaving(rng: np.random.Generator, absent: np.ndarray) -> np.ndarray:
    """How far the object is out of the picture, float64 (T,): 0 in, 1 out, up to 0.6 next to an absence."""
    away = absent.astype(np.float64)
    for edge in np.flatnonzero(np.diff(absent.astype(int))):
        inside = edge if absent[edge + 1] else edge + 1
        away[inside] = rng.uniform(0.0, 0.6)
    return away
