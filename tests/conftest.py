"""What several test files need: a small model, a small clip, and where golden data lies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.models.acvis import ACVIS
from acvis_kit.types import SAMPLE_RATE, Clip

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
FIXTURES = Path(__file__).parent / "fixtures"
SHARED = Path(__file__).parents[2] / "shared"

TINY = replace(
    PRESETS["acvis-synth-tiny"],
    hidden_dim=32,
    num_heads=4,
    frame_layers=2,
    short_side=64,
    score_threshold=0.02,
    top_k=12,
)


@pytest.fixture
def tiny_config() -> ACVISConfig:
    return TINY


@pytest.fixture(scope="session")
def tiny_model() -> ACVIS:
    """A whole ACVIS small enough to run in milliseconds, always with the same random weights. Not to be changed."""
    return make_model(TINY)


@pytest.fixture(scope="session")
def noise_clip() -> Clip:
    """8 frames of 70x100 noise, with one second of sound in every two."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (8, 3, 70, 100), dtype=torch.uint8, generator=generator)
    sound = torch.randn(8, SAMPLE_RATE, generator=generator) * 0.2
    sound[::2] = 0
    return Clip.from_arrays(frames, sound.flatten())


def make_model(config: ACVISConfig, seed: int = 0) -> ACVIS:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ACVIS(config).eval()
