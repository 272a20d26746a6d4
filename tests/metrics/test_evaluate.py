from __future__ import annotations

import copy
import itertools
import json
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import acvis_kit.metrics as metrics
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.masks import empty, encode
from acvis_kit.metrics import Sequence, evaluate, evaluate_in_full, evaluate_sequences
from acvis_kit.metrics.tally import KEYS
from tests.conftest import SHARED
from tests.metrics.tables import files, golden, pixels, sequence, track

SHARED_SETS = ["a", "b", "c", "perfect_a", "perfect_b"]
AREA_KEYS = {"AP_s", "AP_m", "AP_l"}


def shared(name: str) -> tuple[Any, Any, dict[str, float]]:
    folder = SHARED / "metrics" / name
    if not folder.exists():
        pytest.skip(f"the golden sets are not at {folder}")
    return tuple(json.loads((folder / f"{part}.json").read_text()) for part in ("gt", "results", "official"))


def same(found: dict[str, float], expected: dict[str, float], leave: set[str] = frozenset()) -> None:
    assert list(found) == list(expected)
    for key in set(found) - leave:
        assert found[key] == pytest.approx(expected[key], abs=1e-9, rel=0, nan_ok=True), key


# The published numbers


@pytest.mark.parametrize("name", ["b", "c", "perfect_b"])
def test_official_is_the_published_evaluator_to_nine_digits(name: str) -> None:
    gt, results, expected = golden(name)
    same(evaluate(gt, results, protocol="official"), expected)


@pytest.mark.parametrize("name", SHARED_SETS)
def test_official_is_the_published_evaluator_on_every_shared_set(name: str) -> None:
    gt, results, expected = shared(name)
    found = evaluate(gt, results, protocol="official")
    same(found, expected)
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


def test_official_depends_on_the_order_of_annotations_and_paper_does_not() -> None:
    gt, results, expected = golden("perfect_b")
    turned = gt | {"annotations": gt["annotations"][::-1]}
    assert evaluate(turned, results, protocol="official")["FAm"] < expected["FAm"] - 10
    same(evaluate(turned, results), evaluate(gt, results))


def test_official_recognises_empty_masks_only_at_720_by_1280() -> None:
    def scored(height: int, width: int, protocol: str) -> dict[str, float]:
        # one video: two objects of one class, both sounding in the first frame, one in the second
        masks = np.zeros((2, 2, height, width), bool)
        masks[0, :, :10, :10] = True
        masks[1, 0, 20:30, 20:30] = True
        sounding = [[*masks[0]], [masks[1, 0], None]]
        video = Sequence.from_masks(sounding, [1, 1], masks, [1, 1], [0.9, 0.8])
        return evaluate_sequences([video], {1: "person"}, protocol).scores

    assert scored(720, 1280, "official")["FAs"] == 100
    assert scored(360, 640, "official")["FAs"] == 0
    assert scored(720, 1280, "paper")["FAs"] == scored(360, 640, "paper")["FAs"] == 100


def test_official_marks_undefined_precision_with_minus_100_and_accuracy_with_nan() -> None:
    gt, results = files([([], [(1, 0.5, ["#.", "#."])])])
    found = evaluate(gt, results, protocol="official")
    assert found["AP_all"] == found["AR_all"] == found["AP_l"] == -100
    assert math.isnan(found["FAs"]) and found["FAn"] == 0 and found["FAn_all"] == 2


# The numbers by the definitions


@pytest.mark.parametrize("name", ["perfect_a", "perfect_b"])
def test_paper_gives_100_to_a_perfect_prediction(name: str) -> None:
    gt, results, _ = shared(name)
    check_perfect(evaluate(gt, results), undefined={"AP_l"} if name == "perfect_b" else set())


def check_perfect(found: dict[str, float], undefined: set[str] = frozenset()) -> None:
    for key in KEYS:
        if key.endswith("_count"):
            assert found[key] == found[key.replace("count", "all")]
        elif key in undefined:
            assert math.isnan(found[key])
        elif key not in ("FAn_all", "FAs_all", "FAm_all"):
            assert found[key] == pytest.approx(100, abs=1e-6), key


def test_paper_gives_100_to_a_perfect_prediction_in_the_repository() -> None:
    gt, results, _ = golden("perfect_b")
    check_perfect(evaluate(gt, results), undefined={"AP_l"})
    truth_as_results = [
        {"video_id": a["video_id"], "category_id": a["category_id"], "score": 1.0, "segmentations": a["segmentations"]}
        for a in gt["annotations"]
    ]
    check_perfect(evaluate(gt, truth_as_results), undefined={"AP_l"})


def test_paper_without_predictions() -> None:
    gt, results, _ = golden("c")
    found = evaluate(gt, results)
    assert found["AP_all"] == found["HOTA"] == found["FAs"] == found["FAm"] == 0
    assert found["FAn"] == 100 and found["FA"] == pytest.approx(100 * 20 / 45)


def test_paper_without_truth_or_anything() -> None:
    false = evaluate(*files([([], [(1, 0.5, ["#.", ".."])])]))
    assert math.isnan(false["AP_all"]) and false["HOTA"] == 0 and false["FAn"] == 50
    nothing = evaluate(*files([([], [])]))
    assert math.isnan(nothing["AP_all"]) and math.isnan(nothing["HOTA"]) and nothing["FA"] == nothing["FAn"] == 100
    empty = evaluate({"videos": [], "categories": [], "annotations": []}, [])
    assert all(math.isnan(empty[k]) for k in ("AP_all", "HOTA", "LocA", "FA"))


def test_paper_one_frame() -> None:
    found = evaluate(*files([([(1, ["##..."])], [(1, 0.5, ["#...."]), (2, 0.4, ["....#"])])]))
    assert found["AP_all"] == pytest.approx(100 / 10)  # IoU 1/2, class 2 has no truth
    assert found["HOTA"] == pytest.approx(100 * (10 / 19 + 0) / 2)
    assert found["FAs"] == 0  # one mask in excess


def test_an_object_without_any_mask_does_not_count() -> None:
    gt, results = files([([(1, ["#.", None]), (2, [None, None])], [(1, 0.5, ["#.", None]), (3, 0.9, ["..", None])])])
    check_perfect(evaluate(gt, results), undefined={"AP_m", "AP_l", "FAm"})


# Invariances under "paper"; few small masks, classes and scores make many ties

SCALE = 2
MASK = st.sampled_from(
    [None, "..../....", "##../....", "##../##..", ".##./.##.", "..##/..##", "#.../#...", "####/####", "...#/...#"]
)
VIDEO = st.integers(1, 3).flatmap(
    lambda length: st.tuples(
        st.lists(st.tuples(st.integers(1, 2), st.lists(MASK, min_size=length, max_size=length)), max_size=3),
        st.lists(
            st.tuples(st.integers(1, 2), st.sampled_from([0.5, 0.9]), st.lists(MASK, min_size=length, max_size=length)),
            max_size=4,
        ),
    )
)
SETS = st.lists(VIDEO, min_size=1, max_size=3).filter(
    lambda videos: any(f for v in videos for t in (*v[0], *v[1]) for f in t[-1])
)
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


@QUICK
@given(SETS, st.randoms(use_true_random=False))
def test_paper_does_not_change_with_the_order_of_tracks(videos: list, chance: random.Random) -> None:
    gt, results = files(videos)
    other_gt, other = copy.deepcopy(gt), copy.deepcopy(results)
    for entries in (other_gt["annotations"], other_gt["videos"], other):
        chance.shuffle(entries)
    same(evaluate(other_gt, other), evaluate(gt, results))


@QUICK
@given(SETS)
def test_paper_does_not_change_with_the_coding_of_empty_masks(videos: list) -> None:
    def recoded(old: Any, new: Any) -> list:
        replace = lambda frames: [new if f == old else f for f in frames]  # noqa: E731
        return [([(c, replace(t)) for c, t in true], [(c, s, replace(t)) for c, s, t in pred]) for true, pred in videos]

    expected = evaluate(*files(videos))
    for old, new in ((None, "..../...."), ("..../....", None)):
        same(evaluate(*files(recoded(old, new))), expected)


@QUICK
@given(SETS)
def test_paper_does_not_change_with_the_scale_of_the_picture(videos: list) -> None:
    same(evaluate(*files(videos, scale=SCALE)), evaluate(*files(videos)), leave=AREA_KEYS)


@QUICK
@given(SETS, SETS, st.sampled_from(["official", "paper"]))
def test_merged_halves_are_the_whole(one: list, two: list, protocol: str) -> None:
    def filled(frames: list) -> list:
        return [pixels(f or "..../....") for f in frames]

    def report(videos: list, half: str) -> metrics.Report:
        found = []
        for n, (true, pred) in enumerate(videos):
            true, pred = [(c, filled(t)) for c, t in true], [(c, s, filled(t)) for c, s, t in pred]
            found.append(sequence(true, pred, f"{half}{n}", length=None if true or pred else 2))
        return evaluate_sequences(found, {1: "a", 2: "b", 3: "c"}, protocol)

    merged = report(one, "one").merge(report(two, "two"))
    assert merged.counts["videos"] == len(one) + len(two)
    if protocol == "paper":
        same(merged.scores, evaluate(*files(one + two)))


@QUICK
@given(VIDEO)
def test_right_frames_equal_those_of_the_definition(video: tuple) -> None:
    """Recomputed from the definition, with every possible matching."""
    true = [(c, [pixels(f or "..../....") for f in t]) for c, t in video[0] if has_mask(t)]
    pred = [(c, [pixels(f or "..../....") for f in t]) for c, _, t in video[1] if has_mask(t)]
    length = len((*video[0], *video[1])[0][-1]) if video[0] or video[1] else 0

    def iou(a: Any, b: Any) -> float:
        union = np.logical_or(a, b).sum()
        return np.logical_and(a, b).sum() / union if union else 0.0

    def whole(g: int, p: int) -> float:
        return iou(true[g][1], pred[p][1]) if true[g][0] == pred[p][0] else 0.0

    def matchings() -> Any:
        some = [*range(len(pred)), *[None] * len(true)]
        for choice in set(itertools.permutations(some, len(true))):
            yield {g: p for g, p in enumerate(choice) if p is not None and whole(g, p) > 0}

    best = max(sum(whole(g, p) for g, p in m.items()) for m in matchings())
    possible = set()
    for m in matchings():
        if sum(whole(g, p) for g, p in m.items()) < best - 1e-9:
            continue  # equally good matchings are all allowed
        right = 0
        for t, a in itertools.product(range(length), range(1, 20)):
            sounding = [g for g in range(len(true)) if true[g][1][t].any()]
            shown = [p for p in range(len(pred)) if pred[p][1][t].any()]
            right += len(sounding) == len(shown) and all(
                g in m and iou(true[g][1][t], pred[m[g]][1][t]) > a / 20 for g in sounding
            )
        possible.add(right)
    if true or pred:
        assert int(evaluate_in_full(*files([video])).tallies[0].fsla[:, 1:].sum()) in possible


def has_mask(frames: list) -> bool:
    return any(f and "#" in f for f in frames)


# The report


@pytest.fixture(scope="module")
def report() -> metrics.Report:
    gt, results, _ = golden("b")
    return evaluate_in_full(gt, results, bootstrap=200, seed=1)


def test_the_report_has_the_published_keys_under_both_protocols(report: metrics.Report) -> None:
    gt, results, official = golden("b")
    assert list(report.scores) == list(evaluate(gt, results, protocol="official")) == list(official) == list(KEYS)


def test_intervals_contain_the_scores_and_are_reproducible(report: metrics.Report) -> None:
    gt, results, _ = golden("b")
    assert list(report.intervals) == list(KEYS)
    for key, (low, high) in report.intervals.items():
        if not math.isnan(report.scores[key]) and "count" not in key:
            assert low <= report.scores[key] <= high, key
    assert report.intervals["HOTA"][0] < report.intervals["HOTA"][1]
    assert math.isnan(report.intervals["AP_l"][0])
    again = evaluate_in_full(gt, results, bootstrap=200, seed=1).intervals
    assert repr(again) == repr(report.intervals)
    assert evaluate_in_full(gt, results, bootstrap=200, seed=2).intervals["HOTA"] != report.intervals["HOTA"]
    assert evaluate_in_full(gt, results).intervals == {}


def test_the_table_of_classes_averages_to_the_scores(report: metrics.Report) -> None:
    table = report.per_class
    assert list(table) == list(report.categories.values())
    for key in ("AP_all", "AP_s", "AR_all", "HOTA", "DetA", "LocA"):
        assert np.nanmean([row[key] for row in table.values()]) == pytest.approx(report.scores[key])
    assert (
        sum(row["pred_tracks"] for row in table.values()) == report.counts["pred_tracks"] == 24
    )  # of 25: one is empty
    assert sum(row["true_tracks"] for row in table.values()) == report.counts["true_tracks"] == 19


def test_the_table_of_videos_adds_up(report: metrics.Report) -> None:
    table = report.per_video
    assert next(iter(table)) == "video001" and len(table) == report.counts["videos"] == 10
    for kind in "nsm":
        assert sum(row[f"FA{kind}_all"] for row in table.values()) == report.scores[f"FA{kind}_all"]
    assert sum(row["frames"] for row in table.values()) == report.counts["frames"] == 106
    assert table["video003"]["FAs_all"] == 0 and math.isnan(table["video003"]["AP_all"])


def test_curves_average_to_the_scores(report: metrics.Report) -> None:
    curves = report.curves
    for name, key in (
        ("AP", "AP_all"),
        ("AR", "AR_all"),
        ("HOTA", "HOTA"),
        ("LocA", "LocA"),
        ("FA", "FA"),
        ("FAm", "FAm"),
    ):
        assert curves[name].mean() == pytest.approx(report.scores[key])
        assert len(curves[name]) == len(curves["iou_thresholds" if name in ("AP", "AR") else "alphas"])
    assert curves["precision"].shape == (len(curves["iou_thresholds"]), len(curves["recall"]))
    assert curves["precision"].mean() == pytest.approx(report.scores["AP_all"])


def test_official_tables_mark_undefined_scores() -> None:
    gt, results, expected = golden("b")
    full = evaluate_in_full(gt, results, protocol="official")
    same(full.scores, expected)
    assert full.per_class["violin"]["AP_all"] == -100 and full.per_class["violin"]["HOTA"] == 0
    assert full.counts["pred_tracks"] == 25


def test_halves_of_a_file_merge_to_the_whole() -> None:
    gt, results, _ = golden("b")
    halves = []
    for odd in (0, 1):
        part = gt | {"videos": [v for v in gt["videos"] if v["id"] % 2 == odd]}
        part["annotations"] = [a for a in gt["annotations"] if a["video_id"] % 2 == odd]
        halves.append(evaluate_in_full(part, [r for r in results if r["video_id"] % 2 == odd], bootstrap=50, seed=3))
    whole = evaluate_in_full(gt, results, bootstrap=50, seed=3)
    merged = halves[0].merge(halves[1])
    same(merged.scores, whole.scores)
    assert repr(merged.intervals) == repr(whole.intervals)
    assert repr(merged.per_video) == repr(whole.per_video)
    with pytest.raises(DataError, match="video 'video002' is in two of the reports"):
        halves[0].merge(whole)
    with pytest.raises(ConfigError, match="one protocol"):
        halves[0].merge(evaluate_in_full(gt, results, protocol="official"))


def test_masks_in_memory_score_as_files_do() -> None:
    gt, results = files([([(1, ["##.", None])], [(1, 0.5, ["#..", "..#"])]), ([], [(2, 0.4, ["...", "#.."])])])
    videos = [
        sequence([(1, track("##.", None))], [(1, 0.5, track("#..", "..#"))], "v1"),
        sequence([], [(2, 0.4, [empty((1, 3)), encode(pixels("#.."))])], "v2"),
    ]
    same(evaluate_sequences(videos, {1: "a", 2: "b", 3: "c"}).scores, evaluate(gt, results))


def test_a_negative_number_of_draws_is_an_error() -> None:
    with pytest.raises(ConfigError, match="bootstrap=-1"):
        evaluate_sequences([], {1: "a"}, bootstrap=-1)


def test_intervals_under_official_are_an_error() -> None:
    with pytest.raises(ConfigError, match='bootstrap=9 needs protocol="paper"'):
        evaluate_sequences([], {1: "a"}, "official", bootstrap=9)
