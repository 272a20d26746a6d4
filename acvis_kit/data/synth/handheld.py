"""The camera of a filmed scene: it moves, zooms, shakes and rolls over scenery; some clips are cut once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from acvis_kit.data.synth.motion import wave

# Kinds of moves: probability, drift (fraction of the free room), change of zoom, shake (fraction of the frame).
MOVES = {
    "tripod": (0.2, 0.0, 0.0, 0.001),
    "hand": (0.4, 0.45, 0.08, 0.012),
    "pan": (0.2, 1.0, 0.05, 0.006),
    "zoom": (0.2, 0.2, 0.4, 0.005),
}
CUT = 0.15  # fraction of clips of 4 s or more with a cut to another view
WIDE = 0.2  # fraction of clips in which the camera moves so far that objects leave the frame
ROLL = 0.04  # radians, usual
TILTED = 0.05  # fraction of clips filmed with a phone that is not upright
SMEAR = 2.2  # pixels at 256 x 256 that the picture moves during an exposure, per percent of shake, at most


@dataclass(frozen=True)
class Move:
    """A camera over scenery for T seconds, float64.

    Attributes:
        middle: (T, 2), x and y of what it looks at, pixels of the scenery.
        side: (T,), pixels of the scenery that it sees.
        roll: (T,), radians.
        smear: (T, 2), motion during the exposure, pixels of the frame.
    """

    middle: np.ndarray
    side: np.ndarray
    roll: np.ndarray
    smear: np.ndarray

    def see(self, scenery: Image.Image, t: int, size: int, resample: Image.Resampling) -> Image.Image:
        """The frame of second t, size x size."""
        scale = float(self.side[t]) / size
        cos, sin = scale * np.cos(self.roll[t]), scale * np.sin(self.roll[t])
        x, y = self.middle[t]
        half = size / 2
        data = (cos, -sin, x - cos * half + sin * half, sin, cos, y - sin * half - cos * half)
        return scenery.transform((size, size), Image.Transform.AFFINE, data, resample)


def draw_margin(rng: np.random.Generator) -> float:
    """Side of the scenery, relative to what the camera sees at once."""
    return rng.uniform(1.7, 2.0) if rng.random() < WIDE else rng.uniform(1.15, 1.45)


def draw_move(rng: np.random.Generator, length: int, scenery: int, margin: float, size: int) -> Move:
    """A random move over scenery of `scenery` pixels; frames have `size` pixels."""
    kind = list(MOVES)[int(rng.choice(len(MOVES), p=[row[0] for row in MOVES.values()]))]
    _, drift, zoom, shake = MOVES[kind]
    window = scenery / margin
    change = rng.uniform(0.3, 1.0) * zoom * (wave(rng, length) if kind == "hand" else _ramp(rng, length))
    side = window * np.exp(change)
    path = np.stack([_ramp(rng, length) if kind == "pan" else wave(rng, length, fast=5.0) for _ in range(2)], 1)
    path *= drift * rng.uniform(0.4, 1.0) * (scenery - window) / 2 * np.array([1.0, rng.uniform(0.1, 0.8)])
    shake *= rng.uniform(0.2, 1.5)
    path += rng.standard_normal((length, 2)) * shake * window
    if length >= 4 and rng.random() < CUT:
        at = int(rng.integers(2, length - 1))
        side[at:] *= np.exp(rng.uniform(-0.5, 0.2))
        path[at:] += rng.uniform(-0.25, 0.25, 2) * (scenery - side[at])
    base = rng.uniform(-0.3, 0.3) if rng.random() < TILTED else rng.normal() * ROLL * (kind != "tripod")
    roll = base + rng.standard_normal(length) * shake
    turned = np.abs(np.cos(roll)) + np.abs(np.sin(roll))
    side = np.minimum(side, 0.98 * scenery / turned)
    reach = side * turned / 2
    middle = np.clip(scenery / 2 + path, reach[:, None], scenery - reach[:, None])
    smear = rng.standard_normal((length, 2)) * min(100 * shake, 1.0) * SMEAR * size / 256
    return Move(middle, side, roll, smear)


def _ramp(rng: np.random.Generator, length: int) -> np.ndarray:
    """From one end to the other in a part of the time, float64 (T,) in [-1, 1]."""
    begin, end = np.sort(rng.uniform(-0.2, 1.2, 2)) * max(length - 1, 1)
    way = np.clip((np.arange(length) - begin) / max(end - begin, 1.0), 0, 1)
    return (2 * way * way * (3 - 2 * way) - 1) * (1 if rng.random() < 0.5 else -1)
