"""`acvis train`: trains a network on a data set, resumably."""

from __future__ import annotations

import argparse
import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from acvis_kit.cli.options import say
from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError

DEFAULT_PRESET = "acvis-r50"
RECIPE_OPTIONS = ("steps", "batch", "clip_frames", "lr", "schedule", "warmup", "ema", "precision", "seed")
RUNTIME_OPTIONS = (
    "workers", "max_minutes", "checkpoint_every", "eval_every", "eval_clips", "log_every", "shard_mb", "device",
)  # fmt: skip


def add_train(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "train",
        help="train weights on a data set, resumably",
        description="Trains a network on a data set in AVISeg's layout. The same command resumes a run that was "
        "stopped or killed. Several GPUs or machines: torchrun --nproc_per_node N -m acvis_kit.cli train ...",
    )
    parser.set_defaults(run=_train)
    parser.add_argument("--preset", choices=tuple(PRESETS), help=f"({DEFAULT_PRESET}, or that of --init-from)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder in AVISeg's layout")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--train-split", default="train", metavar="NAME", help="(train)")
    parser.add_argument("--val-split", default="val", metavar="NAME", help="(val)")
    parser.add_argument(
        "--init-from",
        metavar="W",
        help="weights to fine-tune, a folder or an id; new classes start from random weights",
    )
    parser.add_argument("--backbone-weights", type=Path, metavar="F", help="torchvision's ImageNet weights")
    parser.add_argument("--audio-weights", type=Path, metavar="F", help="VGGish's weights")
    parser.add_argument("--overwrite", action="store_true", help="start again where RUN holds another run")
    own = "that of the preset"
    recipe = parser.add_argument_group("recipe (the final weights depend on it)")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field of the configuration or the recipe"
    )
    recipe.add_argument("--steps", type=int, help=f"optimizer steps ({own})")
    recipe.add_argument("--batch", type=int, help=f"clips per step, over all processes ({own})")
    recipe.add_argument("--clip-frames", type=int, metavar="T", help=f"frames per clip ({own})")
    recipe.add_argument("--lr", type=float, help=f"learning rate ({own})")
    recipe.add_argument("--schedule", choices=("paper", "cosine"), help=f"({own})")
    recipe.add_argument("--warmup", type=int, metavar="STEPS", help=f"({own})")
    recipe.add_argument(
        "--ema", type=float, metavar="D", help=f"decay of the running average of the weights, 0: no average ({own})"
    )
    recipe.add_argument("--precision", choices=("float32", "bf16", "fp16", "float64"), help=f"({own})")
    recipe.add_argument("--seed", type=int, help="(0)")
    runtime = parser.add_argument_group("runtime (the final weights do not depend on it)")
    runtime.add_argument("--workers", type=int, metavar="N", help="processes that prepare samples (1)")
    runtime.add_argument("--max-minutes", type=float, metavar="M", help="stop after M minutes with a checkpoint")
    runtime.add_argument("--checkpoint-every", type=float, metavar="MINUTES", help="minutes between checkpoints (10)")
    runtime.add_argument(
        "--eval-every", type=int, metavar="STEPS", help="between evaluations, 0: only at the end (1000)"
    )
    runtime.add_argument("--eval-clips", type=int, metavar="N", help="videos of the validation split, 0: none (40)")
    runtime.add_argument("--log-every", type=int, metavar="STEPS", help="steps per line of log.jsonl (10)")
    runtime.add_argument("--shard-mb", type=float, metavar="MB", help="largest file of a checkpoint (no limit)")
    runtime.add_argument("--device", choices=("cpu",), help="use no GPU")


def _train(arguments: argparse.Namespace) -> int:
    from acvis_kit.training import Recipe, RuntimeConfig, recipe_of, train
    from acvis_kit.weights.load import load_model

    preset = arguments.preset
    if preset is None and arguments.init_from is not None:
        config = load_model(arguments.init_from).config
    else:
        config = PRESETS[preset or DEFAULT_PRESET]
    config, _ = with_fields(arguments.set, config, Recipe())
    recipe = recipe_of(config, None if arguments.init_from is not None else preset or DEFAULT_PRESET)
    if arguments.init_from is not None:  # these weights are pretrained
        recipe = replace(recipe, audio_pretraining_steps=0, visual_pretraining_steps=0)
    config, recipe = with_fields(arguments.set, config, recipe)
    train(
        config,
        replace(recipe, **_given(arguments, RECIPE_OPTIONS)),
        arguments.data,
        arguments.out,
        runtime=RuntimeConfig(**_given(arguments, RUNTIME_OPTIONS)),
        train_split=arguments.train_split,
        val_split=arguments.val_split,
        class_names=config.class_names if any(text.startswith("class_names=") for text in arguments.set) else None,
        init_from=arguments.init_from,
        backbone_weights=arguments.backbone_weights,
        audio_weights=arguments.audio_weights,
        overwrite=arguments.overwrite,
        say=say,
    )
    return 0


def with_fields(settings: list[str], *parts: Any) -> tuple[Any, ...]:
    """Copies of frozen dataclasses with settings applied, each to the first one that has the field.

    Args:
        settings: "FIELD=VALUE". VALUE is parsed by the type of the present value: a number, true or false, a word; a
            tuple as "a,b,c" or as a JSON list.
        parts: instances of dataclasses.

    Raises:
        ConfigError: a field that none of them has, or a value of the wrong type.
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
    """The value that `text` gives a field whose present value is `present`."""
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
    expected = (int, float) if isinstance(present, float) else type(present)
    if isinstance(present, tuple):
        expected = list
    if not isinstance(value, expected) or (isinstance(value, bool) and not isinstance(present, bool)):
        raise ConfigError(f"--set {name}={text}: expected a value like {present!r}")
    return tuple(value) if isinstance(value, list) else value


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options among `names` that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
