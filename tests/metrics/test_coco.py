"""The stand-in for pycocotools says what pycocotools says."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from acvis_kit.errors import DataError
from acvis_kit.metrics.coco import NumpyMasks

SHAPES = [(1, 1), (5, 7), (13, 4), (40, 64)]


def masks(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Empty, full, noisy and blocky ones: uint8 (h, w, 8)."""
    rng = np.random.default_rng(seed)
    out = [np.zeros(shape, bool), np.ones(shape, bool)]
    out += [rng.random(shape) < share for share in (0.05, 0.5, 0.95)]
    for _ in range(3):
        y, x = sorted(rng.integers(0, shape[0] + 1, 2)), sorted(rng.integers(0, shape[1] + 1, 2))
        block = np.zeros(shape, bool)
        block[y[0] : y[1], x[0] : x[1]] = True
        out.append(block)
    return np.asfortranarray(np.stack(out, -1).astype(np.uint8))


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_areas_boxes_and_pixels_are_those_of_pycocotools(shape: tuple[int, int]) -> None:
    given = masks(shape)
    codes = coco_mask.encode(given)
    assert NumpyMasks.encode(given) == codes
    assert NumpyMasks.encode(np.asfortranarray(given[..., 3])) == codes[3]
    assert (NumpyMasks.area(codes) == coco_mask.area(codes)).all()
    assert NumpyMasks.area(codes[4]) == coco_mask.area(codes[4])
    assert (NumpyMasks.toBbox(codes) == coco_mask.toBbox(codes)).all()
    assert (NumpyMasks.decode(codes) == given).all()
    assert (NumpyMasks.decode(codes[2]) == given[..., 2]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_overlaps_are_those_of_pycocotools(shape: tuple[int, int]) -> None:
    a, b = coco_mask.encode(masks(shape, 1)), coco_mask.encode(masks(shape, 2))
    for crowd in ([0] * len(b), [1] * len(b)):
        assert np.array_equal(NumpyMasks.iou(a, b, crowd), coco_mask.iou(a, b, crowd))
    assert NumpyMasks.iou([], b, [0] * len(b)) == coco_mask.iou([], b, [0] * len(b)) == []
    for pair in zip(a, b, strict=True):
        for intersect in (False, True):
            assert NumpyMasks.merge(list(pair), intersect) == coco_mask.merge(list(pair), intersect)


def test_polygons_name_what_is_missing() -> None:
    with pytest.raises(DataError, match="pycocotools"):
        NumpyMasks.frPyObjects([[0.0, 0.0, 1.0, 1.0, 0.0, 1.0]], 4, 4)


def test_scores_are_the_same_without_pycocotools() -> None:
    """A whole evaluation in a process that has none; masks as AVIS-Synth stores them."""
    code = """
import json, sys
if sys.argv[1] == "without":
    sys.modules["pycocotools"] = None
import numpy as np
from acvis_kit.metrics import evaluate, rle
from acvis_kit.data.synth.records import encode
rng = np.random.default_rng(0)
def track(x):
    masks = np.zeros((6, 24, 24), bool)
    for t in range(6):
        masks[t, 4:12, x + t : x + t + 7] = t != 3
    return [encode(m) for m in masks]
truth = {"videos": [{"id": 1, "file_names": [f"v/{t}.jpg" for t in range(6)], "length": 6, "height": 24, "width": 24}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": n, "video_id": 1, "category_id": 1, "iscrowd": 0, "height": 24, "width": 24,
        "segmentations": track(3 * n), "areas": [56] * 6, "bboxes": [[0, 0, 1, 1]] * 6} for n in (1, 2)]}
results = [{"video_id": 1, "score": 0.9 - 0.1 * n, "category_id": 1, "segmentations": track(3 * n + 1)} for n in (1, 2)]
print(json.dumps(evaluate(truth, results, "paper")))
"""
    found = [
        subprocess.run([sys.executable, "-c", code, how], capture_output=True, text=True, check=True).stdout
        for how in ("with", "without")
    ]
    assert found[0] == found[1] and '"HOTA"' in found[0]
