"""Scattered seconds of WAV files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from acvis_kit.errors import MediaError
from acvis_kit.media.wav import read_seconds


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.float32])
def test_seconds_are_read_from_every_kind_of_wav(tmp_path: Path, kind: type) -> None:
    wave = np.linspace(-0.5, 0.5, 4 * 16000).astype(np.float32)
    scale, middle = {np.int16: (2**15, 0), np.int32: (2**31, 0), np.uint8: (128, 128), np.float32: (1, 0)}[kind]
    wavfile.write(tmp_path / "a.wav", 16000, (wave.astype(np.float64) * scale + middle).astype(kind))
    with pytest.warns(UserWarning, match=r"a\.wav: the sound ends after 4\.\d s"):
        seconds = read_seconds(tmp_path / "a.wav", np.array([3, 0, 0, 4]))
    assert seconds.shape == (4, 16000) and seconds.dtype == np.float32
    assert np.abs(seconds[0] - wave[48000:]).max() < 0.01 and np.array_equal(seconds[1], seconds[2])
    assert np.abs(seconds[1] - wave[:16000]).max() < 0.01
    assert not seconds[3].any()  # beyond the end: silence


def test_other_rates_and_channels_become_16_khz_mono(tmp_path: Path) -> None:
    time = np.arange(3 * 44100) / 44100
    stereo = np.stack([np.sin(2 * np.pi * 440 * time) * 0.4, np.zeros_like(time)], axis=1)
    wavfile.write(tmp_path / "a.wav", 44100, (stereo * 32768).astype(np.int16))
    second = read_seconds(tmp_path / "a.wav", np.array([1]))[0]
    expected = 0.2 * np.sin(2 * np.pi * 440 * (1 + np.arange(16000) / 16000))
    assert np.abs(second - expected)[200:-200].max() < 2e-3


def test_a_sound_that_is_missing_or_no_wav_is_named(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.wav does not exist"):
        read_seconds(tmp_path / "a.wav", np.array([0]))
    (tmp_path / "b.wav").write_bytes(b"no sound at all")
    with pytest.raises(MediaError, match=r"b\.wav cannot be read"):
        read_seconds(tmp_path / "b.wav", np.array([0]))
