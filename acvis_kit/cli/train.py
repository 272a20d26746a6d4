"""`acvis train`: from a data set to weights, resumable."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError

DEFAULT_PRESET = "acvis-r50"
OF_RECIPE = ("steps", "batch", "clip_frames", "lr", "schedule", "warmup", "ema", "precision", "seed")
OF_RUNTIME = (
    "workers", "max_minutes", "checkpoint_every", "eval_every", "eval_clips", "log_every", "shard_mb", "device",
)  # fmt: skip


def add_train(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "train",
        help="weights from a data set; goes on where it stopped",
        description="Trains a network on a data set in AVISeg's layout. The same command goes on with a run that was "
        "stopped or killed. Several GPUs or machines: torchrun --nproc_per_node N -m acvis_kit.cli train ...",
    )
    parser.set_defaults(run=_train)
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"({DEFAULT_PRESET}, or what --init-from is)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder in AVISeg's layout")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--train-split", default="train", metavar="NAME", help="(train)")
    parser.add_argument("--val-split", default="val", metavar="NAME", help="(val)")
    parser.add_argument(
        "--init-from", metavar="W", help="weights to fine-tune, a folder or an id; new classes get new heads"
    )
    parser.add_argument("--backbone-weights", type=Path, metavar="F", help="torchvision's ImageNet weights")
    parser.add_argument("--audio-weights", type=Path, metavar="F", help="VGGish")
    parser.add_argument("--overwrite", action="store_true", help="begin anew where RUN holds another run")
    own = "the preset's own"
    recipe = parser.add_argument_group("recipe: what the weights depend on")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field of configuration or recipe"
    )
    recipe.add_argument("--steps", type=int, help=f"of the optimizer ({own})")
    recipe.add_argument("--batch", type=int, help=f"clips per step, over all processes ({own})")
    recipe.add_argument("--clip-frames", type=int, metavar="T", help=f"seconds per clip ({own})")
    recipe.add_argument("--lr", type=float, help=f"learning rate ({own})")
    recipe.add_argument("--schedule", choices=("paper", "cosine"), help=f"({own})")
    recipe.add_argument("--warmup", type=int, metavar="STEPS", help=f"({own})")
    recipe.add_argument(
        "--ema", type=float, metavar="D", help=f"decay of the weights' running average, 0: none ({own})"
    )
    recipe.add_argument("--precision", choices=("float32", "bf16", "fp16", "float64"), help=f"({own})")
    recipe.add_argument("--seed", type=int, help="(0)")
    runtime = parser.add_argument_group("runtime: what they do not depend on")
    runtime.add_argument("--workers", type=int, metavar="N", help="processes that prepare samples (1)")
    runtime.add_argument("--max-minutes", type=float, metavar="M", help="stop then, to go on another time")
    runtime.add_argument("--checkpoint-every", type=float, metavar="MINUTES", help="(10)")
    runtime.add_argument("--eval-every", type=int, metavar="STEPS", help="0: at the end alone (1000)")
    runtime.add_argument("--eval-clips", type=int, metavar="N", help="videos of the validation split, 0: none (40)")
    runtime.add_argument("--log-every", type=int, metavar="STEPS", help="that a line of log.jsonl sums up (10)")
    runtime.add_argument("--shard-mb", type=float, metavar="MB", help="largest file of a checkpoint (no limit)")
    runtime.add_argument("--device", choices=("cpu",), help="keep away from GPUs")


def _train(arguments: argparse.Namespace) -> int:
    from acvis_kit.training import Recipe, RuntimeConfig, recipe_of, train
    from acvis_kit.weights.load import load_model

    preset = arguments.preset
    if preset is None and arguments.init_from is not None:
        config = load_model(arguments.init_from).config
    else:
        config = PRESETS[preset or DEFAULT_PRESET]
    config, _ = with_fields(arguments.set, config, Recipe())
    recipe = recipe_of(config)
    if arguments.init_from is not None:  # its parts are pretrained
        recipe = replace(recipe, audio_pretraining_steps=0, visual_pretraining_steps=0)
    config, recipe = with_fields(arguments.set, config, recipe)
    train(
        config,
        replace(recipe, **_given(arguments, OF_RECIPE)),
        arguments.data,
        arguments.out,
        runtime=RuntimeConfig(**_given(arguments, OF_RUNTIME)),
        train_split=arguments.train_split,
        val_split=arguments.val_split,
        class_names=config.class_names if any(text.startswith("class_names=") for text in arguments.set) else None,
        init_from=arguments.init_from,
        backbone_weights=arguments.backbone_weights,
        audio_weights=arguments.audio_weights,
        overwrite=arguments.overwrite,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    return 0


def with_fields(settings: list[str], *parts: Any) -> tuple[Any, ...]:
    """Frozen dataclasses with "FIELD=VALUE" applied to the one that has the field.

    Values are read by the type of the present one: numbers, true and false, words; tuples as "a,b,c" or JSON.

    Raises:
        ConfigError: a field that none of them has, or a value of another type.
    """
    from acvis_kit.training.recipe import RENAMED, renamed_text

    changes: list[dict[str, Any]] = [{} for _ in parts]
    for text in settings:
        name, equals, value = text.partition("=")
        if name in RENAMED:
            raise ConfigError(f"--set {text!r}: {renamed_text([name])}")
        owners = [n for n, part in enumerate(parts) if name in {field.name for field in dataclasses.fields(part)}]
        if not equals or not owners:
            known = sorted(field.name for part in parts for field in dataclasses.fields(part))
            raise ConfigError(f"--set {text!r}: write FIELD=VALUE, with a field of {', '.join(known)}")
        changes[owners[0]][name] = _read(name, value, getattr(parts[owners[0]], name))
    return tuple(replace(part, **change) for part, change in zip(parts, changes, strict=True))


def _read(name: str, text: str, present: Any) -> Any:
    if isinstance(present, str) or present is None:
        return text
    if isinstance(present, tuple) and not text.startswith("["):
        words = [word.strip() for word in text.split(",")]
        like = present[0] if present else ""
        return tuple(words) if isinstance(like, str) else tuple(_read(name, word, like) for word in words)
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    wanted = (int, float) if isinstance(present, float) else type(present)
    if isinstance(present, tuple):
        wanted = list
    if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(present, bool)):
        raise ConfigError(f"--set {name}={text}: expected a value like {present!r}")
    return tuple(value) if isinstance(value, list) else value


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
