"""Segmentations of every kind become masks, pixel for pixel as pycocotools makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from acvis_kit.data.segmentations import decode
from acvis_kit.errors import DataError


def test_polygons_are_rasterised_as_coco_does() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for round_number in range(400):
        size = (int(rng.integers(5, 90)), int(rng.integers(5, 90)))
        count = 2 * int(rng.integers(3, 12))
        polygons = [rng.uniform(-10, 100, count).tolist(), rng.integers(-3, 95, count).tolist()]  # also beyond the edge
        expected = coco.decode(coco.merge(coco.frPyObjects([list(map(float, p)) for p in polygons], *size)))
        assert np.array_equal(decode(polygons, size), expected.astype(bool)), round_number


def test_a_rectangle_of_whole_pixels_is_exactly_that() -> None:
    mask = decode([[2, 1, 7, 1, 7, 4, 2, 4]], (6, 9))
    expected = np.zeros((6, 9), bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(mask, expected)


def test_run_lengths_are_read_as_text_bytes_and_numbers() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(1)
    for _ in range(50):
        mask = rng.random((int(rng.integers(1, 60)), int(rng.integers(1, 60)))) < rng.random()
        code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        as_text = {"size": code["size"], "counts": code["counts"].decode()}
        for segmentation in (code, as_text):
            assert np.array_equal(decode(segmentation, mask.shape), mask)
    assert decode({"size": [2, 2], "counts": [1, 2, 1]}, (2, 2)).tolist() == [[False, True], [True, False]]


def test_nothing_is_none_and_an_empty_code_is_an_empty_mask() -> None:
    assert decode(None, (4, 4)) is None and decode([], (4, 4)) is None
    assert not decode({"size": [4, 4], "counts": [16]}, (4, 4)).any()
    assert not decode([[1, 1, 3, 3]], (4, 4)).any()  # two points enclose nothing


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 5], "counts": [20]}, r"size is \[4, 5\], the video's \[4, 4\]"),
        ({"size": [4, 4], "counts": [15]}, "span 15 pixels"),
        ({"size": [4, 4], "counts": [17, -1]}, "span 16 pixels|negative"),
        ({"counts": [16]}, "size is None"),
        ([[0, 0, 1, 1, 2]], "flat list"),
        ([[0, 0, 1, float("nan"), 2, 2]], "finite"),
        ("PPTl0", "not str"),
    ],
)
def test_what_is_no_segmentation_is_refused(segmentation: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode(segmentation, (4, 4))
