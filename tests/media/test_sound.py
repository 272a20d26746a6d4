"""Sound files of every kind."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from imageio_ffmpeg import get_ffmpeg_exe
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import MediaError
from acvis_kit.media.sound import load_sound
from tests.media.waveforms import rms, sine

SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared reference material is not beside the checkout"
)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 47999, 48000, 96000])
def test_any_rate_becomes_16_khz_at_the_same_pitch(tmp_path, rate):
    wavfile.write(tmp_path / "a.wav", rate, sine(1000, 1.0, rate).numpy())
    sound = load_sound(tmp_path / "a.wav")
    assert sound.dtype == torch.float32 and abs(len(sound) - SAMPLE_RATE) <= 1
    spectrum = torch.fft.rfft(sound[:16000], n=16000).abs()
    assert spectrum.argmax() == 1000
    assert rms(sound[1000:15000]) == pytest.approx(0.5 / 2**0.5, rel=0.01)


@pytest.mark.parametrize(
    ("dtype", "full"), [(np.uint8, 128), (np.int16, 2**15), (np.int32, 2**31), (np.float32, 1), (np.float64, 1)]
)
def test_every_sample_format_gives_the_same_amplitude(tmp_path, dtype, full):
    values = sine(500, 0.5).double().numpy() * full + (128 if dtype == np.uint8 else 0)
    wavfile.write(tmp_path / "a.wav", SAMPLE_RATE, values.astype(dtype))
    torch.testing.assert_close(load_sound(tmp_path / "a.wav"), sine(500, 0.5), atol=0.01, rtol=0)


def test_channels_become_their_mean(tmp_path):
    levels = np.array([0.6, 0.0, -0.3, 0.1, 0.2, 0.3], dtype=np.float32)
    wavfile.write(tmp_path / "six.wav", SAMPLE_RATE, np.tile(levels, (4000, 1)))
    torch.testing.assert_close(load_sound(tmp_path / "six.wav"), torch.full((4000,), 0.15))


@pytest.mark.parametrize("channels", [6, 7, 8, 9, 16, 32])
@pytest.mark.parametrize(("codec", "suffix"), [("wavpack", "wv"), ("pcm_f32le", "wav")])
def test_many_channels_become_their_mean(tmp_path, channels, codec, suffix):
    levels = [0.1] * (channels - 1) + [0.5]
    source = f"aevalsrc={'|'.join(map(str, levels))}:d=0.5:s=16000"
    path = tmp_path / f"many.{suffix}"
    coding = ["-f", "lavfi", "-i", source, "-c:a", codec]
    subprocess.run([get_ffmpeg_exe(), "-loglevel", "error", *coding, path], check=True)
    torch.testing.assert_close(load_sound(path), torch.full((8000,), sum(levels) / channels), atol=1e-3, rtol=0)


def test_samples_that_are_not_numbers_become_silence(tmp_path):
    wavfile.write(tmp_path / "nan.wav", SAMPLE_RATE, np.full(4000, np.nan, dtype=np.float32))
    assert load_sound(tmp_path / "nan.wav").abs().max() == 0


def test_a_long_sound_is_cut_with_a_warning(tmp_path):
    wavfile.write(tmp_path / "long.wav", 8000, np.zeros(8000 * 3, dtype=np.int16))
    with pytest.warns(UserWarning, match="2 s"):
        assert len(load_sound(tmp_path / "long.wav", max_seconds=2)) == 2 * SAMPLE_RATE


def test_a_sound_can_be_loaded_from_its_middle(tmp_path):
    whole = torch.randn(3 * SAMPLE_RATE).mul(0.1)
    wavfile.write(tmp_path / "a.wav", SAMPLE_RATE, whole.numpy())
    torch.testing.assert_close(load_sound(tmp_path / "a.wav", start=1.25), whole[20000:])
    with pytest.raises(MediaError, match=r"a\.wav has no sound after second 7"):
        load_sound(tmp_path / "a.wav", start=7)


@pytest.mark.parametrize(("content", "message"), [(b"", "0 bytes"), (b"these are words\n" * 50, "not readable")])
def test_a_file_that_is_not_a_sound_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "song.mp3").write_bytes(content)
    with pytest.raises(MediaError, match=rf"song\.mp3.*{message}"):
        load_sound(tmp_path / "song.mp3")


@needs_shared
def test_the_shared_sounds_and_the_sound_of_videos_can_be_loaded():
    sounds = [next((SHARED / "sounds").rglob(f"*.{suffix}"), None) for suffix in ("mp3", "ogg", "flac", "wav")]
    videos = [SHARED / "clips" / "odd" / name for name in ("exo_sample_opus.mp4", "bbb_5.1.mp4", "gr_av1_32khz.mp4")]
    for path in [sound for sound in sounds if sound] + videos:
        sound = load_sound(path)
        assert sound.ndim == 1 and len(sound) > SAMPLE_RATE / 10 and sound.isfinite().all() and sound.abs().max() > 0, (
            path
        )
