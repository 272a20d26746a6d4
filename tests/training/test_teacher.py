"""YAMNet as a teacher of the audio encoder."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.errors import WeightsError
from acvis_kit.training.teacher import YAMNet
from tests.conftest import SHARED

YAMNET = SHARED / "teachers" / "yamnet" / "yamnet.tflite"
pytest.importorskip("ai_edge_litert")
needs_yamnet = pytest.mark.skipif(not YAMNET.is_file(), reason=f"there is no {YAMNET}")


@needs_yamnet
def test_embeddings_depend_on_the_sound_and_survive_a_worker() -> None:
    rng = np.random.default_rng(0)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    seconds = np.stack([tone, 0.1 * rng.standard_normal(16_000), tone]).astype(np.float32)
    teacher = YAMNet(YAMNET)
    found = teacher(seconds)
    assert found.shape == (3, teacher.dim) and found.dtype == np.float32
    assert np.array_equal(found[0], found[2]) and np.abs(found[0] - found[1]).max() > 0.1
    assert found.min() >= 0  # means of rectified maps
    assert np.array_equal(pickle.loads(pickle.dumps(teacher))(seconds), found)


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is no file"):
        YAMNet(tmp_path / "none.tflite")
    (tmp_path / "other.tflite").write_bytes(b"no network" * 100)
    with pytest.raises(WeightsError, match="cannot be opened as a TFLite file"):
        YAMNet(tmp_path / "other.tflite")
