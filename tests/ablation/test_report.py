"""Reports of lines whose statistics are known."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.ablation.ledger import RunLedger
from acvis_kit.ablation.report import Runs, table_figure, table_text, write_report
from acvis_kit.ablation.scores import MEASURED
from acvis_kit.ablation.tables import ABLATION_BASE, ABLATION_RECIPE, TABLES, Row, setting
from acvis_kit.errors import DataError

COMMITTED = Path(__file__).parents[2] / "weights_card" / "ablations"
TABLE = TABLES["k_max"]
BASELINE, K3, K4 = TABLE.rows


def add(
    ledger: RunLedger, row: Row, seed: int, score: float, *, steps: int = 5, found: str = "p", noise: int = 0
) -> None:
    """Add a run with all scores equal to `score`; draws scatter equally for all runs, plus noise with seed `noise`."""
    common = np.random.default_rng(0).normal(0, 5, (200, len(MEASURED)))
    own = np.random.default_rng(noise).normal(0, 5 if noise else 0, (200, len(MEASURED)))
    import dataclasses

    recipe = dataclasses.replace(ABLATION_RECIPE, steps=steps)
    gates = {"gate_off": score, "gate_on": score + 10}
    ledger.add({
        "key": f"{row.id()}{steps}{found}", "seed": seed, "row": row.id(), "name": row.name, "git": "abc",
        "setting": setting(ABLATION_BASE, recipe, 3, 7), "data": {"kind": row.data, "print": found, "clips": 7},
        "torch": "2", "device": "cpu", "minutes": {"training": 2.0, "evaluation": 1.0}, "parameters": 1_230_000,
        "paper": {gate: dict.fromkeys(MEASURED, value) for gate, value in gates.items()},
        "official": {gate: {"mAP": value, "HOTA": value, "FSLA": value} for gate, value in gates.items()},
        "draws": {gate: np.clip(value + common + own, 0, 100) for gate, value in gates.items()},
    })  # fmt: skip


def filled(folder: Path) -> RunLedger:
    ledger = RunLedger(folder)
    for seed in range(3):
        add(ledger, BASELINE, seed, 50 + seed)
        add(ledger, K3, seed, 40 + seed)
    return ledger


def test_a_constant_difference_has_a_narrow_interval(tmp_path: Path) -> None:
    """Clips scatter by 5 points, equally for both rows: pairs differ by 10 in every draw."""
    mean, low, high = Runs(filled(tmp_path)).difference(K3, BASELINE)["HOTA"]
    assert mean == pytest.approx(-10) and low == pytest.approx(-10, abs=0.02) and high == pytest.approx(-10, abs=0.02)


def test_a_varying_difference_has_a_wide_interval(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    for seed, score in enumerate((44.0, 51.0, 58.0)):
        add(ledger, K4, seed, score, noise=seed + 1)
    mean, low, high = Runs(ledger).difference(K4, BASELINE)["mAP"]
    assert mean == pytest.approx(0) and low < -4 and high > 4


def test_only_common_seeds_are_compared(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    add(ledger, K4, 2, 72.0)
    assert Runs(ledger).difference(K4, BASELINE)["FSLA"][0] == pytest.approx(20)
    assert Runs(ledger).difference(Row("none", {"k_max": 9}), BASELINE) is None


def test_tables_show_mean_and_deviation_and_mark_what_was_not_run(tmp_path: Path) -> None:
    text = table_text(Runs(filled(tmp_path)), TABLE)
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert "51.0 ± 1.0" in text and "**K_max 2** (baseline)" in text
    assert "**-10.0 [-10.0, -10.0]**" in text
    assert "not run" in rows["K_max 4"] and "not run" not in rows["K_max 3"]


def test_gated_rows_use_the_runs_of_ungated_ones(tmp_path: Path) -> None:
    runs = Runs(filled(tmp_path))
    off, on = TABLES["count_gate"].rows[:2]
    assert runs.difference(on, off)["FSLA"][0] == pytest.approx(10)


def test_settings_and_data_are_not_mixed(tmp_path: Path) -> None:
    ledger = filled(tmp_path)
    add(ledger, K3, 0, 99.0, steps=6)
    add(ledger, K3, 1, 98.0, found="other data")
    runs = Runs(ledger)
    assert runs.of(K3).values("mAP").tolist() == [40, 41, 42]
    other = Runs(ledger, next(name for name in runs.settings if name != runs.setting))
    assert other.of(K3).values("mAP").tolist() == [99]
    with pytest.raises(DataError, match="nonsense"):
        Runs(ledger, "nonsense")


def test_an_empty_ledger_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="acvis ablate"):
        Runs(RunLedger(tmp_path))


def test_the_figure_shows_the_differences(tmp_path: Path) -> None:
    figure = table_figure(Runs(filled(tmp_path)), TABLE)
    first = figure.data[0]
    assert first.name == "mAP" and list(first.y) == ["K_max 3"] and list(first.x) == pytest.approx([-10])


def test_the_report_is_written_beside_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "playwright.sync_api", None)
    said: list[str] = []
    path = write_report(filled(tmp_path), cost="COST", say=said.append)
    text = path.read_text()
    assert all(f"## {name}" in text for name in TABLES) and "COST" in text
    assert json.loads((tmp_path / "k_max.json").read_text())["data"]
    assert not (tmp_path / "window.json").exists()  # only its baseline was run: nothing to compare
    assert "playwright" in said[0] and "Figure: `k_max.json`" in text


def test_findings_are_shown_with_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "playwright.sync_api", None)
    ledger = filled(tmp_path)
    (tmp_path / "findings.md").write_text("How it was done.\n\n## k_max\n\nTwo is best.\nReally.\n\n## window\nSix.\n")
    text = write_report(ledger, say=lambda _: None).read_text()
    assert text.index("How it was done.") < text.index("## generator")
    of_k_max = text[text.index("## k_max\n") : text.index("## k_max_dense")]
    assert "Two is best.\nReally." in of_k_max and "Six." not in of_k_max
    (tmp_path / "findings.md").write_text("## k-max\nTwo.\n")
    with pytest.raises(DataError, match="## k-max"):
        write_report(ledger, say=lambda _: None)


def test_the_committed_report_is_what_the_committed_ledger_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the costs, which depend on the machine, and the names of figures, which depend on a browser."""
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    for name in ("runs.jsonl", "draws.jsonl", "findings.md"):
        shutil.copy(COMMITTED / name, tmp_path)
    written = write_report(RunLedger(tmp_path), say=lambda _: None).read_text()
    committed = (COMMITTED / "report.md").read_text().partition("\n\n## What the query generators cost")[0] + "\n"
    assert re.sub(r"Figure: `(\w+)\.json`", r"![](\1.png)", written) == re.sub(r"!\[.+\]", "![]", committed)
