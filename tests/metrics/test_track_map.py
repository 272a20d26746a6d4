from __future__ import annotations

import numpy as np
import pytest

from acvis_kit.metrics.sequence import MaskTrack, Sequence
from acvis_kit.metrics.tally import mean_defined
from acvis_kit.metrics.track_map import average_precision, match, precision_at_recall
from tests.metrics.tables import sequence, track

A, B, C, D = "#...", ".#..", "..#.", "...#"


def ap(*videos: Sequence, together: bool = True, unrecorded: int | None = None) -> tuple[float, float]:
    """AP and AR over the classes 1 and 2, in [0, 1]."""
    matches = [match(v, unrecorded) for v in videos]
    found = average_precision(matches, [1, 2], np.ones((1, len(videos))), together)
    return tuple(float(mean_defined(x[0, 0], axis=0).mean()) for x in found)


def test_right_wrong_right_of_two() -> None:
    video = sequence(
        [(1, track(A)), (1, track(B))], [(1, 0.7, track(B)), (1, 0.9, track(A)), (1, 0.8, track(C))]
    )  # unsorted on purpose
    # 51 of 101 recalls (0 to 1/2) are reached at precision 1, the other 50 at 2/3
    assert ap(video) == pytest.approx(((51 + 50 * 2 / 3) / 101, 1), abs=1e-12)


def test_precision_is_the_best_at_this_recall_or_beyond() -> None:
    video = sequence(
        [(1, track(A)), (1, track(B))], [(1, 0.9, track(C)), (1, 0.8, track(A)), (1, 0.7, track(B))]
    )  # precision 0, 1/2, 2/3: raised to 2/3 everywhere
    assert ap(video) == pytest.approx((2 / 3, 1), abs=1e-12)


def test_iou_of_all_frames_together_must_reach_the_threshold() -> None:
    half = sequence([(1, track("##", "##"))], [(1, 1.0, track("##", ".."))])  # IoU 2/4: right at 0.50 alone
    assert ap(half) == pytest.approx((1 / 10, 1 / 10), abs=1e-12)
    three_fifths = sequence([(1, track("#####"))], [(1, 1.0, track("###.."))])  # right at 0.50, 0.55, 0.60
    assert ap(three_fifths) == pytest.approx((3 / 10, 3 / 10), abs=1e-12)


def test_classes_without_truth_do_not_count_and_wrong_classes_do_not_match() -> None:
    assert ap(sequence([(1, track(A))], [(1, 0.5, track(A)), (2, 0.9, track(A))])) == (pytest.approx(1), 1)
    assert ap(sequence([(1, track(A))], [(2, 0.9, track(A))])) == (0, 0)
    mean_of_two = sequence([(1, track(A)), (2, track(B))], [(1, 0.5, track(A))])
    assert ap(mean_of_two) == pytest.approx((1 / 2, 1 / 2), abs=1e-12)


def test_ap_is_undefined_without_truth_and_zero_without_predictions() -> None:
    assert np.isnan(ap(sequence([], [(1, 0.5, track(A))]))).all()
    assert np.isnan(ap(sequence([], []))).all()
    assert np.isnan(ap()).all()
    assert ap(sequence([(1, track(A))], [])) == (0, 0)


def test_each_truth_matches_once() -> None:
    # right, then a second prediction of the same truth
    twice = sequence([(1, track(A)), (1, track(B))], [(1, 0.9, track(A)), (1, 0.8, track(A))])
    assert ap(twice) == pytest.approx((51 / 101, 1 / 2), abs=1e-12)


def test_the_truth_of_an_unrecorded_track_may_match_again() -> None:
    twice = sequence([(1, track(A)), (1, track(B))], [(1, 0.9, track(A)), (1, 0.8, track(A))])
    assert ap(twice, unrecorded=0) == pytest.approx((1, 1), abs=1e-12)
    assert ap(twice, unrecorded=1) == pytest.approx((51 / 101, 1 / 2), abs=1e-12)


def test_the_higher_score_matches_first_and_takes_the_highest_iou() -> None:
    first, second = track("####...."), track("..####..")
    # the first prediction lies on the second truth by 3/5, on the first by 3/5 as well: the later truth wins
    middle = track(".####...")
    video = sequence([(1, first), (1, second)], [(1, 0.9, middle), (1, 0.8, second)])
    hit = match(video).hit[0, 0]
    assert hit.tolist() == [True, False]  # the second truth is taken, and the IoU with the first is only 2/6
    other = sequence([(1, second), (1, first)], [(1, 0.9, middle), (1, 0.8, second)])
    assert match(other).hit[0, 0].tolist() == [True, True]


def test_equal_scores_enter_together_or_one_after_the_other() -> None:
    right_first = sequence([(1, track(A))], [(1, 0.5, track(A)), (1, 0.5, track(B))])
    wrong_first = sequence([(1, track(A))], [(1, 0.5, track(B)), (1, 0.5, track(A))])
    assert ap(right_first, together=False)[0] == pytest.approx(1)
    assert ap(wrong_first, together=False)[0] == pytest.approx(1 / 2)
    assert ap(right_first)[0] == ap(wrong_first)[0] == pytest.approx(1 / 2)


def test_videos_share_one_curve() -> None:
    good = sequence([(1, track(A))], [(1, 0.6, track(A))], "good")
    bad = sequence([(1, track(A))], [(1, 0.9, track(B))], "bad")
    # wrong, then right, of two truths: precision 1/2 up to recall 1/2
    assert ap(good, bad) == pytest.approx((51 / 101 / 2, 1 / 2), abs=1e-12)


def test_weights_repeat_videos() -> None:
    one = sequence([(1, track(A)), (2, track(C))], [(1, 0.6, track(A)), (2, 0.4, track(D))], "one")
    two = sequence([(1, track(A))], [(1, 0.9, track(B)), (1, 0.3, track(A))], "two")
    weighted = average_precision([match(one), match(two)], [1, 2], np.array([[2, 3], [0, 1]]), True)
    repeated = average_precision([match(v) for v in (one, one, two, two, two)], [1, 2], np.ones((1, 5)), True)
    alone = average_precision([match(two)], [1, 2], np.ones((1, 1)), True)
    for w, r, a in zip(weighted, repeated, alone, strict=True):
        np.testing.assert_allclose(w[0], r[0])
        np.testing.assert_allclose(w[1], a[0])


def areas(true: list[float], predicted_side: int) -> np.ndarray:
    """Counted truths and ignored predictions, at IoU 0.5, of squares with given mean areas; rows all, s, m, l."""
    square = np.zeros((1, 300, 300), bool)
    square[:, :predicted_side, :predicted_side] = True
    code = Sequence.from_masks([square], [1], [square], [1], [1.0])
    assert code.true_mean_area == predicted_side**2
    from acvis_kit.masks import encode

    masks = (encode(square[0]),)
    tracks = [MaskTrack(1, masks, mean_area=a) for a in true]
    matches = match(Sequence.from_tracks("v", 1, tracks, [MaskTrack(1, masks, 0.5)]))
    return np.concatenate([matches.counted, matches.hit[:, 0], matches.ignored[:, 0]], axis=1).astype(int)


def test_a_track_is_small_up_to_128_and_large_from_256_both_ends_in_both() -> None:
    counted = areas([128**2 - 1, 128**2, 128**2 + 1, 256**2, 256**2 + 1], 10)[:, :5]
    assert counted.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 1, 1]]


def test_outside_its_range_a_prediction_is_neither_right_nor_wrong() -> None:
    # columns: counted, hit, ignored. The truth says it is large, the prediction is small and on it.
    assert areas([256**2 + 1], 10).tolist() == [[1, 1, 0], [0, 1, 1], [0, 1, 1], [1, 1, 0]]
    # nothing to match: ignored where its own area is outside
    assert areas([], 10).tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]


def test_a_truth_inside_the_range_is_preferred() -> None:
    both = areas([256**2 + 1, 100], 10)  # IoU 1 with both; small: the second is taken
    assert both[1].tolist() == [0, 1, 1, 0]


def test_the_precision_curve() -> None:
    video = sequence([(1, track(A)), (1, track(B))], [(1, 0.9, track(A)), (1, 0.8, track(C))])
    curve = precision_at_recall([match(video)], [1, 2], True)
    assert curve.shape == (10, 101)
    assert (curve[:, :51] > 1 - 1e-12).all() and (curve[:, 51:] == 0).all()
    assert np.isnan(precision_at_recall([], [1, 2], True)).all()
