"""The `acvis` command as a user types it: files in, files out, exit status, sentences instead of tracebacks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from acvis_kit.cli import build_parser, main
from acvis_kit.cli.options import RANDOM_WARNING
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import save_model

SECONDS, FPS = 3, 5


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 s at 5 frames per second, 64x96, with a tone."""
    frames = (np.full((64, 96, 3), 10 * n, np.uint8) for n in range(SECONDS * FPS))
    tone = 0.3 * torch.sin(torch.arange(SECONDS * 16000) / 16000 * 440 * 6.283)
    path = tmp_path_factory.mktemp("clips") / "tone.mp4"
    write_video(path, frames, FPS, tone)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_model: ACVIS) -> Path:
    return save_model(tiny_model, tmp_path_factory.mktemp("weights"))


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


def test_the_overlay_carries_the_sound_that_the_model_heard(clip_file: Path, weights: Path, tmp_path: Path) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", str(weights)]
    assert main([*run, "--audio", "mute"]) == 0
    assert loudness(tmp_path / "overlay.mp4") == 0
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["audio"] == "AudioEdit.mute()"
    assert main([*run, "--audio", f"swap:{clip_file}", "--audio", "gain:-20"]) == 0
    assert 0.01 < loudness(tmp_path / "overlay.mp4") < 0.05


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
    assert "b.mp4: FAILED" in said and "2 of 3 clips written" in said
    summary = json.loads((out / "results.json").read_text())
    assert [(v["id"], v["file"]) for v in summary["videos"]] == [(1, "a.mp4"), (3, "c.mp4")]
    assert {entry["video_id"] for entry in summary["results"]} == {1, 3} and summary["failed"] == ["b.mp4"]

    assert {"counts", "count_probs", "k_max"} <= set(summary["videos"][0])
    written = (out / "a.mp4" / "result.json").stat().st_mtime_ns
    assert main(run) == 1
    assert capsys.readouterr().err.count("done before") == 2
    assert (out / "a.mp4" / "result.json").stat().st_mtime_ns == written
    assert main([*run, "--audio", "mute"]) == 1  # other settings: nothing is current any more
    assert "done before" not in capsys.readouterr().err
    (folder / "a.mp4").write_bytes((folder / "a.mp4").read_bytes() + b"\0")  # another file under the same name
    (out / "c.mp4" / "result.json").write_text("{ half a fi")
    assert main([*run, "--audio", "mute"]) == 1
    assert "done before" not in capsys.readouterr().err


def test_the_overlay_beside_a_result_is_of_the_same_run(clip_file: Path, weights: Path, tmp_path: Path, capsys) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(clip_file.read_bytes())
    run = ["predict", str(folder), "-o", str(out), "--weights", str(weights)]
    assert main(run) == 0 and loudness(out / "a.mp4" / "overlay.mp4") > 0.1
    assert main([*run, "--audio", "mute", "--no-video"]) == 0
    assert not (out / "a.mp4" / "overlay.mp4").exists()
    assert main([*run, "--audio", "mute"]) == 0
    assert loudness(out / "a.mp4" / "overlay.mp4") == 0


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    clip_file: Path, weights: Path, tmp_path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["predict", str(clip_file), "-o", str(tmp_path / "file"), "--weights", str(weights)]) == 1
    assert "cannot be a folder" in capsys.readouterr().err
    assert main(["predict", str(clip_file.parent), "-o", str(clip_file.parent), "--weights", str(weights)]) == 1
    assert "write to another" in capsys.readouterr().err


def test_random_weights_say_loudly_that_masks_mean_nothing(clip_file: Path, tmp_path: Path, capsys) -> None:
    run = ["predict", str(clip_file), "-o", str(tmp_path), "--weights", "random", "--preset", "acvis-synth-tiny"]
    assert main([*run, "--no-video"]) == 0
    assert RANDOM_WARNING in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.mp4", "-o", "out", "--weights", "random", "--preset", "acvis-synth-tiny"], "nowhere.mp4"),
        (["predict", "x.mp4", "-o", "out", "--weights", "nowhere"], "neither a folder nor a file"),
        (
            ["predict", "x.mp4", "-o", "o", "--weights", "random", "--preset", "acvis-synth-tiny", "--audio", "loud"],
            "mute",
        ),
        (["convert", "nowhere.pth", "out"], "nowhere.pth is not there"),
        (["info", "nowhere"], "neither a folder nor a file"),
    ],
)
def test_a_mistake_is_answered_with_a_sentence(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_info_counts_parameters_to_the_last_one(weights: Path, tiny_model: ACVIS, capsys) -> None:
    assert main(["info", str(weights), "--json"]) == 0
    rows = {row["part"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["whole"]["parameters"] == sum(p.numel() for p in tiny_model.parameters())
    parts = ("backbone", "pixel decoder", "audio encoder", "query generator", "frame decoder", "count head", "tracker")
    assert sum(rows[part]["parameters"] for part in parts) == rows["whole"]["parameters"]
    assert sum(rows[part]["gflops"] for part in parts) == pytest.approx(rows["whole"]["gflops"])
    assert any(part.startswith("query generator: additive") for part in rows)


def test_gflops_of_a_layer_are_what_one_multiplies_by_hand(tiny_model: ACVIS) -> None:
    from acvis_kit.evaluation.cost import costs

    rows = {row.part: row.gflops for row in costs(tiny_model)}
    dim, k_max = tiny_model.config.hidden_dim, tiny_model.config.k_max
    assert rows["count head"] == pytest.approx(2 * dim * k_max / 1e9)


def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    command = f"{sys.executable} -m acvis_kit.cli info --env | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("acvis-kit") and "Traceback" not in done.stderr


def test_the_environment_names_versions(capsys) -> None:
    assert main(["info", "--env"]) == 0
    assert torch.__version__.split("+")[0] in capsys.readouterr().out


def test_the_benchmark_reports_shares_of_its_own_times(capsys) -> None:
    run = ["benchmark", "speed", "--preset", "acvis-synth-tiny", "--frames", "2", "--runs", "1", "--no-peer"]
    assert main([*run, "--size", "64", "96"]) == 0
    report = json.loads(capsys.readouterr().out)
    whole = report["encode_s_per_frame"] + report["decode_s_per_frame"]
    assert report["another_soundtrack_share"] == pytest.approx(report["decode_s_per_frame"] / whole)
    assert main(["benchmark", "memory", "--preset", "acvis-synth-tiny", "--frames", "2", "--size", "64", "96"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["peak_by_stage_gb"]) == ["start", "look", "hear", "listen", "track", "draw"]
    assert report["peak_gb"] == max(report["peak_by_stage_gb"].values()) > 0.1
    assert report["peak_beyond_weights_gb"] == pytest.approx(report["peak_gb"] - report["weights_gb"])


def test_every_subcommand_explains_itself(capsys) -> None:
    commands = next(a for a in build_parser()._actions if a.choices and "predict" in a.choices).choices
    assert set(commands) == {
        "predict", "demo", "convert", "evaluate", "synth", "prepare", "train", "ablate", "benchmark", "info",
    }  # fmt: skip
    for name in commands:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"acvis {name}" in capsys.readouterr().out
