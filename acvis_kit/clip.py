"""The data types that all rooms share, and the letters of the axes in every shape.

    B  clips               Q  queries (Q_f frame queries, Q_v video queries)
    T  frames              C  channels
    H  W  pixels           K  classes
    S  audio samples       L  levels of the feature pyramid
                           A  audio tokens per frame

A frame lasts 1 / fps seconds; in the papers, and by default here, one second. N is any other number of items: frames of
all clips (B * T) in the network, objects in `Targets`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acvis_kit.errors import ConfigError, DataError, brief
from acvis_kit.fields import is_number

SAMPLE_RATE = 16_000  # Hz, of every waveform inside the kit
Progress = Callable[[str, int, int], None]  # (step, frames done, frames in total)
IGNORED = 255  # in class maps: the pixel is not compared
SILENT = "The sound is silent: nothing of it can be heard."  # note of a clip whose own sound is
HEARD_AS_SILENCE = ": silence."  # ends the note of a clip whose `has_audio` is False


@dataclass(frozen=True, repr=False)
class Clip:
    """A video as frames with its sound.

    Attributes:
        frames: uint8 (T, 3, H, W), RGB, upright as in a player.
        waveform: float32 (S,), mono, 16 kHz, nominally in [-1, 1]; S = round(T / fps * 16000). Silence where the file
            has no sound.
        times: float64 (T,), time of each frame in the source file, seconds.
        fps: frames per second of `frames`.
        has_audio: False where the source has no sound track, none that can be decoded, or no sound in the loaded
            stretch: then `waveform` is all zeros.
        source: the source file, None for a clip made from arrays.
        start: second of the source at which frame 0's interval begins.
        duration: seconds of the source covered by the clip (at most T / fps plus half an interval).
        source_fps: frames per second of the source (its median step, clamped to 1..60, in hundredths).
        notes: repairs and cuts made while loading, one sentence each, to be shown to the user.
        source_stamp: `files.stamp_of` the source as it was loaded; None for a clip made from arrays.
        other_sources: files of other sounds that `waveform` was made from.
    """

    frames: Tensor
    waveform: Tensor
    times: Tensor
    fps: float = 1.0
    has_audio: bool = True
    source: Path | None = None
    start: float = 0.0
    duration: float = 0.0
    source_fps: float = 1.0
    notes: tuple[str, ...] = ()
    source_stamp: tuple[int, int] | None = None
    other_sources: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return self.frames.shape[0]

    def __repr__(self) -> str:
        height, width = self.size
        name = "" if self.source is None else f"{self.source.name!r}: "
        sound = "with sound" if self.has_audio else "without sound"
        notes = f", {len(self.notes)} notes" if self.notes else ""
        return f"Clip({name}{len(self)} frames of {height}x{width} at {self.fps:g} per second, {sound}{notes})"

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that it was made from."""
        return (self.source, *self.other_sources) if self.source is not None else self.other_sources

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.frames.shape[-2], self.frames.shape[-1]

    def with_audio(self, waveform: Tensor | np.ndarray) -> Clip:
        """The same frames with another soundtrack, float32 (S,) of the same length.

        Raises:
            DataError: neither a tensor nor an array, or one of another type or shape.
        """
        waveform = _checked_waveform(waveform)
        if len(waveform) != len(self.waveform):
            raise DataError(
                f"the waveform has {len(waveform)} samples: expected the clip's {len(self.waveform)}; predictor.decode "
                "with AudioEdit.swap(...) cuts or pads any sound"
            )
        return replace(self, waveform=waveform.to(torch.float32), has_audio=True)

    @classmethod
    def from_arrays(
        cls, frames: Tensor | np.ndarray, waveform: Tensor | np.ndarray | None = None, fps: float = 1.0
    ) -> Clip:
        """A clip from uint8 frames (T, 3, H, W) and, if there is sound, a float waveform (S,) at 16 kHz.

        Both may be tensors or NumPy's arrays. The waveform is cut or padded with silence to T / fps seconds.

        Raises:
            DataError: neither of both, frames of another type or shape, a waveform of integers, of several channels or
                not finite, or a number of frames per second that is not above 0.
        """
        frames = _tensor("frames", frames)
        if not (is_number(fps) and 0 < fps <= sys.float_info.max):
            raise DataError(f"fps={brief(fps)} must be a number above 0")
        if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8 or not len(frames):
            raise DataError(
                f"frames are {frames.dtype} {tuple(frames.shape)}: expected uint8 (T, 3, H, W) with T at least 1"
            )
        if waveform is not None:
            waveform = _checked_waveform(waveform)
        samples = round(frames.shape[0] / fps * SAMPLE_RATE)
        sound = torch.zeros(samples)
        if waveform is not None:
            given = waveform.to(torch.float32)[:samples]
            sound[: given.shape[0]] = given
        times = (torch.arange(frames.shape[0], dtype=torch.float64) + 0.5) / fps
        return cls(frames, sound, times, fps, waveform is not None, duration=frames.shape[0] / fps, source_fps=fps)


def check_progress(progress: object) -> None:
    """Refuse what cannot be called.

    Raises:
        ConfigError: names the value.
    """
    if progress is not None and not callable(progress):
        raise ConfigError(f"progress={brief(progress)} must be a function of (step, done, total), or None")


def _tensor(name: str, value: object) -> Tensor:
    """A tensor, or an array of NumPy as one; DataError if it is neither."""
    if isinstance(value, np.ndarray):
        with suppress(TypeError, ValueError):  # of texts, or in another byte order
            value = torch.from_numpy(np.require(value, requirements=["C", "W"]))
    if not isinstance(value, Tensor):
        raise DataError(f"{name} has the type {type(value).__name__}: give a tensor, or an array of numbers")
    return value


def _checked_waveform(value: object) -> Tensor:
    """A waveform, float (S,), finite; DataError if it is none."""
    waveform = _tensor("waveform", value)
    if waveform.ndim != 1 or not waveform.is_floating_point():
        raise DataError(
            f"waveform is {waveform.dtype} {tuple(waveform.shape)}: expected floats (S,), mono, in [-1, 1]; divide "
            "int16 by 32768, and take the mean of several channels"
        )
    if not waveform.isfinite().all():
        raise DataError("waveform holds NaN or infinite samples: expected finite floats, in [-1, 1]")
    return waveform


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on another device. A copy from the CPU to a GPU waits neither for the GPU nor for its own end."""
    device = torch.device(device)
    if tensor.device.type != "cpu":
        return tensor.to(device)
    # From pageable memory the host would wait until everything before the copy is computed.
    return (pinned(tensor) if device.type == "cuda" else tensor).to(device, non_blocking=True)


def pinned(tensor: Tensor) -> Tensor:
    """A copy in page-locked memory. A view that repeats elements (`expand`) has none: it becomes whole first."""
    return tensor.contiguous().pin_memory()


@dataclass(frozen=True)
class TargetFacts:
    """What the losses must know of targets before they compute, on the CPU wherever the targets are.

    Attributes:
        present: bool (N, T), where a mask is not empty.
        labels: the smallest and the largest; None without objects.
        least_count: the smallest count; 0 without frames.
    """

    present: Tensor
    labels: tuple[int, int] | None
    least_count: int

    @classmethod
    def of(cls, labels: Tensor, counts: Tensor, present: Tensor) -> TargetFacts:
        """From tensors on the CPU."""
        extremes = (int(labels.min()), int(labels.max())) if len(labels) else None
        return cls(present, extremes, int(counts.min()) if len(counts) else 0)


@dataclass(frozen=True, repr=False)
class Targets:
    """Ground truth of one clip of T frames with N objects: made by `data`, read by `losses`, no input of the network.

    Attributes:
        labels: int64 (N,), classes from 0.
        masks: bool (N, T, H, W) at the size of the network's padded input. With `targets="sounding"`, empty where the
            object is silent or absent; with "visible", empty only where it is absent.
        sounding: bool (N, T), whether each object sounds in each frame.
        counts: int64 (T,), objects visible and sounding in the whole frame, before cropping.
        audio_labels: bool (T, K), classes that sound, visible or not; None without such labels.
        auxiliary: labels of objects for dense auxiliary targets by name, bool (N, T) each; empty without such labels.
            AVIS-Synth has "cue": objects with a visible cue that they sound (its twins: two objects of one class).
        facts: what the losses must know on the CPU; None: they read it from the tensors, and wait for their device.
    """

    labels: Tensor
    masks: Tensor
    sounding: Tensor
    counts: Tensor
    audio_labels: Tensor | None = None
    auxiliary: Mapping[str, Tensor] = field(default_factory=dict)
    facts: TargetFacts | None = None

    def __repr__(self) -> str:
        objects, frames, height, width = self.masks.shape
        return f"Targets({objects} objects in {frames} frames of {height}x{width}, labels {self.labels.tolist()})"

    def to(self, device: torch.device | str) -> Targets:
        """The targets with all tensors on another device; the facts stay."""
        return self._each(lambda tensor: moved(tensor, device))

    def pin_memory(self) -> Targets:
        """The targets in page-locked memory, for copies to a GPU that nobody waits for."""
        return self._each(pinned)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Targets:
        own: dict[str, Any] = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **own, auxiliary={name: change(value) for name, value in self.auxiliary.items()})


@dataclass(frozen=True, repr=False)
class SemanticTargets:
    """Ground truth of one clip of T frames for semantic systems: which class sounds at each pixel.

    Attributes:
        class_maps: int64 (T, H, W) at the size of the network's input: 0 where nothing sounds, class k (from 0) is
            k + 1, and 255 (`IGNORED`) where it is unknown.
        supervised: bool (T,), the frames with annotations. (AVSBench's S4 has one in five.)
    """

    class_maps: Tensor
    supervised: Tensor

    def __repr__(self) -> str:
        frames, height, width = self.class_maps.shape
        classes = [value for value in self.class_maps.unique().tolist() if value not in (0, IGNORED)]
        return (
            f"SemanticTargets({frames} frames of {height}x{width}, {int(self.supervised.sum())} supervised, "
            f"values {classes})"
        )

    def to(self, device: torch.device | str) -> SemanticTargets:
        """The targets with all tensors on another device."""
        return SemanticTargets(moved(self.class_maps, device), moved(self.supervised, device))
