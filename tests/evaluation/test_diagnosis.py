"""Each second in which an object sounds has one cause, worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError
from acvis_kit.evaluation.diagnosis import (
    CAUSES,
    FOUND,
    NOTHING,
    OTHER_NAME,
    OUTLINE,
    RIGHT,
    SILENT,
    UNHEARD,
    UNHEARD_OTHER_NAME,
    WRONG_NAME,
    WRONG_OUTLINE,
    Diagnosis,
    causes_of,
    diagnose,
)
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import RLE, empty, encode
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import save_model

NAMES = ("dog", "cat")


def columns(first: int, end: int) -> RLE:
    """A mask of 4x10 pixels, filled in some columns."""
    mask = np.zeros((4, 10), bool)
    mask[:, first:end] = True
    return encode(mask)


def predicted(*tracks: tuple[str, float, RLE]) -> Prediction:
    """A clip of one second: class, score and mask of each track."""
    made = [
        Track(n, NAMES.index(name), score, (mask,), torch.ones(1), name) for n, (name, score, mask) in enumerate(tracks)
    ]
    return Prediction(tuple(made), torch.zeros(1, dtype=torch.int64), None, NAMES, (4, 10))


DOG = columns(0, 4)


@pytest.mark.parametrize(
    ("shown", "hidden", "cause"),
    [
        ([("dog", 0.5, DOG)], [], FOUND),
        ([("cat", 0.9, DOG), ("dog", 0.5, columns(0, 5))], [], FOUND),  # one of two masks has the class
        ([("cat", 0.5, DOG)], [("dog", 0.9, DOG)], OTHER_NAME),  # what is shown counts
        ([], [("dog", 0.2, DOG), ("cat", 0.1, DOG)], UNHEARD),
        ([("dog", 0.5, columns(6, 9))], [("dog", 0.1, DOG), ("cat", 0.2, DOG)], UNHEARD_OTHER_NAME),  # the best one's
        ([], [("dog", 0.2, columns(0, 10))], OUTLINE),  # IoU 0.4
        ([], [("dog", 0.2, columns(6, 9))], NOTHING),
        ([], [], NOTHING),
    ],
)
def test_a_missed_object_has_one_cause(shown: list, hidden: list, cause: str) -> None:
    seconds, _ = causes_of(predicted(*shown), predicted(*shown, *hidden), [("dog", [DOG]), ("cat", [None])])
    assert seconds == [("dog", cause)]


def test_a_mask_that_is_shown_is_of_one_kind() -> None:
    shown = predicted(("dog", 0.9, DOG), ("cat", 0.8, DOG), ("dog", 0.7, columns(0, 10)), ("cat", 0.6, columns(6, 9)))
    _, marks = causes_of(shown, shown, [("dog", [DOG])])
    assert marks == [RIGHT, WRONG_NAME, WRONG_OUTLINE, SILENT]


def test_a_second_in_which_nothing_sounds_has_no_cause_and_an_empty_mask_is_no_object() -> None:
    shown = predicted(("dog", 0.9, DOG), ("cat", 0.9, empty((4, 10))))
    assert causes_of(shown, shown, [("dog", [None]), ("cat", [empty((4, 10))])]) == ([], [SILENT])


def test_the_table_has_a_row_for_all_and_one_for_each_class() -> None:
    found = Diagnosis({"cat": {FOUND: 1}, "dog": {FOUND: 1, UNHEARD: 2}}, {RIGHT: 1, SILENT: 3})
    lines = found.table().splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| all", "| dog", "| cat"]
    assert lines[2].split(" | ")[1:4] == ["4", "50 %", "0 %"] and lines[-1].split(" | ")[1:3] == ["4", "25 %"]
    assert list(found.to_dict()["sounding"]["dog"]) == list(CAUSES)


def test_data_without_annotations_are_refused(aviseg_folder: Path, tiny_model: ACVIS) -> None:
    """Every mask would be one where nothing sounds."""
    truth = json.loads((aviseg_folder / "test.json").read_text())
    (aviseg_folder / "test.json").write_text(json.dumps(truth | {"annotations": []}))
    with pytest.raises(DataError, match=r"test\.json has no annotations"):
        diagnose(Predictor(tiny_model), AVISegSplit(aviseg_folder))


def test_the_command_prints_the_table_and_writes_it(
    aviseg_folder: Path, tiny_model: ACVIS, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, weights = tmp_path / "report.json", tmp_path / "weights"
    save_model(tiny_model, weights)
    command = ["evaluate", "--weights", str(weights), "--data", str(aviseg_folder), "--diagnose"]
    assert main([*command, "--out", str(out)]) == 0
    assert "| an object sounds |" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert (
        sum(sum(causes.values()) for causes in found["sounding"].values()) == 3
    )  # the violin sounds in one second of the first video and in two of the other
