"""`acvis prepare` from the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.cli.prepare import add_prepare
from acvis_kit.media.write import write_video


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    add_prepare(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["prepare", *words])
    return arguments.run(arguments)


@pytest.mark.filterwarnings("ignore")
def test_the_summary_counts_videos_and_the_status_is_1_where_one_failed(tmp_path: Path, capsys) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "broken.mp4").write_bytes(b"broken")
    words = [str(videos), str(tmp_path / "out"), "--split", "own"]
    assert run(*words) == 1
    assert "0 of 1 videos are prepared: there is no " in capsys.readouterr().err
    write_video(videos / "good.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(4)), 4.0, torch.zeros(16000))
    assert run(*words) == 1
    said = capsys.readouterr().err
    assert "1 of 2 videos" in said and "failed: broken.mp4" in said and "FAILED" in said
    (videos / "broken.mp4").rename(videos / "notes.txt")
    assert run(*words) == 0
    assert "not clips, left out: notes.txt" in capsys.readouterr().err
    assert (tmp_path / "out" / "own.json").is_file()


@pytest.mark.filterwarnings("ignore")
def test_a_mistyped_limit_removes_nothing_of_an_earlier_call(tmp_path: Path, capsys) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    write_video(videos / "clip.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(8)), 4.0, torch.zeros(32000))
    words = ["prepare", str(videos), str(out), "--split", "own"]
    assert main(words) == 0
    made = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*words, "--fps", "2", "--max-seconds", "1"]) == 1
    said = capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == made
    assert f"({out / 'own'} still holds an earlier cut)" in said
    assert f"0 of 1 videos are prepared: {out / 'own.json'} is still that of an earlier call" in said
    assert main(words) == 0 and "done before" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_failures_are_printed_with_quiet(tmp_path: Path, capsys) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"broken")
    assert main(["prepare", str(tmp_path), str(tmp_path / "out"), "--quiet"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("[1/1] broken.mp4: FAILED: ") and len(said.splitlines()) == 1


def test_ctrl_c_ends_the_command_with_130(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "clip.mp4").write_bytes(b"anything")
    monkeypatch.setattr("acvis_kit.data.prepare.load_clip", interrupted)
    assert main(["prepare", str(tmp_path), str(tmp_path / "out")]) == 130


def test_without_a_name_the_split_is_test(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "clip.mp4", (np.zeros((32, 32, 3), np.uint8) for _ in range(4)), 4.0, torch.zeros(16000))
    assert run(str(videos), str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "test.json").is_file()
