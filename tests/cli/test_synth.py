import json
from pathlib import Path

import pytest

from acvis_kit.cli import main
from acvis_kit.data.semantic_layouts import open_split
from tests.data.synth.photo_material import write_photographs, write_sounds


def test_a_data_set_is_made_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "data"
    flags = ["--split", "train:2", "--split", "val:1", "--size", "64", "--seconds", "3", "4", "--workers", "1"]
    assert main(["synth", str(out), *flags, "--seed", "5"]) == 0
    assert [len(json.loads((out / f"{name}.json").read_text())["videos"]) for name in ("train", "val")] == [2, 1]
    scenes = json.loads((out / "val_scenes.json").read_text())
    assert (scenes["seed"], scenes["size"], scenes["seconds"]) == (5, 64, [3, 4])


def test_another_seed_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["synth", str(tmp_path), "--split", "train:1", "--size", "64", "--seconds", "3", "3", "--workers", "1"]
    assert main(flags) == 0
    assert main([*flags, "--seed", "1"]) == 1
    assert "--seed 0" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["train", "train:", ":3", "train:few"])
def test_a_split_is_a_name_and_a_number(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["synth", str(tmp_path), "--split", text])
    assert "NAME:CLIPS" in capsys.readouterr().err


def test_a_split_that_is_given_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path / "out"), "--split", "train:1", "--split", "val:1", "--split", "train:2"]) == 1
    assert "--split train:... is given twice" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_missing_cut_outs_cause_an_error_that_names_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["synth", str(tmp_path / "out"), "--split", "train:1", "--cutouts", str(tmp_path / "a.json"), str(tmp_path)]
    assert main(flags) == 1
    assert "a.json" in capsys.readouterr().err


def test_photographs_and_recordings_are_filmed(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = write_photographs(tmp_path_factory.mktemp("photographs"), 2)
    recorded = write_sounds(tmp_path_factory.mktemp("recorded"), 2)
    flags = ["synth", str(tmp_path), "--photos", *map(str, photographs), "--sounds", str(recorded), "--workers", "1"]
    flags += ["--split", "val:2", "--size", "64", "--seconds", "2", "3", "--share", "0.5", "1"]
    assert main([*flags, "--named", "dog", "person"]) == 0
    truth = json.loads((tmp_path / "val.json").read_text())
    assert [category["name"] for category in truth["categories"]] == ["person", "dog", "other"]
    assert main([*flags, "--cutouts", *map(str, photographs)]) == 1
    assert "leave out --cutouts" in capsys.readouterr().err


def test_named_classes_need_photographs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", str(tmp_path), "--split", "val:1", "--named", "dog"]) == 1
    assert "--photos" in capsys.readouterr().err


def test_clips_in_avsbenchs_layout_have_ten_seconds_unless_told_otherwise(tmp_path: Path) -> None:
    flags = ["--layout", "avsbench", "--split", "test:1", "--size", "64", "--workers", "1"]
    assert main(["synth", str(tmp_path / "ten"), *flags]) == 0
    assert main(["synth", str(tmp_path / "three"), *flags, "--seconds", "3", "3"]) == 0
    lengths = [len(open_split(tmp_path / name, "test").videos[0]) for name in ("ten", "three")]
    assert lengths == [10, 3]
