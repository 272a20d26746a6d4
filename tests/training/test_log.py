"""The log of a run."""

from __future__ import annotations

import json
import math
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from acvis_kit.training.log import RunLog


def opened(folder: Path, every: int = 1, say: Any = lambda _: None, stage: str = "training", **more: int) -> RunLog:
    """A log in which a stage has begun."""
    log = RunLog(folder, every, say)
    log.begin(stage, **{"total": 9, "done": 0, "evaluated": 0, "earlier": 0, "frames_per_step": 1, **more})
    return log


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def no_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def test_a_line_is_the_mean_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100, 4))  # every call is 4 seconds later
    monkeypatch.setattr("acvis_kit.training.log.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    with opened(tmp_path, 2, frames_per_step=10) as log:
        for step, loss in enumerate((1.0, 2.0, 5.0, math.nan), start=1):
            log.step(step, {"loss": loss, "lr": 0.1})
        log.evaluation(4, {"mean": 50.0, "HOTA": math.nan}, 1.26)
    first, second, last = lines(tmp_path)
    assert (first["step"], first["loss"], first["lr"]) == (2, 1.5, 0.1)
    assert (first["seconds"], first["frames_per_second"]) == (2, 5)  # two steps of 10 frames in 4 seconds
    assert second["loss"] is None  # JSON has no NaN
    assert last == {"stage": "training", "step": 4, "evaluation": {"mean": 50.0, "HOTA": None}, "seconds": 1.3}


def test_lines_written_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        for step in range(1, 5):
            log.step(step, {"loss": float(step)})
            log.evaluation(step, {"mean": 50.0}, 1.0)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    with opened(tmp_path, done=2, evaluated=1) as log:  # saved after step 2, before its evaluation
        log.step(3, {"loss": 30.0})
    kept = [(line["step"], line.get("loss", "evaluation")) for line in lines(tmp_path)]
    assert kept == [(1, 1.0), (1, "evaluation"), (2, 2.0), (3, 30.0)]


def test_lines_of_other_stages_stay_and_every_line_names_its_stage(tmp_path: Path) -> None:
    with opened(tmp_path, stage="audio pretraining") as log:
        for step in range(1, 4):
            log.step(step, {"loss": float(step)})
        log.begin("training", total=9, done=0, evaluated=0, earlier=3, frames_per_step=1)
        log.step(1, {"loss": 10.0})
    with opened(tmp_path, stage="audio pretraining", done=2) as log:  # killed before a checkpoint of the second stage
        log.step(3, {"loss": 30.0})
        log.begin("training", total=9, done=0, evaluated=0, earlier=3, frames_per_step=1)
        log.step(1, {"loss": 100.0})
    found = [(line["stage"], line["step"], line["loss"]) for line in lines(tmp_path)]
    assert found == [("audio pretraining", step, loss) for step, loss in ((1, 1.0), (2, 2.0), (3, 30.0))] + [
        ("training", 1, 100.0)
    ]


def test_the_last_steps_of_a_stage_have_a_line_too(tmp_path: Path) -> None:
    with opened(tmp_path, every=3, total=5) as log:
        for step in range(1, 6):
            log.step(step, {"loss": float(step)})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(3, 2.0), (5, 4.5)]


def test_an_evaluation_within_a_line_does_not_count_as_training_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 5))
    monkeypatch.setattr("acvis_kit.training.log.time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    with opened(tmp_path, every=2, frames_per_step=10) as log:  # at 0 s
        log.step(1, {"loss": 1.0})
        log.evaluation(1, {"mean": 1.0}, 3.0)
        log.step(2, {"loss": 1.0})  # at 5 s, of which 3 s were an evaluation
    assert lines(tmp_path)[-1]["seconds"] == 1


def test_missing_tensorboard_is_reported_once(tmp_path: Path) -> None:
    messages: list[str] = []
    with opened(tmp_path, say=messages.append) as log:
        log.step(1, {"loss": 1.0})
        log.step(2, {"loss": 1.0})
    assert len(messages) == 1 and "acvis-kit[train]" in messages[0]


def board(folder: Path, name: str) -> list[tuple[int, float]]:
    """TensorBoard's values of a name: (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(event.step, event.value) for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


def test_tensorboard_shows_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get("CI") != "true":
        pytest.importorskip("tensorboard", reason="needs the extra: pip install acvis-kit[train]")
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard")
    from tensorboard.summary.writer import event_file_writer

    # Files of one second are read in the order of their names, which end in a counter: "10" sorts before "9".
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(0))
    with opened(tmp_path) as log:
        for step in range(1, 5):
            log.step(step, {"loss": float(step)})
        log.evaluation(4, {"mean": 40.0}, 1.0)
    assert board(tmp_path / "tensorboard", "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
    assert board(tmp_path / "tensorboard", "evaluation/mean") == [(4, 40.0)]
    with opened(tmp_path, done=2) as log:  # killed, and resumed after step 2
        log.step(3, {"loss": 30.0})
    assert board(tmp_path / "tensorboard", "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]
