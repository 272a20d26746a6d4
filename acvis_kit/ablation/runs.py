"""From rows of tables to lines of the ledger: audio pretraining, training, evaluation; resumable, several in parallel.

WORK/audio/<hash>-<seed>.safetensors    the audio encoder that all rows of a seed start from
WORK/<key>-<seed>/                      a run: start/, checkpoints/, last/, log.jsonl
LEDGER/runs.jsonl, LEDGER/draws.jsonl   see `ledger`
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch

from acvis_kit.ablation.ledger import RunLedger
from acvis_kit.ablation.scores import measure
from acvis_kit.ablation.start import (
    Plan,
    Run,
    audio_weights_file,
    check_start,
    data_print,
    impossible,
    make_audio_weights,
    start_of,
    torch_device,
)
from acvis_kit.ablation.tables import Row
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import AcvisError
from acvis_kit.files import read_text, write_text
from acvis_kit.training.recipe import RuntimeConfig
from acvis_kit.training.run import train
from acvis_kit.training.scoring import Validation
from acvis_kit.training.start import Say, class_names_of, git_revision
from acvis_kit.training.trainer import CHECKPOINTS, LAST
from acvis_kit.weights.load import load_model, save_model

START, CLOCK = "start", "clock.json"
LEAST_MINUTES = 0.2  # with less time left no run is started
ROUNDED = 1e-4  # precision of the numbers in a line


def run_rows(
    plan: Plan,
    rows: Iterable[Row],
    seeds: Iterable[int],
    ledger: RunLedger,
    *,
    resume: bool = False,
    jobs: int = 1,
    max_minutes: float | None = None,
    say: Say = print,
) -> bool:
    """Run rows, all of one seed before the next, and write a line for each finished run.

    Args:
        plan: what all runs have in common.
        rows: of tables; those that cannot be run here are skipped, with a message.
        seeds: of the runs.
        ledger: receives the lines.
        resume: skip runs that have a line, and resume interrupted ones; otherwise all are run again, and a message
            compares the numbers with the earlier ones.
        jobs: runs in parallel, each in its own process.
        max_minutes: time after which no run is started and trainings stop; an evaluation that has started is finished.
        say: for messages.

    Returns:
        Whether every row that can be run has its line.

    Raises:
        DataError: a data set is incomplete.
        WeightsError: the visual weights do not fit.
        AcvisError: audio pretraining failed.
    """
    deadline = None if max_minutes is None else time.time() + 60 * max_minutes
    rows, seeds = list(rows), list(seeds)
    reasons = {row.name: reason for row in rows if (reason := impossible(plan, row)) is not None}
    for name, reason in reasons.items():
        say(f"not run: {name}: {reason}")
    rows = [row for row in rows if impossible(plan, row) is None]
    check_start(plan, rows)
    runs = [Run(plan, row, seed, anew=not resume) for seed in seeds for row in rows]
    runs = [run for run in runs if not (resume and ledger.has(run.key, run.seed))]
    say(f"{len(runs)} runs left, of {len(rows)} rows with {len(seeds)} seeds")
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 and len(runs) > 1 else None
    done = 0
    try:
        encoders = {file: run for run in runs if (file := audio_weights_file(run)) is not None}  # one run per encoder
        for _, problem in _each(pool, make_audio_weights, list(encoders.values()), deadline):
            if isinstance(problem, AcvisError):
                raise problem
        for run, line in _each(pool, carry_out, runs, deadline):
            if isinstance(line, AcvisError):
                say(f"FAILED: {run.title}: {line}")
            elif line is not None:
                say(f"done: {run.title}: {_in_words(line)}{_as_before(ledger, line)}")
                ledger.add(line)
                done += 1
            elif deadline is None or time.time() < deadline - 60 * LEAST_MINUTES:
                break  # a signal stopped the run: stop here too
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    if done < len(runs):
        say(f"{len(runs) - done} runs are left: repeat the command with --resume")
    return done == len(runs)


def _each(
    pool: ProcessPoolExecutor | None, work: Callable[..., Any], runs: list[Run], deadline: float | None
) -> Iterator[tuple[Run, Any]]:
    """Runs with their results, or with the AcvisError that ended them, in the order of completion."""
    if pool is None:
        yield from ((run, _guarded(work, run, deadline)) for run in runs)
        return
    futures = {pool.submit(_guarded, work, run, deadline): run for run in runs}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _guarded(work: Callable[..., Any], run: Run, deadline: float | None) -> Any:
    """The result of `work`, or its AcvisError, so that one failed row does not end the others."""
    if run.plan.threads:
        torch.set_num_threads(run.plan.threads)
    try:
        return work(run, deadline)
    except AcvisError as error:
        return error


def carry_out(run: Run, deadline: float | None = None) -> dict[str, Any] | None:
    """Train or resume a run, then evaluate it.

    Returns:
        The line, with "draws" (see `RunLedger.add`); None if the time ran out.
    """
    minutes = _minutes_until(deadline)
    if minutes is not None and minutes < LEAST_MINUTES:
        return None
    plan, folder, data = run.plan, run.folder, run.plan.data[run.row.data]
    if run.anew:
        shutil.rmtree(folder, ignore_errors=True)
    config, recipe = run.row.config(plan.base), run.recipe
    names = class_names_of(AVISegSplit(data, "train"))
    clock = _Clock(folder)
    start = folder / START
    if not start.exists():
        save_model(start_of(run, names), start.with_name("start.partial"))
        start.with_name("start.partial").rename(start)
    with clock.counting("training"):
        done = train(
            config, recipe, data, folder,
            runtime=RuntimeConfig(workers=plan.workers, eval_clips=0, max_minutes=minutes, device=plan.device),
            class_names=names, init_from=start, say=_nothing,
        )  # fmt: skip
    if not done:
        return None
    model = load_model(folder / LAST)
    device = torch_device(plan.device)
    with clock.counting("evaluation"):
        split = Validation(AVISegSplit(data, "val"), plan.eval_clips, names).split
        measured = measure(model, split, device=device)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    shutil.rmtree(start, ignore_errors=True)
    return {
        "key": run.key,
        "seed": run.seed,
        "row": run.row.id(plan.base, plan.recipe),
        "name": run.row.name,
        "setting": plan.setting,
        "data": {"kind": run.row.data, "print": data_print(data), "clips": len(split)},
        "git": git_revision(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else f"cpu, {platform.machine()}",
        "minutes": clock.minutes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "paper": {gate: m.values for gate, m in measured.items()},
        "official": {gate: m.official for gate, m in measured.items()},
        "draws": {gate: m.draws for gate, m in measured.items()},
    }


class _Clock:
    """Minutes of a run by activity, over all calls that worked on it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CLOCK
        self.minutes: dict[str, float] = json.loads(read_text(self._file)) if self._file.is_file() else {}
        self._activity, self._since = "", 0.0

    def counting(self, activity: str) -> _Clock:
        self._activity = activity
        return self

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = (time.monotonic() - self._since) / 60
        self.minutes[self._activity] = round(self.minutes.get(self._activity, 0.0) + spent, 3)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._file, json.dumps(self.minutes))


def _minutes_until(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, (deadline - time.time()) / 60)


def _in_words(line: dict[str, Any]) -> str:
    values = line["paper"]["gate_off"]
    shown = ", ".join(f"{name} {values[name]:.1f}" for name in ("mAP", "HOTA", "FSLA", "muted", "swapped"))
    return f"{shown}; {sum(line['minutes'].values()):.1f} min"


def _as_before(ledger: RunLedger, line: dict[str, Any]) -> str:
    """How a repeated run compares with its earlier line, in words; "" if there is none."""
    before = ledger.line(line["key"], line["seed"])
    if before is None:
        return ""
    worst = max(
        (abs(a - b) for gate, values in before["paper"].items() for name, b in values.items()
         if b is not None and (a := line["paper"][gate][name]) == a),
        default=0.0,
    )  # fmt: skip
    return (
        "; the same numbers as before" if worst <= ROUNDED else f"; the numbers differ from before by up to {worst:.3g}"
    )


def _nothing(_: str) -> None:
    """Messages of single runs are not shown; log.jsonl contains the losses."""
