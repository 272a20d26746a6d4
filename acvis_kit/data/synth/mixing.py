"""Random levels, noise and off-screen voices, and the soundtrack of these and the objects' voices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from acvis_kit.data.synth.sounds import Voice
from acvis_kit.data.synth.soundtrack import NOISES, RECORDED, Noise, Part, Soundtrack

NOISY = 0.7  # fraction of clips with background noise
RECORDED_NOISE = 0.7  # fraction of these with a recording, where there are recordings of backgrounds
LEVEL_DB = (-30.0, -17.0)  # dBFS, the common level of a clip's sources; the sum of four stays clear of the limiter
SPREAD_DB = 4.0  # dB, how far a source may lie from the common level: none drowns out the others
NOISE_BELOW_DB = (4.0, 26.0)  # dB of the noise below the common level: every source is 0 to 30 dB above the noise
OFFSCREEN = 0.15  # fraction of seconds with an off-screen sound
OFFSCREEN_RUN = 5.0  # mean length of an off-screen sound, seconds
OFFSCREEN_OF_CLASS_IN_VIEW = 0.08  # fraction of off-screen voices of a class that is in the picture


class Voices(Protocol):
    """A source of voices: the names of its classes, and a random voice of a class."""

    voiced: tuple[str, ...]

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice: ...


class Backgrounds(Protocol):
    """A source of sounds that go on behind a film."""

    def background(self, rng: np.random.Generator) -> Voice | None: ...


def draw_levels(rng: np.random.Generator, count: int) -> tuple[np.ndarray, float]:
    """Random levels in dBFS: of `count` sources, float (count,), and of the noise below them."""
    common = rng.uniform(*LEVEL_DB)
    noise = common - rng.uniform(*NOISE_BELOW_DB)
    return np.round(common + rng.uniform(-SPREAD_DB, SPREAD_DB, count), 2), round(noise, 2)


def draw_noise(rng: np.random.Generator, level_db: float) -> Noise | None:
    """Background noise of a random kind, or none."""
    kind, seed = NOISES[int(rng.integers(len(NOISES)))], int(rng.integers(2**31))
    return Noise(kind, level_db, seed) if rng.random() < NOISY else None


def draw_recorded_noise(rng: np.random.Generator, level_db: float, pool: Backgrounds) -> Noise | None:
    """A recording that goes on in the background, or noise of another kind, or none.

    Args:
        rng: source of all random draws.
        level_db: dBFS.
        pool: source of voices, of recordings or of nothing.
    """
    synthetic, voice = draw_noise(rng, level_db), pool.background(rng)
    if synthetic is None or voice is None or rng.random() >= RECORDED_NOISE:
        return synthetic
    return Noise(RECORDED, level_db, voice=voice)


def draw_runs(rng: np.random.Generator, length: int, share: float, mean_run: float) -> np.ndarray:
    """Random runs of `mean_run` seconds on average that fill a fraction `share` of the time, bool (T,)."""
    begin = share / ((1 - share) * mean_run)
    state, out = rng.random() < share, np.zeros(length, bool)
    for t in range(length):
        out[t] = state
        state = rng.random() >= 1 / mean_run if state else rng.random() < begin
    return out


def draw_offscreen(
    rng: np.random.Generator, length: int, pool: Voices, in_view: Sequence[str], levels: tuple[float, float],
    seconds: np.ndarray | None = None,
) -> Part | None:  # fmt: skip
    """A voice from outside the picture, nearly always of a class that is not in it; None if there is none.

    Args:
        rng: source of all random draws.
        length: seconds of the clip, T.
        pool: source of voices.
        in_view: classes of the scene.
        levels: lowest and highest, dBFS.
        seconds: bool (T,), when it sounds; drawn if None. If given, the class is never one in view.
    """
    outside = [name for name in pool.voiced if name not in in_view]
    from_view = seconds is None and rng.random() < OFFSCREEN_OF_CLASS_IN_VIEW
    names = [name for name in pool.voiced if name in in_view] if from_view else outside
    if seconds is None:
        seconds = draw_runs(rng, length, OFFSCREEN, OFFSCREEN_RUN)
    if not names or not seconds.any():
        return None
    voice = pool.voice(names[int(rng.integers(len(names)))], rng)
    return Part(voice, tuple(bool(s) for s in seconds), round(float(rng.uniform(*levels)), 2), None)


def mix(
    voices: Sequence[Voice], levels: Sequence[float], sounding: np.ndarray, extra: Sequence[Part | None],
    noise: Noise | None,
) -> Soundtrack:  # fmt: skip
    """The soundtrack of N objects that sound in the seconds of `sounding`, bool (N, T), with extra parts and noise."""
    parts = [
        Part(voice, tuple(bool(s) for s in row), float(level), number)
        for number, (voice, level, row) in enumerate(zip(voices, levels, sounding, strict=True))
        if row.any()
    ]
    parts += [part for part in extra if part is not None]
    return Soundtrack(sounding.shape[1], tuple(parts), noise)
