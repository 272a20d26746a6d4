"""From rows to lines of the ledger, with a tiny network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from acvis_kit.ablation import runs as ablation_runs
from acvis_kit.ablation.ledger import RunLedger
from acvis_kit.ablation.runs import run_rows
from acvis_kit.ablation.scores import MEASURED
from acvis_kit.ablation.start import Run
from acvis_kit.ablation.tables import TABLES, Row
from acvis_kit.errors import AcvisError, DataError, WeightsError
from tests.ablation.micro import plan, write_data

ROOT = Path(__file__).parents[2]
BASELINE = Row("baseline")
NO_COUNT = Row("no count loss", {"count_head": "none"})
NO_AUDIO = Row("without audio", {"frame_fusion": False, "video_fusion": False})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Two finished rows: the folder of the runs, that of the ledger, and the messages."""
    work, ledger, said = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("ledger"), []
    assert run_rows(plan(data, work), [BASELINE, NO_COUNT], [4], RunLedger(ledger), say=said.append)
    return work, ledger, said


def test_a_run_leaves_a_line_that_describes_it(run: tuple[Path, Path, list[str]]) -> None:
    lines = [json.loads(text) for text in (run[1] / "runs.jsonl").read_text().splitlines()]
    first, second = lines
    assert (first["name"], first["seed"], second["name"]) == ("baseline", 4, "no count loss")
    assert set(first["paper"]) == {"gate_off", "gate_on"} and set(second["paper"]) == {"gate_off"}
    assert set(first["paper"]["gate_off"]) == set(MEASURED) and set(first["official"]["gate_on"]) == {
        "mAP", "HOTA", "FSLA"
    }  # fmt: skip
    assert first["setting"]["recipe"]["steps"] == 2 and first["data"]["clips"] == 2
    assert first["device"].startswith("cpu") and set(first["minutes"]) == {"training", "evaluation"}
    assert len(first["key"]) == 12 and first["key"] != second["key"] and first["torch"] and "git" in first
    assert first["parameters"] > second["parameters"]  # the count head and its token


def test_finished_runs_are_skipped(run: tuple[Path, Path, list[str]], data: Path) -> None:
    said: list[str] = []
    assert run_rows(plan(data, run[0]), [BASELINE, NO_COUNT], [4], RunLedger(run[1]), resume=True, say=said.append)
    assert len(said) == 1 and said[0].startswith("0 runs")


def test_repeating_a_row_gives_the_same_numbers(run: tuple[Path, Path, list[str]], data: Path, tmp_path: Path) -> None:
    """From random weights, in another folder: audio pretraining is repeated too."""
    before, said = RunLedger(run[1]).lines[0], []
    assert run_rows(plan(data, tmp_path), [BASELINE], [4], RunLedger(run[1]), say=said.append)
    assert "the same numbers as before" in said[-1]
    after = RunLedger(run[1]).lines[0]
    assert {**after, "minutes": 0} == {**before, "minutes": 0}


def test_a_run_that_ran_out_of_time_can_be_resumed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops after one step of three, without a line, and ends with the numbers of an uninterrupted run."""
    small = plan(data, tmp_path / "runs", recipe=replace(plan(data, tmp_path).recipe, steps=3))
    ledger, whole = RunLedger(tmp_path / "ledger"), RunLedger(tmp_path / "whole")
    monkeypatch.setattr(ablation_runs, "_minutes_until", lambda deadline: None if deadline is None else 1e-9)
    monkeypatch.setattr(ablation_runs, "LEAST_MINUTES", 0)
    assert not run_rows(small, [NO_AUDIO], [0], ledger, max_minutes=1e-9, say=lambda _: None)
    run = Run(small, NO_AUDIO, 0)
    checkpoints = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    assert not ledger.lines and len(checkpoints) == 1 and "1" in checkpoints[0]
    assert run_rows(small, [NO_AUDIO], [0], ledger, resume=True, say=lambda _: None)
    assert run_rows(replace(small, work=tmp_path / "other"), [NO_AUDIO], [0], whole, say=lambda _: None)
    assert ledger.lines[0]["paper"] == whole.lines[0]["paper"]


@pytest.mark.slow
def test_a_machine_with_few_packages_gets_the_same_numbers(
    run: tuple[Path, Path, list[str]], data: Path, tmp_path: Path
) -> None:
    """It has no packages that read videos or draw."""
    code = """
import sys
sys.modules.update(dict.fromkeys(["av", "moviepy", "plotly", "gradio", "transformers"]))
import torch
torch.set_num_threads(1)
from pathlib import Path
from acvis_kit.ablation.ledger import RunLedger
from acvis_kit.ablation.tables import Row
from acvis_kit.ablation.runs import run_rows
from tests.ablation.micro import plan
data, folder = Path(sys.argv[1]), Path(sys.argv[2])
assert run_rows(plan(data, folder), [Row('baseline')], [4], RunLedger(folder / "ledger"), say=lambda _: None)
"""
    subprocess.run([sys.executable, "-c", code, str(data), str(tmp_path)], check=True, timeout=300, cwd=ROOT)
    before, after = RunLedger(run[1]).lines[0], RunLedger(tmp_path / "ledger").lines[0]
    assert before["paper"] == after["paper"] and before["official"] == after["official"]


def test_a_row_that_cannot_be_run_is_reported_and_skipped(data: Path, tmp_path: Path) -> None:
    said: list[str] = []
    rows = [*TABLES["k_max_dense"].rows, next(r for r in TABLES["audio_encoder"].rows if r.name == "precomputed")]
    assert run_rows(plan(data, tmp_path), rows, [0], RunLedger(tmp_path), say=said.append)
    assert any("K_max 2" in text and "dense" in text for text in said)
    assert any("FEATAudios" in text for text in said) and said[-1].startswith("0 runs")


@pytest.mark.parametrize("part", ["train/JPEGImages", "val/WAVAudios"])
def test_a_missing_file_is_an_error_before_the_first_run(data: Path, tmp_path: Path, part: str) -> None:
    own = shutil.copytree(data, tmp_path / "data")
    next(file for file in sorted((own / part).rglob("*")) if file.is_file()).unlink()
    with pytest.raises(DataError, match=rf"1 of the \d+ frames and sounds of .* the first is .*{part}"):
        run_rows(plan(own, tmp_path / "runs"), [NO_AUDIO], [0], RunLedger(tmp_path / "ledger"))
    assert not (tmp_path / "runs").exists() and not (tmp_path / "ledger").exists()


def test_visual_weights_of_other_sizes_are_an_error_before_the_first_run(data: Path, tmp_path: Path) -> None:
    given = plan(data, tmp_path / "runs", visual_weights="acvis-synth-tiny")
    with pytest.raises(WeightsError, match="shapes differ"):
        run_rows(given, [BASELINE], [0], RunLedger(tmp_path / "ledger"))
    assert not (tmp_path / "runs").exists()


def test_one_failed_row_does_not_end_the_others(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(config: object, *args: object, **kwargs: object) -> bool:
        raise AcvisError("broken")

    monkeypatch.setattr(ablation_runs, "train", train)
    said: list[str] = []
    assert not run_rows(plan(data, tmp_path), [NO_AUDIO], [0, 1], RunLedger(tmp_path / "ledger"), say=said.append)
    assert sum("FAILED" in text and "broken" in text for text in said) == 2
    assert not (tmp_path / "ledger").exists() and "--resume" in said[-1]
