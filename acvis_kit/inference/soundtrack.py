"""The sound that a clip is decoded with: its own, an edit of it, another clip's, or a waveform."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import HEARD_AS_SILENCE, SAMPLE_RATE, SILENT, Clip
from acvis_kit.errors import DataError, brief
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.sound import is_silent

Sound = Clip | AudioEdit | Tensor | np.ndarray | str


def checked_sound(sound: object) -> Clip | AudioEdit | Tensor | np.ndarray | None:
    """A sound as a caller gave it; a text is an edit as of the command line, "mute" or "swap:dog.wav".

    Raises:
        DataError: a sound of another type.
        ConfigError: a text that is no edit.
    """
    if isinstance(sound, str):
        return AudioEdit.parse(sound)
    if not isinstance(sound, Clip | AudioEdit | Tensor | np.ndarray | None):
        raise DataError(
            f"a sound is a Clip, an AudioEdit, its text or a waveform, not {brief(sound)}: for a file use "
            "AudioEdit.swap('dog.wav'), for silence 'mute'"
        )
    return sound


def soundtrack(clip: Clip, sound: Sound | None) -> tuple[Clip, tuple[str, ...]]:
    """The clip with the sound to decode, and notes about it for the user; an edit that leaves silence is warned of.

    Args:
        clip: with its own sound.
        sound: another clip, an `AudioEdit` of this one or its text, or a waveform (S,) at 16 kHz; None: the clip's own.

    Raises:
        DataError: a sound of another type or length.
        ConfigError: a text that is no edit.
    """
    sound = checked_sound(sound)
    clip = replace(clip, waveform=_of_length(torch.as_tensor(clip.waveform), clip))
    waveform, has_audio = clip.waveform, clip.has_audio
    silent: tuple[str, ...] = ()
    files = clip.other_sources
    if isinstance(sound, AudioEdit):
        waveform, silent = sound.applied(clip)
        files += sound.files
        has_audio = has_audio or bool(waveform.any())
    elif isinstance(sound, Clip):
        waveform, has_audio = _of_length(sound.waveform, clip), sound.has_audio
        files = tuple(file for file in sound.sources if file != clip.source)
    elif sound is not None:
        waveform, has_audio, files = _of_length(torch.as_tensor(sound), clip), True, ()
    notes = clip.notes
    if has_audio and not clip.has_audio:  # a sound replaces the missing one
        notes = tuple(note for note in notes if not note.endswith(HEARD_AS_SILENCE))
    if sound is not None and not is_silent(waveform):
        notes = tuple(note for note in notes if note != SILENT)
    if not has_audio and clip.source is None:  # for a file, `load_clip` has added the note
        notes += ("The clip has no sound: the model was given silence.",)
    if isinstance(sound, AudioEdit) and not silent and not waveform.any() and _is_sound_expected(sound, clip):
        silent = ("The edited sound is silent throughout: compare the seconds of the edit with the clip's.",)
    for note in silent:
        warnings.warn(note, stacklevel=2)
    notes += silent
    return replace(clip, waveform=waveform, has_audio=has_audio, other_sources=files), notes


def _is_sound_expected(edit: AudioEdit, clip: Clip) -> bool:
    names = {step.name for step in edit.steps}
    return "mute" not in names and (bool(clip.waveform.any()) or not names.isdisjoint(("swap", "mix")))


def _of_length(waveform: Tensor, clip: Clip) -> Tensor:
    """`waveform` (S,) as float32 of the clip's length; at most one second is cut or padded with silence."""
    samples = round(len(clip) / clip.fps * SAMPLE_RATE)
    if waveform.ndim != 1 or abs(len(waveform) - samples) > SAMPLE_RATE:
        raise DataError(
            f"the sound has shape {tuple(waveform.shape)}: expected about {samples} samples (mono, 16 kHz) for "
            f"{len(clip)} frames at {clip.fps:g} per second; AudioEdit.swap cuts or pads any sound"
        )
    if not waveform.is_floating_point() or not waveform.isfinite().all():
        raise DataError(
            f"the sound is {waveform.dtype} or holds NaN: expected finite floats, nominally in [-1, 1]; divide int16 "
            "by 32768"
        )
    return F.pad(waveform, (0, max(0, samples - len(waveform))))[:samples].to(torch.float32)
