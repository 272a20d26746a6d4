"""`acvis info`: parameters, arithmetic and configuration of a model; versions and hardware."""

from __future__ import annotations

import argparse
import dataclasses

from acvis_kit.cli.options import add_json, say, show
from acvis_kit.errors import ConfigError
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.models.semantic_config import SemanticInference
from acvis_kit.weights.published import WEIGHTS


def add_info(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser("info", help="parameters and GFLOPs of a model, or --env")
    parser.set_defaults(run=_info)
    parser.add_argument("model", nargs="?", help="a preset, or weights as of --weights; of a name of both the preset")
    parser.add_argument("--preset", choices=tuple(ALL_PRESETS), metavar="NAME", help="a preset, with random weights")
    parser.add_argument("--weights", metavar="W", help="a published id, user/repo, a folder or a .safetensors file")
    parser.add_argument("--env", action="store_true", help="versions and hardware, for a bug report")
    parser.add_argument("--times", type=int, default=0, metavar="RUNS", help="also milliseconds, medians of RUNS (0)")
    add_json(parser)


def _info(arguments: argparse.Namespace) -> None:
    if arguments.times < 0:
        raise ConfigError(f"--times {arguments.times} must be 0 or more")
    given = [name for name in ("model", "preset", "weights") if getattr(arguments, name) is not None]
    if len(given) > 1:
        raise ConfigError("give one of a model, --preset and --weights, not several")
    if given and arguments.env:
        raise ConfigError("--env describes this machine and takes no model: leave one of the two out")
    if arguments.times and not given:
        raise ConfigError("--times measures a model: name one, such as acvis info acvis-r50 --times 3")
    from acvis_kit.evaluation.cost import cost_table, costs, environment

    if arguments.env or not given:
        found = environment()
        if arguments.json:
            show(found)
        else:
            print("\n".join(f"{name:<16} {value}" for name, value in found.items()))
        return
    from acvis_kit.evaluation.semantic_cost import semantic_costs
    from acvis_kit.weights.load import load_model, random_model

    preset = arguments.preset or (arguments.model if arguments.model in ALL_PRESETS else None)
    weights = arguments.weights or arguments.model
    model = load_model(weights) if preset is None else random_model(preset)
    classes = len(model.config.class_names)
    described = f"the weights {weights}, {classes} classes"
    if preset is not None:
        described = f"the preset {preset} with random weights, {classes} classes"
        if preset in WEIGHTS and arguments.preset is None:
            described += f"; of the weights of this name: acvis info --weights {preset}"
    semantic = isinstance(model.config, SemanticInference)
    rows = semantic_costs(model, arguments.times) if semantic else costs(model, arguments.times)
    if arguments.json:
        say(described)
        show([vars(row) for row in rows])
        return
    print(f"{described}\n")
    print(cost_table(rows))
    print("\n" + "\n".join(f"{name} = {value}" for name, value in dataclasses.asdict(model.config).items()))
