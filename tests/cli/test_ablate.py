"""`acvis ablate`, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from acvis_kit.ablation.tables import TABLES
from acvis_kit.cli import main
from tests.ablation.micro import SMALL, write_data

SETTINGS = {**SMALL, "batch": 1, "clip_frames": 2, "warmup": 1, "score_threshold": 0.0, "top_k": 4}


@pytest.mark.slow
def test_a_table_is_run_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data")
    ledger = ["--ledger", str(tmp_path / "ledger")]
    common = [
        "--data", str(data), "--out", str(tmp_path / "runs"), *ledger, "--steps", "1", "--audio-pretraining-steps", "1",
        "--eval-clips", "1", "--workers", "0", "--threads", "1", "--device", "cpu", "--seed", "0",
        *(word for name, value in SETTINGS.items() for word in ("--set", f"{name}={json.dumps(value)}")),
    ]  # fmt: skip
    assert main(["ablate", "k_max", "--row", "K_max 2", "--row", "K_max 3", *common]) == 0
    assert main(["ablate", "k_max", "--row", "K_max 3", "--resume", *common]) == 0
    assert "0 runs" in capsys.readouterr().err
    assert main(["ablate", "report", *ledger]) == 0
    text = (tmp_path / "ledger" / "report.md").read_text()
    assert "| **K_max 2** (baseline) | 1 |" in text and "| K_max 4 | not run |" in text
    assert "ACQG, 1 token a second" in text and (tmp_path / "ledger" / "k_max.json").is_file()


def test_the_tables_and_rows_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "list"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name}: " in out for name in TABLES) and "K_max 2  (baseline, required)" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["k_max"], "--data"),
        (["nonsense", "--data", "."], "'nonsense'"),
        (["report", "k_max"], "report k_max"),
        (["k_max", "--data", ".", "--jobs", "0"], "--jobs 0"),
        (["k_max", "--data", "/nowhere"], "acvis synth"),
        (["report", "--ledger", "/nowhere"], "acvis ablate"),
    ],
)
def test_mistakes_cause_a_message(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", *words]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [("--eyes", "--visual-weights"), ("--ears-steps", "--audio-pretraining-steps"), ("--card", "--ledger")],
)
def test_old_options_cause_an_error_that_names_the_new_ones(capsys, old: str, new: str) -> None:
    with pytest.raises(SystemExit):
        main(["ablate", "generator", old, "1"])
    assert f"{old} is now called {new}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["ablate", "--help"])
    assert old not in capsys.readouterr().out.replace(new, "")


def test_what_is_no_table_is_refused_with_all_that_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablate", "nothing"]) == 1
    assert "'nothing' is no table: choose from generator, " in (said := capsys.readouterr().err)
    assert "or required, all, report, list" in said
