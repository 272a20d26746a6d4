"""The `acvis` command: joins the subcommands and turns errors into messages and exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Sequence
from functools import partial

from acvis_kit import __version__
from acvis_kit.cli.ablate import add_ablate
from acvis_kit.cli.benchmark import add_benchmark
from acvis_kit.cli.convert import add_convert
from acvis_kit.cli.demo import add_demo
from acvis_kit.cli.evaluate import add_evaluate
from acvis_kit.cli.info import add_info
from acvis_kit.cli.options import INTERRUPTED, complain, say, set_quiet, set_words
from acvis_kit.cli.predict import add_predict
from acvis_kit.cli.prepare import add_prepare
from acvis_kit.cli.synth import add_synth
from acvis_kit.cli.train import add_train
from acvis_kit.errors import ADVISED, SWAPPED, AcvisError, without_advice
from acvis_kit.files import ended_by_sigterm


def main(argv: Sequence[str] | None = None) -> int:
    """Run the `acvis` command.

    Returns:
        The exit status: 0 if all is done (or `train` stopped at --max-minutes), 1 after an error that the user can
        correct or a job that failed in part, 2 for wrong options, 128 + the signal's number after a signal (Ctrl-C:
        130). After SIGTERM the process ends with 143, as by sys.exit.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    set_quiet(arguments.quiet)
    in_words = partial(in_options, options=_options(parser, arguments.command))
    set_words(in_words)
    warnings.showwarning = lambda message, *_, **__: say(f"note: {message}")
    try:
        with ended_by_sigterm():
            return arguments.run(arguments) or 0
    except AcvisError as error:
        text = str(error)
        complain(f"acvis: {text if text.startswith('--set') else in_words(text)}")
        return 1
    except KeyboardInterrupt:
        complain("acvis: interrupted")
        return INTERRUPTED + signal.SIGINT
    except BrokenPipeError:  # the reader has closed the pipe: `acvis info ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands; each sets `run`, the function that carries it out."""
    parser = argparse.ArgumentParser(prog="acvis", description="Which objects sound, second by second.")
    parser.add_argument("--version", action="version", version=f"acvis {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
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
    for command in commands.choices.values():
        command.add_argument("--quiet", action="store_true", help="print results and errors only")
    return parser


def in_options(text: str, options: dict[str, str]) -> str:
    """A message of the library in the words of the command: "max_seconds=120" becomes "--max-seconds 120".

    Args:
        text: the message.
        options: the option of each argument that the command has, such as {"max_seconds": "--max-seconds"}.
    """
    if "trim" in options:
        text = text.replace('too_long="trim"', options["trim"])
    if "audio" in options:
        text = SWAPPED.sub(r", --audio swap:\2", text)
    text = without_advice(text, [name for name in ADVISED if name not in options])
    for name, option in options.items():
        alone = "?" if "_" in name else ""  # a name of one word is a word of the language too
        pattern = rf"(?<![\w.-]){name}(=(?P<value>[\w.'\"/+(\[-]*)){alone}(?![\w=])"
        text = re.sub(pattern, partial(_in_option, option), text)
    return text


def _in_option(option: str, match: re.Match[str]) -> str:
    value = match["value"]
    return option if value in (None, "", "True") else f"{option} {value}"


def _options(parser: argparse.ArgumentParser, command: str) -> dict[str, str]:
    """The long option of each argument of a subcommand."""
    choices = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    found = {}
    for action in choices[command]._actions:
        if long := [option for option in action.option_strings if option.startswith("--")]:
            found[action.dest] = long[0]
    return found
