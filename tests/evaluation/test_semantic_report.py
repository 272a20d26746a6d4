"""The comparison of several semantic reports."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

from acvis_kit.evaluation.semantic_report import comparison_table

ROOT = Path(__file__).parents[2]


def report(j: float, candidates: float | None = None, swap: float | None = None) -> dict:
    return {
        "tpavi": {"sounding": {"j": j, "f": j / 2}, "classes": None},
        "sources": {"one class": {"frames": 3, "j": j}},
        "control": None if swap is None else {"follows_swap": swap},
        "candidates_per_frame": candidates,
        "uncertainty": None,
    }


def test_seeds_have_a_mean_and_a_range_and_empty_columns_are_left_out() -> None:
    table = comparison_table({"seed 0": report(0.5, 3.0, 0.9), "seed 1": report(0.7, 5.0, 0.8), "other": report(0.25)})
    assert table.splitlines() == [
        "| | J | F | J, one class | follows a swap | candidates |",
        "|---|---|---|---|---|---|",
        "| 2 seeds | 60.0 (50.0 to 70.0) | 30.0 (25.0 to 35.0) | 60.0 (50.0 to 70.0) | 85.0 (80.0 to 90.0) "
        "| 4.00 (3.00 to 5.00) |",
        "| other | 25.0 | 12.5 | 25.0 | - | - |",
    ]


def test_the_script_collects_reports(tmp_path: Path, capsys) -> None:
    (tmp_path / "a.json").write_text(json.dumps(report(0.5)), encoding="utf-8")
    script = runpy.run_path(str(ROOT / ".ci/semantic_scores.py"))
    script["main"](str(tmp_path / "scores.json"), f"a=1={tmp_path / 'a.json'}")
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == {"a=1": report(0.5)}
    assert "| a=1 | 50.0 | 25.0 | 50.0 |" in capsys.readouterr().out
