"""The rendered report: table, JSON and page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.cli import main
from acvis_kit.metrics import Sequence, evaluate_sequences
from acvis_kit.metrics.checks import Protocol
from acvis_kit.metrics.evaluate import Report
from acvis_kit.metrics.report import count_figure, curve_figure, table, to_dict, to_html, worst_figure


def square(present: str) -> np.ndarray:
    """A track of 8x8 frames with a 4x4 square where `present` has an x."""
    masks = np.zeros((len(present), 8, 8), bool)
    masks[[letter == "x" for letter in present], 2:6, 2:6] = True
    return masks


@pytest.fixture
def report() -> Report:
    """Video "bad" has one of four frames right, "good" both of two, "<i>" has no tracks."""
    videos = [
        Sequence.from_masks([square("xx.x")], [1], [square(".x..")], [1], [0.9], "bad"),
        Sequence.from_masks([square("xx")], [2], [square("xx")], [2], [0.8], "good"),
        Sequence.from_masks([], [], [], [], [], "<i>", length=2),
    ]
    return evaluate_sequences(videos, {1: "dog", 2: "cat", 3: "horse"}, "paper", bootstrap=20)


def test_the_table_has_the_counts_and_every_score(report: Report) -> None:
    text = table(report)
    assert '"paper": 3 videos, 8 frames, 2 tracks, 2 predicted' in text
    for key in ("AP_all", "AR_all", "HOTA", "LocA", "FA", "FAn", "FAs", "FAm"):
        assert f"  {key} " in text
    assert "3 of 3 frames (silent)" in text and "3 of 5 frames (one source)" in text
    assert "undefined" in text  # no frame with several sources


def test_json_has_no_nan(report: Report) -> None:
    plain = to_dict(report)
    text = json.dumps(plain, allow_nan=False)
    assert json.loads(text)["scores"]["FAm"] is None
    assert plain["scores"]["FAs"] == pytest.approx(60.0) and plain["per_video"]["good"]["FA"] == 100
    assert set(plain["intervals"]) == set(plain["scores"])


def shown(text: str) -> dict[str, str]:
    """The first number, or "undefined", by score."""
    return {words[0]: words[1] for line in text.splitlines() if len(words := line.split()) > 1}


@pytest.mark.parametrize("protocol", ["paper", "official"])
def test_scores_of_nothing_are_undefined_as_a_table_and_as_json(protocol: Protocol) -> None:
    """The reference gives 0 and 100 there."""
    boxes, elsewhere = square("xx"), np.roll(square("xx"), 4, 2)
    bootstrap = 20 if protocol == "paper" else 0
    nothing_found = Sequence.from_masks([boxes], [1], [], [], [], "a")
    missed = Sequence.from_masks([boxes], [1], [elsewhere], [1], [0.9], "a")
    not_annotated = Sequence.from_masks([], [], [boxes], [1], [0.9], "a")
    family = {"HOTA", "DetA", "DetRe", "DetPr", "AssA", "AssRe", "AssPr", "LocA"}
    matches = {"AssA", "AssRe", "AssPr", "LocA"}
    for sequence, undefined in ((nothing_found, {"DetPr", *matches}), (missed, matches), (not_annotated, family)):
        report = evaluate_sequences([sequence], {1: "dog"}, protocol, bootstrap)
        text, found = table(report), to_dict(report)
        for scores in (found["scores"], found["per_class"]["dog"], found["per_video"]["a"]):
            assert {key for key in family if scores[key] is None} == undefined
            assert all(scores[key] == 0 for key in family - undefined)
        assert {key for key in family if shown(text)[key] == "undefined"} == undefined
        assert {key for key in family if found["intervals"].get(key) == [None, None]} == (
            undefined if bootstrap else set()
        )
        assert all((set(found["curves"][key]) == {None}) == (key in undefined) for key in family & {*found["curves"]})
        assert ("the ground truth has no objects" in text) == (undefined == family)
        assert report.scores["LocA"] == 100  # as the reference


def test_the_page_needs_no_network_and_escapes_names(report: Report) -> None:
    page = to_html(report, "<b>title</b>")
    assert "&lt;b&gt;title" in page and "<b>title" not in page
    assert 'src="http' not in page and "Plotly.newPlot" in page
    assert page.count("Plotly.newPlot(") >= 3


def test_figures_show_curves_counts_and_the_worst_first(report: Report) -> None:
    assert [trace.name for trace in curve_figure(report).data] == ["AP", "HOTA", "DetA", "AssA", "FSLA"]
    assert list(worst_figure(report).data[0].x) == ["bad", "good", "<i>"]
    counts = count_figure(report)
    assert list(counts.data[0].y) == [1, 1, 0, 1, 1] and list(counts.data[1].y) == [0, 1, 0, 0, 0]
    assert [button.label for button in counts.layout.updatemenus[0].buttons] == ["bad", "good", "<i>"]


def test_the_command_prints_a_table_and_writes_both_files(tmp_path: Path, capsys) -> None:
    gt, results = tmp_path / "gt.json", tmp_path / "results.json"
    video = {"id": 1, "file_names": ["v/0.jpg", "v/1.jpg"], "length": 2, "height": 8, "width": 8}
    polygon = [[1, 1, 5, 1, 5, 5, 1, 5]]
    annotation = {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": [polygon, None]}
    annotation |= {"areas": [16, None], "bboxes": [[1, 1, 4, 4], None], "height": 8, "width": 8}
    categories = [{"id": 1, "name": "dog"}]
    gt.write_text(json.dumps({"videos": [video], "categories": categories, "annotations": [annotation]}))
    results.write_text("[]")
    page, out = tmp_path / "r.html", tmp_path / "r.json"
    run = ["evaluate", "--gt", str(gt), "--results", str(results), "--bootstrap", "10"]
    assert main([*run, "--out", str(out), "--html", str(page)]) == 0
    assert "HOTA" in capsys.readouterr().out
    assert json.loads(out.read_text())["scores"]["FAn"] == 100 and page.stat().st_size > 1e6
    assert main([*run, "--protocol", "official"]) == 0
    assert 'protocol "official"' in capsys.readouterr().out
