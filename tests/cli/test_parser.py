"""What all subcommands share: help, exit status, and messages instead of tracebacks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

import acvis_kit
from acvis_kit.cli import build_parser, main
from acvis_kit.cli.parser import in_options
from tests.conftest import write_aviseg_folder

CLIP = str(next((Path(acvis_kit.__file__).parent / "assets" / "clips").glob("*.mp4")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.mp4", "-o", "out", "--weights", "random", "--preset", "acvis-synth-tiny"], "nowhere.mp4"),
        (["predict", CLIP, "-o", "out", "--weights", "nowhere"], "nowhere"),
        (
            ["predict", "x.mp4", "-o", "o", "--weights", "random", "--preset", "acvis-synth-tiny", "--audio", "loud"],
            "mute",
        ),
        (["convert", "nowhere.pth", "out"], "nowhere.pth"),
        (["info", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_causes_a_message_and_no_traceback(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


@pytest.mark.parametrize("arguments", [["predict", "", "-o", "o"], ["predict", CLIP, "-o", ""], ["prepare", "", "o"]])
def test_an_empty_path_is_not_the_current_folder(arguments: list[str], capsys) -> None:
    """As an unset variable of a shell gives it."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert "is empty and names no file or folder" in capsys.readouterr().err


def test_sigterm_ends_a_command_through_its_exit_handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip's features on disk stayed for ever after `timeout` or `kill`."""
    spool: list[Path] = []

    def work(_: object) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            spool.append(Path(folder))
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM  # it removes nothing of ours
            assert spool[0].is_dir()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    monkeypatch.setattr("acvis_kit.cli.prepare._prepare", work)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "videos", "out"])
    assert ended.value.code == 128 + signal.SIGTERM and not spool[0].exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_does_not_wait_for_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of synth and ablate, which have hours of work."""

    def work(_: object) -> None:
        with ProcessPoolExecutor(1) as pool:
            pool.submit(time.sleep, 60)
            time.sleep(1)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    monkeypatch.setattr("acvis_kit.cli.prepare._prepare", work)
    begin = time.monotonic()
    with pytest.raises(SystemExit):
        main(["prepare", "videos", "out"])
    assert time.monotonic() - begin < 20


def test_a_closed_pipe_causes_no_traceback() -> None:
    command = f"{sys.executable} -m acvis_kit.cli info --env | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("acvis-kit") and "Traceback" not in done.stderr


def test_every_subcommand_has_help(capsys) -> None:
    commands = next(a for a in build_parser()._actions if a.choices and "predict" in a.choices).choices
    assert set(commands) == {
        "predict", "demo", "convert", "evaluate", "synth", "prepare", "train", "ablate", "benchmark", "info",
    }  # fmt: skip
    for name in commands:
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"acvis {name}" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"acvis {acvis_kit.__version__}\n"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out


def test_quiet_leaves_results_and_errors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "0")
    monkeypatch.setattr("acvis_kit.cli.options._quiet", False)
    (tmp_path / "words.mp4").write_text("no video")
    command = ["predict", str(tmp_path / "words.mp4"), "-o", str(tmp_path / "out")]
    command += ["--weights", "random", "--preset", "acvis-synth-tiny"]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "WEIGHTS ARE RANDOM" in said and "is not readable" in said
    assert main([*command, "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "WEIGHTS ARE RANDOM" not in said and "is not readable" in said


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max_seconds=120.0 must be positive", "--max-seconds 120.0 must be positive"),
        ("raise max_seconds=, choose start= and end=", "raise --max-seconds, choose --start and --end"),
        ('or pass too_long="trim".', "or pass --trim."),
        ("lower short_side, or cut the clip", "lower --short-side, or cut the clip"),
        ("pass trust_pickle=True if you trust", "pass --trust-pickle if you trust"),
        ("at the start of the clip", "at the start of the clip"),
        ("--max-seconds 3, model.short_side, short_sided", "--max-seconds 3, model.short_side, short_sided"),
        ("hidden_dim=30 must be", "hidden_dim=30 must be"),
    ],
)
def test_messages_use_the_words_of_the_command(text: str, wanted: str) -> None:
    names = ("max_seconds", "start", "end", "trim", "short_side", "trust_pickle")
    assert in_options(text, {name: "--" + name.replace("_", "-") for name in names}) == wanted


@pytest.mark.parametrize(
    ("options", "text", "wanted"),
    [
        ((), "the limit is 9: scale it down or raise max_pixels=.", "the limit is 9: scale it down."),
        (("fps",), "a: raise fps= to 0.5 or more.", "a: raise --fps to 0.5 or more."),
        ((), "a: raise fps= to 0.5 or more.", "a."),
        (
            ("fps", "start", "end"),
            "a: lower fps=, load less of it (start=, end=), scale it down, or raise max_memory=.",
            "a: lower --fps, load less of it (--start, --end) or scale it down.",
        ),
        ((), 'a: cut it, raise max_seconds=, choose start= and end=, or pass too_long="trim".', "a: cut it."),
        ((), "a.mp4: fps=3 must lie between 0.01 and 1", "a.mp4: fps=3 must lie between 0.01 and 1"),
        (("audio",), 'a: its sound, AudioEdit.swap("it\'s/a.wav").', "a: its sound, --audio swap:it's/a.wav."),
        ((), "a: its sound, AudioEdit.swap('a, b.wav').", "a: its sound."),
        ((), "a: cut it or raise max_bytes=. (b still holds c)", "a: cut it. (b still holds c)"),
        ((), "a: raise max_bytes=. (b still holds c)", "a. (b still holds c)"),
        ((), "its name ends with .mp4 or .mov", "its name ends with .mp4 or .mov"),
    ],
)
def test_advice_that_the_command_cannot_follow_is_left_out(options: tuple[str, ...], text: str, wanted: str) -> None:
    assert in_options(text, {name: f"--{name}" for name in options}) == wanted


def test_the_advice_about_a_file_without_a_picture_is_the_commands(tmp_path: Path, capsys) -> None:
    sound = tmp_path / "tone.wav"
    wavfile.write(sound, 16000, np.zeros(16000, np.int16))
    command = ["predict", str(sound), "-o", str(tmp_path / "out"), "--weights", "random"]
    assert main([*command, "--preset", "acvis-synth-tiny"]) == 1
    said = capsys.readouterr().err
    assert f"the sound of another clip, --audio swap:{sound}." in said and "AudioEdit" not in said


def test_a_range_of_an_option_is_named_with_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["predict", CLIP, "-o", "out", "--weights", "random", "--preset", "acvis-synth-tiny"]
    assert main([*command, "--short-side", "0"]) == 1
    assert "acvis: --short-side 0 must lie in [8, 100000]" in capsys.readouterr().err


FILE = str(Path(__file__))  # no folder can be created below it
LATER = "nowhere"  # of weights or data: what is read later


@pytest.mark.parametrize(
    "command",
    [
        ["predict", CLIP, "--weights", LATER, "-o", FILE],
        ["predict", CLIP, "--weights", LATER, "-o", f"{FILE}/out"],
        ["predict", CLIP, "--weights", LATER, "-o", "x" * 300],
        ["evaluate", "--weights", LATER, "--data", LATER, "--out", f"{FILE}/a.json"],
        ["evaluate", "--weights", LATER, "--data", LATER, "--html", f"{FILE}/a.html"],
        ["evaluate", "--weights", LATER, "--data", LATER, "--save-results", f"{FILE}/a.json"],
        ["evaluate", "--weights", LATER, "--data", LATER, "--listen", "--pictures", FILE],
        ["evaluate", "--task", "avs", "--weights", LATER, "--data", LATER, "--out", f"{FILE}/a.json"],
        ["prepare", ".", FILE],
        ["synth", FILE, "--split", "train:1"],
        ["train", "--init-from", LATER, "--data", LATER, "--out", FILE],
        ["ablate", "k_max", "--data", LATER, "--visual-weights", LATER, "--out", FILE, "--ledger", "ledger"],
        ["ablate", "k_max", "--data", LATER, "--visual-weights", LATER, "--out", "runs", "--ledger", FILE],
        ["convert", LATER, FILE],
    ],
    ids=" ".join,
)
def test_where_the_result_is_written_is_checked_first(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    assert "cannot be a folder to write to" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_in_place_of_a_file_is_refused_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate", "--weights", LATER, "--data", LATER, "--out", str(tmp_path)]) == 1
    assert f"{tmp_path} is a folder: name a file in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["predict", CLIP, "--weights", LATER, "-o", "out"],
        ["evaluate", "--weights", LATER, "--clips", LATER, "--truth", "truth.json"],
        ["evaluate", "--weights", LATER, "--data", ".", "--listen"],
        ["evaluate", "--weights", LATER, "--data", "."],
        ["evaluate", "--weights", LATER, "--data", ".", "--as-published"],
        ["evaluate", "--task", "avs", "--weights", LATER, "--data", LATER],
        ["benchmark", "speed"],
        ["benchmark", "memory"],
    ],
    ids=" ".join,
)
def test_the_device_is_checked_before_the_weights_are_read(
    command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_aviseg_folder(tmp_path / "data"))
    Path("truth.json").write_text('{"objects": []}', encoding="utf-8")
    assert main([*command, "--device", "nonsense"]) == 1
    assert "--device 'nonsense' cannot be used here, choose cpu" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_missed_before_the_first_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ablate", "k_max", "--data", LATER, "--device", "cuda"]) == 1
    assert "--device 'cuda' cannot be used here" in capsys.readouterr().err


def test_a_port_that_cannot_be_is_refused_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--weights", LATER, "--port", "70000"]) == 1
    assert "--port 70000 must lie between 1 and 65535" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("demo", "--weights", "acvis-synth-tiny", "--no-browser"),
        ("evaluate", "--task", "avs", "--weights", "avsc-synth-tiny", "--data", "nowhere"),
    ],
    ids=" ".join,
)
def test_a_preset_beside_trained_weights_is_refused(words: tuple[str, ...], capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    assert main([*words, "--preset", "vita-r50"]) == 1
    assert "--preset vita-r50 is for --weights random only" in capsys.readouterr().err
