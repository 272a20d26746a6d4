"""What several test files need: a small model, a small clip, and where golden data lies."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.config import AVISEG_CLASSES, PRESETS, ACVISConfig
from acvis_kit.models.acvis.model import ACVIS

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
    targets="sounding",
    audio_classes=False,
    count_from="token",
    pixel_classes=False,
    auxiliary_targets=(),
)
# Queries stand for everything that is seen.
SEEING = replace(
    TINY, targets="visible", audio_classes=True, count_from="both", pixel_classes=True, auxiliary_targets=("cue",)
)


def unavailable(reason: str) -> None:
    """Skip; or fail on CI, where what the tests need has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; on CI this test must run")
    pytest.skip(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Runs of many minutes are only for those who ask for them."""
    for mark in ("fuzz", "load"):
        if mark not in (config.option.markexpr or ""):
            long = [item for item in items if item.get_closest_marker(mark)]
            items[:] = [item for item in items if item not in long]
            config.hook.pytest_deselected(items=long)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A machine may be without a GPU, on CI too."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("there is no GPU")


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


@pytest.fixture
def aviseg_folder(tmp_path: Path) -> Path:
    """A data set in AVISeg's layout: two videos of 3 and 4 frames of 72x128, one violin sounding in some seconds."""
    return write_aviseg_folder(tmp_path / "aviseg")


def write_aviseg_folder(root: Path, size: tuple[int, int] = (72, 128)) -> Path:
    height, width = size
    rng = np.random.default_rng(0)
    videos, annotations = [], []
    for number, length in ((1, 3), (2, 4)):
        name = f"video{number:03d}"
        frames = root / "test" / "JPEGImages" / name
        frames.mkdir(parents=True)
        for t in range(length):
            Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(frames / f"{t:05d}.jpg")
        names = [f"{name}/{t:05d}.jpg" for t in range(length)]
        videos.append({"id": number, "file_names": names, "length": length, "height": height, "width": width})
        square = [[10, 10, 50, 10, 50, 40, 10, 40]]
        annotations.append(
            {
                "id": number,
                "video_id": number,
                "category_id": 2,
                "iscrowd": 0,
                "height": height,
                "width": width,
                "segmentations": [square if t % 2 else None for t in range(length)],
                "areas": [1200 if t % 2 else None for t in range(length)],
                "bboxes": [[10, 10, 40, 30] if t % 2 else None for t in range(length)],
            }
        )
        sounds = root / "test" / "WAVAudios"
        sounds.mkdir(exist_ok=True)
        tone = 0.2 * np.sin(np.arange(length * SAMPLE_RATE) / SAMPLE_RATE * 440 * 6.283)
        wavfile.write(sounds / f"{name}.wav", SAMPLE_RATE, (tone * 32767).astype(np.int16))
    categories = [{"id": i, "name": n} for i, n in enumerate(AVISEG_CLASSES, start=1)]
    truth = {"videos": videos, "categories": categories, "annotations": annotations}
    (root / "test.json").write_text(json.dumps(truth))
    return root
