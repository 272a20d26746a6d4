"""Scores on filmed clips of which little is known, worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acvis_kit.cli import main
from acvis_kit.clip import Clip
from acvis_kit.errors import DataError
from acvis_kit.evaluation import clips
from acvis_kit.evaluation.clips import read_clip_truth, score_clips
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode
from acvis_kit.media.write import write_video
from acvis_kit.weights.load import save_model
from tests.conftest import TINY, make_model

NAMES = ("dog", "cat")
DOG: dict[str, Any] = {"file": "a.mp4", "second": 1, "class": "dog", "box": [0.0, 0.0, 0.5, 1.0], "sounds": True}


def box_of(x0: int, x1: int) -> np.ndarray:
    """A mask of 10x20 pixels, filled in columns x0 to x1."""
    mask = np.zeros((10, 20), bool)
    mask[:, x0:x1] = True
    return mask


def predicted(*tracks: tuple[int, dict[int, np.ndarray]], length: int = 4) -> Prediction:
    """Tracks given as (label, mask by second)."""
    nothing = np.zeros((10, 20), bool)
    made = [
        Track(
            n, label, 0.9, tuple(encode(masks.get(t, nothing)) for t in range(length)), torch.ones(length), NAMES[label]
        )
        for n, (label, masks) in enumerate(tracks)
    ]
    return Prediction(tuple(made), torch.zeros(length, dtype=torch.int64), None, NAMES, (10, 20))


class Given:
    """A predictor that returns a given prediction for the clip's own sound, and another for silence."""

    def __init__(self, own: Prediction, muted: Prediction) -> None:
        self.own, self.muted = own, muted

    def encode(self, clip: Clip) -> Any:
        return SimpleNamespace(clip=clip)

    def decode(self, features: Any, sound: Clip | Tensor) -> Prediction:
        if isinstance(sound, Clip):
            return self.own
        assert not sound.any(), "muted is digital silence"
        return self.muted


def truth_file(folder: Path, objects: list[Any], **more: Any) -> Path:
    path = folder / "truth.json"
    path.write_text(json.dumps({"objects": objects, **more}), encoding="utf-8")
    return path


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    clip = Clip.from_arrays(torch.zeros(4, 3, 10, 20, dtype=torch.uint8), torch.ones(64_000))
    monkeypatch.setattr(clips, "load_clip", lambda path: clip)

    def score(own: Prediction, muted: Prediction, objects: list[Any], **more: Any) -> clips.ClipScores:
        truth = read_clip_truth(truth_file(tmp_path, objects, **more))
        return score_clips(Given(own, muted), tmp_path, truth)  # type: ignore[arg-type]

    return score


@pytest.mark.parametrize(
    ("columns", "label", "iou", "on_object", "right"),
    [
        ((0, 10), 0, 1.0, True, True),
        ((0, 20), 0, 0.5, True, True),  # the true box is half of this one
        ((0, 20), 1, 0.5, True, False),
        ((5, 20), 0, 0.25, False, False),  # 5 columns shared, 20 in all
        ((12, 15), 0, 0.0, False, False),
    ],
)
def test_the_box_of_the_best_mask_is_compared(
    scored: Any, columns: tuple[int, int], label: int, iou: float, on_object: bool, right: bool
) -> None:
    (found,) = scored(predicted((label, {1: box_of(*columns)})), predicted(), [DOG]).found
    assert found.overlap == pytest.approx(iou) and (found.on_object, found.right) == (on_object, right)


def test_a_mask_of_another_second_does_not_count(scored: Any) -> None:
    (found,) = scored(predicted((0, {2: box_of(0, 10)})), predicted(), [DOG]).found
    assert (found.overlap, found.class_name) == (0, None)


def test_only_objects_that_are_known_to_sound_are_looked_for(scored: Any) -> None:
    objects = [DOG, {**DOG, "sounds": False}, {**DOG, "sounds": None}]
    assert len(scored(predicted(), predicted(), objects).found) == 1


def test_quiet_and_muted_seconds_must_be_empty(scored: Any) -> None:
    """A mask in seconds 1 and 3; seconds 2 and 3 are quiet. Muted, one of four seconds still has a mask."""
    own = predicted((0, {1: box_of(0, 10), 3: box_of(0, 10)}))
    muted = predicted((1, {0: box_of(0, 3)}))
    scores = scored(own, muted, [DOG], no_class_sounds={"a.mp4": [2, 4]})
    assert (scores.quiet, scores.muted) == ((1, 2), (3, 4))
    assert "| nothing in view sounds: seconds without a mask | 50 % | 1 of 2 seconds |" in scores.table()
    assert scores.to_dict()["objects"]["box_and_class"] == 1


def test_a_second_beyond_the_end_is_named(scored: Any) -> None:
    with pytest.raises(DataError, match=r"a\.mp4 names second 7, but the clip lasts 4 s"):
        scored(predicted(), predicted(), [{**DOG, "second": 7}])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**DOG, "box": [0, 0, 1]}, "object 0: the box is .* it must be x0, y0, x1, y1 in shares"),
        ({**DOG, "box": [0.5, 0, 0.4, 1]}, "must be x0, y0, x1, y1"),
        ({**DOG, "box": [0, 0, 1, float("nan")]}, "must be x0, y0, x1, y1"),
        ({**DOG, "second": -1}, "second is -1, it must be a whole number"),
        ({**DOG, "sounds": "yes"}, "sounds is 'yes', it must be true, false or null"),
        ({"file": "a.mp4"}, "'second' is missing"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_clip_truth(truth_file(tmp_path, [entry]))


@pytest.mark.parametrize("span", [[3], [4, 2], "x", [0, 1.5]])
def test_a_wrong_span_is_named(tmp_path: Path, span: Any) -> None:
    with pytest.raises(DataError, match=r"no_class_sounds of a\.mp4"):
        read_clip_truth(truth_file(tmp_path, [], no_class_sounds={"a.mp4": span}))


@pytest.fixture
def two_clips(tmp_path: Path) -> list[str]:
    """The command for a folder with a clip, and a truth that names another one, which is not there."""
    sound = {"a.mp4": [0, 1], "missing.mp4": [0, 2]}
    truth = truth_file(tmp_path, [{**DOG, "file": "missing.mp4"}], no_class_sounds=sound)
    write_video(tmp_path / "a.mp4", [np.zeros((16, 16, 3), np.uint8)] * 4, 2, torch.ones(32_000))
    return ["evaluate", "--weights", str(save_model(make_model(TINY), tmp_path / "weights")),
            "--clips", str(tmp_path), "--truth", str(truth)]  # fmt: skip


def test_a_clip_that_is_missing_does_not_stop_the_others(
    two_clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*two_clips, "--out", str(tmp_path / "scores.json")]) == 1
    said = capsys.readouterr()
    assert "missing.mp4: FAILED: " in said.err and "missing.mp4 does not exist" in said.err
    assert "of 2 seconds |" in said.out and "not in this table: missing.mp4" in said.out
    found = json.loads((tmp_path / "scores.json").read_text())
    assert (found["muted"]["seconds"], found["quiet"]["seconds"], found["failed"]) == (2, 1, ["missing.mp4"])
    assert found["objects"]["sounding"] == 0


def test_without_any_clip_there_is_nothing_to_score(
    two_clips: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").unlink()
    assert main([*two_clips, "--out", str(tmp_path / "scores.json")]) == 1
    said = capsys.readouterr()
    assert f"acvis: {tmp_path}: none of the clips that the truth names can be read" in said.err and not said.out


def test_the_command_wants_both_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--clips", str(tmp_path), "--weights", "random"]) != 0
    assert "--clips and --truth go together" in capsys.readouterr().err


def test_a_picture_shows_every_clip_with_its_own_sound_and_muted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip.from_arrays(torch.zeros(4, 3, 10, 20, dtype=torch.uint8), torch.ones(64_000))
    monkeypatch.setattr(clips, "load_clip", lambda path: clip)
    own, muted = (
        replace(predicted(*tracks), clip=clip) for tracks in ([(0, {t: box_of(0, 10) for t in range(4)})], [])
    )
    truth = read_clip_truth(truth_file(tmp_path, [DOG]))
    score_clips(Given(own, muted), tmp_path, truth, pictures=tmp_path / "pictures")  # type: ignore[arg-type]
    (file,) = (tmp_path / "pictures").iterdir()
    assert file.name == "a.jpg"
    sheet = np.asarray(Image.open(file)).astype(int)
    first, second = sheet[: len(sheet) // 2], sheet[len(sheet) // 2 :]
    dark = lambda row: (row.max(-1) < 12).sum()  # noqa: E731
    assert dark(first) < 0.8 * dark(second)  # the black frames are half covered by a coloured mask
