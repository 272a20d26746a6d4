"""`acvis train`: trains a network on a data set, resumably."""

from __future__ import annotations

import argparse
from dataclasses import replace

from acvis_kit.cli.options import INTERRUPTED, path, pronoun, say, writable_folder
from acvis_kit.cli.settings import add_fields, flag, given, with_fields
from acvis_kit.config import ACVISConfig
from acvis_kit.errors import ConfigError
from acvis_kit.models.avsc.config import AVSCConfig
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.models.ravs.config import RAVSConfig
from acvis_kit.training.recipe import Recipe, RuntimeConfig, recipe_of, semantic_recipe_of

DEFAULT_PRESET = "acvis-r50"
WIDTH = 34  # columns of the option names in the help


def add_train(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "train",
        help="train weights on a data set, resumably",
        usage="acvis train --data DIR --out RUN [--preset NAME] [OPTION ...]",
        description="Trains a network on a data set. The same command resumes a run that was stopped or killed. "
        "acvis-synth-tiny: 160 minutes on 2 CPU cores. Several GPUs: torchrun "
        f"--nproc_per_node N -m acvis_kit.cli train ... Presets: {', '.join(ALL_PRESETS)}.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=WIDTH),
    )
    parser.set_defaults(run=_train)
    parser.add_argument(
        "--preset",
        choices=tuple(ALL_PRESETS),
        metavar="NAME",
        help=f"see above ({DEFAULT_PRESET})",
    )
    parser.add_argument("--data", type=path, required=True, metavar="DIR", help="folder in AVISeg's layout")
    parser.add_argument("--out", type=path, required=True, metavar="RUN", help="folder of the run")
    parser.add_argument("--train-split", default="train", metavar="NAME", help="(train)")
    parser.add_argument("--val-split", metavar="NAME", help="(val)")
    parser.add_argument("--subset", metavar="NAME", help="of AVSBench-semantic or VPO (all)")
    parser.add_argument("--init-from", metavar="W", help="weights to fine-tune or take encoders of")
    parser.add_argument("--init-without", nargs="+", default=[], metavar="PART", help="parts of W to leave out")
    parser.add_argument("--backbone-weights", metavar="F", help="ImageNet's: FILE, package:NAME, timm:NAME")
    parser.add_argument(
        "--audio-weights",
        metavar="F",
        help="VGGish's, BEATs' FILE; package:NAME",
    )
    parser.add_argument("--audio-teacher", type=path, metavar="F", help="YAMNet's TFLite file, for audio pretraining")
    parser.add_argument("--overwrite", action="store_true", help="start again where RUN holds another run")
    parser.add_argument("--allow-outside", action="store_true", help="read frames outside of --data")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any field of configuration or recipe",
    )
    recipe = parser.add_argument_group("recipe (the final weights depend on it; default: the recipe of the preset)")
    add_fields(recipe, Recipe, defaults="")
    runtime = parser.add_argument_group("runtime (only --matmul-precision changes the final weights)")
    add_fields(runtime, RuntimeConfig)


def _train(arguments: argparse.Namespace) -> int:
    from acvis_kit.training.parallel import Stop
    from acvis_kit.training.run import train
    from acvis_kit.weights.load import load_model

    writable_folder(arguments.out)
    preset = arguments.preset
    if preset is None and arguments.init_from is not None:
        named: ACVISConfig | AVSCConfig | RAVSConfig = load_model(arguments.init_from).config
    else:
        named = ALL_PRESETS[preset or DEFAULT_PRESET]
    if not isinstance(named, ACVISConfig):
        return _train_semantic(arguments, named)
    if arguments.subset is not None:
        raise ConfigError("--subset chooses videos of AVSBench or VPO, for AVSC and RAVS: leave it out")
    config, _ = with_fields(arguments.set, named, Recipe())
    recipe = recipe_of(config, None if arguments.init_from is not None else preset or DEFAULT_PRESET)
    if arguments.init_from is not None:  # these weights are pretrained
        recipe = replace(recipe, audio_pretraining_steps=0, visual_pretraining_steps=0)
    if arguments.steps is not None:
        recipe = _scaled(recipe, arguments.steps, _fixed(arguments))
    config, recipe = with_fields(arguments.set, config, recipe)
    stop = Stop()
    finished = train(
        config,
        replace(recipe, **given(arguments, Recipe)),
        arguments.data,
        arguments.out,
        runtime=RuntimeConfig(**given(arguments, RuntimeConfig)),
        train_split=arguments.train_split,
        val_split=arguments.val_split or "val",
        class_names=config.class_names if any(text.startswith("class_names=") for text in arguments.set) else None,
        init_from=arguments.init_from,
        init_without=arguments.init_without,
        backbone_weights=arguments.backbone_weights,
        audio_weights=arguments.audio_weights,
        audio_teacher=arguments.audio_teacher,
        overwrite=arguments.overwrite,
        allow_outside=arguments.allow_outside,
        stop=stop,
        say=say,
    )
    return 0 if finished or stop.number is None else INTERRUPTED + stop.number


def _train_semantic(arguments: argparse.Namespace, config: AVSCConfig | RAVSConfig) -> int:
    from acvis_kit.training.parallel import Stop
    from acvis_kit.training.semantic_run import train_semantic

    apart = ("audio_teacher", "init_without", "allow_outside", "eval_clips", "eval_every")
    unused = [flag(name) for name in apart if getattr(arguments, name)]
    if arguments.val_split is not None:
        unused.append("--val-split")
    if unused:
        raise ConfigError(f"AVSC and RAVS are trained without {', '.join(unused)}: leave {pronoun(unused)} out")
    config, recipe = with_fields(arguments.set, config, semantic_recipe_of(config, arguments.preset))
    if arguments.steps is not None:
        recipe = _scaled(recipe, arguments.steps, _fixed(arguments))
    stop = Stop()
    finished = train_semantic(
        config,
        replace(recipe, **given(arguments, Recipe)),
        arguments.data,
        arguments.out,
        runtime=RuntimeConfig(**given(arguments, RuntimeConfig)),
        train_split=arguments.train_split,
        subset=arguments.subset,
        init_from=arguments.init_from,
        backbone_weights=arguments.backbone_weights,
        audio_weights=arguments.audio_weights,
        overwrite=arguments.overwrite,
        stop=stop,
        say=say,
    )
    return 0 if finished or stop.number is None else INTERRUPTED + stop.number


def _fixed(arguments: argparse.Namespace) -> set[str]:
    """The fields that the command sets, which stay as they are."""
    return {text.partition("=")[0] for text in arguments.set} | set(given(arguments, Recipe))


def _scaled(recipe: Recipe, steps: int, fixed: set[str]) -> Recipe:
    """The recipe with the stages before the last in proportion to its `steps`, but for `fixed` fields."""
    scaled = {
        name: -(-getattr(recipe, name) * steps // recipe.steps)  # rounded up
        for name in ("audio_pretraining_steps", "visual_pretraining_steps", "proposal_steps")
        if getattr(recipe, name) and name not in fixed
    }
    if scaled and steps != recipe.steps:
        shown = ", ".join(f"{name}={value}" for name, value in scaled.items())
        say(f"--steps {steps} of {recipe.steps}: earlier stages in proportion, {shown}")
    return replace(recipe, **scaled)
