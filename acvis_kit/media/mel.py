"""The log-mel front end of VGGish, and the seconds of sound that it takes.

Source: the AudioSet VGGish release (mel_features.py, vggish_params.py), as used by the ACVIS reference: magnitude (not
power) spectra, HTK mel bands drawn linear in mel, no centring of the frames. All is differentiable and batched.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE

WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
FFT = 512  # the next power of two
BANDS = 64
LOWEST, HIGHEST = 125.0, 7500.0  # Hz
LOG_OFFSET = 0.01  # silence is log(0.01) = -4.6, not 0
EXAMPLE = 96  # spectrogram frames per example: 0.96 s of hops, 0.975 s of samples


def frame_seconds(waveform: Tensor, num_frames: int, fps: float) -> Tensor:
    """The second of sound around the middle of each frame.

    Frame i lasts from i / fps to (i + 1) / fps; its second is [c - 0.5, c + 0.5) with c = (i + 0.5) / fps. At one frame
    per second that is second i itself. Samples outside the waveform are silence.

    Args:
        waveform: float (..., S), 16 kHz.
        num_frames: T.
        fps: frames per second.

    Returns:
        (..., T, 16000), in the waveform's dtype.
    """
    half = SAMPLE_RATE // 2
    centres = ((torch.arange(num_frames, dtype=torch.float64) + 0.5) / fps * SAMPLE_RATE).round().long()
    missing = max(0, int(centres[-1]) + half - waveform.shape[-1]) if num_frames else half
    padded = torch.nn.functional.pad(waveform, (half, missing))  # begins half a second early: centre = first sample
    windows = padded.unfold(-1, SAMPLE_RATE, 1)  # (..., positions, 16000), a view
    return windows[..., centres.to(waveform.device), :]


def log_mel(seconds: Tensor) -> Tensor:
    """The log-mel spectrograms of single seconds, one VGGish example each.

    Args:
        seconds: float (..., 16000), 16 kHz, in [-1, 1].

    Returns:
        (..., 96, 64), time by band, in the same dtype. A second has 98 spectrogram frames; the last two are dropped.
    """
    return _log_mel_frames(seconds)[..., :EXAMPLE, :]


def log_mel_examples(waveform: Tensor) -> Tensor:
    """The log-mel spectrogram of a long waveform, cut into VGGish examples every 0.96 s without overlap.

    Args:
        waveform: float (..., S), 16 kHz, S >= 15600 (0.975 s).

    Returns:
        (..., n, 96, 64); an incomplete example at the end is dropped.
    """
    frames = _log_mel_frames(waveform)  # (..., frames, 64)
    whole = frames.shape[-2] // EXAMPLE
    return frames[..., : whole * EXAMPLE, :].unflatten(-2, (whole, EXAMPLE))


def _log_mel_frames(waveform: Tensor) -> Tensor:
    """(..., S) -> (..., 1 + (S - 400) // 160, 64): windows, magnitude spectra, mel bands, logarithm."""
    window, bands = _front_end(waveform.dtype, waveform.device)
    frames = waveform.unfold(-1, WINDOW, HOP) * window  # (..., frames, 400)
    magnitudes = torch.fft.rfft(frames, n=FFT).abs()  # (..., frames, 257)
    return torch.log(magnitudes @ bands + LOG_OFFSET)


@cache
def _front_end(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The periodic Hann window (400,) and the mel filters (257, 64), made once per dtype and device.

    Made outside inference mode, even if the first call is inside: inference tensors cannot be used in autograd.
    """
    with torch.inference_mode(False):
        window = torch.hann_window(WINDOW, periodic=True, dtype=torch.float64, device="cpu")
        return window.to(device, dtype), _mel_filters().to(device, dtype)


def _mel_filters() -> Tensor:
    """Triangular filters, linear in mel, not in Hz, float64 (257, 64); the bin of 0 Hz is in none."""
    bins = _mel(torch.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1, dtype=torch.float64, device="cpu"))[:, None]
    lowest, highest = _mel(torch.tensor([LOWEST, HIGHEST], dtype=torch.float64, device="cpu")).tolist()
    edges = torch.linspace(lowest, highest, BANDS + 2, dtype=torch.float64, device="cpu")
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)  # (257, 64)
    falling = (right - bins) / (right - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters


def _mel(hertz: Tensor) -> Tensor:
    """HTK's mel scale."""
    return 1127.0 * torch.log1p(hertz / 700.0)
