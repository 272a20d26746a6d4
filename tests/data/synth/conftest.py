"""One small data set of drawn clips for all tests that read one."""

from __future__ import annotations

from pathlib import Path

import pytest

from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.data.synth.writer import write_dataset


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 8 to 16 s at 64 pixels, split "train", seed 3."""
    folder = tmp_path_factory.mktemp("synth")
    write_dataset(folder, {"train": 24}, seed=3, size=64, seconds=(8, 16), progress=False)
    return folder


@pytest.fixture(scope="session")
def scenes(dataset: Path) -> dict[int, SceneRecord]:
    return load_scenes(dataset / "train_scenes.json")
