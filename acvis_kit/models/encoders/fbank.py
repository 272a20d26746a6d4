"""The log-mel front end of BEATs: Kaldi's filter banks of one second per frame, batched and differentiable.

Source: torchaudio.compliance.kaldi.fbank with 128 bands and the scaling of BEATs' own preprocessing. torchaudio takes
one waveform at a time and has ended.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE

WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms, and the next power of two
BANDS = 128
LOWEST, HIGHEST = 20.0, SAMPLE_RATE / 2  # Hz
PRE_EMPHASIS = 0.97
POVEY_POWER = 0.85  # Kaldi's default window is a Hann window to this power
FLOOR = 1.1920929e-07  # float32's epsilon: the least energy whose logarithm is taken
SCALE = 2.0**15  # Kaldi takes samples of 16-bit files
MEAN, STD = 15.41663, 6.55582  # of AudioSet, from BEATs; it divides by twice the deviation


def fbank(waveform: Tensor) -> Tensor:
    """Normalised log-mel energies.

    Args:
        waveform: float (..., S), 16 kHz, in [-1, 1], S >= 400.

    Returns:
        (..., 1 + (S - 400) // 160, 128), time by band; 98 frames for a second.
    """
    window, bands = _front_end(waveform.dtype, waveform.device)
    frames = (waveform * SCALE).unfold(-1, WINDOW, HOP)  # (..., frames, 400)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)  # a frame's first sample precedes itself
    spectrum = torch.fft.rfft((frames - PRE_EMPHASIS * before) * window, n=FFT).abs() ** 2  # (..., frames, 257)
    energies = (spectrum[..., : FFT // 2] @ bands).clamp(min=FLOOR).log()
    return (energies - MEAN) / (2 * STD)


@cache
def _front_end(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The window (400,) and the triangular filters (256, 128) in mel; the highest bin is in none.

    Made outside inference mode, even if the first call is inside: inference tensors cannot be used in autograd.
    """
    with torch.inference_mode(False):
        window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float64, device="cpu") ** POVEY_POWER
        ends = torch.tensor([LOWEST, HIGHEST], dtype=torch.float64, device="cpu")
        low, high = _mel(ends).tolist()
        edges = torch.linspace(low, high, BANDS + 2, dtype=torch.float64, device="cpu")
        bins = _mel(torch.arange(FFT // 2, dtype=torch.float64, device="cpu") * (SAMPLE_RATE / FFT))[:, None]
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        bands = torch.minimum(rising, falling).clamp(min=0)
        return window.to(device, dtype), bands.to(device, dtype)


def _mel(hertz: Tensor) -> Tensor:
    """Kaldi's mel scale, which is HTK's."""
    return 1127.0 * torch.log1p(hertz / 700.0)
