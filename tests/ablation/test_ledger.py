"""The ledger on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.ablation.ledger import RunLedger, pack, unpack
from acvis_kit.errors import DataError


def line(seed: int, value: float, key: str = "k") -> dict:
    draws = {"gate_off": np.array([[value, np.nan], [100.0, 0.004]])}
    return {"key": key, "seed": seed, "paper": {"gate_off": {"mAP": value, "HOTA": float("nan")}}, "draws": draws}


def test_draws_are_stored_to_a_hundredth() -> None:
    percent = np.random.default_rng(0).random((20, 3)) * 100
    percent[3, 1] = np.nan
    assert np.allclose(unpack(pack(percent)), percent, atol=0.00501, equal_nan=True)


def test_a_line_per_run_is_written_and_read_again(tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    ledger.add(line(0, 12.5))
    ledger.add(line(1, 50.0))
    again = RunLedger(tmp_path)
    assert [entry["seed"] for entry in again.lines] == [0, 1] and again.has("k", 1) and not again.has("k", 2)
    assert again.line("k", 0)["paper"]["gate_off"] == {"mAP": 12.5, "HOTA": None}
    assert np.array_equal(again.draws("k", 1, "gate_off"), [[50, np.nan], [100, 0]], equal_nan=True)
    assert again.draws("k", 1, "gate_on") is None
    texts = (tmp_path / "runs.jsonl").read_text().splitlines()
    assert len(texts) == 2 and "draws" not in json.loads(texts[0])


def test_a_repeated_run_replaces_its_line(tmp_path: Path) -> None:
    ledger = RunLedger(tmp_path)
    for seed, value in ((0, 1.0), (1, 2.0), (0, 3.0)):
        ledger.add(line(seed, value))
    assert [entry["paper"]["gate_off"]["mAP"] for entry in RunLedger(tmp_path).lines] == [3.0, 2.0]


def test_lines_that_another_command_wrote_since_are_kept(tmp_path: Path) -> None:
    one, other = RunLedger(tmp_path), RunLedger(tmp_path)
    other.add(line(1, 2.0))
    one.add(line(0, 1.0))
    assert {entry["seed"] for entry in RunLedger(tmp_path).lines} == {0, 1}


def test_runs_of_another_machine_can_be_added(tmp_path: Path) -> None:
    here, there = RunLedger(tmp_path / "here"), RunLedger(tmp_path / "there")
    here.add(line(0, 1.0))
    there.add(line(0, 5.0, key="other"))
    assert here.take(there) == 1
    assert (
        len(RunLedger(tmp_path / "here").lines) == 2
        and RunLedger(tmp_path / "here").draws("other", 0, "gate_off") is not None
    )


def test_a_folder_without_runs_cannot_be_added(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere contains no runs: give the folder that holds the runs\.jsonl"):
        RunLedger(tmp_path / "here").take(RunLedger(tmp_path / "nowhere"))
    assert not (tmp_path / "here").exists()


def test_a_damaged_file_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "runs.jsonl").write_text('{"key": "k", "seed": 0}\n{"key":')
    with pytest.raises(DataError, match=r"runs\.jsonl, line 2"):
        RunLedger(tmp_path)
