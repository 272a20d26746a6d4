"""`acvis convert`: a checkpoint of the reference code to the kit's format."""

from __future__ import annotations

import argparse

from acvis_kit.cli.options import path, say, writable_folder
from acvis_kit.config import CHOICES


def add_convert(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "convert", help="a checkpoint of the reference code -> model.safetensors + config.json"
    )
    parser.set_defaults(run=_convert)
    parser.add_argument("checkpoint", type=path)
    parser.add_argument("out", type=path, metavar="FOLDER")
    parser.add_argument(
        "--count-head",
        choices=CHOICES["count_head"],
        help="needed where a count head of 3 logits is ambiguous",
    )
    parser.add_argument("--window-size", type=int, help="frames of the tracker's windows (6)")
    parser.add_argument("--num-heads", type=int, help="attention heads (8)")
    parser.add_argument("--short-side", type=int, help="pixels at inference (360; 448 for Swin-L)")
    parser.add_argument(
        "--trust-pickle", action="store_true", help="open files that can run code; only if you trust their author"
    )


def _convert(arguments: argparse.Namespace) -> None:
    from acvis_kit.weights.convert import from_reference
    from acvis_kit.weights.load import save_model

    writable_folder(arguments.out)
    fields = ("count_head", "window_size", "num_heads", "short_side")
    overrides = {name: getattr(arguments, name) for name in fields if getattr(arguments, name) is not None}
    model = from_reference(arguments.checkpoint, trust_pickle=arguments.trust_pickle, **overrides)
    folder = save_model(model, arguments.out)
    config = model.config
    say(
        f"{folder}: {config.backbone}, query generator {config.query_generator}, count head {config.count_head}, "
        f"{config.num_classes} classes, audio encoder {config.audio_encoder}"
    )
    if config.audio_encoder == "precomputed" and config.uses_audio:
        say("the model takes precomputed VGGish features: for videos, run predict with --audio-weights VGGISH.pth")
