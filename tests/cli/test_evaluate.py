"""What `acvis evaluate` writes is nothing that it reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from acvis_kit.cli import main


@pytest.mark.parametrize(
    "given",
    [
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--split", "test", "--save-results", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--data", "{set}", "--html", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--clips", "{set}", "--truth", "{set}/test.json", "--out", "{set}/test.json"],
        ["--weights", "acvis-synth-tiny", "--clips", "{set}", "--truth", "{file}", "--out", "{file}"],
        ["--task", "avs", "--weights", "avsc-synth-tiny", "--data", "{set}", "--out", "{set}/test.json"],
        ["--weights", "{set}", "--data", "elsewhere", "--out", "{set}/test.json"],
        ["--weights", "{file}", "--data", "elsewhere", "--out", "{file}"],
        ["--gt", "{file}", "--results", "other.json", "--out", "{file}"],
        ["--gt", "other.json", "--results", "{file}", "--html", "{file}"],
    ],
)
def test_a_file_that_is_read_is_not_written(tmp_path: Path, capsys, given: list[str]) -> None:
    folder, file = tmp_path / "set", tmp_path / "truth.json"
    folder.mkdir()
    for kept in (folder / "test.json", file):
        kept.write_text("made by hand", encoding="utf-8")
    assert main(["evaluate", *(part.format(set=folder, file=file) for part in given)]) == 1
    assert "is read by this command: write to another file" in capsys.readouterr().err
    assert all(kept.read_text(encoding="utf-8") == "made by hand" for kept in (folder / "test.json", file))


def test_two_outputs_do_not_share_a_file(tmp_path: Path, capsys) -> None:
    both = str(tmp_path / "report.json")
    assert main(["evaluate", "--gt", "a.json", "--results", "b.json", "--out", both, "--html", both]) == 1
    assert "name one file twice" in capsys.readouterr().err
