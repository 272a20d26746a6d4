"""From rows of tables to lines of runs.jsonl: ears first, then train, then measure; resumable, one by one or several
side by side.

WORK/ears/<hash>-<seed>.safetensors     the audio encoder that all rows of a seed begin with
WORK/<row>-<seed>/                      a run: start/, checkpoints/, last/, log.jsonl
CARD/runs.jsonl                         a line per run that is done; CARD/draws.jsonl what intervals are made of
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from acvis_kit.config import ACVISConfig
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import AUGMENTATIONS
from acvis_kit.errors import AcvisError, ConfigError, DataError
from acvis_kit.hub import WEIGHTS_FILE, load_model, save_model
from acvis_kit.models.acvis import ACVIS
from acvis_kit.training.ablation import ABLATION_BASE, ABLATION_RECIPE, EARS_STEPS, EVAL_CLIPS, Row, setting, short_hash
from acvis_kit.training.ablation_card import Card
from acvis_kit.training.ablation_scores import measure
from acvis_kit.training.ears import teach_ears
from acvis_kit.training.recipe import Habits, Recipe
from acvis_kit.training.run import train
from acvis_kit.training.scoring import Validation
from acvis_kit.training.start import class_names_of, fingerprint, git_revision, initial_model
from acvis_kit.training.trainer import CHECKPOINTS, LAST

Say = Callable[[str], None]
EARS, START, CLOCK = "ears", "start", "clock.json"
LEAST_MINUTES = 0.2  # below this nothing more is begun
ROUNDED = 1e-4  # how exactly a line tells its numbers


@dataclass(frozen=True)
class Plan:
    """What all runs of one command have in common.

    Attributes:
        data: folder of AVIS-Synth by kind, "usual" and "dense"; a kind that is not there is not run.
        work: folder of the runs. device: "cpu", "cuda", or None: what there is.
        base, recipe, ears_steps, eval_clips: the setting, see `ablation`.
        eyes: weights of the kit whose backbone all rows with such a backbone begin with, as the papers' begin with
            ImageNet's; None: from nothing.
        workers: processes that prepare samples, per run. threads: of torch, per run; None: as it is.
    """

    data: dict[str, Path]
    work: Path
    device: str | None = None
    base: ACVISConfig = ABLATION_BASE
    recipe: Recipe = ABLATION_RECIPE
    ears_steps: int = EARS_STEPS
    eval_clips: int = EVAL_CLIPS
    eyes: Path | None = None
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.eval_clips < 1:
            raise ConfigError(f"eval_clips={self.eval_clips} must be at least 1: runs are compared on them")
        if self.ears_steps < 0:
            raise ConfigError(f"ears_steps={self.ears_steps} must not be negative; 0 leaves the ears to the training")

    @property
    def setting(self) -> dict[str, Any]:
        eyes = None
        if self.eyes is not None:
            file = self.eyes / WEIGHTS_FILE if self.eyes.is_dir() else self.eyes
            eyes = fingerprint(file)[:12]
        return setting(self.base, self.recipe, self.ears_steps, self.eval_clips, eyes)


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    plan: Plan
    row: Row
    seed: int
    anew: bool = False  # forget what an earlier call left in its folder

    @property
    def key(self) -> str:
        """Of everything that the numbers depend on but the seed."""
        return short_hash([self.plan.setting, self.row.id(self.plan.base), data_print(self.plan.data[self.row.data])])

    @property
    def folder(self) -> Path:
        return self.plan.work / f"{self.key}-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.row.name} ({self.row.data} counts), seed {self.seed}"


def run_rows(
    plan: Plan,
    rows: Iterable[Row],
    seeds: Iterable[int],
    card: Card,
    *,
    resume: bool = False,
    jobs: int = 1,
    max_minutes: float | None = None,
    say: Say = print,
) -> bool:
    """Run rows, all of one seed before the next, and write a line for each that is done.

    Args:
        resume: leave out what has a line already and go on with what was begun; otherwise all is done anew, and it is
            said whether the numbers came out as before.
        jobs: runs side by side, each in a process of its own. max_minutes: begin nothing later, and stop trainings
            then; an evaluation that has begun is finished.

    Returns:
        Whether every row that can be run has its line.

    Raises:
        ConfigError: no data at all. DataError: data that are not there.
    """
    deadline = None if max_minutes is None else time.time() + 60 * max_minutes
    rows, seeds = list(rows), list(seeds)
    reasons = {row.name: reason for row in rows if (reason := _impossible(plan, row)) is not None}
    for name, reason in reasons.items():
        say(f"not run: {name}: {reason}")
    rows = [row for row in rows if _impossible(plan, row) is None]
    runs = [Run(plan, row, seed, anew=not resume) for seed in seeds for row in rows]
    runs = [run for run in runs if not (resume and card.has(run.key, run.seed))]
    say(f"{len(runs)} runs to go, of {len(rows)} rows with {len(seeds)} seeds")
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) if jobs > 1 and len(runs) > 1 else None
    done = 0
    try:
        ears = {ears_file(run): run for run in runs if ears_file(run) is not None}  # one of each
        for _, problem in _each(pool, make_ears, list(ears.values()), deadline):
            if isinstance(problem, AcvisError):
                raise problem
        for run, line in _each(pool, carry_out, runs, deadline):
            if isinstance(line, AcvisError):
                say(f"FAILED: {run.title}: {line}")
            elif line is not None:
                say(f"done: {run.title}: {_in_words(line)}{_as_before(card, line)}")
                card.add(line)
                done += 1
            elif deadline is None or time.time() < deadline - 60 * LEAST_MINUTES:
                break  # a run was told to stop, and means us
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    if done < len(runs):
        say(f"{len(runs) - done} runs are left: the same command with --resume goes on")
    return done == len(runs)


def _each(
    pool: ProcessPoolExecutor | None, work: Callable[..., Any], runs: list[Run], deadline: float | None
) -> Iterator[tuple[Run, Any]]:
    """Results as they come; an AcvisError is one."""
    if pool is None:
        yield from ((run, _guarded(work, run, deadline)) for run in runs)
        return
    futures = {pool.submit(_guarded, work, run, deadline): run for run in runs}
    for future in as_completed(futures):
        yield futures[future], future.result()


def _guarded(work: Callable[..., Any], run: Run, deadline: float | None) -> Any:
    """One bad row must not end the others."""
    if run.plan.threads:
        torch.set_num_threads(run.plan.threads)
    try:
        return work(run, deadline)
    except AcvisError as error:
        return error


def carry_out(run: Run, deadline: float | None = None) -> dict[str, Any] | None:
    """Train, or go on; then measure. None when time ran out before the end.

    Returns:
        The line, and under "draws" what intervals are made of, by gate.
    """
    minutes = _minutes_until(deadline)
    if minutes is not None and minutes < LEAST_MINUTES:
        return None
    plan, folder, data = run.plan, run.folder, run.plan.data[run.row.data]
    if run.anew:
        shutil.rmtree(folder, ignore_errors=True)
    config, recipe = run.row.config(plan.base), replace(plan.recipe, seed=run.seed)
    names = class_names_of(AVISegSplit(data, "train"))
    clock = _Clock(folder)
    start = folder / START
    if not start.exists():
        save_model(_start(run, names), start.with_name("start.partial"))
        start.with_name("start.partial").rename(start)
    with clock.counting("training"):
        done = train(
            config, recipe, data, folder,
            habits=Habits(workers=plan.workers, eval_clips=0, max_minutes=minutes, device=plan.device),
            class_names=names, init_from=start, say=_nothing,
        )  # fmt: skip
    if not done:
        return None
    model = load_model(folder / LAST)
    device = plan.device or ("cuda" if torch.cuda.is_available() else "cpu")
    with clock.counting("evaluation"):
        split = Validation(AVISegSplit(data, "val"), plan.eval_clips, names).split
        measured = measure(model, split, device=device)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    shutil.rmtree(start, ignore_errors=True)
    return {
        "key": run.key,
        "seed": run.seed,
        "row": run.row.id(plan.base),
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


def ears_file(run: Run) -> Path | None:
    """Where the audio encoder lies that a run begins with; None where it has none, or begins with a fresh one."""
    config = run.row.config(run.plan.base)
    if not run.plan.ears_steps or not config.hears or config.audio_encoder == "precomputed":
        return None
    what = [config.audio_encoder, config.audio_features, config.audio_dim, run.plan.ears_steps]
    what += [run.plan.recipe.augmentation, data_print(run.plan.data[run.row.data])]
    return run.plan.work / EARS / f"{short_hash(what)}-{run.seed}.safetensors"


def make_ears(run: Run, deadline: float | None = None) -> None:
    """Teach the audio encoder of `ears_file(run)` to name what it hears, unless it lies there."""
    file, plan = ears_file(run), run.plan
    minutes = _minutes_until(deadline)
    if file is None or file.is_file() or (minutes is not None and minutes < LEAST_MINUTES):
        return
    split = AVISegSplit(plan.data[run.row.data], "train")
    names = class_names_of(split)
    config = run.row.config(plan.base)
    listener = replace(  # the smallest network around these ears
        plan.base, audio_encoder=config.audio_encoder, audio_features=config.audio_features, audio_dim=config.audio_dim,
        audio_classes=True, class_names=names,
    )  # fmt: skip
    model = initial_model(listener, run.seed)
    clips = TrainingClips(split, names, augmentation=AUGMENTATIONS[plan.recipe.augmentation], seed=run.seed)
    teach_ears(model, clips, plan.ears_steps, workers=plan.workers, device=_torch_device(plan.device))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({name: value.cpu().contiguous() for name, value in model.audio_encoder.state_dict().items()}, partial)
    partial.replace(file)


def _start(run: Run, names: tuple[str, ...]) -> ACVIS:
    """The network before its first step: fresh, but for its ears and, where they are given, its eyes."""
    model = initial_model(replace(run.row.config(run.plan.base), class_names=names), run.seed)
    file = ears_file(run)
    if file is not None:
        make_ears(run)
        model.audio_encoder.load_state_dict(load_file(file))
    if run.plan.eyes is not None:
        given = load_model(run.plan.eyes)
        if given.config.backbone == model.config.backbone:
            model.backbone.load_state_dict(given.backbone.state_dict())
    return model


def data_print(folder: Path) -> str:
    """Of what a data set says about itself: its annotations and scenes, from which all of it was made.

    Raises:
        DataError: a file that is not there.
    """
    names = ("train.json", "train_scenes.json", "val.json", "val_scenes.json")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(
            f"{folder / missing[0]} is not there: make the data with acvis synth {folder} --split train:1500 "
            f"--split val:{EVAL_CLIPS} --size {ABLATION_BASE.short_side} --seconds 10 30"
        )
    return short_hash([_print(folder / name, (folder / name).stat().st_mtime_ns) for name in names])


def _impossible(plan: Plan, row: Row) -> str | None:
    """Why a row cannot be run here."""
    folder = plan.data.get(row.data)
    if folder is None:
        return f"no data with {row.data} counts were given"
    if row.config(plan.base).audio_encoder == "precomputed" and not (folder / "train" / "FEATAudios").is_dir():
        return f"{folder}/train/FEATAudios is not there"
    return None


_PRINTS: dict[tuple[Path, int], str] = {}


def _print(file: Path, changed: int) -> str:
    if (file, changed) not in _PRINTS:
        _PRINTS[file, changed] = fingerprint(file)
    return _PRINTS[file, changed]


class _Clock:
    """Minutes of a run by what they went into, over all calls that worked on it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CLOCK
        self.minutes: dict[str, float] = json.loads(self._file.read_text()) if self._file.is_file() else {}
        self._what, self._since = "", 0.0

    def counting(self, what: str) -> _Clock:
        self._what = what
        return self

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        spent = (time.monotonic() - self._since) / 60
        self.minutes[self._what] = round(self.minutes.get(self._what, 0.0) + spent, 3)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.minutes))


def _minutes_until(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, (deadline - time.time()) / 60)


def _torch_device(device: str | None) -> str:
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _in_words(line: dict[str, Any]) -> str:
    values = line["paper"]["gate_off"]
    shown = ", ".join(f"{name} {values[name]:.1f}" for name in ("mAP", "HOTA", "FSLA", "muted", "swapped"))
    return f"{shown}; {sum(line['minutes'].values()):.1f} min"


def _as_before(card: Card, line: dict[str, Any]) -> str:
    """Whether a repeated run came out as it did before."""
    before = card.line(line["key"], line["seed"])
    if before is None:
        return ""
    worst = max(
        (abs(a - b) for gate, values in before["paper"].items() for name, b in values.items()
         if b is not None and (a := line["paper"][gate][name]) == a),
        default=0.0,
    )  # fmt: skip
    return "; the same numbers as before" if worst <= ROUNDED else f"; before, numbers differed by up to {worst:.3g}"


def _nothing(_: str) -> None:
    """What a single run says would be lost among the others'; its log.jsonl has it."""
