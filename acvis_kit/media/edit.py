"""`AudioEdit`: mutes, swaps, mixes, shifts or cuts the sound of a clip before a model receives it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import ConfigError, DataError, brief, kind_of
from acvis_kit.media.limits import DAY, check_number
from acvis_kit.media.sound import MAX_SOUND_SECONDS, fit_length, is_silent, read_stretch

SOUNDING_BLOCK = SAMPLE_RATE // 50  # samples, 20 ms: the blocks that are classified as sound or pause
SOUNDING_RANGE = 40.0  # dB: blocks this far below the loudest one are pauses
DECIBELS = (-200.0, 200.0)  # gains and ratios that are accepted
REFERENCE_RMS = 0.1  # -20 dB of full scale, a usual level of speech: reference for noise on silence
GRAMMAR = "original | mute | swap:FILE[@OFFSET] | mix:FILE[@DB] | noise:DB | gain:DB | shift:SECONDS | keep:START-END"

UNNAMED = ("source", "db", "seconds", "start", "end")  # arguments that are displayed without their names

SoundSource = str | Path | Clip | Tensor | np.ndarray


class _edit:
    """A method that appends an edit, on an instance or on the class: AudioEdit.mute() is AudioEdit().mute()."""

    def __init__(self, method: Callable[..., AudioEdit]):
        self.method = method
        update_wrapper(self, method)  # type: ignore[arg-type]  # a descriptor, not a function: only its docstring counts

    def __get__(self, instance: AudioEdit | None, owner: type[AudioEdit]) -> Callable[..., AudioEdit]:
        return self.method.__get__(owner() if instance is None else instance, owner)


@dataclass(frozen=True, repr=False)
class AudioEdit:
    """A sequence of edits of a clip's sound: AudioEdit.swap("dog.wav").noise(snr_db=10).

    Immutable; every edit returns a longer sequence and can be called on the class to begin one. Without edits it is the
    original sound. The result may exceed [-1, 1]: the model receives it as it is, `write_video` clips it.

    Every edit raises a ConfigError for a number outside its range; sound files are read by `apply`. Its steps are data:
    it can be printed, compared and pickled.
    """

    steps: tuple[EditStep, ...] = ()

    def __post_init__(self) -> None:
        if not (isinstance(self.steps, tuple) and all(isinstance(step, EditStep) for step in self.steps)):
            raise ConfigError(f"AudioEdit({brief(self.steps)}): write AudioEdit.mute(), or AudioEdit.parse('mute').")

    def apply(self, clip: Clip) -> Tensor:
        """The edited sound of the clip, float32 (S,), 16 kHz, of exactly the length of `clip.waveform`.

        Raises:
            MediaError: a file of `swap` or `mix` that cannot be read or has no sound.
            ConfigError: `keep` of seconds that the clip does not have.
            DataError: no clip.
        """
        return self.applied(clip)[0]

    def applied(self, clip: Clip) -> tuple[Tensor, tuple[str, ...]]:
        """What `apply` returns, and a note about every other sound in which nothing can be heard."""
        if not isinstance(clip, Clip):
            raise DataError(f"{kind_of(clip)} has no sound to edit: give a Clip.")
        sound = clip.waveform.to(torch.float32).clone()
        notes: list[str] = []
        for step in self.steps:
            sound = step.change(sound, clip, notes)
        return sound, tuple(notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of other sounds, of `swap` and `mix`."""
        others = [one for step in self.steps for one in step.arguments if isinstance(one, OtherSound)]
        return tuple(file for other in others for file in other.files)

    @_edit
    def original(self) -> AudioEdit:
        """The clip's own sound: undoes all earlier edits."""
        return self._then("original")

    @_edit
    def mute(self) -> AudioEdit:
        """Silence."""
        return self._then("mute")

    @_edit
    def swap(self, source: SoundSource, offset: float = 0.0, loop: bool = False) -> AudioEdit:
        """Another sound instead.

        Args:
            source: a sound or video file, a Clip, or a float waveform (S,) or (channels, S) at 16 kHz. A clip without
                sound is silence.
            offset: second of the source at which to begin; a negative one delays the source by as much.
            loop: repeat the source when it ends, instead of continuing with silence.
        """
        return self._then("swap", OtherSound.of(source), _seconds(offset, "offset"), _flag(loop, "loop"))

    @_edit
    def mix(self, source: SoundSource, gain_db: float = 0.0, offset: float = 0.0, loop: bool = False) -> AudioEdit:
        """Another sound added, made louder by `gain_db`; the other arguments are as in `swap`."""
        return self._then(
            "mix", OtherSound.of(source), _decibels(gain_db, "gain_db"), _seconds(offset, "offset"), _flag(loop, "loop")
        )

    @_edit
    def noise(self, snr_db: float, seed: int = 0) -> AudioEdit:
        """White Gaussian noise throughout, `snr_db` dB below the sound so far.

        The level of the sound is the RMS of its sounding part (20 ms blocks within 40 dB of the loudest), so that
        pauses do not weaken the noise; for a silent clip it is 0.1. The same `seed` gives the same noise.
        """
        check_number("seed", seed, 0, 2**63 - 1)
        return self._then("noise", _decibels(snr_db, "snr_db"), int(seed))

    @_edit
    def gain(self, db: float) -> AudioEdit:
        """Louder by `db` decibels; softer if negative."""
        return self._then("gain", _decibels(db, "db"))

    @_edit
    def shift(self, seconds: float) -> AudioEdit:
        """Later by `seconds`, earlier if negative; silence fills the gap, nothing wraps around."""
        return self._then("shift", _seconds(seconds, "seconds"))

    @_edit
    def keep(self, start: float = 0.0, end: float | None = None) -> AudioEdit:
        """Silence outside [start, end) seconds of the file; `end` None is the end of the clip.

        Seconds count from the beginning of the file, as in the tables of a prediction, wherever in it the clip begins
        (`Clip.start`); a clip from arrays begins at 0.
        """
        first = _seconds(start, "keep.start", low=0)
        last = None if end is None else _seconds(end, "keep.end", low=0)
        if last is not None and last <= first:
            raise ConfigError(f"keep from {first:g} to {last:g} s: the end must be later than start.")
        return self._then("keep", first, last)

    @classmethod
    def parse(cls, edits: str | Iterable[str]) -> AudioEdit:
        """Edits in the syntax of the command line, one string or several in order.

        `original | mute | swap:FILE[@OFFSET] | mix:FILE[@DB] | noise:DB | gain:DB | shift:SECONDS | keep:START-END`. A
        file name may contain ":" and "@": only a number after the last "@" is an offset or a gain, unless a file of the
        whole name exists. `keep:2-` keeps the sound from second 2 of the file on.

        Raises:
            ConfigError: an edit that does not follow this grammar, or a number outside its range.
        """
        recipe = cls()
        several = isinstance(edits, Iterable) and not isinstance(edits, str | Tensor | np.ndarray)
        texts: list[Any] = list(edits) if several else [edits]
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise ConfigError(f"the edit {brief(wrong[0])} is no text: write {GRAMMAR}.")
        for text in texts:
            recipe = _append_parsed(recipe, text)
        return recipe

    def _then(self, name: str, *arguments: Any) -> AudioEdit:
        return AudioEdit((*self.steps, EditStep(name, arguments)))

    def __repr__(self) -> str:
        return ".".join(["AudioEdit", *([repr(step) for step in self.steps] or ["original()"])])


@dataclass(frozen=True, repr=False)
class EditStep:
    """One edit as data.

    Attributes:
        name: of the method of `AudioEdit`.
        arguments: of that method, in its order, the other sound as an `OtherSound`.
    """

    name: str
    arguments: tuple[Any, ...] = ()

    def change(self, sound: Tensor, clip: Clip, notes: list[str]) -> Tensor:
        """The sound so far (S,) -> the edited sound (S,); `clip` has the original one, `notes` are added to."""
        arguments = self.arguments
        if arguments and isinstance(arguments[0], OtherSound):
            source, *numbers, offset, loop = arguments
            arguments = (source.fill(len(sound), offset, loop, notes), *numbers)
        return CHANGES[self.name](sound, clip, *arguments)

    def __repr__(self) -> str:
        """The call, without arguments that have their default."""
        shown = []
        parameters = signature(getattr(AudioEdit, self.name)).parameters.values()
        for parameter, value in zip(parameters, self.arguments, strict=True):
            text = f"{value:.12g}" if isinstance(value, float) else repr(value)
            if parameter.name in UNNAMED and value is not None:
                shown.append(text)
            elif value != parameter.default:
                shown.append(f"{parameter.name}={text}")
        return f"{self.name}({', '.join(shown)})"


class OtherSound:
    """Another sound, in a file (read on demand) or in memory. Equal are the same file, or the same samples.

    Attributes:
        sound: path of the file, or float32 (S,) at 16 kHz.
        label: how it is displayed.
        files: that it is read from, or was.
    """

    def __init__(self, sound: Path | Tensor, label: str, files: tuple[Path, ...] = ()) -> None:
        self.sound, self.label, self.files = sound, label, files

    @classmethod
    def of(cls, source: SoundSource) -> OtherSound:
        if isinstance(source, str | Path):
            return cls(Path(source), repr(str(source)), (Path(source),))
        if isinstance(source, Clip):
            name = source.source.name if source.source else f"of {source.duration:g} s"
            return cls(source.waveform.to("cpu", torch.float32), f"<clip {name}>", source.sources)
        try:
            samples = torch.as_tensor(source)
        except (TypeError, ValueError, RuntimeError):
            raise ConfigError(f"a sound cannot be {kind_of(source)}: give a waveform, a file, or a Clip.") from None
        mono = _mono(samples)
        return cls(mono, f"<waveform of {len(mono) / SAMPLE_RATE:g} s>")

    def __repr__(self) -> str:
        return self.label

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OtherSound):
            return NotImplemented
        if isinstance(self.sound, Tensor) and isinstance(other.sound, Tensor):
            return torch.equal(self.sound, other.sound)
        return self.sound is other.sound or (isinstance(self.sound, Path) and self.sound == other.sound)

    def __hash__(self) -> int:
        return hash(self.sound if isinstance(self.sound, Path) else len(self.sound))

    def fill(self, samples: int, offset: float, loop: bool, notes: list[str]) -> Tensor:
        """float32 (samples,) from second `offset` on, looped or followed by silence; delayed by a negative one.

        If nothing can be heard in what is read, `notes` get a sentence about it.
        """
        read = self._read(0.0, MAX_SOUND_SECONDS) if loop else self._read(max(0.0, offset), samples / SAMPLE_RATE)
        if is_silent(read):
            name = self.sound.name if isinstance(self.sound, Path) else self.label.strip("<>")
            notes.append(f"The other sound, {name}, is silent where it is used: nothing of it can be heard.")
        if loop:
            positions = torch.arange(samples) + round(offset * SAMPLE_RATE)
            return read[positions % len(read)]
        return _place(read, max(0, -round(offset * SAMPLE_RATE)), samples)

    def _read(self, start: float, seconds: float) -> Tensor:
        if isinstance(self.sound, Path):
            return read_stretch(self.sound, start, seconds)
        first = round(start * SAMPLE_RATE)
        if first >= len(self.sound):
            raise ConfigError(
                f"offset={start:g} lies beyond the end of {self.label}, {len(self.sound) / SAMPLE_RATE:g} s: lower it."
            )
        return self.sound[first : first + math.ceil(seconds * SAMPLE_RATE)]


def _original(sound: Tensor, clip: Clip) -> Tensor:
    return clip.waveform.to(torch.float32).clone()


def _mute(sound: Tensor, clip: Clip) -> Tensor:
    return torch.zeros_like(sound)


def _swap(sound: Tensor, clip: Clip, other: Tensor) -> Tensor:
    return other


def _mix(sound: Tensor, clip: Clip, other: Tensor, gain_db: float) -> Tensor:
    return sound + _amplitude(gain_db) * other


def _noise(sound: Tensor, clip: Clip, snr_db: float, seed: int) -> Tensor:
    noise = torch.randn(len(sound), generator=torch.Generator().manual_seed(seed))
    return sound + _amplitude(-snr_db) * _sounding_rms(sound) * noise.to(sound.device)


def _gain(sound: Tensor, clip: Clip, db: float) -> Tensor:
    return sound * _amplitude(db)


def _shift(sound: Tensor, clip: Clip, seconds: float) -> Tensor:
    return _place(sound, round(seconds * SAMPLE_RATE), len(sound))


def _keep(sound: Tensor, clip: Clip, start: float, end: float | None) -> Tensor:
    first = max(0, round((start - clip.start) * SAMPLE_RATE))
    last = len(sound) if end is None else round((end - clip.start) * SAMPLE_RATE)
    if len(sound) and (first >= len(sound) or last <= 0):
        asked = f"from {start:g} s" if end is None else f"from {start:g} to {end:g} s"
        raise ConfigError(
            f"keep {asked} leaves silence: the clip has the seconds {clip.start:g} to "
            f"{clip.start + len(sound) / SAMPLE_RATE:g}, which count from the beginning of the file."
        )
    kept = torch.zeros_like(sound)
    kept[first:last] = sound[first:last]
    return kept


# What each edit does: the sound so far (S,), the clip before all edits, and the arguments of the edit, with the other
# sound as a waveform (S,), instead of its source, offset and loop -> sound (S,).
CHANGES: dict[str, Callable[..., Tensor]] = {
    "original": _original,
    "mute": _mute,
    "swap": _swap,
    "mix": _mix,
    "noise": _noise,
    "gain": _gain,
    "shift": _shift,
    "keep": _keep,
}


def _mono(waveform: Tensor) -> Tensor:
    """A waveform (S,) or (channels, S) -> float32 (S,), the mean of the channels."""
    shape = tuple(waveform.shape)
    upright = len(shape) == 1 or (len(shape) == 2 and shape[0] <= shape[1])
    if not (waveform.is_floating_point() and upright and waveform.numel()):
        raise ConfigError(
            f"a sound cannot be {waveform.dtype} {shape}: give a float waveform (S,) or (channels, S) in [-1, 1] at "
            "16 kHz, a file, or a Clip."
        )
    mono = waveform.detach().to("cpu", torch.float32).reshape(-1, shape[-1]).mean(dim=0)
    if not mono.isfinite().all():
        raise ConfigError("a sound has samples that are not finite numbers (NaN or infinity): repair or replace them.")
    return mono


def _place(sound: Tensor, at: int, samples: int) -> Tensor:
    """A sound (n,) placed in silence (samples,) from sample `at` on; a negative `at` cuts off its beginning."""
    if at < 0:
        return fit_length(sound[-at:], samples)
    return fit_length(torch.nn.functional.pad(sound, (min(at, samples), 0)), samples)


def _sounding_rms(sound: Tensor) -> float:
    """RMS of the 20 ms blocks within 40 dB of the loudest; `REFERENCE_RMS` if all are silent."""
    whole = math.ceil(len(sound) / SOUNDING_BLOCK) * SOUNDING_BLOCK
    powers = fit_length(sound, whole).reshape(-1, SOUNDING_BLOCK).square().mean(dim=1)  # (blocks,)
    loudest = powers.max().item() if len(powers) else 0.0
    if loudest == 0.0:
        return REFERENCE_RMS
    return powers[powers >= loudest * 10 ** (-SOUNDING_RANGE / 10)].mean().sqrt().item()


def _seconds(value: float, name: str, low: float = -DAY) -> float:
    check_number(name, value, low, DAY, "seconds")
    return float(value)


def _decibels(value: float, name: str) -> float:
    check_number(name, value, *DECIBELS, "dB")
    return float(value)


def _flag(value: bool, name: str) -> bool:
    if not isinstance(value, int | np.bool_):
        raise ConfigError(f"{name}={brief(value)} must be True or False.")
    return bool(value)


def _amplitude(decibels: float) -> float:
    """Decibels as a factor of the amplitude."""
    return 10 ** (decibels / 20)


def _append_parsed(recipe: AudioEdit, text: str) -> AudioEdit:
    """The sequence with one more edit of the command line, see `AudioEdit.parse`."""
    name, _, rest = text.strip().partition(":")
    try:
        if name in ("original", "mute") and not rest:
            return getattr(recipe, name)()
        if name in ("swap", "mix") and rest:
            return getattr(recipe, name)(*_file_and_number(rest))
        if name in ("noise", "gain", "shift"):
            return getattr(recipe, name)(float(rest))
        if name == "keep" and (span := re.fullmatch(r"([\d.]*)-([\d.]*)", rest)):
            return recipe.keep(float(span[1] or 0), float(span[2]) if span[2] else None)
    except ValueError:
        raise ConfigError(f'the edit "{text}" has {rest!r} where a number belongs: write {GRAMMAR}.') from None
    raise ConfigError(f'the edit "{text}" is unknown or incomplete: write {GRAMMAR}.')


def _file_and_number(text: str) -> tuple[str, float]:
    """Split FILE@NUMBER; the number is 0 for FILE, which itself may contain an @."""
    numbered = re.fullmatch(r"(.+)@([-+]?\d*\.?\d+)", text)
    if numbered is None or Path(text).exists():
        return text, 0.0
    return numbered[1], float(numbered[2])
