"""What all subcommands share: help, exit status, and messages instead of tracebacks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from acvis_kit.cli import build_parser, main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nowhere.mp4", "-o", "out", "--weights", "random", "--preset", "acvis-synth-tiny"], "nowhere.mp4"),
        (["predict", "x.mp4", "-o", "out", "--weights", "nowhere"], "nowhere"),
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
