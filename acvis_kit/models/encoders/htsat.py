"""HTSAT (Chen et al. 2022) as the audio encoder of CLAP, from transformers (extra `avs`).

The kit's seconds have 16 kHz; CLAP's weights expect 10 s at 48 kHz. As in CLAP's own preprocessing, a second is
repeated until it is 10 s long. (The sibling of RAVS computes 22.05 kHz spectrograms for HTSAT weights of its own.)
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import ConfigError
from acvis_kit.models.encoders.audio import AudioFeatures

RATE, WINDOW, HOP, BANDS = 48_000, 1024, 480, 64
LOWEST, HIGHEST = 50, 14_000  # Hz
REPEATS = 10  # of a second; CLAP is trained on 10 s
FLOOR = 1e-10  # of mel energies, before the logarithm


def require_transformers(what: str) -> ModuleType:
    """The module transformers.

    Args:
        what: the field and value of the configuration that needs it, for the message.

    Raises:
        ConfigError: transformers is not installed.
    """
    try:
        return import_module("transformers")
    except ImportError as error:
        raise ConfigError(f'{what} needs transformers: install it with pip install "acvis-kit[avs]"') from error


class HTSAT(nn.Module):
    """CLAP's audio encoder with random weights; transformers' weights of `ClapAudioModel` load into `model`."""

    def __init__(self) -> None:
        super().__init__()
        transformers = require_transformers("audio_encoder='htsat'")
        self.model = transformers.ClapAudioModel(transformers.ClapAudioConfig())

    def forward(self, spectrogram: Tensor) -> AudioFeatures:
        """Spectrograms (B, T, 1001, 64) in dB -> vectors (B, T, 768) and 64 tokens (B, T, 64, 768)."""
        out = self.model(input_features=spectrogram.flatten(0, 1)[:, None])
        shape = spectrogram.shape[:2]
        tokens = out.last_hidden_state.flatten(2).transpose(1, 2)  # (B * T, A, 768)
        return AudioFeatures(out.pooler_output.unflatten(0, shape), tokens.unflatten(0, shape))


def clap_spectrogram(seconds: Tensor) -> Tensor:
    """CLAP's log-mel spectrogram of single seconds, each repeated to 10 s.

    Args:
        seconds: float (..., 16000), 16 kHz, in [-1, 1].

    Returns:
        (..., 1001, 64) in dB, time by band.

    Raises:
        ConfigError: transformers is not installed.
    """
    from torchaudio.functional import resample  # takes time to import

    wave = resample(seconds, SAMPLE_RATE, RATE)
    wave = wave.reshape(-1, RATE).repeat(1, REPEATS)  # (N, 480000)
    window = torch.hann_window(WINDOW, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, WINDOW, HOP, window=window, return_complex=True).abs() ** 2  # (N, 513, 1001)
    energies = spectrum.transpose(1, 2) @ _filters(wave.dtype, wave.device)
    return (10 * energies.clamp(min=FLOOR).log10()).reshape(*seconds.shape[:-1], -1, BANDS)


@cache
def _filters(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Slaney's mel filters (513, 64), of CLAP without fusion."""
    require_transformers("audio_encoder='htsat'")
    bank = import_module("transformers.audio_utils").mel_filter_bank(
        num_frequency_bins=WINDOW // 2 + 1,
        num_mel_filters=BANDS,
        min_frequency=LOWEST,
        max_frequency=HIGHEST,
        sampling_rate=RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    with torch.inference_mode(False):
        return torch.from_numpy(bank).to(device, dtype)
