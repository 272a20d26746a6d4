"""The `acvis` command: joins the subcommands and turns errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence

from acvis_kit.cli.ablate import add_ablate
from acvis_kit.cli.benchmark import add_benchmark
from acvis_kit.cli.convert import add_convert
from acvis_kit.cli.demo import add_demo
from acvis_kit.cli.evaluate import add_evaluate
from acvis_kit.cli.info import add_info
from acvis_kit.cli.options import say
from acvis_kit.cli.predict import add_predict
from acvis_kit.cli.prepare import add_prepare
from acvis_kit.cli.synth import add_synth
from acvis_kit.cli.train import add_train
from acvis_kit.errors import AcvisError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `acvis` command.

    Returns:
        The exit status: 0, 1 after an error that the user can correct or a job that failed in part, 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    arguments = build_parser().parse_args(argv)
    warnings.showwarning = lambda message, *_, **__: say(f"note: {message}")
    try:
        return arguments.run(arguments) or 0
    except AcvisError as error:
        say(f"acvis: {error}")
        return 1
    except KeyboardInterrupt:
        say("acvis: interrupted")
        return 130
    except BrokenPipeError:  # the reader has closed the pipe: `acvis info ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; each sets `run`, the function that carries it out."""
    parser = argparse.ArgumentParser(prog="acvis", description="Which objects sound, second by second.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_predict(commands)
    add_demo(commands)
    add_convert(commands)
    add_evaluate(commands)
    add_synth(commands)
    add_prepare(commands)
    add_train(commands)
    add_ablate(commands)
    add_benchmark(commands)
    add_info(commands)
    return parser
