"""Weights for the tests of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import save_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_model: ACVIS) -> Path:
    return save_model(tiny_model, tmp_path_factory.mktemp("weights"))
