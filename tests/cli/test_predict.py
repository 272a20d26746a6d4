"""`acvis predict`: a clip or a folder in, overlay, masks and counts out."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from scipy.io import wavfile

from acvis_kit.cli import main
from acvis_kit.cli.options import RANDOM_WARNING
from acvis_kit.clip import Clip
from acvis_kit.errors import MediaError
from acvis_kit.files import reserved
from acvis_kit.masks import decode
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from acvis_kit.weights.load import save_model
from tests.media.videos import every, make_video
from tests.semantic_models import marking_avsc, marking_ravs

SECONDS, FPS = 3, 5


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s at 5 frames per second, 64x96, with a tone."""
    frames = (np.full((64, 96, 3), 10 * n, np.uint8) for n in range(SECONDS * FPS))
    tone = 0.3 * torch.sin(torch.arange(SECONDS * 16000) / 16000 * 440 * 6.283)
    path = tmp_path_factory.mktemp("clips") / "tone.mp4"
    write_video(path, frames, FPS, tone)
    return path


def loudness(path: Path) -> float:
    with av.open(str(path)) as container:
        return float(np.sqrt(np.mean([np.square(f.to_ndarray()).mean() for f in container.decode(audio=0)])))


def test_predict_writes_overlay_result_and_counts(clip_file: Path, weights: Path, tmp_path: Path) -> None:
    assert main(["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights)]) == 0
    assert {p.name for p in tmp_path.iterdir()} == {"overlay.mp4", "result.json", "counts.csv"}
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["length"], result["height"], result["width"]) == (SECONDS, 64, 96)
    assert len(result["counts"]) == SECONDS and len(result["class_names"]) == 26
    assert result["results"] and all(len(entry["segmentations"]) == SECONDS for entry in result["results"])
    assert len((tmp_path / "counts.csv").read_text().splitlines()) == 1 + SECONDS
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == SECONDS * FPS
    assert loudness(tmp_path / "overlay.mp4") > 0.1


def test_the_overlay_has_the_edited_sound(clip_file: Path, weights: Path, tmp_path: Path) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights)]
    assert main([*run, "--audio", "mute"]) == 0
    assert loudness(tmp_path / "overlay.mp4") == 0
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["audio"] == "AudioEdit.mute()"
    assert main([*run, "--audio", f"swap:{clip_file}", "--audio", "gain:-20"]) == 0
    assert 0.01 < loudness(tmp_path / "overlay.mp4") < 0.05


def test_another_sound_that_is_silent_is_noted(clip_file: Path, weights: Path, tmp_path: Path, capsys) -> None:
    silent, out = tmp_path / "silent.wav", tmp_path / "out"
    wavfile.write(silent, 16_000, np.zeros(16_000, np.int16))
    run = ["predict", str(clip_file), "-o", str(out), "--weights", str(weights), "--no-video"]
    assert main([*run, "--audio", f"swap:{silent}"]) == 0
    assert "note: The other sound, silent.wav, is silent where it is used" in capsys.readouterr().err
    assert "silent.wav, is silent" in json.loads((out / "result.json").read_text())["notes"][0]


def test_a_part_of_the_sound_has_the_seconds_of_the_tables(
    clip_file: Path, weights: Path, tmp_path: Path, capsys
) -> None:
    """Those of the file, whatever stretch of it is read."""
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--start", "1"]
    assert main([*run, "--audio", "keep:2-3"]) == 0
    rows = list(csv.DictReader((tmp_path / "counts.csv").open()))
    sound = load_clip(tmp_path / "overlay.mp4").waveform
    loud = [bool(sound[t * 16000 + 2000 : (t + 1) * 16000 - 2000].abs().max() > 0.1) for t in range(2)]
    assert [float(row["start"]) for row in rows] == [1, 2] and loud == [False, True]
    assert main([*run, "--audio", "keep:0-1"]) == 1
    assert "keep from 0 to 1 s leaves silence: the clip has the seconds 1 to 3" in capsys.readouterr().err


def test_the_error_of_one_file_of_a_folder_names_the_commands_options(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(clip_file.read_bytes())
    run = ["predict", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main([*run, "--max-seconds", "0.5"]) == 1
    said = capsys.readouterr().err
    assert "a.mp4: FAILED: " in said and "raise --max-seconds, choose --start and --end" in said
    assert "max_seconds" not in said and "too_long" not in said


def test_a_folder_is_resumable_and_one_bad_file_does_not_stop_it(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4"):
        (folder / name).write_bytes(clip_file.read_bytes())
    (folder / "b.mp4").write_text("this is no video")
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights), "--no-video"]
    assert main(run) == 1
    said = capsys.readouterr().err
    assert "b.mp4: FAILED" in said and "2 of 3 clips" in said
    summary = json.loads((out / "results.json").read_text())
    assert [(v["id"], v["file"]) for v in summary["videos"]] == [(1, "a.mp4"), (3, "c.mp4")]
    assert {entry["video_id"] for entry in summary["results"]} == {1, 3} and summary["failed"] == ["b.mp4"]

    assert {"counts", "count_probs", "k_max"} <= set(summary["videos"][0])
    written = (out / "a.mp4" / "result.json").stat().st_mtime_ns
    assert main(run) == 1
    assert capsys.readouterr().err.count("done before") == 2
    assert (out / "a.mp4" / "result.json").stat().st_mtime_ns == written
    assert main([*run, "--audio", "mute"]) == 1  # other settings: no result is current
    assert "done before" not in capsys.readouterr().err
    (folder / "a.mp4").write_bytes((folder / "a.mp4").read_bytes() + b"\0")  # another file under the same name
    (out / "c.mp4" / "result.json").write_text("{ half a fi")
    assert main([*run, "--audio", "mute"]) == 1
    assert "done before" not in capsys.readouterr().err


def test_the_summary_tells_what_was_written_now(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights), "--no-video"]
    for more, counted in (
        ([], "2 of 2 clips have their result in {} (2 new)"),
        ([], "2 of 2 clips have their result in {} (2 from before)"),
        (["--audio", "mute"], "2 of 2 clips have their result in {} (2 new)"),
        (["--max-seconds", "2"], "1 of 2 clips have their result in {} (1 new, 1 failed)"),
        (["--max-seconds", "2"], "1 of 2 clips have their result in {} (1 from before, 1 failed)"),
    ):
        main([*run, *more])
        assert capsys.readouterr().err.splitlines()[-1] == counted.format(out)


def test_a_file_of_others_is_not_called_an_earlier_result(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = tmp_path / "out" / "a.mp4" / "result.json"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("{}")
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main(run) == 1
    said = capsys.readouterr().err
    assert "a.mp4: FAILED: " in said and "result.json is not from acvis predict" in said and "earlier run" not in said
    assert theirs.read_text() == "{}"


@pytest.fixture
def folder(clip_file: Path, tmp_path: Path) -> Path:
    """Two clips: a.mp4 of 3 s, b.mp4 of 1 s."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    write_video(folder / "b.mp4", [np.zeros((64, 96, 3), np.uint8)] * FPS, FPS, torch.zeros(16000))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_result_of_a_clip_that_fails_stays(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table is of this run alone, and the message says whose result is there."""
    out = tmp_path / "out"
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights)]
    words = f"({out / 'b.mp4'} still holds the result of an earlier run, not of this one)"
    assert main([*run, "--start", "2"]) == 1 and words not in capsys.readouterr().err
    assert main(run) == 0
    before = contents(out / "b.mp4")
    assert set(before) == {"overlay.mp4", "counts.csv", "result.json"}
    capsys.readouterr()
    assert main([*run, "--start", "2"]) == 1
    said = capsys.readouterr().err
    assert "b.mp4: FAILED: " in said and said.count(words) == 1 and contents(out / "b.mp4") == before
    table = json.loads((out / "results.json").read_text())
    assert [video["file"] for video in table["videos"]] == ["a.mp4"] and table["failed"] == ["b.mp4"]


def test_where_every_clip_fails_all_of_an_earlier_run_stays(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours of predictions are not lost by a number that was mistyped."""
    out = tmp_path / "out"
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    before = contents(out)
    capsys.readouterr()
    assert main([*run, "--start", "20", "--json"]) == 1
    said = capsys.readouterr()
    assert contents(out) == before and f"{out / 'results.json'} is still that of an earlier run" in said.err
    assert json.loads(said.out) == {"out": str(out), "videos": [], "failed": ["a.mp4", "b.mp4"]}
    assert main(run) == 0 and capsys.readouterr().err.count("done before") == 2


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("swap:{}/DOGG.wav", "DOGG.wav does not exist"),
        ("mix:{}/DOGG.wav@-6", "DOGG.wav does not exist"),
        ("mix:{}/notes.wav", "notes.wav is not readable as video or sound"),
        ("swap:{}/in/a.mp4@50", "a.mp4 has no sound after second 50"),
    ],
)
def test_a_sound_that_cannot_be_read_is_one_error_before_the_first_clip(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: str, words: str
) -> None:
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    before = contents(tmp_path / "out")
    (tmp_path / "notes.wav").write_text("these are words")
    capsys.readouterr()
    assert main([*run, "--audio", edit.format(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("acvis: ") and words in said and "FAILED" not in said
    assert contents(tmp_path / "out") == before


def test_a_result_that_cannot_be_written_leaves_the_earlier_one(
    folder: Path, weights: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    before = contents(tmp_path / "out")

    def full(*_: object) -> None:
        raise MediaError("the disk is full")

    monkeypatch.setattr("acvis_kit.inference.batch.write_text", full)
    assert main([*run, "--audio", "mute"]) == 1
    assert contents(tmp_path / "out") == before and capsys.readouterr().err.count("the disk is full") == 2
    assert not [*(tmp_path / "out").rglob(".partial")]


def test_a_clip_whose_table_is_missing_is_made_again(folder: Path, weights: Path, tmp_path: Path, capsys) -> None:
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    (tmp_path / "out" / "a.mp4" / "counts.csv").unlink()
    capsys.readouterr()
    assert main(run) == 0
    assert capsys.readouterr().err.count("done before") == 1
    assert (tmp_path / "out" / "a.mp4" / "counts.csv").is_file()


def test_failures_are_printed_with_quiet(folder: Path, weights: Path, tmp_path: Path, capsys) -> None:
    (folder / "c.mp4").write_text("this is no video")
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video", "--quiet"]
    assert main([*run, "--max-seconds", "2"]) == 1
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == "" and len(lines) == 2 and "a.mp4: FAILED: " in lines[0] and "c.mp4: FAILED: " in lines[1]
    assert "raise --max-seconds" in lines[0]


def test_an_interrupted_run_leaves_no_table_of_an_earlier_one(
    folder: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it has replaced a result that the table holds."""
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    interrupted = "a.mp4"

    def load(path: Path, **options: object) -> Clip:
        if path.name == interrupted:
            raise KeyboardInterrupt
        return load_clip(path, **options)

    monkeypatch.setattr("acvis_kit.inference.batch.load_clip", load)
    assert main(run) == 0  # nothing is made again
    before = contents(tmp_path / "out")
    assert main([*run, "--audio", "mute"]) == 130
    assert contents(tmp_path / "out") == before
    interrupted = "b.mp4"
    assert main([*run, "--audio", "mute"]) == 130
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.parametrize("part", ["", "a.mp4"])
def test_two_runs_do_not_write_to_one_folder_at_once(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str
) -> None:
    """The second one is refused, be it of a folder or of a clip; or its clip fails, and the others are done."""
    pytest.importorskip("fcntl")
    out = tmp_path / "out"
    options = ["--weights", str(weights), "--no-video"]
    with reserved(out / part):
        words = f"another process ({os.getpid()}) is writing to {out / part}: wait until it has finished"
        assert main(["predict", str(folder / "a.mp4"), "-o", str(out / part), *options]) == 1
        assert f"acvis: {words}" in capsys.readouterr().err
        assert main(["predict", str(folder), "-o", str(out), *options]) == 1
        assert ("a.mp4: FAILED: " if part else "acvis: ") + words in capsys.readouterr().err
    made = {file for file in contents(out) if file.endswith("result.json")}
    assert made == ({"b.mp4/result.json"} if part else set())
    assert main(["predict", str(folder), "-o", str(out), *options]) == 0


def test_a_failed_run_of_one_clip_says_whose_result_is_there(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--no-video"]
    words = f"{tmp_path} still holds the result of an earlier run, not of this one"
    assert main([*run, "--start", "50"]) == 1 and words not in capsys.readouterr().err
    assert main(run) == 0
    assert main([*run, "--start", "50"]) == 1 and words in capsys.readouterr().err
    assert (tmp_path / "result.json").is_file()


@pytest.mark.parametrize("more", [[], ["--no-video"]])
def test_a_sound_that_lies_where_a_result_of_a_folder_is_written_is_kept(
    clip_file: Path, weights: Path, tmp_path: Path, more: list[str]
) -> None:
    folder, own = tmp_path / "in", tmp_path / "out" / "a.mp4" / "overlay.mp4"
    folder.mkdir()
    own.parent.mkdir(parents=True)
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    own.write_bytes(clip_file.read_bytes())
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--audio", f"swap:{own}"]
    assert main([*run, *more]) == 1
    assert own.read_bytes() == clip_file.read_bytes()


def test_an_error_that_nobody_foresaw_ends_one_clip_and_is_logged(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (folder / name).write_bytes(clip_file.read_bytes())
    (folder / "notes.txt").write_text("these are words")
    (folder / "cover.png").write_bytes(b"no picture at all")
    (folder / "more").mkdir()
    (folder / "nothing.mp4").symlink_to(folder / "is not there.mp4")
    faults = {"b.mp4": ZeroDivisionError("a fault of the kit")}

    def load(path: Path, **options: object) -> Clip:
        if path.name in faults:
            raise faults[path.name]
        return load_clip(path, **options)

    monkeypatch.setattr("acvis_kit.inference.batch.load_clip", load)
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights), "--no-video"]
    assert main(run) == 1
    said = capsys.readouterr().err
    assert "not clips, left out: cover.png, more/, notes.txt, nothing.mp4" in said and "2 of 3 clips" in said
    assert f"b.mp4: FAILED: ZeroDivisionError: a fault of the kit (traceback in {out / 'errors.log'})" in said
    assert "b.mp4\nTraceback" in (out / "errors.log").read_text()
    faults["b.mp4"] = KeyboardInterrupt()
    assert main(run) == 130
    faults.clear()
    (out / "b.mp4").mkdir(exist_ok=True)
    (out / "b.mp4" / "result.json").write_text('{"class_names": 1}')  # not a result
    assert main(run) == 0


def test_numbers_outside_their_range_are_refused_before_the_model_is_loaded(tmp_path: Path, capsys) -> None:
    for option, value in (("--max-seconds", "inf"), ("--fps", "1e-9"), ("--start", "nan"), ("--end", "1e308")):
        run = ["predict", str(tmp_path), "-o", str(tmp_path / "out"), "--weights", "nowhere", option, value]
        assert main(run) == 1
        assert f"{option} {float(value)} must lie between" in capsys.readouterr().err


def test_a_source_that_is_no_file_is_refused_before_the_model_is_loaded(tmp_path: Path, capsys) -> None:
    address = "https://example.org/a.mp4"
    for source, words in ((address, f"{address} is an address (https)"), ("no.mp4", "no.mp4 does not exist")):
        assert main(["predict", source, "-o", str(tmp_path / "out"), "--weights", "nowhere"]) == 1
        assert words in capsys.readouterr().err


def test_the_overlay_beside_a_result_belongs_to_the_same_run(
    clip_file: Path, weights: Path, tmp_path: Path, capsys
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights)]
    assert main(run) == 0 and loudness(out / "a.mp4" / "overlay.mp4") > 0.1
    assert main([*run, "--audio", "mute", "--no-video"]) == 0
    assert not (out / "a.mp4" / "overlay.mp4").exists()
    assert main([*run, "--audio", "mute"]) == 0
    assert loudness(out / "a.mp4" / "overlay.mp4") == 0


def test_an_output_folder_that_cannot_be_written_is_refused(clip_file: Path, weights: Path, tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert main(["predict", str(clip_file), "-o", str(tmp_path / "file"), "--weights", str(weights)]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert main(["predict", str(clip_file.parent), "-o", str(clip_file.parent), "--weights", str(weights)]) == 1
    assert str(clip_file.parent) in capsys.readouterr().err


def test_a_folder_in_place_of_a_result_is_named(clip_file: Path, weights: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "counts.csv").mkdir()
    assert main(["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--no-video"]) == 1
    assert f"{tmp_path / 'counts.csv'} cannot be written" in capsys.readouterr().err


def test_a_preset_beside_weights_is_refused(clip_file: Path, tmp_path: Path, capsys) -> None:
    assert main(["predict", str(clip_file), "-o", str(tmp_path), "--preset", "acvis-r50"]) == 1
    message = capsys.readouterr().err
    assert "--preset acvis-r50 is for --weights random only" in message and "acvis-filmed-small" in message


def test_random_weights_cause_a_warning(clip_file: Path, tmp_path: Path, capsys) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", "random", "--preset", "acvis-synth-tiny"]
    assert main([*run, "--no-video"]) == 0
    assert RANDOM_WARNING in capsys.readouterr().err


def test_json_is_printed_for_programs(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path / "one"), "--weights", str(weights), "--no-video", "--json"]
    assert main([*run, "--quiet"]) == 0
    said = capsys.readouterr()
    shown, written = json.loads(said.out), json.loads((tmp_path / "one" / "result.json").read_text())
    assert said.err == "" and shown["counts"] == written["counts"] and len(shown["tracks"]) == len(written["results"])
    assert set(shown["tracks"][0]) == {"id", "class", "score", "frames"}
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    (folder / "b.mp4").write_text("this is no video")
    run[1], run[3] = str(folder), str(tmp_path / "many")
    assert main(run) == 1
    shown = json.loads(capsys.readouterr().out)
    assert [video["file"] for video in shown["videos"]] == ["a.mp4"] and shown["failed"] == ["b.mp4"]


def test_another_threshold_makes_a_result_anew(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]
    for more, again, anew in (
        (["--long-side", "100"], False, False),
        (["--long-side", "100"], True, False),
        (["--long-side", "90"], False, True),
    ):
        assert main([*run, *more]) == 0
        said = capsys.readouterr().err
        assert ("done before" in said) == again
        assert ("made again: settings or files have changed" in said) == anew


def test_a_result_of_another_clip_is_named_before_it_is_replaced(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.mp4"
    other.write_bytes(clip_file.read_bytes())
    for source, told in ((clip_file, False), (clip_file, False), (other, True)):
        assert main(["predict", str(source), "-o", str(tmp_path / "out"), "--weights", str(weights), "--no-video"]) == 0
        words = f"holds the result of {clip_file.name}, which is replaced when this one is complete"
        assert (words in capsys.readouterr().err) == told


@pytest.mark.parametrize("more", [[], ["--no-video"]])
def test_a_clip_that_lies_where_the_result_is_written_is_kept(
    clip_file: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    own = tmp_path / "overlay.mp4"
    own.write_bytes(clip_file.read_bytes())
    assert main(["predict", str(own), "-o", str(tmp_path), "--weights", str(weights), *more]) == 1
    assert "choose another output folder" in capsys.readouterr().err
    swap = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--audio", f"swap:{own}"]
    assert main([*swap, *more]) == 1
    assert own.read_bytes() == clip_file.read_bytes()


@pytest.fixture(scope="module")
def semantic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of both systems."""
    folder = tmp_path_factory.mktemp("semantic")
    return {
        "avsc": save_model(marking_avsc(), folder / "avsc"),
        "ravs": save_model(marking_ravs(), folder / "ravs"),
    }


@pytest.mark.parametrize("system", ["avsc", "ravs"])
def test_a_semantic_system_writes_class_maps_and_shares(
    clip_file: Path, semantic: dict[str, Path], tmp_path: Path, capsys, system: str
) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(semantic[system]), "--json"]
    assert main(run) == 0
    said = capsys.readouterr()
    assert f"{SECONDS} frames; sounding: " in said.err
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["length"], result["height"], result["width"]) == (SECONDS, 64, 96) and result["results"]
    maps = np.zeros((SECONDS, 64, 96), int)
    for entry in result["results"]:
        mask = decode(entry["segmentation"] | {"counts": entry["segmentation"]["counts"].encode()})
        assert entry["share"] == pytest.approx(mask.mean(), abs=1e-6) and not maps[entry["frame"]][mask].any()
        maps[entry["frame"]][mask] = entry["category_id"]
    assert (result["counts"] is None) == (system == "ravs") == (result["uncertainty"] is not None)
    rows = list(csv.DictReader((tmp_path / "counts.csv").open()))
    assert [float(row["area"]) for row in rows] == pytest.approx((maps > 0).mean((1, 2)).tolist(), abs=1e-4)
    assert ("count" in rows[0]) == (system == "avsc") and rows[0]["sounding"]
    shown = json.loads(said.out)
    names = result["class_names"]
    assert {one["class"] for one in shown["classes"]} == {names[value - 1] for value in np.unique(maps) if value}
    assert shown["counts"] == result["counts"] and shown["classes"][0]["frames"] == [0, 1, 2]
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == SECONDS * FPS
    assert loudness(tmp_path / "overlay.mp4") > 0.1


def test_a_folder_of_a_semantic_system_is_resumable(
    clip_file: Path, semantic: dict[str, Path], tmp_path: Path, capsys
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    (folder / "b.mp4").write_text("this is no video")
    run = ["predict", str(folder), "-o", str(out), "--weights", str(semantic["avsc"]), "--no-video"]
    assert main(run) == 1
    written = json.loads((out / "results.json").read_text())
    assert written["videos"][0]["counts"] and written["class_names"] == ["square", "bar", "ring"]
    assert {entry["video_id"] for entry in written["results"]} == {1} and written["failed"] == ["b.mp4"]
    capsys.readouterr()
    for more, again in (([], True), (["--threshold", "0.9"], False), (["--threshold", "0.9"], True)):
        assert main([*run, *more]) == 1
        assert ("done before" in capsys.readouterr().err) == again
    assert json.loads((out / "a.mp4" / "result.json").read_text())["settings"]["inference"]["threshold"] == 0.9


def test_notes_and_errors_are_those_of_tracks(semantic: dict[str, Path], weights: Path, tmp_path: Path, capsys) -> None:
    silent = make_video(tmp_path / "silent.mp4", every(1 / FPS, 1))
    notes = []
    for number, each in enumerate((weights, *semantic.values())):
        out = tmp_path / str(number)
        assert main(["predict", str(silent), "-o", str(out), "--weights", str(each), "--no-video"]) == 0
        notes.append(json.loads((out / "result.json").read_text())["notes"])
    assert notes[0] and notes == [notes[0]] * 3
    capsys.readouterr()
    run = ["predict", str(silent), "-o", str(tmp_path / "out"), "--weights"]
    for each, option, words in (
        (
            semantic["avsc"],
            "--score-threshold",
            "--score-threshold 0.5: only for weights of ACVIS, and these are an AVSC",
        ),
        (weights, "--threshold", "--threshold 0.5: only for weights of AVSC and RAVS, and these are an ACVIS"),
    ):
        assert main([*run, str(each), option, "0.5"]) == 1
        assert words in capsys.readouterr().err
    assert main([*run, str(semantic["ravs"]), "--audio-weights", str(silent)]) == 1
    assert f"--audio-weights {silent} is for ACVIS, and these weights are a RAVS" in capsys.readouterr().err


def test_a_semantic_preset_runs_with_random_weights(clip_file: Path, tmp_path: Path, capsys) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", "random", "--preset", "avsc-synth-tiny"]
    assert main([*run, "--no-video"]) == 0
    assert RANDOM_WARNING in capsys.readouterr().err


def test_an_overlay_without_a_result_beside_it_stays(clip_file: Path, weights: Path, tmp_path: Path) -> None:
    film = tmp_path / "overlay.mp4"
    film.write_bytes(b"somebody's own film")
    assert main(["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--no-video"]) == 0
    assert film.read_bytes() == b"somebody's own film"


@pytest.mark.parametrize("name", ["counts.csv", "result.json", "overlay.mp4"])
def test_a_file_of_the_user_is_not_replaced(clip_file: Path, tmp_path: Path, capsys, name: str) -> None:
    """It is refused before the model is loaded."""
    own = tmp_path / name
    own.write_text('{"measured": [1, 2]}', encoding="utf-8")
    assert main(["predict", str(clip_file), "-o", str(tmp_path), "--weights", "nowhere"]) == 1
    assert f"{own} is not from acvis predict, which would replace it" in capsys.readouterr().err
    assert own.read_text(encoding="utf-8") == '{"measured": [1, 2]}'


@pytest.mark.parametrize("text", ["", "a note", '{"frame": 1}\n{"frame": 2}\n', "\udcff"])
def test_what_is_no_json_is_not_taken_for_a_damaged_result(clip_file: Path, tmp_path: Path, capsys, text: str) -> None:
    """Nor are the files beside it."""
    own, film = tmp_path / "result.json", tmp_path / "overlay.mp4"
    own.write_text(text, encoding="utf-8", errors="surrogateescape")
    film.write_bytes(b"somebody's own film")
    before = own.read_bytes()
    for option in ((), ("--no-video",)):
        assert main(["predict", str(clip_file), "-o", str(tmp_path), "--weights", "nowhere", *option]) == 1
        assert f"{own} is not from acvis predict, which would replace it" in capsys.readouterr().err
    assert own.read_bytes() == before and film.read_bytes() == b"somebody's own film"


def test_results_of_another_program_are_not_replaced_by_those_of_a_folder(
    folder: Path, weights: Path, tmp_path: Path, capsys
) -> None:
    own, table = tmp_path / "out" / "results.json", tmp_path / "out" / "a.mp4" / "counts.csv"
    table.parent.mkdir(parents=True)
    own.write_text('[{"video_id": 1}]', encoding="utf-8")
    table.write_text("name,count\n", encoding="utf-8")
    run = ["predict", str(folder), "-o", str(tmp_path / "out"), "--no-video", "--weights"]
    assert main([*run, "nowhere"]) == 1 and f"{own} is not from acvis predict" in capsys.readouterr().err
    own.unlink()
    assert main([*run, str(weights)]) == 1
    assert f"a.mp4: FAILED: {table} is not from acvis predict" in capsys.readouterr().err
    assert table.read_text(encoding="utf-8") == "name,count\n" and (tmp_path / "out" / "b.mp4").is_dir()


def test_what_an_interruption_left_is_replaced(clip_file: Path, weights: Path, tmp_path: Path) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights), "--no-video"]
    assert main(run) == 0
    (tmp_path / "result.json").unlink()
    assert main(run) == 0 and (tmp_path / "result.json").is_file()
