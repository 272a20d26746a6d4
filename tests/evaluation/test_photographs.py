"""What is seen in photographs: the best mask of each object, and its name, worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acvis_kit.cli import main
from acvis_kit.clip import Clip
from acvis_kit.data.synth.annotated import read_photographs
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.photographs import ClassRow, PhotographScores, SeenObject, score_photographs
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import encode
from acvis_kit.weights.load import save_model
from tests.conftest import SEEING, TINY, make_model
from tests.data.synth.photo_material import write_photographs


def test_rows_are_means_over_the_objects_of_a_class() -> None:
    seen = [
        SeenObject("dog", 0.9, True),
        SeenObject("dog", 0.6, False),
        SeenObject("dog", 0.3, False),
        SeenObject("other", 0.8, False),
    ]
    rows = PhotographScores(tuple(seen)).rows()
    assert list(rows) == ["all", "dog", "other"]
    assert rows["dog"] == ClassRow(3, pytest.approx(0.6), pytest.approx(2 / 3), pytest.approx(1 / 3), 0.5)
    assert rows["other"] == ClassRow(1, pytest.approx(0.8), 1.0, 1.0, None)  # it has no name to be right
    assert rows["all"] == ClassRow(4, pytest.approx(0.65), 0.75, 0.5, 0.5)


def columns(size: tuple[int, int], first: int, end: int) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[:, first:end] = True
    return mask


class Sees(Predictor):
    """Sees three masks in every photograph: the left half, better and worse, and the right third."""

    def encode(self, clip: Clip, **_: object) -> Clip:  # type: ignore[override]
        assert not clip.waveform.any() and len(clip) == 1
        return clip

    def decode(self, features: Clip, *_: object, **__: object) -> Prediction:  # type: ignore[override]
        size = features.size
        names = self.model.config.class_names
        made = [
            Track(n, label, score, (encode(columns(size, first, end)),), torch.ones(1), names[label])
            for n, (label, score, first, end) in enumerate(
                [(0, 0.9, 0, size[1] // 2), (1, 0.4, 0, size[1] // 2 + 2), (1, 0.5, size[1] * 2 // 3, size[1])]
            )
        ]
        return Prediction(tuple(made), torch.zeros(1, dtype=torch.int64), None, names, size)


def test_an_object_has_its_best_mask_and_the_name_of_the_surest(tmp_path: Path) -> None:
    model = make_model(replace(SEEING, class_names=("person", "dog")))
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    boxes = {1: (0, 0, 30, 40), 2: (40, 0, 20, 40), 3: (30, 0, 10, 40), 4: (0, 0, 2, 2)}  # x, y, width, height
    annotations = [
        {"id": n, "image_id": 1, "category_id": n if n < 3 else 3, "area": w * h, "bbox": [x, y, w, h], "iscrowd": 0}
        | {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        for n, (x, y, w, h) in boxes.items()
    ]
    names = ("person", "dog", "kettle")
    data = {
        "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names, 1)],
        "annotations": annotations,
    }
    (tmp_path / "coco.json").write_text(json.dumps(data))
    photographs = read_photographs(tmp_path / "coco.json", tmp_path)
    person, dog, kettle = score_photographs(Sees(model), photographs).objects  # the fourth is too small
    assert person == SeenObject("person", 1.0, True)  # the mask that is called a dog fits less and is less sure
    assert dog == SeenObject("dog", 1.0, True)
    assert kettle.name == "other" and kettle.iou == pytest.approx(80 / (32 * 40 + 8 * 40))  # two of its ten columns
    annotations[:] = annotations[3:]
    (tmp_path / "coco.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="none of 1 photographs shows an object that covers 2%"):
        score_photographs(Sees(model), read_photographs(tmp_path / "coco.json", tmp_path))


def test_a_network_of_sounding_objects_is_refused() -> None:
    with pytest.raises(ConfigError, match="a photograph is silent"):
        score_photographs(Predictor(make_model(TINY)), [])


def test_the_command_prints_the_table_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photographs").mkdir()
    annotations, images = write_photographs(tmp_path / "photographs", 2)
    save_model(make_model(SEEING), tmp_path / "weights")
    command = ["evaluate", "--weights", str(tmp_path / "weights"), "--photos", str(annotations), str(images)]
    assert main([*command, "--out", str(tmp_path / "all.json")]) == 0
    assert "| all |" in capsys.readouterr().out
    assert main([*command, "--share", "0", "0.5", "--out", str(tmp_path / "half.json")]) == 0
    whole, half = (json.loads((tmp_path / name).read_text())["classes"] for name in ("all.json", "half.json"))
    assert 0 < half["all"]["objects"] < whole["all"]["objects"]
    assert main([*command, "--out", str(annotations)]) == 1
    assert "ground truth" in capsys.readouterr().err
    assert main([*command[:3], "--data", str(tmp_path), "--share", "0", "1"]) == 1
    assert "add --photos" in capsys.readouterr().err
