"""Clips made from arrays, and targets."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.clip import SAMPLE_RATE, Clip, SemanticTargets, Targets, pinned
from acvis_kit.errors import DataError

FRAMES = torch.zeros(3, 3, 4, 6, dtype=torch.uint8)


def test_a_clip_from_arrays_has_times_in_the_middle_of_its_intervals() -> None:
    clip = Clip.from_arrays(FRAMES, torch.ones(3 * SAMPLE_RATE), fps=1)
    assert len(clip) == 3 and clip.size == (4, 6) and clip.duration == 3
    assert clip.times.tolist() == [0.5, 1.5, 2.5] and clip.times.dtype == torch.float64


@pytest.mark.parametrize("samples", [SAMPLE_RATE, 5 * SAMPLE_RATE])
def test_the_waveform_is_cut_or_padded_to_the_frames(samples: int) -> None:
    clip = Clip.from_arrays(FRAMES, torch.ones(samples), fps=2)
    assert clip.waveform.shape == (1.5 * SAMPLE_RATE,)
    assert clip.waveform.sum() == min(samples, 1.5 * SAMPLE_RATE)


@pytest.mark.parametrize(
    ("frames", "waveform", "message"),
    [
        (FRAMES.tolist(), None, "frames has the type list: give a tensor, or an array"),
        (FRAMES.numpy().astype(str), None, "frames has the type ndarray"),
        (FRAMES.numpy().transpose(0, 2, 3, 1), None, "expected uint8"),
        (FRAMES.float(), None, "frames are torch.float32"),
        (FRAMES.permute(0, 2, 3, 1), None, "expected uint8"),
        (FRAMES[:0], None, "at least 1"),
        (FRAMES, [1.0] * SAMPLE_RATE, "waveform has the type list"),
        (FRAMES, torch.ones(SAMPLE_RATE, dtype=torch.int16), "divide int16 by 32768"),
        (FRAMES, torch.ones(2, SAMPLE_RATE), "mean of several channels"),
        (FRAMES, torch.full((SAMPLE_RATE,), float("nan")), "NaN"),
    ],
)
def test_arrays_that_are_no_clip_are_refused(frames, waveform, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clip.from_arrays(frames, waveform)


def test_arrays_of_numpy_are_taken_like_tensors() -> None:
    sound = torch.linspace(-1, 1, 3 * SAMPLE_RATE)
    clip = Clip.from_arrays(FRAMES, sound)
    read_only, backwards = FRAMES.numpy().copy(), sound.numpy()[::-1].astype(np.float64)[::-1]
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for frames, waveform in ((FRAMES.numpy(), sound.numpy()), (read_only, backwards)):
            other = Clip.from_arrays(frames, waveform)
            assert torch.equal(other.frames, clip.frames) and torch.equal(other.waveform, clip.waveform)
            assert torch.equal(Clip.from_arrays(frames).with_audio(waveform).waveform, clip.waveform)


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf")])
def test_frames_per_second_must_be_above_0(fps: float) -> None:
    with pytest.raises(DataError, match="above 0"):
        Clip.from_arrays(FRAMES, fps=fps)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.ones(3 * SAMPLE_RATE, dtype=torch.int16), "divide int16 by 32768"),
        ([1.0] * 3 * SAMPLE_RATE, "waveform has the type list"),
        (torch.ones(SAMPLE_RATE), "expected the clip's 48000"),
        (torch.ones(2, 3 * SAMPLE_RATE), "mean of several channels"),
        (torch.full((3 * SAMPLE_RATE,), float("inf")), "infinite"),
    ],
)
def test_another_soundtrack_must_fit(waveform, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Clip.from_arrays(FRAMES).with_audio(waveform)


def test_a_clip_without_sound_has_no_audio_until_it_gets_some() -> None:
    silent = Clip.from_arrays(FRAMES)
    assert not silent.has_audio and not silent.waveform.any()
    assert silent.with_audio(torch.ones_like(silent.waveform)).has_audio


def test_clips_and_targets_are_displayed_in_a_line() -> None:
    silent = Clip.from_arrays(FRAMES, fps=2)
    assert repr(silent) == "Clip(3 frames of 4x6 at 2 per second, without sound)"
    filmed = replace(silent, source=Path("somewhere/cat.mp4"), has_audio=True, notes=("a", "b"))
    assert repr(filmed) == "Clip('cat.mp4': 3 frames of 4x6 at 2 per second, with sound, 2 notes)"
    targets = Targets(torch.tensor([7, 1]), torch.zeros(2, 3, 4, 6, dtype=torch.bool), torch.ones(2, 3), torch.ones(3))
    assert repr(targets) == "Targets(2 objects in 3 frames of 4x6, labels [7, 1])"


def test_all_tensors_of_targets_move_to_the_device() -> None:
    masks = torch.zeros(2, 3, 4, 6, dtype=torch.bool)
    sounding, counts = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(3, dtype=torch.long)
    targets = Targets(torch.tensor([0, 1]), masks, sounding, counts)
    moved = targets.to("meta")
    assert moved.masks.device.type == "meta" and moved.labels.device.type == "meta" and moved.audio_labels is None


def test_a_view_that_repeats_elements_can_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Page-locked memory gets the strides of the original; a place that stands for two cannot be written."""

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        return torch.empty_strided(tensor.shape, tensor.stride()).copy_(tensor)

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    frames = torch.arange(3.0).expand(2, -1)
    assert torch.equal(pinned(frames), frames)


def test_semantic_targets_say_what_they_hold_and_move_as_a_whole() -> None:
    maps = torch.zeros(2, 4, 6, dtype=torch.int64)
    maps[0, 0, :3] = torch.tensor([1, 3, 255])
    targets = SemanticTargets(maps, torch.tensor([True, False]))
    assert repr(targets) == "SemanticTargets(2 frames of 4x6, 1 supervised, values [1, 3])"
    moved = targets.to("meta")
    assert moved.class_maps.is_meta and moved.supervised.is_meta
