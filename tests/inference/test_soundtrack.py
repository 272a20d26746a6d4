"""The sound to decode a clip with: kinds, lengths, and the notes that tell of it."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.inference.soundtrack import soundtrack
from acvis_kit.media.edit import AudioEdit

FRAMES = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
TONE = torch.ones(2 * SAMPLE_RATE) * 0.5


def test_every_kind_of_sound_replaces_the_clips_own() -> None:
    clip = Clip.from_arrays(FRAMES, TONE)
    other = Clip.from_arrays(FRAMES, TONE / 5)
    assert torch.equal(soundtrack(clip, None)[0].waveform, TONE)
    assert torch.equal(soundtrack(clip, other)[0].waveform, TONE / 5)
    assert not soundtrack(clip, AudioEdit.mute())[0].waveform.any()
    for waveform in (TONE / 2, (TONE / 2).numpy().astype(np.float64)):
        assert torch.equal(soundtrack(clip, waveform)[0].waveform, TONE / 2)


def test_a_second_too_little_is_silence_and_more_is_refused() -> None:
    clip = Clip.from_arrays(FRAMES, TONE)
    short = soundtrack(clip, TONE[:SAMPLE_RATE])[0].waveform
    assert len(short) == len(TONE) and not short[SAMPLE_RATE:].any()
    with pytest.raises(DataError, match=r"shape \(0,\): expected about 32000 samples"):
        soundtrack(clip, TONE[:0])
    with pytest.raises(DataError, match=r"torch\.int16 or holds NaN"):
        soundtrack(clip, TONE.to(torch.int16))
    with pytest.raises(DataError, match=r"dog\.wav.*: for a file use AudioEdit\.swap\('dog.wav'\), for silence 'mute'"):
        soundtrack(clip, Path("dog.wav"))  # type: ignore[arg-type]


def test_a_text_is_an_edit_in_the_words_of_the_command() -> None:
    clip = Clip.from_arrays(FRAMES, TONE)
    assert not soundtrack(clip, "mute")[0].waveform.any()
    assert torch.equal(soundtrack(clip, "shift:1")[0].waveform, AudioEdit.shift(1).apply(clip))
    for text in ("silence", "dog.wav"):
        with pytest.raises(
            ConfigError, match=rf'the edit "{text}" is unknown or incomplete: write original \| mute \| sw'
        ):
            soundtrack(clip, text)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        ((TONE * 32767).to(torch.int16), "divide int16 by 32768"),
        (TONE[: SAMPLE_RATE // 2], "expected about 32000 samples"),
        (torch.stack([TONE, TONE]), "expected about 32000 samples"),
        (TONE * float("nan"), "NaN"),
    ],
)
def test_a_clips_own_sound_is_checked_too(waveform: torch.Tensor, message: str) -> None:
    clip = replace(Clip.from_arrays(FRAMES, TONE), waveform=waveform)
    with pytest.raises(DataError, match=message):
        soundtrack(clip, None)


def test_silence_is_told_unless_a_sound_replaces_it() -> None:
    silent = Clip.from_arrays(FRAMES, None)
    assert soundtrack(silent, None)[1] == ("The clip has no sound: the model was given silence.",)
    clip, notes = soundtrack(silent, TONE)
    assert clip.has_audio and notes == ()


def test_an_edit_that_leaves_silence_without_being_asked_to_is_noted() -> None:
    clip = Clip.from_arrays(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.ones(32_000))
    for edit in (AudioEdit.shift(20), AudioEdit.shift(-2), AudioEdit.swap(torch.ones(16_000), offset=-2)):
        assert "silent throughout" in soundtrack(clip, edit)[1][-1], edit
    assert len(soundtrack(clip, AudioEdit.swap(torch.zeros(16_000)))[1]) == 1  # not "compare the seconds" too
    silent = replace(clip, waveform=torch.zeros(32_000))
    for given, edit in (
        (clip, AudioEdit.mute()),
        (clip, AudioEdit.shift(1)),
        (silent, AudioEdit.gain(3)),
        (clip, None),
    ):
        assert not any("silent throughout" in note for note in soundtrack(given, edit)[1]), edit


@pytest.mark.parametrize("peak", [0.0, 6e-5])  # the dither of 16 bits
@pytest.mark.parametrize("edit", [AudioEdit.swap, AudioEdit.mix])
def test_another_sound_in_which_nothing_can_be_heard_is_noted(
    edit: Callable[..., AudioEdit], peak: float, tmp_path: Path
) -> None:
    clip = Clip.from_arrays(FRAMES, TONE)
    quiet = tmp_path / "quiet.wav"
    wavfile.write(quiet, SAMPLE_RATE, np.full(SAMPLE_RATE, round(peak * 2**15), np.int16))
    with pytest.warns(UserWarning, match=r"The other sound, quiet\.wav, is silent where it is used"):
        _, (note,) = soundtrack(clip, edit(quiet))
    assert "quiet.wav, is silent" in note
    pause_then_tone = torch.cat([torch.zeros(3 * SAMPLE_RATE), TONE])
    with pytest.warns(UserWarning, match="waveform of 5 s, is silent where it is used"):
        soundtrack(clip, edit(pause_then_tone))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (edit(pause_then_tone, offset=3), edit(1e-3 * TONE), edit(pause_then_tone, loop=True, offset=3)):
            assert soundtrack(clip, given)[1] == ()
