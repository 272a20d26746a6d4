"""pycocotools' masks where it is installed; where it is not, the same functions in numpy, code for code the same.

`coco_mask` is the module `pycocotools.mask` or a stand-in with the functions that the kit uses: encode, decode, area,
toBbox, merge, iou. It is some times slower. Polygons are read by `data.segmentations`; only `frPyObjects` is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import DataError
from acvis_kit.metrics import rle

Code = dict[str, Any]  # {"size": [h, w], "counts": bytes or str}


class NumpyMasks:
    """The functions of `pycocotools.mask`; a single mask or a list of them goes in where it does there."""

    @staticmethod
    def encode(masks: NDArray[np.uint8]) -> Code | list[Code]:
        """Codes of masks (h, w), or (h, w, N)."""
        if masks.ndim == 2:
            return _code(_lengths(masks), masks.shape)
        return [_code(_lengths(masks[..., n]), masks.shape[:2]) for n in range(masks.shape[2])]

    @staticmethod
    def decode(codes: Code | Sequence[Code]) -> NDArray[np.uint8]:
        """Masks (h, w), or (h, w, N) of a list; columns first in memory."""
        if isinstance(codes, dict):
            height, width = codes["size"]
            return _flat(codes).view(np.uint8).reshape(width, height).T
        return np.asfortranarray(np.stack([NumpyMasks.decode(code) for code in codes], axis=-1))

    @staticmethod
    def area(codes: Code | Sequence[Code]) -> Any:
        """Pixels inside: a number, or uint32 (N,) of a list."""
        if isinstance(codes, dict):
            return sum(rle.runs(codes["counts"])[1::2])
        return np.array([NumpyMasks.area(code) for code in codes], np.uint32)

    @staticmethod
    def toBbox(codes: Code | Sequence[Code]) -> NDArray[np.float64]:
        """Left, top, width, height: (4,), or (N, 4) of a list; zeros for an empty mask."""
        if not isinstance(codes, dict):
            return np.array([NumpyMasks.toBbox(code) for code in codes], np.float64).reshape(-1, 4)
        mask = NumpyMasks.decode(codes)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return np.zeros(4)
        return np.array([columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1], np.float64)

    @staticmethod
    def merge(codes: Sequence[Code], intersect: bool = False) -> Code:
        """Union of all masks, or what they have in common."""
        flat = [_flat(code) for code in codes]
        both = np.logical_and.reduce(flat) if intersect else np.logical_or.reduce(flat)
        height, width = codes[0]["size"]
        return _code(_lengths(both.reshape(width, height).T), (height, width))

    @staticmethod
    def iou(found: Sequence[Code], truth: Sequence[Code], crowd: Sequence[int]) -> Any:
        """IoU of all pairs, float64 (found, truth); a crowd's is measured by the found mask alone. [] without pairs."""
        if not len(found) or not len(truth):
            return []
        a = np.stack([_flat(code) for code in found]).astype(np.float64)  # exact up to 2^53 pixels
        b = np.stack([_flat(code) for code in truth]).astype(np.float64)
        common = a @ b.T
        own = a.sum(1)[:, None]
        whole = np.where(np.asarray(crowd, bool)[None], own, own + b.sum(1)[None] - common)
        return common / np.where(whole > 0, whole, 1)

    @staticmethod
    def frPyObjects(*_: Any) -> Any:
        """Not here: AVIS-Synth has no polygons."""
        raise DataError("scoring ground truth that is made of polygons needs pycocotools: pip install pycocotools")


def _flat(code: Code) -> NDArray[np.bool_]:
    """The pixels down the columns, bool (h * w,)."""
    lengths = rle.runs(code["counts"])
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _lengths(mask: NDArray[Any]) -> list[int]:
    flat = np.asarray(mask).ravel(order="F") != 0
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def _code(lengths: list[int], size: Sequence[int]) -> Code:
    return {"size": [int(n) for n in size], "counts": rle.written(lengths).encode("ascii")}


try:
    from pycocotools import mask as coco_mask
except ImportError:
    coco_mask = NumpyMasks
