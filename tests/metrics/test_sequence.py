from __future__ import annotations

import itertools

import numpy as np
import pytest

from acvis_kit.errors import DataError
from acvis_kit.metrics.sequence import MaskTrack, Sequence
from tests.metrics.tables import sequence, track


def test_overlaps_equal_those_of_the_pixels() -> None:
    video = sequence(
        [(1, track("##..", "####")), (2, track("..##", None))],
        [(1, 0.9, track("#...", "##..")), (1, 0.5, track(".##.", "...."))],
    )
    assert len(video) == 2
    assert video.intersection.tolist() == [[[1, 1], [0, 1]], [[2, 0], [0, 0]]]
    assert video.iou.tolist() == [[[1 / 2, 1 / 3], [0, 1 / 3]], [[2 / 4, 0], [0, 0]]]
    assert video.track_iou.tolist() == [[3 / 6, 1 / 7], [0 / 5, 1 / 3]]
    assert video.true_listed.tolist() == [[True, True], [True, False]]
    assert video.true_mean_area.tolist() == [(2 + 4) / 2, 2]
    assert video.pred_mean_area.tolist() == [(1 + 2) / 2, 2]


def test_overlaps_of_random_masks_equal_those_of_the_pixels() -> None:
    generator = np.random.default_rng(0)
    true, pred = generator.random((3, 5, 9, 11)) < 0.2, generator.random((4, 5, 9, 11)) < 0.3
    video = Sequence.from_masks(true, [1, 2, 3], pred, [1, 1, 2, 3], [0.5] * 4)
    assert (video.intersection == np.einsum("gtyx,ptyx->tgp", true.astype(int), pred.astype(int))).all()
    assert (video.true_area == true.sum((2, 3)).T).all()


def test_a_video_may_have_no_truth_no_prediction_no_frame() -> None:
    for true, pred in itertools.product(([], [(1, track("#."))]), ([], [(1, 1.0, track("#."))])):
        video = sequence(true, pred)
        assert video.intersection.shape == (1 if true or pred else 0, len(true), len(pred))
        assert video.as_defined().iou.shape == video.intersection.shape
    no_frame = sequence([(1, [])], [(1, 1.0, [])])
    assert no_frame.iou.shape == (0, 1, 1) and no_frame.track_iou.tolist() == [[0.0]]
    assert no_frame.as_defined().iou.shape == (0, 0, 0)


def test_as_defined_drops_empty_tracks_and_the_coding_of_empty_masks() -> None:
    video = sequence(
        [(1, track("#.", "..")), (2, track("..", None))], [(1, 0.5, track("..", None)), (1, 0.4, track(None, "##"))]
    )
    clean = video.as_defined()
    assert clean.true_classes.tolist() == [1] and clean.scores.tolist() == [0.4]
    assert clean.true_listed.tolist() == [[True], [False]] and clean.pred_listed.tolist() == [[False], [True]]


def test_as_defined_orders_by_contents_alone() -> None:
    tracks = [
        (1, 0.5, track("#...")),
        (1, 0.5, track(".#..")),  # same area: differs only in position
        (1, 0.5, track("..##")),
        (1, 0.9, track("#...")),
        (2, 0.9, track("####")),
    ]
    true = [(c, t) for c, _, t in tracks]
    orders = set()
    for order in itertools.permutations(range(5)):
        clean = sequence([true[n] for n in order], [tracks[n] for n in order]).as_defined()
        assert (clean.intersection.diagonal(axis1=1, axis2=2) > 0).sum() >= 1
        orders.add((clean.intersection.tobytes(), clean.scores.tobytes(), clean.pred_classes.tobytes()))
    assert len(orders) == 1


def test_enlarging_the_picture_keeps_the_order_of_contents() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        masks = np.zeros((4, 1, 12), bool)
        for mask in masks:
            mask[0, generator.choice(12, 3, replace=False)] = True
        masks = masks.reshape(4, 1, 3, 4)
        large = masks.repeat(2, axis=2).repeat(2, axis=3)
        small_order, large_order = (Sequence.from_masks(m, [1] * 4, [], [], []).true_rank for m in (masks, large))
        assert (small_order == large_order).all()


def test_the_text_of_an_empty_mask_is_recognised_only_at_720p() -> None:
    for size, recognised in (((720, 1280), True), ((1280, 720), True), ((360, 640), False)):
        video = Sequence.from_masks([], [], np.zeros((1, 1, *size), bool), [1], [1.0])
        assert video.pred_blank_text.tolist() == [[recognised]]


@pytest.mark.parametrize(
    ("true", "pred", "message"),
    [
        ([(1, track("##"))], [(1, 0.5, track("##", "##"))], "frames"),
        ([(1, track("##"))], [(1, 0.5, track("###"))], "size"),
        ([(1, [{"size": [1, 2], "counts": "3"}])], [], "true track 0: the counts of the RLE span 3 pixels"),
        ([], [(1, float("nan"), track("##"))], "score nan"),
        ([], [(1, 1.5, track("##"))], r"predicted track 0: score 1.5 is not in \[0, 1\]"),
    ],
)
def test_tracks_that_do_not_fit_raise_an_error(true: list, pred: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sequence(true, pred)


def test_a_video_without_tracks_needs_a_length() -> None:
    assert len(Sequence.from_masks([], [], [], [], [], length=3)) == 3
    with pytest.raises(DataError, match="pass length="):
        Sequence.from_masks([], [], [], [], [])
    with pytest.raises(DataError, match=r"\[1, 2\] frames"):
        Sequence.from_masks([], [], [track("##")], [1], [0.5], length=2)


def test_every_track_needs_a_class_and_a_score() -> None:
    with pytest.raises(DataError, match="1 predicted tracks, but 1 classes and 0 scores"):
        Sequence.from_masks([], [], [track("##")], [1], [])


def test_more_pairs_of_masks_than_memory_holds_are_refused() -> None:
    silent = MaskTrack(1, (None,) * 4096)
    with pytest.raises(DataError, match="video v: 65 true and 65 predicted tracks of 4096 frames are 17305600 pairs"):
        Sequence.from_tracks("v", 4096, [silent] * 65, [silent] * 65)


@pytest.mark.parametrize(
    ("mask", "category", "score", "message"),
    [
        ({"size": [2, 2]}, 1, 0.5, "the counts of an RLE"),
        ({"counts": "4"}, 1, 0.5, "a size"),
        ({"size": [2, 2], "counts": "o" * 10**6 + "0"}, 1, 0.5, "no text of run lengths"),
        ("mask", 1, 0.5, "an array"),
        (np.ones((2, 2)), "dog", 0.5, "class 'dog' is no whole number"),
        (np.ones((2, 2)), 1, "0.5", "score '0.5' is not in"),
        (np.ones((2, 2)), 1, None, "score None is not in"),
    ],
)
def test_the_error_names_a_track_in_memory_that_does_not_fit(
    mask: object, category: object, score: object, message: str
) -> None:
    with pytest.raises(DataError, match=f"video v, predicted track 0: .*{message}"):
        Sequence.from_masks([], [], [[mask]], [category], [score], name="v")
