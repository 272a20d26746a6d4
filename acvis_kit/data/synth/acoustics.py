"""How a recording sounds where it is filmed: the room, the distance, the microphone, the codec.

All of it acts on the whole loop of a recorded voice, whose end continues at its beginning (convolutions are circular),
so that any second of a soundtrack is still the slice of the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import fft

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.synthesis import Signal
from acvis_kit.errors import DataError, brief

WINDOW, HOP = 512, 256  # samples: the codec's blocks, 32 ms
BANDS = 18  # of the codec, equally wide in the square root of frequency
REVERBERANT_TILT = -2.0  # dB per octave above 500 Hz: air and walls absorb high tones
FIRST_ECHO = (0.004, 0.025)  # seconds after the direct sound


@dataclass(frozen=True)
class Acoustics:
    """What happens to a recording between its source and the file of a clip. The default changes nothing.

    Attributes:
        reverberation: seconds in which the room's sound falls by 60 dB; 0: no room.
        low: cut-off frequency of the microphone's high pass, Hz; 0: none.
        high: cut-off frequency of codec and microphone, Hz; 0: none.
        coarse_db: level of the codec's rounding below the sound, dB; 0: none.
        echoes: seed of the room's echoes.
        direct_db: direct sound relative to that of the room, dB: small far away.
        tilt_db: slope of the spectrum, dB per octave.
        bell_hz: centre of one band that is raised or lowered, an octave wide.
        bell_db: by how much.
        rate: speed at which the recording runs.
        pause: seconds; longer pauses of the recording are cut to it.
    """

    reverberation: float = 0.0
    low: float = 0.0
    high: float = 0.0
    coarse_db: float = 0.0
    echoes: int = 0
    direct_db: float = 60.0
    tilt_db: float = 0.0
    bell_hz: float = 1000.0
    bell_db: float = 0.0
    rate: float = 1.0
    pause: float = 0.16

    def to_dict(self) -> dict[str, float]:
        """For JSON: the fields that differ from the default."""
        usual = Acoustics()
        return {name: value for name, value in asdict(self).items() if value != getattr(usual, name)}

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Acoustics:
        """The acoustics of a JSON entry; DataError if it is damaged."""
        try:
            values: dict[str, Any] = {name: float(value) for name, value in entry.items() if name != "echoes"}
            found = cls(echoes=int(entry.get("echoes", 0)), **values)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"acoustics are damaged: {brief(entry)}.") from error
        if not np.isfinite(list(values.values())).all() or found.rate <= 0:
            raise DataError(f"acoustics are damaged: {brief(entry)} needs finite numbers and a rate above 0.")
        return found

    def apply(self, loop: Signal) -> Signal:
        """The loop as it is recorded.

        Args:
            loop: float32 (L,), whose end continues at its beginning.

        Returns:
            float32 (L',), a loop of unit RMS; L' = L / rate.
        """
        if self.rate != 1:
            number = max(round(len(loop) / self.rate), 1)
            loop = np.interp(
                np.arange(number) * (len(loop) / number), np.arange(len(loop) + 1), np.append(loop, loop[0])
            )
        spectrum = fft.rfft(loop.astype(np.float64))
        frequencies = fft.rfftfreq(len(loop), 1 / SAMPLE_RATE)
        if self.reverberation:
            spectrum = spectrum * self._room(len(loop), frequencies)
        heard = fft.irfft(spectrum * self._equaliser(frequencies), len(loop))
        if self.coarse_db:
            heard = coarse(heard, self.coarse_db)
        return (heard / max(float(np.sqrt(np.mean(heard**2))), 1e-9)).astype(np.float32)

    def _room(self, length: int, frequencies: np.ndarray) -> np.ndarray:
        """Spectrum of the direct sound and the echoes, folded to a loop of `length` samples."""
        rng = np.random.default_rng([23, self.echoes])
        first = round(rng.uniform(*FIRST_ECHO) * SAMPLE_RATE)
        time = np.arange(first, first + round(self.reverberation * SAMPLE_RATE))
        echoes = rng.standard_normal(len(time)) * 10 ** (-3 * (time - first) / SAMPLE_RATE / self.reverberation)
        echoes *= 10 ** (-self.direct_db / 20) / np.sqrt((echoes**2).sum())
        folded = fft.rfft(np.bincount(time % length, echoes, length))
        return 1 + folded * 10 ** (REVERBERANT_TILT * np.log2(np.maximum(frequencies, 500) / 500) / 20)

    def _equaliser(self, frequencies: np.ndarray) -> np.ndarray:
        """Gain at each frequency."""
        octaves = np.log2(np.maximum(frequencies, 40) / 1000)
        level_db = self.tilt_db * octaves
        level_db += self.bell_db * np.exp(-2 * (octaves - math.log2(self.bell_hz / 1000)) ** 2)
        gain = 10 ** (level_db / 20)
        if self.low:
            gain /= 1 + (self.low / np.maximum(frequencies, 1)) ** 2
        if self.high:
            gain /= 1 + (frequencies / self.high) ** 12
        return gain


def draw_room(rng: np.random.Generator) -> Acoustics:
    """A random place and microphone, common to all sources of a clip: outdoors, a room, or a hall."""
    place = rng.random()
    seconds = rng.uniform(0.05, 0.2) if place < 0.3 else rng.uniform(0.2, 0.8) if place < 0.8 else rng.uniform(0.8, 1.8)
    high = rng.uniform(5500, 7900) if rng.random() < 0.7 else rng.uniform(3400, 5500)
    coarse_db = rng.uniform(9, 24) if rng.random() < 0.6 else 0.0
    return Acoustics(
        reverberation=round(seconds, 3), low=round(rng.uniform(30, 220)), high=round(high),
        coarse_db=round(coarse_db, 1), echoes=int(rng.integers(2**31)),
    )  # fmt: skip


def draw_source(rng: np.random.Generator, room: Acoustics) -> Acoustics:
    """The room with a random distance, equaliser, speed and longest pause, of one source."""
    pause = 0.16 if rng.random() < 0.5 else rng.uniform(0.2, 0.5)
    return replace(
        room, direct_db=round(rng.uniform(-4, 16), 1), tilt_db=round(rng.uniform(-2.5, 2.5), 2),
        bell_hz=round(2 ** rng.uniform(8, 12.5)), bell_db=round(rng.uniform(-8, 8), 1),
        rate=round(math.exp(rng.uniform(-0.06, 0.06)), 4), pause=round(pause, 2),
    )  # fmt: skip


def coarse(loop: np.ndarray, below_db: float) -> np.ndarray:
    """Round the spectrum of short blocks, band by band, as codecs do; weak lines vanish.

    Args:
        loop: (L,), whose end continues at its beginning.
        below_db: level of the rounding below that of its band and block, dB.

    Returns:
        (L,).
    """
    around = np.pad(loop, (WINDOW, WINDOW + -len(loop) % HOP), mode="wrap")
    window = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW)  # its square sums to 1 at half overlap
    blocks = np.lib.stride_tricks.sliding_window_view(around, WINDOW)[::HOP] * window  # (n, WINDOW)
    lines = fft.rfft(blocks, axis=1)  # (n, WINDOW / 2 + 1)
    band = (np.sqrt(np.linspace(0, 1, lines.shape[1])) * BANDS * 0.999).astype(int)
    edges = np.searchsorted(band, np.arange(BANDS))
    edges = np.unique(edges)
    widths = np.diff(np.append(edges, lines.shape[1]))
    power = np.add.reduceat(np.abs(lines) ** 2, edges, axis=1) / widths  # (n, bands)
    # Rounding adds step^2 / 12 to either part of a line; the windows halve the sound's power, not that of the rounding.
    step = np.sqrt(12 * np.maximum(power, 1e-20)) * 10 ** (-below_db / 20)
    step = np.repeat(step, widths, axis=1)
    rounded = np.round(lines.real / step) * step + 1j * np.round(lines.imag / step) * step
    blocks = fft.irfft(rounded, WINDOW, axis=1) * window
    halves = blocks.reshape(len(blocks), 2, HOP)
    joined = np.zeros((len(blocks) + 1, HOP))
    joined[:-1] += halves[:, 0]
    joined[1:] += halves[:, 1]
    whole = joined.reshape(-1)[WINDOW:]
    out, begin = whole[: len(loop)], min(HOP // 2, len(loop))
    # The rounding does not repeat after the end of the loop: its beginning fades in out of what follows the end.
    ramp = (np.arange(begin) + 0.5) / begin
    out[:begin] = ramp * out[:begin] + (1 - ramp) * whole[len(loop) : len(loop) + begin]
    return out
