"""Fixtures of the page's tests: random weights that mark three objects, a small clip, a separate cache."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.config import PRESETS
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.predictor import Predictor
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import Loaded

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

from acvis_kit.app.studio import Studio


@pytest.fixture(scope="session")
def loaded() -> Loaded:
    """Random weights that mark three objects in every clip."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = replace(PRESETS["acvis-synth-tiny"], score_threshold=0.0, top_k=3, short_side=64)
        config = replace(config, targets="sounding", audio_classes=False, pixel_classes=False, auxiliary_targets=())
        return Loaded(ACVIS(config).eval(), "random")


@pytest.fixture
def studio(loaded: Loaded) -> Studio:
    return Studio(loaded)


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder with two clips."""
    folder = tmp_path / "examples"
    folder.mkdir()
    make_clip(folder / "one.mp4", seconds=1)
    make_clip(folder / "two.mp4", seconds=2)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def encoded_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the clips that are encoded by this test's thread (servers of other tests may still warm up)."""
    lengths: list[int] = []
    encode = Predictor.encode

    def counted(self: Predictor, clip: Clip, **options: object) -> VisualFeatures:
        if threading.current_thread() is threading.main_thread():
            lengths.append(len(clip))
        return encode(self, clip, **options)

    monkeypatch.setattr(Predictor, "encode", counted)
    return lengths


@pytest.fixture(scope="session")
def made_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(make_clip(tmp_path_factory.mktemp("clips") / "a clip.mp4"))


@pytest.fixture
def clip(made_clip: Path, tmp_path: Path) -> str:
    """Two seconds of noise with a tone; a copy for one test."""
    return str(shutil.copy(made_clip, tmp_path / made_clip.name))


def make_clip(path: Path, seconds: int = 2) -> str:
    frames = torch.randint(0, 256, (seconds * 5, 64, 96, 3), generator=torch.Generator().manual_seed(0))
    tone = 0.3 * torch.sin(torch.arange(seconds * 16000) * 2 * torch.pi * 440 / 16000)
    return str(write_video(path, frames.to(torch.uint8).numpy(), 5, tone))


def quiet(*_: object) -> None:
    """A `Progress` that does nothing."""
