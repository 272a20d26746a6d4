"""The log-mel spectrogram against the reference, and the seconds of sound of frames."""

from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.media.mel import frame_seconds, log_mel, log_mel_examples
from acvis_kit.media.sound import resample
from tests.media.waveforms import sine

FIXTURE = Path(__file__).parents[1] / "fixtures" / "mel.npz"
SHARED = Path(__file__).parents[3] / "shared"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the shared reference material is not beside the checkout"
)


def golden_mel(path: Path, case: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ours and the reference's log-mel of a case, (T, 96, 64)."""
    data = np.load(path)
    native = torch.from_numpy(data[f"{case}.pcm"].astype(np.float32) / 32768).mean(dim=1)
    golden = torch.from_numpy(data[f"{case}.mel"])
    waveform = resample(native, int(data[f"{case}.sr"]))
    return log_mel(frame_seconds(waveform, len(golden), fps=1.0)), golden


def test_log_mel_at_16_khz_equals_the_reference():
    ours, golden = golden_mel(FIXTURE, "a16k")
    torch.testing.assert_close(ours, golden, atol=1e-4, rtol=0)


def test_log_mel_after_resampling_is_close_to_the_reference():
    ours, golden = golden_mel(FIXTURE, "b44k")
    assert (ours - golden).abs().mean() < 0.02


def test_log_mel_of_one_long_piece_equals_the_reference():
    times = np.linspace(0, 3, 132300)
    waveform = resample(torch.from_numpy(np.sin(2 * np.pi * 1000 * times)).float(), 44100)
    golden = torch.from_numpy(np.load(FIXTURE)["sine.mel"])
    ours = log_mel_examples(waveform)
    assert ours.shape == golden.shape
    assert (ours - golden).abs().mean() < 0.01


@needs_shared
@pytest.mark.parametrize("case", ["a16k", "b44k", "c16k_short"])
def test_log_mel_equals_all_of_the_reference_material(case):
    ours, golden = golden_mel(SHARED / "parity" / "mel.npz", case)
    complete = 2 if case == "c16k_short" else len(golden)  # the reference pads the last second with 0.0, which is loud
    difference = (ours - golden).abs()[:complete]
    assert difference.mean() < 0.02 if case == "b44k" else difference.max() < 1e-4


def test_missing_sound_is_silence_in_the_log_mel_and_not_zero():
    mel = log_mel(frame_seconds(sine(440, 1.0), num_frames=2, fps=1.0))
    torch.testing.assert_close(mel[1], torch.full((96, 64), 0.01).log())


def test_log_mel_keeps_the_dtype_and_any_leading_axes():
    seconds = torch.randn(2, 3, SAMPLE_RATE, dtype=torch.float64)
    mel = log_mel(seconds)
    assert mel.dtype == torch.float64 and mel.shape == (2, 3, 96, 64)
    torch.testing.assert_close(log_mel(seconds.float()).double(), mel, atol=1e-4, rtol=0)


def test_log_mel_has_gradients_even_if_inference_came_first():
    log_mel.__globals__["_front_end"].cache_clear()
    with torch.inference_mode():
        log_mel(torch.randn(1, SAMPLE_RATE))
    waveform = torch.randn(1, SAMPLE_RATE, requires_grad=True)
    log_mel(waveform).sum().backward()
    assert waveform.grad.abs().sum() > 0


def test_at_one_frame_per_second_frame_i_gets_second_i():
    waveform = torch.arange(3 * SAMPLE_RATE, dtype=torch.float32)
    torch.testing.assert_close(frame_seconds(waveform, 3, fps=1.0).flatten(), waveform)


@pytest.mark.parametrize("fps", [0.5, 2.0, 3.0, 29.97])
def test_at_other_rates_every_frame_gets_the_second_around_its_middle(fps):
    waveform = torch.arange(1, 4 * SAMPLE_RATE + 1, dtype=torch.float64)  # sample n holds n + 1, silence 0
    num_frames = int(4 * fps)
    seconds = frame_seconds(waveform, num_frames, fps)
    assert seconds.shape == (num_frames, SAMPLE_RATE)
    for i in (0, num_frames // 2, num_frames - 1):
        first = round((i + 0.5) / fps * SAMPLE_RATE) - SAMPLE_RATE // 2
        expected = [waveform[n].item() if 0 <= n < len(waveform) else 0 for n in (first, first + 8000, first + 15999)]
        assert seconds[i, [0, 8000, 15999]].tolist() == expected
