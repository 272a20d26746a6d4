"""Data for the tests of the pretraining stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from acvis_kit.data.synth.writer import write_dataset


@pytest.fixture(scope="session")
def synth_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of AVIS-Synth in a split "train"; tests only read them."""
    folder = tmp_path_factory.mktemp("synth")
    write_dataset(folder, {"train": 6}, seed=3, size=64, seconds=(4, 6), progress=False)
    return folder
