from __future__ import annotations

import numpy as np
import pytest

from acvis_kit.masks import encode
from acvis_kit.metrics.fsla import defined, published
from acvis_kit.metrics.sequence import MaskTrack, Sequence
from tests.metrics.tables import pixels, sequence, track

A, B, C, NIL = "#...", ".#..", "..#.", "...."


def right(table: np.ndarray) -> list[list[int]]:
    """(3, 1 + A) as [frames, right at 0.05, right at 0.50, right at 0.95] of each kind."""
    return table[:, [0, 1, 10, 19]].tolist()


def read(true: list, pred: list) -> list[list[int]]:
    return right(defined(sequence(true, pred).as_defined()))


def test_perfect_frames_of_every_kind() -> None:
    true = [(1, track(None, A, A)), (2, track(None, None, B))]
    pred = [(2, 0.5, track(NIL, NIL, B)), (1, 0.9, track(NIL, A, A))]
    assert read(true, pred) == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]


def test_iou_must_exceed_the_threshold() -> None:
    assert read([(1, track("##.."))], [(1, 1.0, track("#..."))])[1] == [1, 1, 0, 0]  # 1/2 is not above 0.50
    assert defined(sequence([(1, track("#####"))], [(1, 1.0, track("####."))]).as_defined())[1].tolist() == (
        [1] + [1] * 15 + [0] * 4  # 4/5 is above 0.75, not above 0.80
    )


def test_the_number_must_be_right() -> None:
    assert read([(1, track(A))], [(1, 0.9, track(A)), (1, 0.8, track(B))])[1] == [1, 0, 0, 0]
    assert read([(1, track(A)), (1, track(B))], [(1, 0.9, track(A))])[2] == [1, 0, 0, 0]
    assert read([(1, track(None, A))], [(1, 0.9, track(B, A))])[0] == [1, 0, 0, 0]


def test_the_class_must_be_right() -> None:
    assert read([(1, track(A))], [(2, 0.9, track(A))])[1] == [1, 0, 0, 0]
    assert read([(1, track(A)), (2, track(B))], [(2, 0.9, track(A)), (1, 0.9, track(B))])[2] == [1, 0, 0, 0]


def test_tracks_are_matched_per_video_not_per_frame() -> None:
    # In the last frame the predictions swap: each object is covered by the wrong track.
    true = [(1, track(A, A, A)), (1, track(B, B, B))]
    pred = [(1, 0.9, track(A, A, B)), (1, 0.8, track(B, B, A))]
    assert read(true, pred)[2] == [3, 2, 2, 2]


def test_tracks_that_are_absent_or_wrong_in_other_frames_do_not_matter() -> None:
    true = [(1, track(A, None)), (2, track(None, B))]
    pred = [(1, 0.9, track(A, None)), (2, 0.8, track(None, C))]
    assert read(true, pred)[1] == [2, 1, 1, 1]


def test_tracks_without_overlap_do_not_match() -> None:
    assert read([(1, track(A, None))], [(1, 0.9, track(None, A))]) == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_a_silent_frame_is_right_only_without_a_predicted_mask() -> None:
    assert read([(1, track(None, None))], [(1, 0.9, track(NIL, A))])[0] == [2, 1, 1, 1]
    assert read([], [])[0] == [0, 0, 0, 0]
    assert read([(1, track(None, None))], [])[0] == [2, 2, 2, 2]


# The published evaluator recognises empty masks at 720x1280, and at no other size.


def at_720p(mask: str) -> np.ndarray:
    return pixels(mask).repeat(720, axis=0).repeat(320, axis=1)


def large(true: list, pred: list) -> Sequence:
    """As `sequence`, with pixels so large that four of them make 720x1280."""
    return sequence(
        [(c, [None if m is None else at_720p(m) for m in t]) for c, t in true],
        [(c, s, [at_720p(m) for m in t]) for c, s, t in pred],
    )


def test_published_an_empty_copy_beside_the_truth_depends_on_its_place() -> None:
    copy, empty = (1, 0.9, [A, A]), (1, 0.5, [NIL, NIL])
    assert right(published(large([(1, [A, A])], [copy, empty])))[1] == [2, 2, 2, 2]
    assert right(published(large([(1, [A, A])], [empty, copy])))[1] == [2, 0, 0, 0]


def test_published_inverts_the_matching_for_single_sources() -> None:
    # Matches: truth 0 - prediction 1, truth 1 - prediction 2, truth 2 - prediction 0. For truth 0 alone it looks up
    # the row that has prediction 0, which is row 2, and takes prediction 2, which covers A in the last frame.
    true = [(1, [A, A, None, None, A]), (1, [B, B, None, None, None]), (1, [C, C, None, None, None])]
    pred = [(1, 0.9, [C, C, NIL, NIL, NIL]), (1, 0.8, [A, A, NIL, NIL, NIL]), (1, 0.7, [B, B, NIL, NIL, A])]
    assert right(published(large(true, pred)))[1] == [1, 1, 1, 1]
    straight = [(1, 0.9, [C, C, NIL, NIL, NIL]), (1, 0.8, [A, A, NIL, NIL, A]), (1, 0.7, [B, B, NIL, NIL, NIL])]
    assert right(published(large(true, straight)))[1] == [1, 0, 0, 0]


def test_published_a_silent_frame_is_right_only_in_a_video_without_predictions() -> None:
    assert right(published(large([(1, [None, A])], [(1, 0.9, [NIL, A])])))[0] == [1, 0, 0, 0]
    assert right(published(large([(1, [None, A])], [])))[0] == [1, 1, 1, 1]


def test_published_classes_of_all_tracks_must_sound_in_the_frame() -> None:
    true = [(1, [A, A]), (2, [None, B])]
    pred = [(1, 0.9, [A, A]), (2, 0.8, [NIL, B])]
    assert right(published(large(true, pred))) == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


def test_published_every_pair_of_the_video_must_be_right_or_absent() -> None:
    # The third truth is absent in the first frame. In the second its match is wrong, in the third blank.
    true = [(1, [A, A, A, A]), (1, [B, B, B, B]), (1, [None, C, C, C])]
    pred = [(1, 0.9, [A, A, A, A]), (1, 0.8, [B, B, B, B]), (1, 0.7, [NIL, "...#", NIL, C])]
    assert right(published(large(true, pred)))[2] == [4, 2, 2, 2]


def test_published_truth_is_indexed_by_id_in_the_order_of_the_file() -> None:
    masks = {m: (encode(at_720p(m)),) for m in (A, B)}
    pred = [MaskTrack(1, masks[A], 0.9), MaskTrack(1, masks[B], 0.8)]
    true = [MaskTrack(1, masks[A], id=1), MaskTrack(1, masks[B], id=2)]
    assert right(published(Sequence.from_tracks("v", 1, true, pred)))[2] == [1, 1, 1, 1]
    assert right(published(Sequence.from_tracks("v", 1, true[::-1], pred)))[2] == [1, 0, 0, 0]
    relabelled = [MaskTrack(1, masks[B], id=1), MaskTrack(1, masks[A], id=2)]
    assert right(published(Sequence.from_tracks("v", 1, relabelled, pred)))[2] == [1, 1, 1, 1]


def test_published_empty_masks_of_other_sizes_are_objects() -> None:
    perfect = sequence([(1, track(A, A)), (1, track(B, None))], [(1, 0.9, track(A, A)), (1, 0.8, track(B, NIL))])
    assert right(published(perfect)) == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("score", [defined, published])
def test_no_frames_and_no_tracks(score) -> None:
    assert score(sequence([], [])).tolist() == np.zeros((3, 20)).tolist()
    no_truth = sequence([], [(1, 0.9, track(A))])
    assert right(score(no_truth)) == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
