"""Building blocks of voices: counter-based random numbers, noise, events on a grid of 8 ms, two oscillators.

Everything is a function of absolute time, so that a second can be rendered alone and is bit for bit the slice of the
whole. An event (a note, a bark, a syllable) is derived from the voice's seed and the number of the event. Its envelope,
phase and timbre are given at *control points*, 8 ms apart and counted from its own beginning, with linear interpolation
between them: these numbers do not depend on the second that is rendered.

Shapes: S = 16,000 samples of a second; n control points; P partials; H harmonics; E events.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from acvis_kit.clip import SAMPLE_RATE

Signal = NDArray[np.floating]

BLOCK = 128  # samples between control points, 8 ms
BLOCKS = SAMPLE_RATE // BLOCK  # 125 in a second: whole seconds are whole blocks
STEP = BLOCK / SAMPLE_RATE  # seconds
TABLE = 1024  # samples of one cycle of a wave table
HIGHEST = 7600.0  # Hz; no partial above: the mel bands end at 7500 Hz, the sound at 8000 Hz
NOISE = 2**18  # samples of a noise table, 16 s
# Rows of one product of `partials`. OpenBLAS shares larger products among threads, and their number decides how it
# rounds: the bytes of a clip would depend on the number of cores.
ROWS_AT_ONCE = 32
NOISE_JOIN = SAMPLE_RATE // 20  # samples over which one second's noise fades into the next one's

_RAMP = (np.arange(BLOCK) / BLOCK).astype(np.float32)
_RAMPS = {kind: _RAMP.astype(kind) for kind in "fd"}  # by dtype of the control points
_BLOCK_TIMES = np.arange(BLOCK) / SAMPLE_RATE
# Harmonics with the phases of a quadratic series give a wave with a low crest factor.
_SPREAD = np.exp(2j * np.pi * ((np.arange(TABLE // 2) ** 2 * 0.6180339887498949) % 1.0)).astype(np.complex64)


def draws(seed: int, stream: int, numbers: ArrayLike, count: int) -> NDArray[np.float64]:
    """Random numbers that depend on the arguments alone: uniform in [0, 1), float64 (E, count).

    A hash (SplitMix64, Steele et al. 2014) of the four counters, in numpy's wrapping uint64. Philox would do the same,
    at ten times the cost for the few numbers an event needs.

    Args:
        seed: any integer.
        stream: number of the purpose that the random numbers have.
        numbers: (E,) integers, also negative.
        count: random numbers for each of them.
    """
    state = _key(seed, stream)
    state = _mix(state + np.atleast_1d(np.asarray(numbers, dtype=np.int64)).astype(np.uint64))
    counter = np.arange(1, count + 1, dtype=np.uint64)
    state = _mix(state[:, None] + counter)  # (E, count)
    return (state >> np.uint64(11)) * np.float64(2.0**-53)


@lru_cache(maxsize=4096)
def _key(seed: int, stream: int) -> NDArray[np.uint64]:
    state = _mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], dtype=np.uint64))
    return _mix(state + np.uint64(stream))


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


class Traits:
    """The fixed properties of one voice, drawn from its seed: each call takes the next random number."""

    def __init__(self, seed: int, count: int = 32) -> None:
        self._numbers = iter(_fixed(seed, count))

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._numbers)

    def ratio(self, low: float, high: float) -> float:
        """Between two positive numbers, log-uniform: for pitches and durations."""
        return low * (high / low) ** next(self._numbers)

    def chance(self, probability: float) -> bool:
        return next(self._numbers) < probability

    def one_of(self, options: tuple):
        return options[int(next(self._numbers) * len(options))]


@lru_cache(maxsize=4096)
def _fixed(seed: int, count: int) -> list[float]:
    return draws(seed, 0, 0, count)[0].tolist()


@dataclass(frozen=True)
class Events:
    """The E events that may sound in a second.

    Attributes:
        number: (E,), their numbers.
        following: (E,), number of the next event.
        start: (E,), block in which they begin.
        end: (E,), block in which the next event begins.
        draws: (E, 8), random numbers in [0, 1) for the voice.
    """

    number: NDArray[np.int64]
    following: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    draws: NDArray[np.float64]


def events(
    seed: int, second: int, period: float, split: float = 0.0, jitter: float = 0.15, tail: float = 0.25
) -> Events:
    """The events of an endless sequence that overlap a second.

    Args:
        seed: the voice's seed.
        second: the second, 0 or more.
        period: seconds between two events.
        split: probability that a period is cut in two halves.
        jitter: range of the random shift of a beginning, in periods.
        tail: seconds for which an event may sound after the next one begins.
    """
    first = math.floor((second - tail) / period) - 1
    last = math.ceil((second + 1) / period) + 2
    numbers = np.arange(first, last + 1)
    chances = draws(seed, 1, numbers, 2)
    # each sequence is shifted by a random fraction of a period: voices do not start in step with the seconds
    begins = np.round((numbers + draws(seed, 2, 0, 1)[0, 0] + jitter * (chances[:, 0] - 0.5)) * period / STEP)
    begins = begins.astype(np.int64)
    halves = (begins[:-1] + begins[1:]) // 2
    cut = chances[:-1, 1] < split
    start = np.concatenate([begins, halves[cut]])
    number = np.concatenate([2 * numbers, 2 * numbers[:-1][cut] + 1])
    order = np.argsort(start, kind="stable")
    start, number = start[order], number[order]
    start, end, number, following = start[:-1], start[1:], number[:-1], number[1:]
    near = (start < (second + 1) * BLOCKS) & (end + round(tail / STEP) > second * BLOCKS)
    return Events(number[near], following[near], start[near], end[near], draws(seed, 3, number[near], 8))


def stretch(points: Signal) -> Signal:
    """Control points (n + 1,) interpolated linearly to samples (n * 128,), in their dtype."""
    steps = points[1:] - points[:-1]
    return (points[:-1, None] + steps[:, None] * _RAMPS[points.dtype.char]).reshape(-1)


def cycles(pitch: Signal) -> NDArray[np.float64]:
    """A pitch in Hz at control points (n,) -> the phase there in cycles (n,), 0 at the first."""
    phase = np.zeros(len(pitch))
    np.cumsum((pitch[1:] + pitch[:-1]) * (STEP / 2), out=phase[1:])
    return phase


def envelope(points: int, attack: float, release: float) -> Signal:
    """0 at both ends, 1 between, rising and falling along a raised cosine: float64 (points,); times in seconds."""
    time = np.arange(points) * STEP
    rise = np.clip(time / max(attack, STEP), 0, 1)
    fall = np.clip((time[-1] - time) / max(release, STEP), 0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))


def harmonics(pitch: float) -> Signal:
    """The frequencies in Hz of a pitch's harmonics below 7.6 kHz, float64 (H,), H >= 1."""
    return pitch * np.arange(1, max(1, min(TABLE // 2 - 1, int(HIGHEST / pitch))) + 1)


def resonance(frequency: Signal, centre: ArrayLike, width: ArrayLike) -> Signal:
    """A formant's gain, 1 at its centre, -3 dB at half a width away; all in Hz."""
    return 1 / np.sqrt(1 + ((frequency - np.asarray(centre)) / (0.5 * np.asarray(width))) ** 2)


def unit(amplitudes: Signal) -> Signal:
    """Amplitudes (..., H) scaled so that their sum of sines has an RMS of 1."""
    return amplitudes * np.sqrt(2 / (amplitudes**2).sum(axis=-1, keepdims=True).clip(1e-12))


def wavetable(phase: Signal, amplitudes: Signal, position: Signal | None = None, pulse: bool = False) -> Signal:
    """A sum of harmonics whose amplitudes may change.

    Args:
        phase: float64 (S,), cycles.
        amplitudes: (H,), or (F, H) for a timbre that moves through F spectra.
        position: (S,), 0 .. F - 1, where in the spectra; needed if F > 1.
        pulse: all harmonics in phase, a click per cycle, instead of spread phases.

    Returns:
        float32 (S,). Linear interpolation in a table of 1024: errors 40 dB below a harmonic of number 40.
    """
    amplitudes = np.atleast_2d(amplitudes)
    spectra = np.zeros((len(amplitudes), TABLE // 2 + 1), dtype=np.complex64)
    spectra[:, 1 : amplitudes.shape[1] + 1] = amplitudes * (1 if pulse else _SPREAD[: amplitudes.shape[1]])
    tables = np.empty((len(amplitudes), TABLE + 1), dtype=np.float32)
    tables[:, :-1] = scipy.fft.irfft(spectra, n=TABLE, axis=-1) * np.float32(TABLE / 2)
    tables[:, -1] = tables[:, 0]
    place = (phase - np.floor(phase)) * TABLE
    cell = place.astype(np.int32)
    rest = (place - cell).astype(np.float32)
    np.minimum(cell, TABLE - 1, out=cell)  # a phase just below 1 may round up
    flat = tables.reshape(-1)
    if len(tables) == 1:
        return _between(flat, cell, rest)
    assert position is not None, "several spectra need a position"
    row = np.minimum(position.astype(np.int32), len(tables) - 2)
    blend = (position - row).astype(np.float32)
    cell += row * (TABLE + 1)
    low = _between(flat, cell, rest)
    return low + blend * (_between(flat, cell + (TABLE + 1), rest) - low)


def _between(table: Signal, cell: NDArray[np.int32], rest: Signal) -> Signal:
    low = table[cell]
    return low + rest * (table[cell + 1] - low)


def partials(frequencies: Signal, phases: Signal, levels: Signal) -> Signal:
    """One second of a sum of sines of constant frequency and changing level, as one product of matrices.

    sin(a + b), with a of the block and b of the sample within it, has rank two; a level that is linear within the block
    makes it four.

    Args:
        frequencies: (P,), Hz.
        phases: (P,), cycles at the beginning of the second.
        levels: (P, 126), at control points.

    Returns:
        float32 (16000,).
    """
    loud = levels.max(axis=1, initial=0) > 1e-3
    frequencies, phases, levels = frequencies[loud], phases[loud], levels[loud].astype(np.float32)
    if not len(frequencies):
        return np.zeros(SAMPLE_RATE, dtype=np.float32)
    outer = _turn(phases[:, None] + frequencies[:, None] * (np.arange(BLOCKS) * STEP))  # (P, 125)
    inner = _turn(frequencies[:, None] * _BLOCK_TIMES)  # (P, 128)
    sine, cosine = np.sin(outer), np.cos(outer)
    level, slope = levels[:, :-1], levels[:, 1:] - levels[:, :-1]
    left = np.concatenate([sine * level, cosine * level, sine * slope, cosine * slope])  # (4 P, 125)
    right = np.concatenate([np.cos(inner), np.sin(inner)])
    right = np.concatenate([right, right * _RAMP])  # (4 P, 128)
    wave = left[:ROWS_AT_ONCE].T @ right[:ROWS_AT_ONCE]  # (125, 128)
    for n in range(ROWS_AT_ONCE, len(left), ROWS_AT_ONCE):
        wave += left[n : n + ROWS_AT_ONCE].T @ right[n : n + ROWS_AT_ONCE]
    return wave.reshape(-1)


def _turn(cycle: Signal) -> Signal:
    """Cycles -> radians within one turn, float32: reduced in double precision first."""
    return ((cycle - np.floor(cycle)) * (2 * np.pi)).astype(np.float32)


@dataclass
class Second:
    """One second of one voice: events are added to it, then `finish` returns its samples."""

    seed: int
    number: int
    wave: Signal = field(default_factory=lambda: np.zeros(SAMPLE_RATE, dtype=np.float32))
    _noises: dict[str, Signal] = field(default_factory=dict)

    def play(
        self, start: int, phase: Signal, level: Signal, amplitudes: Signal, position: Signal | None = None,
        pulse: bool = False,
    ) -> None:  # fmt: skip
        """Add a note: a wave table whose phase, level and position (n,) are given from block `start` on."""
        here, there = self._overlap(start, len(phase))
        if here is None:
            return
        moved = None if position is None else stretch(position[there])
        wave = wavetable(stretch(phase[there]), amplitudes, moved, pulse)
        wave *= stretch(level[there].astype(np.float32))
        self.wave[here.start * BLOCK : (here.stop - 1) * BLOCK] += wave

    def hiss(self, start: int, level: Signal, colour: str) -> None:
        """Add noise of a colour with a level (n,) from block `start` on; RMS = level."""
        here, there = self._overlap(start, len(level))
        if here is not None:
            total = self._noises.setdefault(colour, np.zeros(BLOCKS + 1))
            total[here] += level[there]

    def finish(self) -> Signal:
        """The samples, float32 (16000,)."""
        for colour, level in self._noises.items():
            self.wave += noise(colour, self.seed, self.number) * stretch(level.astype(np.float32))
        return self.wave

    def _overlap(self, start: int, points: int) -> tuple[slice | None, slice]:
        """Where control points [start, start + points) lie within the second's 126, and which of them do."""
        offset = start - self.number * BLOCKS
        first, last = max(0, offset), min(BLOCKS + 1, offset + points)
        if last - first < 2:
            return None, slice(0)
        return slice(first, last), slice(first - offset, last - offset)


# Spectra of noise: amplitude at a frequency in Hz.
COLOURS = {
    "white": lambda f: np.ones_like(f),
    "pink": lambda f: 1 / np.sqrt(f.clip(20)),
    "brown": lambda f: f.clip(1) / (f**2 + 40**2),  # 1 / f, without the inaudible part below 40 Hz
    "breath": lambda f: _band(f, 2200, 1.0) + 0.25,
    "hiss": lambda f: _band(f, 5200, 0.45),
    "mouth": lambda f: _band(f, 1400, 1.0),
    "body": lambda f: _band(f, 700, 0.9),
    "knock": lambda f: _band(f, 1100, 0.45),
    "rumble": lambda f: _band(f, 130, 1.0) + 0.1 / np.sqrt(f.clip(50) / 50),
    "thump": lambda f: _band(f, 160, 0.7),
}


def _band(frequency: Signal, centre: float, octaves: float) -> Signal:
    return np.exp(-0.5 * (np.log2(frequency.clip(1) / centre) / octaves) ** 2)


@lru_cache(maxsize=32)
def _noise_table(colour: str) -> Signal:
    """A loop of noise of unit RMS, its first two seconds repeated at its end, float32 (NOISE + 32000,)."""
    rng = np.random.Generator(np.random.Philox(key=sum(colour.encode())))
    spectrum = scipy.fft.rfft(rng.standard_normal(NOISE))
    frequency = np.arange(NOISE // 2 + 1) * (SAMPLE_RATE / NOISE)
    spectrum *= COLOURS[colour](frequency)
    spectrum[0] = 0
    loop = scipy.fft.irfft(spectrum, n=NOISE)
    loop /= np.sqrt((loop**2).mean())
    table = np.concatenate([loop, loop[: 2 * SAMPLE_RATE]]).astype(np.float32)
    table.flags.writeable = False
    return table


def noise(colour: str, seed: int, second: int) -> Signal:
    """One second of noise, RMS 1 on average, without clicks at its borders: float32 (16000,).

    Each second is another stretch of one long loop of noise; the previous second's stretch fades out within 50 ms.
    """
    table = _noise_table(colour)
    before, now = (draws(seed, 4, [second - 1, second], 1)[:, 0] * NOISE).astype(int)
    sound = table[now : now + SAMPLE_RATE].copy()
    fade = (np.arange(NOISE_JOIN) / NOISE_JOIN * (np.pi / 2)).astype(np.float32)
    sound[:NOISE_JOIN] *= np.sin(fade)
    sound[:NOISE_JOIN] += table[before + SAMPLE_RATE : before + SAMPLE_RATE + NOISE_JOIN] * np.cos(fade)
    return sound
