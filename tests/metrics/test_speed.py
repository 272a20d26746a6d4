from __future__ import annotations

from acvis_kit.metrics import evaluate
from acvis_kit.metrics.speed import measure, synthetic_set


def test_the_synthetic_set_is_a_valid_test_set() -> None:
    gt, results = synthetic_set(videos=4, frames=9, size=(36, 64))
    assert [v["length"] for v in gt["videos"]] == [9] * 4
    assert len(gt["annotations"]) == len(results)
    found = evaluate(gt, results)
    assert 0 < found["HOTA"] < 100 and 0 < found["FA"] < 100
    assert sum(found[f"FA{kind}_all"] for kind in "nsm") == 36


def test_the_synthetic_set_is_reproducible() -> None:
    assert synthetic_set(2, 3, (18, 32)) == synthetic_set(2, 3, (18, 32))


def test_measure_returns_times_and_memory() -> None:
    found = measure(videos=3, frames=5, size=(36, 64), repeats=1)
    assert found["videos"] == 3 and found["frames"] == 15
    assert {"seconds", "official_seconds", "check_seconds", "whole_seconds", "peak_mb"} <= set(found)
    assert all(value > 0 for value in found.values())
