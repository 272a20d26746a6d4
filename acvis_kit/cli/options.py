"""Options that several subcommands share, and what they mean."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acvis_kit.cli.settings import add_fields, given
from acvis_kit.config import InferenceConfig, inference_of
from acvis_kit.errors import ConfigError, kind_of
from acvis_kit.files import write_errors
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.models.semantic_config import SemanticInference, semantic_inference_of
from acvis_kit.weights.published import WEIGHTS

if TYPE_CHECKING:
    from acvis_kit.inference.predictor import Predictor
    from acvis_kit.inference.semantic_predictor import SemanticPredictor

INTERRUPTED = 128  # exit status of a command that a signal ended, less the signal's number
FAILED = "FAILED: "  # before the library's error about one of several files
_quiet = False
_in_words: Callable[[str], str] = str
RANDOM_WARNING = (
    "THE WEIGHTS ARE RANDOM: the network is untrained, its masks, classes and counts mean nothing. They only show that "
    "the software runs."
)


def path(text: str) -> Path:
    """The type of an argument that names a file or folder: an empty one would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty and names no file or folder: is a variable of the shell unset?")
    return Path(text)


def positive(text: str) -> int:
    """The type of an argument that is a number of things, at least one."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text}, but must be a whole number of at least 1")
    return int(text)


class Renamed(argparse.Action):
    """An option of earlier versions: ends with an error that names the new one, given as `const`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]} is now called {self.const}")


def add_renamed(parser: argparse._ActionsContainer, old: str, new: str) -> None:
    """Answer the option `old` with an error that names `new`; the help does not show it."""
    parser.add_argument(old, action=Renamed, const=new, help=argparse.SUPPRESS)


def add_weights(parser: argparse.ArgumentParser, *, default: str | None = None, preset: str = "acvis-r50") -> None:
    """Add --weights, --preset and --audio-weights."""
    parser.add_argument(
        "--weights",
        default=default,
        metavar="W",
        help="a published id, a repository of the Hub (user/repo[@revision]), a folder or a .safetensors file; "
        "'random' runs the preset untrained" + (f" ({default})" if default else ""),
    )
    parser.add_argument("--preset", choices=tuple(ALL_PRESETS), help=f"with --weights random ({preset})")
    parser.set_defaults(usual_preset=preset)
    parser.add_argument(
        "--audio-weights", type=path, metavar="VGGISH.pth", help="VGGish, for models that do not contain one"
    )


def add_inference(parser: argparse.ArgumentParser) -> None:
    """Add the settings of the Predictor."""
    add_fields(parser, InferenceConfig, defaults="stored with the weights")
    parser.add_argument(
        "--feature-budget-mb",
        type=float,
        default=2048,
        help="the host's memory for features; the rest goes to disk (2048)",
    )
    parser.add_argument(
        "--device-budget-mb",
        type=float,
        default=4096,
        help="a GPU's memory for features; the rest stays on the host (4096)",
    )
    parser.add_argument("--device", default=None, help="cpu, cuda, mps (cuda if there is one)")
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "float64", "bfloat16", "float16"),
        help="of multiplications; auto: bfloat16 where the device is quick with it (float32)",
    )


def add_semantic_inference(parser: argparse.ArgumentParser) -> None:
    """Add what only the SemanticPredictor has, beside `add_inference`."""
    group = parser.add_argument_group("weights of AVSC and RAVS")
    add_fields(group, SemanticInference, defaults="stored with the weights")


def pronoun(names: Sequence[str]) -> str:
    """What stands for these in a message: "it" for one, "them" for several."""
    return "it" if len(names) == 1 else "them"


def check_preset(arguments: argparse.Namespace) -> None:
    """Raise a ConfigError for --preset beside weights that have their own configuration."""
    if arguments.preset and arguments.weights != "random":
        raise ConfigError(
            f"--preset {arguments.preset} is for --weights random only, and the weights are {arguments.weights}, which "
            "have their own configuration: leave --preset out, or add --weights random"
        )


def load(arguments: argparse.Namespace) -> Any:
    """The model that --weights names: an ACVIS, AVSC or RAVS.

    Raises:
        ConfigError: --preset beside weights that have their own configuration.
        WeightsError: there are no such weights.
    """
    from acvis_kit.weights.load import load_model, random_model, with_vggish

    if arguments.weights == "random":
        say(RANDOM_WARNING)
        model = random_model(arguments.preset or arguments.usual_preset)
        return with_vggish(model, arguments.audio_weights) if arguments.audio_weights else model
    check_preset(arguments)
    if arguments.weights in WEIGHTS:
        say(f"{arguments.weights}: {WEIGHTS[arguments.weights].limits}")
    return load_model(arguments.weights, audio_weights=arguments.audio_weights)


def make_predictor(arguments: argparse.Namespace) -> Predictor:
    """A predictor of tracks, with the settings of `add_inference`.

    Raises:
        ConfigError: the weights are of a system without tracks.
    """
    from acvis_kit.inference.predictor import Predictor

    predictor = make_any_predictor(arguments, load_acvis)
    assert isinstance(predictor, Predictor), "of an ACVIS"
    return predictor


def load_acvis(arguments: argparse.Namespace) -> Any:
    """The ACVIS that --weights names; errors as of `load`, and a ConfigError for a system without tracks."""
    model = load(arguments)
    if isinstance(model.config, SemanticInference):
        raise ConfigError(
            f"--weights {arguments.weights} is {kind_of(model)}, which marks pixels of classes and has no tracks: add "
            "--task avs, with data in the layout of AVSBench or VPO, or give weights of ACVIS"
        )
    return model


def make_any_predictor(
    arguments: argparse.Namespace, load: Callable[[argparse.Namespace], Any] = load
) -> Predictor | SemanticPredictor:
    """A predictor of the model that --weights names, with `add_inference` and perhaps `add_semantic_inference`.

    Raises:
        ConfigError: a setting of the other kind of system.
    """
    from acvis_kit.inference.predict import predictor_for

    where = device(arguments)  # fails before the model is loaded
    model = load(arguments)
    semantic = isinstance(model.config, SemanticInference)
    own, other = (SemanticInference, InferenceConfig) if semantic else (InferenceConfig, SemanticInference)
    if wrong := given(arguments, other):
        named = ", ".join(f"{name}={value}" for name, value in wrong.items())
        fitting = "ACVIS" if semantic else "AVSC and RAVS"
        raise ConfigError(f"{named}: only for weights of {fitting}, and these are {kind_of(model)}: leave it out")
    settings: dict[str, Any] = {"device": where, "dtype": arguments.dtype}
    if semantic:
        inference: Any = semantic_inference_of(model.config)
    else:
        inference = inference_of(model.config)
        settings |= {"feature_budget_mb": arguments.feature_budget_mb, "device_budget_mb": arguments.device_budget_mb}
    return predictor_for(model, inference=replace(inference, **given(arguments, own)), **settings)


def device(arguments: argparse.Namespace) -> str:
    """--device, or a GPU if there is one; under torchrun every process gets a GPU of its own.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    from acvis_kit.inference.model_copy import usable_device

    own = os.environ.get("LOCAL_RANK")  # torchrun's
    return str(usable_device(arguments.device or (f"cuda:{own or 0}" if torch.cuda.is_available() else "cpu")))


def writable_folder(folder: Path) -> None:
    """Check before the work begins that a folder can be written to, or created; it is not created yet.

    Raises:
        ConfigError: it cannot.
    """
    try:
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a folder to write to ({error}): choose another") from error


def writable_file(file: Path) -> None:
    """Check before the work begins that a file can be written, and create its folder.

    Raises:
        ConfigError: it cannot.
    """
    if file.is_dir():
        raise ConfigError(f"{file} is a folder: name a file in it")
    writable_folder(file.parent)
    with write_errors(file.parent, ConfigError):
        file.parent.mkdir(parents=True, exist_ok=True)


def say(text: str) -> None:
    """Print a message on standard error; standard output is for results. With --quiet only FAILED lines are printed."""
    if FAILED in text:
        complain(_in_words(text))
    elif not _quiet:
        complain(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json, with which `show` prints the result for programs."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def show(value: Any) -> None:
    """Print a result as JSON on standard output."""
    print(json.dumps(value, indent=2))


def complain(text: str) -> None:
    """Print an error on standard error, also with --quiet."""
    print(text, file=sys.stderr, flush=True)


def set_words(in_words: Callable[[str], str]) -> None:
    """How the library's errors about single files are put into the words of the command."""
    global _in_words
    _in_words = in_words


def set_quiet(quiet: bool) -> None:
    """Whether `say` prints nothing but failures; progress bars are hidden with it."""
    global _quiet
    _quiet = quiet
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
