"""Killed runs, and runs shared by two processes, end with the same weights as others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder
from acvis_kit.training.recipe import AUDIO_PARTS, VISUAL_PARTS
from acvis_kit.training.run import train
from acvis_kit.training.trainer import Trainer
from acvis_kit.weights.load import load_model
from tests.training.tiny import CONFIG, RECIPE, RUNTIME, write_data

ROOT = Path(__file__).parents[2]
ALONE = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
KILLED = -9
OFTEN = {"checkpoint_every": 0, "shard_mb": 1.0}  # after every step, in several files


def run(data: Path, plan: list[dict[str, Any]] | dict[str, Any], *, processes: int = 1) -> list[int]:
    """Exit codes of the runs of a plan, see `tiny.main`."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command += ["-m", "tests.training.tiny", str(data), json.dumps(plan)]
    done = subprocess.run(command, env=ALONE, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout) if isinstance(plan, list) else []


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """Killed with SIGKILL in a step, at several points of writing a checkpoint, and during an evaluation."""
    data = write_data(tmp_path / "data")
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    deaths: list[dict[str, int | str]] = [
        {"write": "step-000001.partial/optimizer-00001.safetensors"},  # no checkpoint yet
        {"step": 3},
        {"write": "step-000003.partial/optimizer-00001.safetensors"},  # some files of the checkpoint exist
        {"evaluation": 1},  # after step 4
        {"write": "step-000005.partial/state.json"},
        {"rename": "step-000005.partial"},  # all files exist, the folder has no final name
        {"removal": "step-000003"},  # step 5 has its name, an old checkpoint is not removed yet
    ]
    runs = [{"out": killed, "die": death, "runtime": OFTEN, "dropout": True} for death in deaths]
    last = {"out": killed, "runtime": OFTEN, "dropout": True}
    codes = run(data, [{"out": whole, "dropout": True}, *runs, last])
    assert codes == [0, *[KILLED] * len(deaths), 0]

    a, b = (load_model(Path(out) / "last").state_dict() for out in (whole, killed))
    assert all(torch.equal(a[key], b[key]) for key in a)
    best = [load_model(Path(out) / "best").state_dict() for out in (whole, killed)]
    assert all(torch.equal(best[0][key], best[1][key]) for key in a)
    logs = [[json.loads(line) for line in (Path(out) / "log.jsonl").open()] for out in (whole, killed)]
    timeless = [[{k: v for k, v in line.items() if "second" not in k} for line in lines] for lines in logs]
    assert timeless[0] == timeless[1], "the logs agree except for times"
    left = sorted(path.name for path in (Path(killed) / "checkpoints").iterdir())
    assert left == ["step-000007", "step-000008"]
    assert max(path.stat().st_size for path in Path(killed).glob("checkpoints/*/*")) < 1.1e6


@pytest.mark.slow
def test_two_processes_end_with_the_weights_of_one_with_the_same_batch(tmp_path: Path) -> None:
    """In float64, after 4 steps, with clips of two sizes. At 32 pixels the coarsest map would be one cell, whose group
    norm has gradient 0, and AdamW would turn the rounding errors into steps."""
    data = write_data(tmp_path / "data", sizes=(64, 90))
    options = {
        "recipe": {"precision": "float64", "batch": 4, "steps": 4, "lr": 1e-3},
        "runtime": {"eval_every": 2},
        "config": {"short_side": 64},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    run(data, {"out": str(one), **options})
    run(data, {"out": str(two), **options}, processes=2)

    ranks = [json.loads((two / f"process{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank[:2] for rank in ranks] == [[2, "gloo"], [2, "gloo"]] and ranks[0][2] != ranks[1][2]
    assert not list(one.glob("process*.json"))
    found = []
    for out in (one, two):
        tensors, state = read_checkpoint_folder(Checkpoints(out / "checkpoints").newest())
        assert state["step"] == 4 and tensors["model"]["tracker.project.weight"].dtype == torch.float64
        found.append(tensors["model"])
    farthest = max((found[0][key] - found[1][key]).abs().max().item() for key in found[0])
    assert farthest < 1e-9
    logs = [[json.loads(line) for line in (out / "log.jsonl").open()] for out in (one, two)]
    for first, second in zip(*logs, strict=True):
        assert first.get("evaluation") == second.get("evaluation")
        assert first.get("loss", 0) == pytest.approx(second.get("loss", 0), rel=1e-5)


STAGES = {"audio_pretraining_steps": 2, "visual_pretraining_steps": 2, "visual_pretraining_batch": 4}
PRETRAINED = {"targets": "visible", "audio_classes": True, "pixel_classes": True, "auxiliary_targets": ["cue"]}


@pytest.mark.slow
def test_two_processes_end_every_stage_with_the_weights_of_one(synth_data: Path, tmp_path: Path) -> None:
    """In float64: the checkpoints at the end of visual pretraining, which audio pretraining precedes, and of all."""
    options = {
        "recipe": {"precision": "float64", "batch": 4, "steps": 2, "ema": 0.0, **STAGES},
        "runtime": {"eval_clips": 0, "checkpoint_every": 60},
        "config": {"short_side": 64, **PRETRAINED},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    run(synth_data, {"out": str(one), **options})
    run(synth_data, {"out": str(two), **options}, processes=2)
    assert json.loads((two / "process1.json").read_text())[:2] == [2, "gloo"]
    for step in ("step-000004", "step-000006"):
        first, second = (read_checkpoint_folder(out / "checkpoints" / step)[0]["model"] for out in (one, two))
        farthest = max((first[key] - second[key]).abs().max().item() for key in first)
        assert farthest < 1e-9, step
    logs = [[json.loads(line) for line in (out / "log.jsonl").open()] for out in (one, two)]
    assert [line["stage"] for line in logs[0]] == ["audio pretraining"] * 2 + ["visual pretraining"] * 2 + [
        "training"
    ] * 2
    for lines in zip(*logs, strict=True):
        assert lines[0]["loss"] == pytest.approx(lines[1]["loss"], rel=1e-9)


@pytest.fixture
def in_stages(synth_data: Path, tmp_path: Path) -> Callable[..., bool]:
    """A run of two steps of each pretraining stage and two of the whole, in the folder `name`."""
    recipe = replace(RECIPE, steps=2, warmup=0, ema=0.0, **STAGES)
    config = replace(CONFIG, **{**PRETRAINED, "auxiliary_targets": ("cue",)})
    runtime = replace(RUNTIME, eval_clips=0, checkpoint_every=60)

    def start(name: str = "run", say: Callable[[str], None] = lambda _: None, **changes: Any) -> bool:
        with torch.random.fork_rng():
            return train(config, recipe, synth_data, tmp_path / name, runtime=replace(runtime, **changes), say=say)

    return start


def steps_of(folder: Path) -> list[tuple[str, int]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(line["stage"], line["step"]) for line in lines]


ALL_STEPS = [(stage, step) for stage in ("audio pretraining", "visual pretraining", "training") for step in (1, 2)]


def test_max_minutes_stops_in_every_stage_and_no_step_is_repeated(
    in_stages: Callable[..., bool], tmp_path: Path
) -> None:
    said: list[str] = []
    pieces = [in_stages(say=said.append, max_minutes=1e-9) for _ in range(6)]  # one step each
    assert pieces == [False] * 5 + [True]
    assert steps_of(tmp_path / "run") == ALL_STEPS
    for text in (
        "audio pretraining finished",
        "visual pretraining finished",
        "audio pretraining stopped after step 1;",
    ):
        assert sum(text in one for one in said) == 1, text


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4, 6])  # in audio pretraining, in visual pretraining, in the whole network
@pytest.mark.parametrize("minutes", [60.0, 0.0])  # between checkpoints: only those at the end of a stage, or all
def test_a_run_killed_in_any_stage_ends_with_the_same_weights(
    in_stages: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, minutes: float
) -> None:
    steps, original = count(1), Trainer.step

    def interrupted(trainer: Trainer, parts: Any) -> None:
        if next(steps) == step:
            raise KeyboardInterrupt
        original(trainer, parts)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            in_stages("killed", checkpoint_every=minutes)
    torch.rand(3)  # the global generator is in another state now
    assert in_stages("killed", checkpoint_every=minutes) and in_stages("whole")
    assert steps_of(tmp_path / "killed") == ALL_STEPS
    killed, whole = (load_model(tmp_path / name / "last").state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_losses_that_are_read_later_make_the_same_log(
    in_stages: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where they stay on the device until a line is due."""
    assert in_stages("each")
    original, reads = Trainer.__init__, count()

    def later(trainer: Trainer, *arguments: Any, **more: Any) -> None:
        original(trainer, *arguments, **more)
        trainer.read_every = 10

    def read(trainer: Trainer, of: Any = Trainer.read) -> Any:
        next(reads)
        return of(trainer)

    monkeypatch.setattr(Trainer, "__init__", later)
    monkeypatch.setattr(Trainer, "read", read)
    assert in_stages("later")
    assert next(reads) == 3  # once in each stage of two steps
    for one, other in zip(*(log_of(tmp_path / name) for name in ("each", "later")), strict=True):
        assert {k: v for k, v in one.items() if "second" not in k} == {
            k: v for k, v in other.items() if "second" not in k
        }


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_loss_that_is_not_finite_is_never_written_to_a_checkpoint(
    in_stages: Callable[..., bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingClips.sound

    def sound(clips: TrainingClips, draw: int, count: int, **options: Any) -> Any:
        made = original(clips, draw, count, **options)
        return made._replace(log_mel=made.log_mel * float("nan")) if draw == 5 else made

    monkeypatch.setattr(TrainingClips, "sound", sound)
    with pytest.raises(NotFiniteError, match=r"audio pretraining, step 2 \(draw 4, draw 5, .*look for NaN"):
        in_stages(checkpoint_every=0)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-000001"]
    monkeypatch.undo()
    assert in_stages(), "the run can be resumed"


def test_pretrained_parts_stay_frozen_while_the_others_are_trained(synth_data: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, **{**PRETRAINED, "auxiliary_targets": ("cue",)})
    recipe = replace(RECIPE, steps=2, warmup=0, ema=0.0, frozen_fraction=1.0, **STAGES)
    with torch.random.fork_rng():
        train(config, recipe, synth_data, tmp_path, runtime=replace(RUNTIME, eval_clips=0), say=lambda _: None)
    before, _ = read_checkpoint_folder(tmp_path / "checkpoints" / "step-000004")
    after = load_model(tmp_path / "last").state_dict()
    changed = {name for name, value in before["model"].items() if not torch.equal(value, after[name])}
    assert any(name.startswith("tracker.") for name in changed)
    assert not [name for name in changed if name.partition(".")[0] in (*AUDIO_PARTS, *VISUAL_PARTS)]


@pytest.mark.slow
def test_two_processes_take_the_parts_of_a_step_as_one_does(tmp_path: Path) -> None:
    """In float64, where every part has the same clips on one and on two processes: two parts of two clips."""
    data = write_data(tmp_path / "data", sizes=(64,))
    options = {
        "recipe": {"precision": "float64", "batch": 4, "steps": 2, "lr": 1e-3, "accumulation": 2, "ema": 0.0},
        "runtime": {"eval_clips": 0},
        "config": {"short_side": 64},
    }
    one, two = tmp_path / "one", tmp_path / "two"
    run(data, {"out": str(one), **options})
    run(data, {"out": str(two), **options}, processes=2)
    found = [read_checkpoint_folder(Checkpoints(out / "checkpoints").newest())[0]["model"] for out in (one, two)]
    assert max((found[0][key] - found[1][key]).abs().max().item() for key in found[0]) < 1e-9


def test_an_evaluation_that_a_stop_prevents_is_made_by_the_next_call(tmp_path: Path, synth_data: Path) -> None:
    """The last step is done, but a run without its evaluation is not finished."""
    config = replace(CONFIG, **{**PRETRAINED, "auxiliary_targets": ("cue",)})
    recipe = replace(RECIPE, steps=1, warmup=0, ema=0.0)
    runtime = replace(RUNTIME, eval_clips=1, eval_every=0)

    def start(minutes: float | None) -> bool:
        with torch.random.fork_rng():
            return train(
                config, recipe, synth_data, tmp_path, runtime=replace(runtime, max_minutes=minutes), val_split="train",
                say=lambda _: None,
            )  # fmt: skip

    assert not start(1e-9) and not (tmp_path / "best").exists()
    assert start(None) and (tmp_path / "best").is_dir()


def test_only_a_swin_is_computed_again(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with pytest.raises(ConfigError, match="recompute='backbone' is for Swin transformers"):
        train(CONFIG, RECIPE, data, tmp_path / "out", runtime=replace(RUNTIME, recompute="backbone"))
