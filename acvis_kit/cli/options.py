"""Options that several subcommands share, and what they mean."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.weights.published import WEIGHTS

if TYPE_CHECKING:
    from acvis_kit.inference.predictor import Predictor
    from acvis_kit.models.acvis.model import ACVIS
    from acvis_kit.weights.load import Loaded

RANDOM_WARNING = (
    "THE WEIGHTS ARE RANDOM: nothing was learned, the masks, classes and counts mean nothing. They show that the "
    "machinery runs, no more."
)


class Renamed(argparse.Action):
    """An option of earlier versions: an error that names the new one, given as `const`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(f"{self.option_strings[0]} is now called {self.const}")


def add_renamed(parser: argparse._ActionsContainer, old: str, new: str) -> None:
    """Answer an option that has another name now; it is not shown in the help."""
    parser.add_argument(old, action=Renamed, const=new, help=argparse.SUPPRESS)


def add_weights(parser: argparse.ArgumentParser, *, default: str | None = None, preset: str = "acvis-r50") -> None:
    """--weights, --preset, --audio-weights."""
    parser.add_argument(
        "--weights",
        default=default,
        metavar="W",
        help="a published id, a repository of the Hub (user/repo[@revision]), a folder or a .safetensors file; "
        "'random' runs the preset untrained" + (f" ({default})" if default else ""),
    )
    parser.add_argument("--preset", choices=tuple(PRESETS), default=preset, help=f"with --weights random ({preset})")
    parser.add_argument("--audio-weights", type=Path, metavar="VGGISH.pth", help="VGGish for models without one inside")


def add_inference(parser: argparse.ArgumentParser) -> None:
    """What the Predictor takes."""
    own = "the weights' own"
    parser.add_argument("--short-side", type=int, default=None, help=f"pixels at the network's input ({own})")
    parser.add_argument("--score-threshold", type=float, default=None, help=f"tracks score higher ({own})")
    parser.add_argument("--top-k", type=int, default=None, help=f"candidates looked at ({own})")
    gate = argparse.BooleanOptionalAction
    parser.add_argument("--count-gate", action=gate, default=None, help=f"let the count decide how many show ({own})")
    parser.add_argument("--feature-budget-mb", type=float, default=2048, help="memory for features; more goes to disk")
    parser.add_argument("--device", default=None, help="cpu, cuda, mps (cuda if there is one)")
    parser.add_argument("--dtype", choices=("float32", "float64", "bfloat16", "float16"), default=None)


def load(arguments: argparse.Namespace) -> ACVIS:
    """The model that --weights names."""
    from acvis_kit.weights.load import load_model, random_model, with_vggish

    if arguments.weights == "random":
        say(RANDOM_WARNING)
        model = random_model(arguments.preset)
        return with_vggish(model, arguments.audio_weights) if arguments.audio_weights else model
    if arguments.weights in WEIGHTS:
        say(f"{arguments.weights}: {WEIGHTS[arguments.weights].limits}")
    return load_model(arguments.weights, audio_weights=arguments.audio_weights)


def load_for_the_page(arguments: argparse.Namespace) -> Loaded:
    """What --weights names and where it is from; the bundled weights where the Hub is out of reach."""
    import torch

    from acvis_kit.weights.load import RANDOM, Loaded, open_weights
    from acvis_kit.weights.published import DEMO_WEIGHTS

    if arguments.weights == RANDOM:
        loaded = Loaded(load(arguments), RANDOM)
    else:
        loaded = open_weights(arguments.weights, audio_weights=arguments.audio_weights, fall_back=DEMO_WEIGHTS)
    if loaded.notice:
        say(f"note: {loaded.notice}")
    return replace(loaded, model=loaded.model.to("cuda" if torch.cuda.is_available() else "cpu"))


def make_predictor(arguments: argparse.Namespace) -> Predictor:
    """It, with the options of inference."""
    import torch

    from acvis_kit.inference.predictor import Predictor

    return Predictor(
        load(arguments),
        short_side=arguments.short_side,
        score_threshold=arguments.score_threshold,
        top_k=arguments.top_k,
        count_gate=arguments.count_gate,
        feature_budget_mb=arguments.feature_budget_mb,
        device=device(arguments),
        dtype=getattr(torch, arguments.dtype) if arguments.dtype else None,
    )


def device(arguments: argparse.Namespace) -> str:
    """--device, or the GPU if there is one; of several processes each takes its own."""
    import torch

    own = os.environ.get("LOCAL_RANK")  # torchrun's
    return arguments.device or (f"cuda:{own or 0}" if torch.cuda.is_available() else "cpu")


def writable_folder(folder: Path) -> None:
    """Make it now: hours of work must not end at a path that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be a folder to write to ({error}): choose another") from error


def say(text: str) -> None:
    """To people, on standard error: standard output is for results."""
    print(text, file=sys.stderr, flush=True)
