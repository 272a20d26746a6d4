from __future__ import annotations

import numpy as np
import pytest

from acvis_kit.errors import DataError
from acvis_kit.metrics.sequence import Sequence
from acvis_kit.metrics.tally import KEYS, mean_defined, quotient, scores, tally
from tests.metrics.tables import sequence, track

A, B, NIL = "#..", ".#.", "..."


def videos() -> list[Sequence]:
    return [
        sequence([(1, track(A, A)), (2, track(B, None))], [(1, 0.9, track(A, B)), (2, 0.8, track(B, NIL))], "b"),
        sequence([(1, track(A, None))], [(2, 0.7, track(A, NIL)), (1, 0.7, track(A, A))], "a"),
        sequence([(2, track("###", "##."))], [(2, 0.6, track("##.", "##."))], "c"),
        sequence([], [], "d"),
    ]


def by_key(row: np.ndarray) -> dict[str, float]:
    return dict(zip(KEYS, row.tolist(), strict=True))


@pytest.mark.parametrize("protocol", ["official", "paper"])
def test_a_weight_equals_a_repetition(protocol: str) -> None:
    tallies = tally(videos(), [1, 2, 3], protocol)
    weights = np.array([[1, 1, 1, 1], [2, 0, 3, 1], [0, 0, 0, 5], [0, 4, 0, 0]], float)
    found = scores(tallies, [1, 2, 3], protocol, weights)
    for row, weight in zip(found, weights.astype(int), strict=True):
        repeated = [one for one, n in zip(tallies, weight, strict=True) for _ in range(n)]
        np.testing.assert_allclose(row, scores(repeated, [1, 2, 3], protocol)[0], atol=1e-10)


def test_weightings_scored_in_chunks_give_the_same_numbers() -> None:
    tallies = tally(videos(), [1, 2, 3], "paper")
    weights = np.random.default_rng(0).integers(0, 3, (250, 4)).astype(float)
    together = scores(tallies, [1, 2, 3], "paper", weights)
    for n in (0, 99, 249):
        np.testing.assert_allclose(together[n], scores(tallies, [1, 2, 3], "paper", weights[n : n + 1])[0], atol=1e-10)


def test_a_tally_counts_the_non_empty_masks_of_each_frame() -> None:
    (found,) = tally([sequence([(1, track(A, NIL)), (2, track(B, A))], [(1, 0.5, track(NIL, A))])], [1, 2], "paper")
    assert found.true_counts.tolist() == [2, 1] and found.pred_counts.tolist() == [0, 1] and found.frames == 2


def test_tallies_are_sorted_by_name() -> None:
    assert [t.name for t in tally(videos(), [1, 2], "paper")] == ["a", "b", "c", "d"]


def test_hota_averages_over_occurring_classes_or_over_all() -> None:
    one = sequence([(1, track(A))], [(1, 0.5, track(A))])
    kept = {p: by_key(scores(tally([one], [1, 2, 3], p), [1, 2, 3], p)[0]) for p in ("official", "paper")}
    assert kept["paper"]["HOTA"] == pytest.approx(100) and kept["official"]["HOTA"] == pytest.approx(100 / 3)
    assert kept["paper"]["LocA"] == kept["official"]["LocA"] == pytest.approx(100)
    predicted = sequence([(1, track(A))], [(1, 0.5, track(A)), (2, 0.4, track(B))])
    assert by_key(scores(tally([predicted], [1, 2, 3], "paper"), [1, 2, 3], "paper")[0])["HOTA"] == pytest.approx(50)


def test_a_class_predicted_by_empty_masks_alone_does_not_occur() -> None:
    video = sequence([(1, track(A))], [(1, 0.5, track(A)), (2, 0.4, track(NIL))])
    assert by_key(scores(tally([video], [1, 2], "paper"), [1, 2], "paper")[0])["HOTA"] == pytest.approx(100)


@pytest.mark.parametrize("protocol", ["official", "paper"])
def test_scores_without_videos_are_undefined(protocol: str) -> None:
    row = by_key(scores([], [1], protocol)[0])
    assert np.isnan([row[k] for k in ("AP_all", "AR_all", "FA", "FAn", "FAs", "FAm")]).all()
    assert [row[k] for k in KEYS if "_" in k and k.startswith("FA")] == [0] * 6


def test_right_frames_are_averaged_over_thresholds_and_rounded_down() -> None:
    video = sequence([(1, track("#####"))], [(1, 1.0, track("####."))])  # IoU 4/5: right at 15 of 19
    row = by_key(scores(tally([video], [1], "paper"), [1], "paper")[0])
    assert row["FAs"] == row["FA"] == pytest.approx(100 * 15 / 19)
    assert (row["FAs_count"], row["FAs_all"], row["FAn_all"], row["FAm_all"]) == (0, 1, 0, 0)


def test_official_does_not_record_the_match_of_the_first_track() -> None:
    def twice(name: str) -> Sequence:
        pred = [(1, 0.9, track(A)), (1, 0.8, track(A))]
        return sequence([(1, track(A)), (1, track(B))], pred, name)

    tallies = tally([sequence([], [], "a"), twice("c"), twice("b")], [1], "official")
    assert [t.matches.hit[0, 0].tolist() for t in tallies] == [[], [True, True], [True, False]]
    assert [t.matches.hit[0, 0].tolist() for t in tally([twice("b")], [1], "paper")] == [[True, False]]


def test_official_rejects_unlisted_predictions() -> None:
    with pytest.raises(DataError, match=r"video v, predicted track 0, frame 1: a null"):
        tally([sequence([], [(1, 0.5, track(A, None))], "v")], [1], "official")


def test_two_videos_with_one_name_and_unknown_classes_are_errors() -> None:
    with pytest.raises(DataError, match="two videos are named 'v'"):
        tally([sequence([], [], "v"), sequence([], [], "v")], [1], "paper")
    with pytest.raises(DataError, match=r"video v: classes \[4\] .*\[1\]"):
        tally([sequence([], [(4, 0.5, track(A))], "v")], [1], "paper")


def test_means_leave_out_undefined_values() -> None:
    table = np.array([[1.0, np.nan], [3.0, np.nan]])
    np.testing.assert_equal(mean_defined(table, axis=0), [2, np.nan])
    np.testing.assert_equal(quotient(np.array([1.0, 0.0]), np.array([2, 0])), [0.5, np.nan])
