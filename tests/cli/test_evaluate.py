"""What `acvis evaluate` writes is nothing that it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acvis_kit.cli import main
from tests.data.semantic_folders import write_s4


@pytest.mark.parametrize(
    "given",
    [
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--split", "test", "--save-results", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--html", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--html", "{set}/test/WAVAudios/a.wav"],
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--listen", "--out", "{set}/test_scenes.json"],
        ["--weights", "acvis-synth-tiny", "--clips", "{set}", "--truth", "{set}/test.json", "--out", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--clips", "{set}", "--truth", "{file}", "--out", "{file}"],
        ["--task", "avs", "--weights", "avsc-synth-tiny", "--data", "{set}", "--out", "{set}/metadata.csv"],
        ["--task", "avs", "--weights", "avsc-synth-tiny", "--data", "{set}", "--out", "{set}/v2/a/frames/0.jpg"],
        ["--weights", "{set}", "--data", "elsewhere", "--out", "{set}/config.json"],
        ["--weights", "{set}", "--data", "elsewhere", "--save-results", "{set}/model.safetensors"],
        ["--weights", "{file}", "--data", "elsewhere", "--out", "{file}"],
        ["--gt", "{file}", "--results", "other.json", "--out", "{file}"],
        ["--gt", "other.json", "--results", "{file}", "--html", "{file}"],
    ],
)
def test_a_file_that_is_read_is_not_written(tmp_path: Path, capsys, given: list[str]) -> None:
    folder, file = tmp_path / "set", tmp_path / "truth.json"
    names = ["test.json", "test_scenes.json", "metadata.csv", "config.json", "model.safetensors"]
    files = [file, *(folder / name for name in (*names, "test/WAVAudios/a.wav", "v2/a/frames/0.jpg"))]
    for kept in files:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("made by hand", encoding="utf-8")
    assert main(["evaluate", *(part.format(set=folder, file=file) for part in given)]) == 1
    assert "is read by this command: write to another file" in capsys.readouterr().err
    assert all(kept.read_text(encoding="utf-8") == "made by hand" for kept in files)


@pytest.mark.parametrize("option", ["--out", "--save-results"])
def test_the_annotations_of_another_split_are_not_replaced(tmp_path: Path, capsys, option: str) -> None:
    other = tmp_path / "val.json"
    other.write_text('{"videos": [], "categories": [], "annotations": []}', encoding="utf-8")
    assert main(["evaluate", "--weights", "acvis-synth-tiny", "--data", str(tmp_path), option, str(other)]) == 1
    assert f"{other} is a ground truth, which this would replace" in capsys.readouterr().err
    assert "annotations" in other.read_text(encoding="utf-8")


def test_a_picture_of_others_beside_a_clip_is_not_replaced(tmp_path: Path, capsys) -> None:
    photo, truth = tmp_path / "a.jpg", tmp_path / "truth.json"
    photo.write_text("a photograph", encoding="utf-8")
    truth.write_text('{"objects": [], "no_class_sounds": {"a.mp4": [0, 1]}}', encoding="utf-8")
    command = ["evaluate", "--weights", "acvis-synth-tiny", "--clips", str(tmp_path), "--truth", str(truth)]
    assert main([*command, "--pictures", str(tmp_path)]) == 1
    assert f"{photo} is not from acvis evaluate" in capsys.readouterr().err
    assert photo.read_text(encoding="utf-8") == "a photograph"


def test_a_clip_that_is_scored_is_not_written(tmp_path: Path, capsys) -> None:
    clip, truth = tmp_path / "a.mp4", tmp_path / "truth.json"
    clip.write_text("a film", encoding="utf-8")
    truth.write_text('{"objects": [], "no_class_sounds": {"a.mp4": [0, 1]}}', encoding="utf-8")
    command = ["evaluate", "--weights", "acvis-synth-tiny", "--clips", str(tmp_path), "--truth", str(truth)]
    assert main([*command, "--out", str(clip)]) == 1
    assert f"{clip} is read by this command" in capsys.readouterr().err
    assert clip.read_text(encoding="utf-8") == "a film"


def test_an_earlier_report_below_the_data_is_replaced(
    aviseg_folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(aviseg_folder)
    command = ["evaluate", "--weights", str(weights), "--data", ".", "--bootstrap", "0"]
    for _ in range(2):
        assert main([*command, "--out", "report.json", "--html", "test/report.html", "--save-results", "r.json"]) == 0
    assert "scores" in json.loads(Path("report.json").read_text(encoding="utf-8"))


def test_two_outputs_do_not_share_a_file(tmp_path: Path, capsys) -> None:
    both = str(tmp_path / "report.json")
    assert main(["evaluate", "--gt", "a.json", "--results", "b.json", "--out", both, "--html", both]) == 1
    assert "name one file twice" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--as-published"], ["--listen"]])
def test_weights_of_the_other_task_are_refused_with_the_option_for_them(
    aviseg_folder: Path, capsys, more: list[str]
) -> None:
    command = ["evaluate", "--data", str(aviseg_folder), "--weights", "avsc-synth-tiny", *more]
    assert main(command) == 1
    assert "is an AVSC, which marks pixels of classes and has no tracks: add --task avs" in capsys.readouterr().err


def test_weights_of_tracks_are_refused_by_the_task_of_pixels(tmp_path: Path, capsys) -> None:
    write_s4(tmp_path)
    command = ["evaluate", "--task", "avs", "--data", str(tmp_path), "--split", "test", "--weights"]
    assert main([*command, "acvis-synth-tiny"]) == 1
    assert "acvis-synth-tiny is an ACVIS, which marks objects: leave --task avs out" in capsys.readouterr().err
