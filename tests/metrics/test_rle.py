from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from acvis_kit.errors import DataError
from acvis_kit.metrics import rle


def random_masks(n: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random(generator.integers(1, 40, 2)) < generator.random() for _ in range(n)]


def test_runs_spans_and_areas_are_those_of_the_pixels() -> None:
    masks = random_masks(300)  # more than 255, where pycocotools' own area gives up
    codes = [rle.from_array(m) for m in masks]
    assert rle.spans([c["counts"] for c in codes]).tolist() == [m.size for m in masks]
    assert rle.areas(codes).tolist() == [m.sum() for m in masks]
    for code, mask in zip(codes, masks, strict=True):
        assert sum(rle.runs(code["counts"])[1::2]) == mask.sum()
        assert sum(rle.runs(code["counts"])) == mask.size


def test_large_masks_have_runs_of_several_groups() -> None:
    mask = np.zeros((720, 1280), bool)
    mask[100:700, 5:9] = mask[3, 1000:] = True
    assert rle.spans([rle.from_array(mask)["counts"]]).tolist() == [720 * 1280]


def test_spans_takes_text_and_bytes_and_nothing() -> None:
    assert rle.spans(["PPTl0", b"PPTl0", ""]).tolist() == [720 * 1280, 720 * 1280, 0]
    assert rle.spans([]).tolist() == []


@pytest.mark.parametrize("text", ["PPTl", "~", "PPTl0 ", "\n", "PPé"])
def test_a_text_that_is_no_code_spans_minus_one(text: str) -> None:
    assert rle.spans([text]).tolist() == [-1]


def test_a_run_of_absurd_length_is_no_crash() -> None:
    assert rle.spans(["o" * 40 + "0"])[0] != 4


def test_empty_masks() -> None:
    assert rle.empty((720, 1280)) == {"size": [720, 1280], "counts": rle.BLANK_720P}
    assert coco_mask.decode(rle.empty((3, 5))).tolist() == np.zeros((3, 5)).tolist()
    assert rle.areas([]).tolist() == []


def test_uncompressed_lists_become_the_text_that_pycocotools_writes() -> None:
    for mask in random_masks(50):
        code = rle.from_array(mask)
        listed = {"size": list(mask.shape), "counts": rle.runs(code["counts"])}
        assert rle.from_segmentation(listed, mask.shape) == code


def test_polygons_are_united_and_rasterised_as_coco_does() -> None:
    square, other = [0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 8, 2, 8, 8, 2, 8]
    code = rle.from_segmentation([square, other], (10, 10))
    assert rle.areas([code]).tolist() == [4 * 4 + 6 * 6 - 2 * 2]
    assert code == rle.from_segmentation([other, square], (10, 10))


def test_null_and_no_polygon_are_nothing_and_two_points_enclose_nothing() -> None:
    assert rle.from_segmentation(None, (4, 4)) is None
    assert rle.from_segmentation([], (4, 4)) is None
    assert rle.from_segmentation([[0, 0, 3, 3]], (4, 4)) == rle.empty((4, 4))  # to pycocotools: a box of 3 x 3


@pytest.mark.parametrize(
    ("segmentation", "says"),
    [
        ("text", "a list of polygons"),
        ([[0, 0, 1, 1, 2]], "flat list"),
        ([[0, 0, 1, float("nan"), 2, 2]], "finite"),
        ([["a", 0, 1, 1, 2, 2]], "finite"),
        ([3], "flat list"),
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3, but size .2, 2. has 4"),
        ({"size": [2, 2], "counts": [-1, 5]}, "at least 0"),
        ({"size": [2, 2]}, "counts"),
        ({"size": 4, "counts": "04"}, "size"),
    ],
)
def test_what_is_no_segmentation_says_so(segmentation: object, says: str) -> None:
    with pytest.raises(DataError, match=says):
        rle.from_segmentation(segmentation, (2, 2))
