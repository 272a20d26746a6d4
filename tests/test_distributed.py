"""Work shared by several distributed."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit import distributed
from acvis_kit.cli import main
from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import save_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in processes started by torchrun: sums over several threads differ in the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_single_process_does_all_of_the_work() -> None:
    assert distributed.place() == (0, 1) and distributed.is_main()
    assert distributed.own_share(["a", "b", "c"]) == [(0, "a"), (1, "b"), (2, "c")]
    assert distributed.collect({1: "b", 0: "a"}) == ["a", "b"]


@pytest.mark.parametrize("world", [2, 3, 5])
def test_every_item_is_done_exactly_once(monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    items = list("abcd")
    shares = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "place", lambda rank=rank: (rank, world))
        shares.append(distributed.own_share(items))
    assert sorted(entry for share in shares for entry in share) == list(enumerate(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def two_processes(*arguments: object, exit_code: int = 0) -> str:
    """The output of `acvis` when torchrun starts it twice and both end with the same exit code."""
    code = (
        "import sys, torch, acvis_kit.cli, acvis_kit.distributed as p; code = acvis_kit.cli.main(sys.argv[1:]); "
        "sys.stdout.write(f'PROCESS {p.place()} {torch.distributed.get_backend()} EXIT {code}\\n')"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["--no-python", sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert all(f"PROCESS ({rank}, 2) gloo EXIT {exit_code}" in done.stdout for rank in (0, 1)), done.stdout
    return done.stdout + done.stderr


@pytest.mark.slow
def test_evaluating_in_two_processes_gives_the_file_of_one(
    aviseg_folder: Path, tiny_model: ACVIS, tmp_path: Path
) -> None:
    weights = save_model(tiny_model, tmp_path / "weights")
    common = ["evaluate", "--weights", str(weights), "--data", str(aviseg_folder), "--bootstrap", "0"]
    files = [tmp_path / f"{n}.json" for n in ("one", "two", "one_report", "two_report")]
    assert main([*common, "--save-results", str(files[0]), "--out", str(files[2])]) == 0
    output = two_processes(*common, "--save-results", files[1], "--out", files[3])
    assert output.count("2 videos, 7 frames") == 1, "one table"
    one, two = (json.loads(file.read_text()) for file in files[:2])
    assert one == two and len(one["videos"]) == 2
    assert files[2].read_text() == files[3].read_text()


def numbers(value: object, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON value by its path; None is NaN."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(part, f"{name}/{key}")
    elif not isinstance(value, str):
        yield name, math.nan if value is None else float(value)


@pytest.mark.slow
def test_listening_in_two_processes_gives_the_file_of_one(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"val": 3}, seed=11, size=64, seconds=(4, 6), progress=False)
    common = ["evaluate", "--weights", "acvis-synth-tiny", "--data", str(tmp_path / "data"), "--split", "val"]
    files = [tmp_path / f"{n}.json" for n in ("one", "two")]
    assert main([*common, "--listen", "--out", str(files[0])]) == 0
    output = two_processes(*common, "--listen", "--out", files[1], "--pictures", tmp_path / "pictures")
    assert output.count("muted: seconds without a mask") == 1, "one table"
    one, two = (dict(numbers(json.loads(file.read_text()))) for file in files)
    assert len(one) > 100 and two == pytest.approx(one, rel=1e-4, nan_ok=True)  # other threads, other rounding
    assert len(list((tmp_path / "pictures").iterdir())) == 3


@pytest.mark.slow
def test_predicting_a_folder_in_two_processes_gives_the_file_of_one(tiny_model: ACVIS, tmp_path: Path) -> None:
    weights, clips = save_model(tiny_model, tmp_path / "weights"), tmp_path / "clips"
    clips.mkdir()
    for number in range(3):
        pictures = np.full((20, 64, 96, 3), 60 * number, np.uint8)
        write_video(clips / f"{number}.mp4", pictures, 10, torch.randn(2 * SAMPLE_RATE) * 0.1)
    (clips / "broken.mp4").write_text("no video")
    outs = [tmp_path / "one", tmp_path / "two"]
    common = ["predict", str(clips), "--weights", str(weights), "--no-video"]
    assert main([*common, "-o", str(outs[0])]) == 1
    output = two_processes(*common, "-o", outs[1], exit_code=1)
    assert output.count("3 of 4 clips have their result") == 1 and output.count("broken.mp4: FAILED") == 1
    one, two = (json.loads((out / "results.json").read_text()) for out in outs)
    assert one == two and two["failed"] == ["broken.mp4"] and [v["id"] for v in two["videos"]] == [1, 2, 3]
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        assert (outs[1] / name / "counts.csv").read_text() == (outs[0] / name / "counts.csv").read_text()
