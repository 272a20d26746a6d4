"""One small data set of drawn clips, one of filmed clips, and its material, for all tests that read them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from acvis_kit.data.synth.filmed import PhotoMaterial
from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.data.synth.writer import write_dataset
from tests.data.synth.photo_material import write_photographs, write_sounds


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 clips of 8 to 16 s at 64 pixels, split "train", seed 3."""
    folder = tmp_path_factory.mktemp("synth")
    write_dataset(folder, {"train": 24}, seed=3, size=64, seconds=(8, 16), progress=False)
    return folder


@pytest.fixture(scope="session")
def scenes(dataset: Path) -> dict[int, SceneRecord]:
    return load_scenes(dataset / "train_scenes.json")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """COCO JSON and images of twelve photographs, see `photo_material`."""
    return write_photographs(tmp_path_factory.mktemp("photographs"))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of recordings, see `photo_material`."""
    return write_sounds(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory, photographs: tuple[Path, Path], recorded: Path) -> Path:
    """16 filmed clips of 4 to 8 s at 96 pixels, split "train", seed 2."""
    folder = tmp_path_factory.mktemp("filmed")
    material = partial(PhotoMaterial, photographs, recorded)
    write_dataset(folder, {"train": 16}, 2, 96, (4, 8), material=material, progress=False)
    return folder
