"""Voices: how one instance of a class sounds, second by second.

A voice is a deterministic function of absolute time: any second can be rendered alone, and is bit for bit the slice of
the whole. Its class sets the kind of sound, its seed pitch, timbre and rhythm.

Synthetic voices are in `voices_music` (instruments) and `voices_world` (people, animals, an engine), recorded ones in
`recordings`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth import voices_music, voices_world
from acvis_kit.data.synth.acoustics import Acoustics
from acvis_kit.errors import ConfigError, DataError, brief
from acvis_kit.masks import whole

# Class -> (seed, second) -> float32 (16000,) of about unit RMS.
VOICES: dict[str, Callable[[int, int], NDArray[np.float32]]] = {
    "person": voices_world.person,
    "violin": voices_music.violin,
    "guitar": voices_music.guitar,
    "flute": voices_music.flute,
    "piano": voices_music.piano,
    "accordion": voices_music.accordion,
    "cat": voices_world.cat,
    "car": voices_world.car,
    "saxophone": voices_music.saxophone,
    "dog": voices_world.dog,
    "trumpet": voices_music.trumpet,
    "horse": voices_world.horse,
}

EDGE = SAMPLE_RATE * 6 // 100  # samples at either end of a second over which its gain goes back to 1
GAINS = (0.1, 10.0)  # allowed range of that gain


@dataclass(frozen=True)
class Voice:
    """How one instance sounds: pitch, timbre and rhythm follow from class and seed.

    Attributes:
        class_name: one of `VOICES`, or any class of a folder of recordings.
        seed: any integer; for a recording it sets the starting point.
        source: file of a recorded voice, relative to the folder of recordings; None for a synthetic one.
        acoustics: what its room, microphone and codec do to a recorded voice; None: nothing.
    """

    class_name: str
    seed: int
    source: str | None = None
    acoustics: Acoustics | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: {"class", "seed"}, "source" if it is recorded, and "acoustics" if it has any."""
        entry: dict[str, Any] = {"class": self.class_name, "seed": self.seed}
        entry |= {"source": self.source} if self.source else {}
        return entry | ({"acoustics": self.acoustics.to_dict()} if self.acoustics else {})

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Voice:
        """The voice of a JSON entry; DataError if it lacks a key."""
        seed = whole(entry.get("seed")) if isinstance(entry, Mapping) else None
        if seed is None or not isinstance(entry.get("class"), str) or not isinstance(entry.get("source"), str | None):
            raise DataError(
                f'the entry of a voice is damaged: {brief(entry)} needs "class" (a name), "seed" (an integer) and, if '
                'it is recorded, "source" (a file).'
            )
        acoustics = entry.get("acoustics")
        return cls(
            entry["class"], seed, entry.get("source"), None if acoustics is None else Acoustics.from_dict(acoustics)
        )


class Recordings(Protocol):
    """A source of recorded voices, see `recordings.RecordedVoices`."""

    def second(self, voice: Voice, second: int) -> NDArray[np.float32]: ...


def render_voice(voice: Voice, start: int, stop: int, recordings: Recordings | None = None) -> NDArray[np.float32]:
    """The sound of a voice in the seconds [start, stop), without long pauses.

    Args:
        voice: the voice.
        start: first second, 0 or more.
        stop: second after the last, at least `start`.
        recordings: source of recorded voices, needed if the voice has a `source`.

    Returns:
        float32 (S,), S = (stop - start) * 16000, RMS 1 in every second; not limited to [-1, 1].

    Raises:
        ConfigError: a class without a synthetic voice, or a recorded voice without `recordings`.
    """
    if not 0 <= start <= stop:
        raise ConfigError(f"seconds [{start}, {stop}): give 0 <= start <= stop.")
    seconds = [render_second(voice, second, recordings) for second in range(start, stop)]
    return np.concatenate(seconds) if seconds else np.zeros(0, dtype=np.float32)


def render_second(voice: Voice, second: int, recordings: Recordings | None = None) -> NDArray[np.float32]:
    """One second of a voice, float32 (16000,), RMS 1; arguments and errors as in `render_voice`."""
    if voice.source is not None:
        if recordings is None:
            raise ConfigError(f"the voice {voice.source} is recorded: pass recordings=RecordedVoices(FOLDER).")
        return level_out(recordings.second(voice, second))
    if voice.class_name not in VOICES:
        raise ConfigError(
            f'there is no synthetic voice of class "{voice.class_name}": choose from {", ".join(VOICES)}.'
        )
    return level_out(VOICES[voice.class_name](_own_seed(voice), second))


def level_out(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring a second's RMS to 1 by a gain that is 1 at both ends.

    Thus a second does not depend on its neighbours, and there is no jump between them. With the gain
    1 + g w(t), where w rises from 0 to 1 over 60 ms at either end, the mean square is quadratic in g.

    Args:
        wave: float32 (16000,), about unit RMS already.

    Returns:
        float32 (16000,).
    """
    weighted = wave * _INNER
    square = float(wave @ wave) / len(wave)
    cross = float(wave @ weighted) / len(wave)
    inner = float(weighted @ weighted) / len(wave)
    if inner < 1e-12:
        return wave
    root = max(0.0, cross * cross - inner * (square - 1))
    gain = (-cross + root**0.5) / inner
    return wave + np.float32(np.clip(gain, GAINS[0] - 1, GAINS[1] - 1)) * weighted


def _own_seed(voice: Voice) -> int:
    """A seed that also depends on the class: voices of two classes with the same seed are unrelated."""
    return (zlib.crc32(voice.class_name.encode()) << 32) + voice.seed


def _inner() -> NDArray[np.float32]:
    ramp = np.minimum(1.0, np.arange(SAMPLE_RATE) / EDGE)
    return np.minimum(ramp, ramp[::-1]).astype(np.float32)


_INNER = _inner()
