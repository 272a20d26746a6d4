from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from acvis_kit.metrics.hota import ALPHAS, FAMILY, alignment, family, tally
from acvis_kit.metrics.sequence import Sequence
from tests.metrics.tables import sequence, track

A, B, C = "#...", ".#..", "..#."


def score(*videos: Sequence, categories: tuple[int, ...] = (1,)) -> dict[str, float]:
    """Mean over thresholds and classes, in [0, 1]."""
    sums = np.sum([tally(v, categories) for v in videos], axis=0)
    return {name: float(values.mean()) for name, values in family(sums).items()}


def test_nineteen_thresholds() -> None:
    assert ALPHAS.tolist() == [k / 20 for k in range(1, 20)]


def test_perfect() -> None:
    video = sequence([(1, track(A, B)), (1, track(C, None))], [(1, 0.5, track(C, None)), (1, 0.9, track(A, B))])
    assert score(video) == dict.fromkeys(FAMILY, 1.0)


def test_one_frame_right_one_half_right() -> None:
    found = score(sequence([(1, track("##", "##"))], [(1, 1.0, track("##", "#."))]))
    # up to 0.50 (10 thresholds): 2 true positives, no error, LocA (1 + 1/2) / 2.
    # above (9): 1 true positive, 1 miss, 1 false positive; the tracks match in 1 of 2 + 2 - 1 frames.
    assert found["DetA"] == found["AssA"] == found["HOTA"] == pytest.approx((10 + 9 / 3) / 19)
    assert found["DetRe"] == found["DetPr"] == found["AssRe"] == found["AssPr"] == pytest.approx((10 + 9 / 2) / 19)
    assert found["LocA"] == pytest.approx((10 * 3 / 4 + 9) / 19)


def test_identity_switch() -> None:
    video = sequence([(1, track(A, A, A, A))], [(1, 0.9, track(A, A, None, None)), (1, 0.8, track(None, None, A, A))])
    found = score(video)
    assert found["DetA"] == 1
    assert found["AssA"] == found["AssRe"] == pytest.approx(1 / 2)  # each half matches the truth in 2 of 4 frames
    assert found["AssPr"] == 1
    assert found["HOTA"] == pytest.approx(sqrt(1 / 2))


def test_misses_and_false_predictions() -> None:
    # A found in 2 frames, missed in 1; a false track of 3 frames
    video = sequence([(1, track(A, A, A))], [(1, 0.9, track(A, A, None)), (1, 0.8, track(C, C, C))])
    found = score(video)
    assert found["DetRe"] == pytest.approx(2 / 3)
    assert found["DetPr"] == pytest.approx(2 / 5)
    assert found["DetA"] == pytest.approx(2 / 6)
    assert found["AssA"] == pytest.approx(2 / 3)
    assert found["HOTA"] == pytest.approx(sqrt(2 / 6 * 2 / 3))


def test_an_empty_mask_is_a_detection_unless_the_video_is_as_defined() -> None:
    video = sequence([(1, track(A, None))], [(1, 0.9, track(A, "...."))])
    assert score(video)["DetPr"] == pytest.approx(1 / 2)
    assert score(video.as_defined())["DetPr"] == 1


def test_videos_are_summed_before_anything_is_divided() -> None:
    right = sequence([(1, track(A, A, A))], [(1, 0.9, track(A, A, A))], "right")
    wrong = sequence([(1, track(A))], [(1, 0.9, track(B))], "wrong")
    found = score(right, wrong)
    assert found["DetA"] == pytest.approx(3 / 5)  # 3 true positives, 1 miss, 1 false positive
    assert found["AssA"] == 1  # over true positives only


def test_classes_are_scored_apart() -> None:
    swapped = sequence([(1, track(A)), (2, track(B))], [(2, 0.9, track(A)), (1, 0.8, track(B))])
    assert score(swapped, categories=(1, 2))["HOTA"] == 0


def test_without_matches_loca_is_one_and_the_rest_zero() -> None:
    for video in (sequence([], []), sequence([], [(1, 1.0, track(A))]), sequence([(1, track(A))], [])):
        found = score(video)
        assert found["LocA"] == 1 and sum(found.values()) == 1


def test_matching_maximises_the_sum_over_the_frame() -> None:
    # Each prediction overlaps both truths; only the crossed choice lets both match.
    true = [(1, track("####....", "####....")), (1, track("...####.", "...####."))]
    pred = [(1, 0.9, track("...####.", "...####.")), (1, 0.8, track("###.....", "###....."))]
    found = tally(sequence(true, pred), [1])[0]
    tp, fn, fp = found[:3]
    assert tp.tolist() == [4] * 15 + [2] * 4  # IoU 1 and 3/4
    assert (fn + tp).tolist() == (fp + tp).tolist() == [4] * 19


def test_a_frame_goes_to_the_track_with_more_overlap_in_the_video() -> None:
    # Both predictions cover the truth in frame 2; only the second also covers it before.
    true = [(1, track(A, A, A))]
    pred = [(1, 0.5, track(None, None, A)), (1, 0.5, track(A, A, A))]
    found = score(sequence(true, pred))
    assert found["AssA"] == 1 and found["DetA"] == pytest.approx(3 / 4)


def test_alignment_by_hand() -> None:
    similarity = np.array([[[1.0, 0.5]], [[0.0, 0.5]]])  # (2, 1, 2)
    listed = np.ones((2, 1), bool), np.array([[True, True], [False, True]])
    first = (1 / 1.5) / (2 + 1 - 1 / 1.5)
    second = (0.5 / 1.5 + 1) / (2 + 2 - (0.5 / 1.5 + 1))
    np.testing.assert_allclose(alignment(similarity, *listed), [[first, second]])


def test_alignment_of_tracks_without_masks_is_zero() -> None:
    assert alignment(np.zeros((2, 1, 1)), np.zeros((2, 1), bool), np.zeros((2, 1), bool)).tolist() == [[0.0]]
