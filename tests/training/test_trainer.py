"""Killed runs, and runs shared by two processes, end with the same weights as others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder
from acvis_kit.weights.load import load_model
from tests.training.tiny import write_data

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
