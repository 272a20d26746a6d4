"""Scattered seconds of WAV files of every kind."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
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


def wav_with_header(path: Path, channels: int = 1, rate: int = 16000, bits: int = 16, align: int | None = None) -> Path:
    """Two seconds of 16 bit samples behind a header of any numbers."""
    align = channels * bits // 8 if align is None else align
    data = np.zeros(32000, np.int16).tobytes()
    header = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * align & 0xFFFFFFFF, align, bits)
    body = b"WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0" + header + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def test_the_header_of_a_file_that_is_read_is_whole(tmp_path: Path) -> None:
    assert read_seconds(wav_with_header(tmp_path / "a.wav"), np.array([0, 1])).shape == (2, 16000)


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ({"rate": 2**31 - 1}, "2147483647 Hz"),
        ({"rate": 999}, "999 Hz"),
        ({"rate": 768_001}, "768001 Hz"),
        ({"rate": 0}, " 0 Hz"),
        ({"channels": 0}, "0 channels"),
        ({"bits": 0, "align": 2}, "0 bit"),
        ({"bits": 0}, "0 bit"),
        ({"align": 0}, "cannot be read as a WAV file"),
        ({"bits": 65, "align": 2}, "cannot be read as a WAV file"),
    ],
)
def test_a_header_with_impossible_numbers_is_refused_before_memory_is_taken(tmp_path: Path, numbers, named) -> None:
    path = wav_with_header(tmp_path / "a.wav", **numbers)
    tracemalloc.start()
    try:
        with pytest.raises(MediaError, match=named):
            read_seconds(path, np.arange(2))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("rate", [15999, 16001, 47999, 8001, 1000, 768_000])
def test_a_second_has_16000_samples_at_every_rate(tmp_path: Path, rate: int) -> None:
    wavfile.write(tmp_path / "a.wav", rate, np.ones(2 * rate, np.int16))
    assert read_seconds(tmp_path / "a.wav", np.array([0, 1])).shape == (2, 16000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    wave = np.zeros(2 * 16000, np.float32)
    wave[20000] = value
    wavfile.write(tmp_path / "a.wav", 16000, wave)
    assert not read_seconds(tmp_path / "a.wav", np.array([0])).any()
    with pytest.raises(MediaError, match=r"a\.wav has samples that are not finite"):
        read_seconds(tmp_path / "a.wav", np.array([1]))


def test_many_seconds_of_a_high_rate_are_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wavfile.write(tmp_path / "a.wav", 48000, (np.sin(np.arange(48000 * 5) / 20) * 20000).astype(np.int16))
    together = read_seconds(tmp_path / "a.wav", np.arange(5))
    monkeypatch.setattr("acvis_kit.media.wav.PIECE", 100_000)
    np.testing.assert_allclose(read_seconds(tmp_path / "a.wav", np.arange(5)), together, atol=1e-6)
    assert read_seconds(tmp_path / "a.wav", np.arange(0)).shape == (0, 16000)


def test_damaged_bytes_give_seconds_or_a_media_error(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = wav_with_header(tmp_path / "a.wav").read_bytes()
    read = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            data[random.integers(60)] = random.integers(256)
        (tmp_path / "b.wav").write_bytes(data[: random.choice([len(data), random.integers(len(data))])])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                seconds = read_seconds(tmp_path / "b.wav", np.arange(2))
        except MediaError:
            continue
        read += 1
        assert seconds.shape == (2, 16000) and np.isfinite(seconds).all()
    assert read > 10
