"""Waveforms for tests, and their level."""

from __future__ import annotations

import torch

from acvis_kit.clip import SAMPLE_RATE


def sine(hertz: float, seconds: float, rate: int = SAMPLE_RATE, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def rms(waveform: torch.Tensor) -> float:
    return waveform.square().mean().sqrt().item()
