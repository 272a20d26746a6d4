"""Masks out of a file's segmentations: polygons, run lengths as text or list, null. Plain numpy, so that training
needs no pycocotools; pixel for pixel what pycocotools makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from acvis_kit.errors import DataError
from acvis_kit.metrics import rle

UPSAMPLING = 5  # COCO walks along a polygon's outline in fifths of a pixel


def decode(segmentation: Any, size: tuple[int, int]) -> np.ndarray | None:
    """One entry of a file as a mask; None for null and for an empty list.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] (their union), an RLE {"size": [h, w], "counts": text or run
            lengths}, or None.
        size: (H, W) of the frame.

    Returns:
        bool (H, W).

    Raises:
        DataError: what the entry is instead, or its size; the caller knows where it stands.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size)
    if not isinstance(segmentation, list):
        raise DataError(f"a segmentation is a list of polygons, an RLE or null, not {type(segmentation).__name__}")
    mask = np.zeros(size, bool)
    for polygon in segmentation:
        if not isinstance(polygon, list | tuple) or len(polygon) % 2:
            raise DataError("a polygon is a flat list x, y, x, y, ... of finite numbers: repair or drop it")
        if len(polygon) >= 6:  # fewer than three points enclose nothing
            mask |= _from_polygon(polygon, size)
    return mask


def _from_runs(code: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    given, counts = code.get("size"), code.get("counts")
    if not isinstance(given, list | tuple) or tuple(given) != size:
        raise DataError(f"the mask's size is {given!r}, the video's {list(size)}")
    lengths = counts if isinstance(counts, list) else rle.runs(counts)
    if min(lengths, default=0) < 0 or sum(lengths) != size[0] * size[1]:
        raise DataError(f"the runs of a mask span {sum(lengths)} pixels, its size {list(size)} has {size[0] * size[1]}")
    inside = np.arange(len(lengths)) % 2 == 1  # runs of 0 and 1 in turn, from 0
    return np.repeat(inside, lengths).reshape(size[::-1]).T  # down the columns


def _from_polygon(polygon: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """COCO's rasterisation (`rleFrPoly`): the outline in fifths of a pixel, where it crosses the middle of a column,
    switches between outside and inside, down that column.
    """
    height, width = size
    points = np.asarray(polygon, np.float64)
    if not np.isfinite(points).all():
        raise DataError("a polygon is a flat list x, y, x, y, ... of finite numbers: repair or drop it")
    corners = np.trunc(UPSAMPLING * points + 0.5).astype(np.int64).reshape(-1, 2)  # C's cast to int
    ends = np.roll(corners, -1, axis=0)
    u, v = _outline(corners, ends)

    crossing = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = np.where(u[crossing] < u[crossing - 1], u[crossing], u[crossing] - 1)
    y = np.minimum(v[crossing], v[crossing - 1])
    at_middle = (2 * x + 1 - UPSAMPLING) % (2 * UPSAMPLING) == 0  # (x + 0.5) / 5 - 0.5 is whole
    column = (2 * x + 1 - UPSAMPLING) // (2 * UPSAMPLING)
    kept = at_middle & (column >= 0) & (column <= width - 1)
    row = np.ceil(np.clip((y[kept] + 0.5) / UPSAMPLING - 0.5, 0, height)).astype(np.int64)
    switches = np.bincount(column[kept] * height + row, minlength=height * width + 1)[: height * width]
    return (np.cumsum(switches) % 2 == 1).reshape(width, height).T


def _outline(starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole points along every edge, both ends included, in order: x (P,) and y (P,)."""
    steps = np.abs(ends - starts)  # (E, 2)
    longest = steps.max(axis=1)
    flat = steps[:, 0] >= steps[:, 1]  # runs along x
    along = np.where(flat, ends[:, 0] - starts[:, 0], ends[:, 1] - starts[:, 1])
    first = np.where((along < 0)[:, None], ends, starts)  # each edge is computed from its lower end
    last = np.where((along < 0)[:, None], starts, ends)
    rise = np.where(flat, last[:, 1] - first[:, 1], last[:, 0] - first[:, 0]) / np.maximum(longest, 1)

    edge = np.repeat(np.arange(len(starts)), longest + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(longest + 1) - longest - 1, longest + 1)
    step = np.where(along[edge] < 0, longest[edge] - step, step)
    base = np.where(flat[edge], first[edge, 0], first[edge, 1])
    other = np.where(flat[edge], first[edge, 1], first[edge, 0])
    across = np.trunc(other + rise[edge] * step + 0.5).astype(np.int64)
    return np.where(flat[edge], base + step, across), np.where(flat[edge], across, base + step)
