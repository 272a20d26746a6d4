"""The sound of a clip: voices that sound in some of its seconds, and noise.

Any stretch that `Soundtrack.render` returns is bit for bit the slice of the whole; nothing is normalised over time.
Levels are dBFS of the RMS: 0 dB is an RMS of 1. Sums are limited sample by sample (`limit`), never by a gain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.sounds import VOICES, Recordings, Voice, render_second
from acvis_kit.data.synth.synthesis import BLOCKS, STEP, Signal, draws, noise, stretch
from acvis_kit.errors import ConfigError, DataError

FADE = SAMPLE_RATE * 15 // 1000  # samples, 15 ms, inside the sounding second
KNEE = 0.8  # size of a sample up to which the limiter changes nothing
NOISES = ("white", "pink", "brown", "hum", "wind")
RECORDED = "recorded"  # the kind of noise that is a recording


@dataclass(frozen=True)
class Part:
    """One source in the mixture.

    Attributes:
        voice: how it sounds.
        seconds: (T,) flags, the seconds in which it sounds; in the others it contributes exactly 0.
        level_db: RMS in each sounding second, dBFS, -80 .. 0; fades of 15 ms lie inside that second.
        object: index of the scene's object, None for an off-screen source.
    """

    voice: Voice
    seconds: tuple[bool, ...]
    level_db: float
    object: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seconds", tuple(bool(s) for s in self.seconds))
        _check_level(self.level_db)
        if self.voice.source is None and self.voice.class_name not in VOICES:
            raise ConfigError(
                f'no synthetic voice of class "{self.voice.class_name}": choose from {", ".join(VOICES)}.'
            )

    def second(self, second: int, recordings: Recordings | None = None) -> Signal:
        """One of its sounding seconds, float32 (16000,)."""
        wave = render_second(self.voice, second, recordings) * np.float32(10 ** (self.level_db / 20))
        if second == 0 or not self.seconds[second - 1]:
            wave[:FADE] *= _RISE
        if second + 1 == len(self.seconds) or not self.seconds[second + 1]:
            wave[-FADE:] *= _RISE[::-1]
        return wave

    def to_dict(self) -> dict[str, Any]:
        return {
            "voice": self.voice.to_dict(),
            "seconds": [int(s) for s in self.seconds],
            "level_db": self.level_db,
            "object": self.object,
        }


@dataclass(frozen=True)
class Noise:
    """Noise in all seconds of a soundtrack.

    Attributes:
        kind: "white", "pink" (1/f power), "brown" (1/f^2), "hum" (50 or 60 Hz with harmonics), "wind" (brown in gusts);
            "recorded".
        level_db: RMS in dBFS, -80 .. 0; that of wind is reached only over time.
        seed: any integer.
        voice: the recording, with kind "recorded"; else None.
    """

    kind: str
    level_db: float
    seed: int = 0
    voice: Voice | None = None

    def __post_init__(self) -> None:
        _check_level(self.level_db)
        if self.kind not in (*NOISES, RECORDED):
            raise ConfigError(f'unknown kind of noise "{self.kind}": choose from {", ".join((*NOISES, RECORDED))}.')
        if (self.kind == RECORDED) != (self.voice is not None):
            raise ConfigError(f'noise of kind "{self.kind}": give a voice with "{RECORDED}", and only with it.')

    def second(self, second: int, recordings: Recordings | None = None) -> Signal:
        """One second of it, float32 (16000,); errors as in `render_voice`."""
        wave: Signal
        if self.voice is not None:
            wave = render_second(self.voice, second, recordings)
        elif self.kind == "hum":
            wave = _hum(self.seed)
        elif self.kind == "wind":
            wave = noise("brown", self.seed, second) * stretch(_gusts(self.seed, second))
        else:
            wave = noise(self.kind, self.seed, second)
        return wave * np.float32(10 ** (self.level_db / 20))

    def to_dict(self) -> dict[str, Any]:
        entry: dict[str, Any] = {"kind": self.kind, "level_db": self.level_db, "seed": self.seed}
        return entry | ({"voice": self.voice.to_dict()} if self.voice else {})


@dataclass(frozen=True)
class Soundtrack:
    """The sound of a clip: `length` is T seconds, each part has T flags, the noise is in all seconds.

    Raises:
        ConfigError: fewer than one second, or a part of another length.
    """

    length: int
    parts: tuple[Part, ...] = ()
    noise: Noise | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        if self.length < 1:
            raise ConfigError(f"a soundtrack of {self.length} seconds: give 1 or more.")
        for index, part in enumerate(self.parts):
            if len(part.seconds) != self.length:
                raise ConfigError(
                    f"part {index} ({part.voice.class_name}) has {len(part.seconds)} seconds, the soundtrack "
                    f"{self.length}: give one flag per second."
                )

    def render(self, start: int = 0, stop: int | None = None, recordings: Recordings | None = None) -> Signal:
        """Render the seconds [start, stop).

        Args:
            start: first second.
            stop: second after the last, None for the end.
            recordings: source of recorded voices (`recordings.RecordedVoices`), needed if a voice has a `source`.

        Returns:
            float32 (S,), S = (stop - start) * 16000, 16 kHz mono, in [-1, 1]; the same samples as that slice of the
            whole.

        Raises:
            ConfigError: seconds outside the soundtrack; a recorded voice without `recordings`.
        """
        return self.render_seconds(range(start, self.length if stop is None else stop), recordings).reshape(-1)

    def render_seconds(self, seconds: Iterable[int], recordings: Recordings | None = None) -> Signal:
        """Render single seconds, in any order: float32 (n, 16000), in [-1, 1]; errors as in `render`.

        Only parts that sound in a second are synthesised: about 1.5 ms each.
        """
        seconds = [int(second) for second in seconds]
        if outside := [second for second in seconds if not 0 <= second < self.length]:
            raise ConfigError(f"second {outside[0]} of a soundtrack of {self.length}: give 0 .. {self.length - 1}.")
        waves = np.zeros((len(seconds), SAMPLE_RATE), dtype=np.float32)
        for wave, second in zip(waves, seconds, strict=True):
            for part in self.parts:
                if part.seconds[second]:
                    wave += part.second(second, recordings)
            if self.noise is not None:
                wave += self.noise.second(second, recordings)
        return limit(waves)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` is its inverse."""
        return {
            "length": self.length,
            "parts": [part.to_dict() for part in self.parts],
            "noise": None if self.noise is None else self.noise.to_dict(),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Soundtrack:
        """The soundtrack of a JSON entry; DataError if the entry is damaged."""
        try:
            parts = [
                Part(Voice.from_dict(p["voice"]), _flags(p["seconds"]), float(p["level_db"]), p.get("object"))
                for p in entry["parts"]
            ]
            given = entry.get("noise")
            below = None if given is None else _noise_of(given)
            return cls(int(entry["length"]), tuple(parts), below)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(f"a soundtrack's entry is damaged ({error!r}): write it with to_dict().") from error
        except ConfigError as error:
            raise DataError(f"a soundtrack's entry contradicts itself: {error}") from error


def _noise_of(entry: Mapping[str, Any]) -> Noise:
    """The noise of a JSON entry."""
    voice = Voice.from_dict(entry["voice"]) if entry.get("voice") else None
    return Noise(str(entry["kind"]), float(entry["level_db"]), int(entry["seed"]), voice)


def limit(wave: Signal) -> Signal:
    """Limit samples to [-1, 1]: up to a size of 0.8 they are unchanged, above it a tanh bends them towards 1.

    Each sample is limited alone, so that the result does not depend on the stretch that is rendered. The first
    derivative is continuous.
    """
    size = np.abs(wave)
    if size.max(initial=0) <= KNEE:
        return wave
    bent = KNEE + (1 - KNEE) * np.tanh((size - KNEE) / (1 - KNEE))
    return np.where(size <= KNEE, wave, np.copysign(np.minimum(bent, 1), wave)).astype(np.float32)


def _hum(seed: int) -> Signal:
    """Mains hum, 50 or 60 Hz and harmonics, levels from the seed; whole cycles per second, so all seconds are equal."""
    numbers = draws(seed, 20, 0, 17)[0]
    order = np.arange(1, 9)
    level = (0.2 + numbers[:8]) / order**0.7
    level *= np.sqrt(2 / (level**2).sum())
    sample = np.arange(SAMPLE_RATE) * (50 if numbers[16] < 0.5 else 60)
    turns = np.sin(
        2 * np.pi * (sample * order[:, None] % SAMPLE_RATE / SAMPLE_RATE + numbers[8:16, None])
    )  # (8, 16000)
    return (level @ turns).astype(np.float32)


def _gusts(seed: int, second: int) -> Signal:
    """The level of wind at the second's 126 control points: three slow waves in its power; mean square 1 over time."""
    numbers = draws(seed, 21, 0, 6)[0].reshape(2, 3, 1)
    rates = np.array([0.07, 0.19, 0.43])[:, None] * (0.7 + 0.6 * numbers[0])  # Hz
    time = second + np.arange(BLOCKS + 1) * STEP
    waves = np.array([0.45, 0.3, 0.2]) @ np.sin(2 * np.pi * (rates * time + numbers[1]))
    return np.sqrt(1 + waves).astype(np.float32)


def _flags(seconds: Sequence[Any]) -> tuple[bool, ...]:
    return tuple(bool(second) for second in seconds)


def _check_level(level_db: float) -> None:
    if not (math.isfinite(level_db) and -80 <= level_db <= 0):
        raise ConfigError(f"level_db={level_db} must lie between -80 and 0 dBFS.")


_RISE = (0.5 - 0.5 * np.cos(np.pi * np.arange(FADE) / FADE)).astype(np.float32)
