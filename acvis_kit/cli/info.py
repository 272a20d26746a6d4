"""`acvis info`: parameters, arithmetic and configuration of a model; versions and hardware."""

from __future__ import annotations

import argparse
import dataclasses

from acvis_kit.cli.options import add_json, show
from acvis_kit.errors import ConfigError
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.models.semantic_config import SemanticInference


def add_info(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser("info", help="parameters and GFLOPs of a model, or --env")
    parser.set_defaults(run=_info)
    parser.add_argument("model", nargs="?", help="a preset, a folder or a .safetensors file")
    parser.add_argument("--env", action="store_true", help="versions and hardware, for a bug report")
    parser.add_argument("--times", type=int, default=0, metavar="RUNS", help="also milliseconds, medians of RUNS (0)")
    add_json(parser)


def _info(arguments: argparse.Namespace) -> None:
    if arguments.times < 0:
        raise ConfigError(f"--times {arguments.times} must be 0 or more")
    from acvis_kit.evaluation.cost import cost_table, costs, environment

    if arguments.env or arguments.model is None:
        found = environment()
        if arguments.json:
            show(found)
        else:
            print("\n".join(f"{name:<16} {value}" for name, value in found.items()))
        return
    from acvis_kit.evaluation.semantic_cost import semantic_costs
    from acvis_kit.weights.load import load_model, random_model

    model = random_model(arguments.model) if arguments.model in ALL_PRESETS else load_model(arguments.model)
    semantic = isinstance(model.config, SemanticInference)
    rows = semantic_costs(model, arguments.times) if semantic else costs(model, arguments.times)
    if arguments.json:
        show([vars(row) for row in rows])
        return
    print(cost_table(rows))
    print("\n" + "\n".join(f"{name} = {value}" for name, value in dataclasses.asdict(model.config).items()))
