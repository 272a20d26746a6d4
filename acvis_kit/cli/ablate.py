"""`acvis ablate`: the papers' tables on AVIS-Synth, over several seeds, with intervals."""

from __future__ import annotations

import argparse
from pathlib import Path

from acvis_kit.cli.options import add_renamed, device, path, say, writable_folder
from acvis_kit.errors import ConfigError

LEDGER = Path("weights_card/ablations")
WORK = Path("runs/ablations")
REPORT, LIST, REQUIRED, ALL = "report", "list", "required", "all"


def add_ablate(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser(
        "ablate",
        help="the papers' tables on AVIS-Synth, over several seeds, with intervals",
        description="Trains and measures the rows of tables; or (report) makes tables and figures of the runs that are "
        "done; or (list) lists tables and rows. Rows that several tables share are run once.",
    )
    parser.set_defaults(run=_ablate)
    parser.add_argument(
        "what", nargs="+", metavar="TABLE", help=f"names of tables, {REQUIRED}, {ALL}; or {REPORT}; or {LIST}"
    )
    parser.add_argument("--ledger", type=path, default=LEDGER, metavar="DIR", help=f"folder of the results ({LEDGER})")
    which = parser.add_argument_group("which runs")
    which.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 (3)")
    which.add_argument("--seed", type=int, action="append", metavar="S", help="only seed S; repeatable")
    which.add_argument("--row", action="append", default=[], metavar="NAME", help="only rows of this name; repeatable")
    which.add_argument("--resume", action="store_true", help="skip finished runs and resume an interrupted one")
    setting = parser.add_argument_group("setting (runs of different settings are never compared)")
    setting.add_argument("--data", type=path, metavar="DIR", help="AVIS-Synth with splits train and val")
    setting.add_argument("--dense-data", type=path, metavar="DIR", help="the same, made with --counts dense")
    setting.add_argument("--steps", type=int, help="optimizer steps per run")
    setting.add_argument("--audio-pretraining-steps", type=int, metavar="N", help="steps of audio pretraining")
    setting.add_argument("--eval-clips", type=int, metavar="N", help="clips of val that are evaluated")
    setting.add_argument(
        "--visual-weights",
        metavar="W",
        help="weights that all rows start from (random weights); backbone and pixel decoder stay frozen; of a network "
        "with audio input only these two parts are taken",
    )
    setting.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field of the base network or the recipe"
    )
    add_renamed(setting, "--ears-steps", "--audio-pretraining-steps")
    add_renamed(setting, "--eyes", "--visual-weights")
    add_renamed(parser, "--card", "--ledger")
    how = parser.add_argument_group("runtime")
    how.add_argument("--out", type=path, default=WORK, metavar="DIR", help=f"folder of the runs ({WORK})")
    how.add_argument("--device", choices=("cpu", "cuda"), help="(a GPU if there is one)")
    how.add_argument("--jobs", type=int, default=1, metavar="N", help="runs in parallel (1)")
    how.add_argument("--workers", type=int, default=1, metavar="N", help="processes that prepare samples, per run (1)")
    how.add_argument("--threads", type=int, metavar="N", help="threads of torch, per run (cores / jobs)")
    how.add_argument("--max-minutes", type=float, metavar="M", help="stop after M minutes; --resume continues")
    report = parser.add_argument_group("report")
    report.add_argument(
        "--add", type=path, action="append", default=[], metavar="DIR", help="import the runs of another ledger"
    )
    report.add_argument("--setting", metavar="HASH", help="setting to report (the one with most runs)")


def _ablate(arguments: argparse.Namespace) -> int:
    what = arguments.what
    if REPORT in what or LIST in what:
        if len(what) > 1:
            raise ConfigError(f"{' '.join(what)}: {REPORT} and {LIST} cannot be combined with other words")
        return _report(arguments) if REPORT in what else _list()
    return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    import os
    from dataclasses import replace

    from acvis_kit.ablation.ledger import RunLedger
    from acvis_kit.ablation.runs import run_rows
    from acvis_kit.ablation.start import Plan
    from acvis_kit.ablation.tables import (
        ABLATION_BASE,
        ABLATION_RECIPE,
        AUDIO_PRETRAINING_STEPS,
        EVAL_CLIPS,
        TABLES,
        chosen,
    )
    from acvis_kit.cli.settings import with_fields

    if unknown := [name for name in arguments.what if name not in (*TABLES, REQUIRED, ALL)]:
        raise ConfigError(
            f"{unknown[0]!r} is no table: choose from {', '.join(TABLES)}, or {REQUIRED}, {ALL}, {REPORT}, {LIST}"
        )
    if arguments.data is None:
        raise ConfigError("--data is missing: a folder that acvis synth made, with train and val")
    if arguments.jobs < 1 or arguments.seeds < 1:
        raise ConfigError(f"--jobs {arguments.jobs} and --seeds {arguments.seeds} must be at least 1")
    names = [name for name in arguments.what if name != REQUIRED]
    rows = chosen(names or [ALL], arguments.row, required=len(names) < len(arguments.what))
    base, recipe = with_fields(arguments.set, ABLATION_BASE, ABLATION_RECIPE)
    if arguments.steps is not None:
        recipe = replace(recipe, steps=arguments.steps)
    device(arguments)  # these two fail before the first run
    for folder in (arguments.out, arguments.ledger):
        writable_folder(folder)
    plan = Plan(
        {"usual": arguments.data} | ({"dense": arguments.dense_data} if arguments.dense_data else {}),
        arguments.out,
        arguments.device,
        base,
        recipe,
        AUDIO_PRETRAINING_STEPS if arguments.audio_pretraining_steps is None else arguments.audio_pretraining_steps,
        EVAL_CLIPS if arguments.eval_clips is None else arguments.eval_clips,
        arguments.visual_weights,
        arguments.workers,
        arguments.threads or max(1, (os.cpu_count() or 1) // arguments.jobs),
    )
    done = run_rows(
        plan, rows, arguments.seed or range(arguments.seeds), RunLedger(arguments.ledger),
        resume=arguments.resume, jobs=arguments.jobs, max_minutes=arguments.max_minutes, say=say,
    )  # fmt: skip
    return 0 if done else 1


def _report(arguments: argparse.Namespace) -> int:
    import torch

    from acvis_kit.ablation.cost import generator_costs
    from acvis_kit.ablation.ledger import RunLedger
    from acvis_kit.ablation.report import Runs, cost_text, read_findings, write_report
    from acvis_kit.ablation.tables import ABLATION_BASE
    from acvis_kit.config import PRESETS

    ledger = RunLedger(arguments.ledger)
    for other in arguments.add:
        say(f"{ledger.take(RunLedger(other))} runs imported from {other}")
    Runs(ledger, arguments.setting)  # fails before the costs are measured
    read_findings(ledger.folder)
    writable_folder(ledger.folder)
    where = device(arguments)
    small = (ABLATION_BASE.short_side, ABLATION_BASE.short_side)  # (H, W)
    costs = {
        "acvis-r50, 384x640": generator_costs(PRESETS["acvis-r50"], device=where),
        f"of the tables, {small[0]}x{small[1]}": generator_costs(ABLATION_BASE, small, frames=32, device=where),
    }
    device_name = (
        torch.cuda.get_device_name() if where.startswith("cuda") else f"a CPU, {torch.get_num_threads()} threads"
    )
    say(f"written: {write_report(ledger, cost_text(costs, device_name), arguments.setting, say)}")
    return 0


def _list() -> int:
    from acvis_kit.ablation.tables import TABLES

    for table in TABLES.values():
        print(f"{table.name}: {table.question}")
        for row in table.rows:
            labels = ["baseline"] * (row is table.baseline) + ["required"] * row.required
            print(f"  {row.name}" + (f"  ({', '.join(labels)})" if labels else ""))
    return 0
