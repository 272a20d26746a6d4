"""Masks and COCO run-length codes: masks to run lengths, segmentations to masks.

A code lists alternating runs of 0 and 1, beginning with 0, down the columns of the mask. Its text encodes each run
(from the fourth on: the difference to the run two places before) in groups of 5 bits, lowest first, one printable
character per group: character - 48; bit 5 means "more follows", bit 4 of the last group is the sign. pycocotools writes
and reads these codes. This module checks them first, because pycocotools does not: comparing masks of different spans
never ends, and a polygon with a huge coordinate ends the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import DataError

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

RLE = dict[str, Any]  # {"size": [h, w], "counts": str or bytes}
FIRST, MORE, LAST = 48, 32, 80  # the characters' offset, the bit "more follows", the first character that has it
CHARACTERS = bytes(range(FIRST, FIRST + 64))
BLANK_720P = "PPTl0"  # the text of an empty 720x1280 mask, by which the published evaluator recognises empty masks
FARTHEST = 2**16  # pixels from the frame, of a polygon's coordinates
AREAS_AT_ONCE = 255  # pycocotools 2.0.11 stores the number of masks in 8 bits and raises OverflowError from 256 on


def empty(size: tuple[int, int]) -> RLE:
    """The code of an empty mask of `size` (H, W); counts as text."""
    return _compressed([size[0] * size[1]], size)


def encode(mask: np.ndarray) -> RLE:
    """The code of one mask (H, W), inside where it is not 0; counts as text."""
    return _as_text(_coco().encode(np.asfortranarray(np.asarray(mask) != 0, dtype=np.uint8)))


def encode_masks(masks: Tensor) -> list[RLE]:
    """The codes of bool masks (N, H, W) on any device; counts as bytes."""
    columns_first = np.asfortranarray(masks.permute(1, 2, 0).cpu().numpy().astype(np.uint8))  # (H, W, N)
    return _coco().encode(columns_first)


def decode(code: RLE) -> NDArray[np.bool_]:
    """The mask of a code, bool (H, W)."""
    return _coco().decode(code).astype(bool)


def from_segmentation(segmentation: Any, size: tuple[int, int]) -> RLE | None:
    """The code of one segmentation in a file; None for null and for an empty list.

    Polygons are rasterised as COCO does it; those of fewer than 3 points enclose nothing.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] (their union), an RLE with its counts as text or as a list of
            run lengths, or None.
        size: (H, W) at which polygons are rasterised.

    Raises:
        DataError: another kind of value. The message describes it but not its place in the file, which the caller adds.
    """
    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _from_dict(segmentation)
    if not isinstance(segmentation, list):
        raise DataError(f"a segmentation is a list of polygons, an RLE or null, not {type(segmentation).__name__}")
    for polygon in segmentation:
        if not isinstance(polygon, list | tuple) or len(polygon) % 2 or not all(map(_is_coordinate, polygon)):
            raise DataError(
                "a polygon is a flat list x, y, x, y, ... of finite numbers, at most "
                f"{FARTHEST} from the frame: repair or drop it"
            )
    # pycocotools would take the four numbers of a two-point polygon for a box
    polygons = [[float(x) for x in polygon] for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return empty(size)
    coco = _coco()
    return _as_text(coco.merge(coco.frPyObjects(polygons, *size)))


def mask_of(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """One segmentation in a file as a mask, bool (H, W); None for null and for an empty list.

    Args:
        segmentation: see `from_segmentation`.
        size: (H, W) of the frame.

    Raises:
        DataError: no segmentation, one of another size than `size`, or runs that do not fill that size.
    """
    code = from_segmentation(segmentation, size)
    if code is None:
        return None
    if tuple(code["size"]) != tuple(size):
        raise DataError(f"the mask's size is {list(code['size'])}, the video's {list(size)}")
    if (wrong := misfit([code])) is not None:
        raise DataError(wrong[1])
    if min(runs(code["counts"]), default=0) < 0:
        raise DataError("the counts of the RLE hold a negative run: code the mask again")
    return decode(code)


def areas(codes: Sequence[RLE]) -> NDArray[np.int64]:
    """Pixels inside each mask, int64 (N,)."""
    coco = _coco()
    parts = [coco.area(codes[n : n + AREAS_AT_ONCE]) for n in range(0, len(codes), AREAS_AT_ONCE)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def boxes(codes: Sequence[RLE]) -> NDArray[np.float64]:
    """Left, top, width and height of each mask in pixels, float64 (N, 4); zeros for an empty mask."""
    return _coco().toBbox(list(codes))


def intersection(a: RLE, b: RLE) -> RLE:
    """The code of the pixels that two masks of one size share."""
    return _coco().merge([a, b], True)


def iou(found: Sequence[RLE], true: Sequence[RLE]) -> NDArray[np.float64]:
    """Intersection over union of all pairs, float64 (found, true), in [0, 1]."""
    if not found or not true:
        return np.zeros((len(found), len(true)))
    return _coco().iou(list(found), list(true), [0] * len(true))


def spans(texts: Sequence[str | bytes]) -> NDArray[np.int64]:
    """Pixels that each text spans, int64 (N,): H * W of its size if it is valid; -1 for a text of other characters.

    All texts are summed at once, without decoding the runs: a run is a sum of differences, so each difference is
    weighted by the number of runs of its parity from it on.
    """
    codes = [t.encode("ascii", "xmlcharrefreplace") if isinstance(t, str) else t for t in texts]  # "&" is invalid
    valid = [n for n, code in enumerate(codes) if code and not code.translate(None, CHARACTERS) and code[-1] < LAST]
    out = np.array([-1 if code else 0 for code in codes], np.int64)
    if not valid:
        return out
    groups = np.frombuffer(b"".join(codes[n] for n in valid), np.uint8) - np.uint8(FIRST)  # (characters,)
    run_end = np.flatnonzero(groups < MORE)
    difference = _differences(groups, run_end)  # (runs,)
    until = np.searchsorted(run_end, np.cumsum([len(codes[n]) for n in valid]))  # (texts,), runs up to a text's end
    first = np.concatenate([[0], until[:-1]])
    followers = (np.repeat(until - 1, until - first) - np.arange(len(run_end))) // 2 + 1
    followers[first] = 1  # differences begin with the fourth run, relative to the second: none is relative to the first
    out[valid] = np.add.reduceat(difference * followers, first)
    return out


def misfit(codes: Sequence[RLE]) -> tuple[int, str] | None:
    """Index of the first code that does not fill its own size, and what is wrong with it; None if all do."""
    for n, (code, span) in enumerate(zip(codes, spans([c["counts"] for c in codes]).tolist(), strict=True)):
        pixels = code["size"][0] * code["size"][1]
        if span != pixels:
            found = "are no text of run lengths" if span < 0 else f"span {span} pixels"
            return n, f"the counts of the RLE {found}, but its size {list(code['size'])} has {pixels} pixels."
    return None


def runs(text: str | bytes) -> list[int]:
    """The run lengths of one text: of 0, of 1, of 0, ..."""
    out: list[int] = []
    value = shift = 0
    for character in text.encode("ascii") if isinstance(text, str) else text:
        group = character - FIRST
        value |= (group & 31) << shift
        shift += 5
        if group & MORE:
            continue
        if group & 16:
            value -= 1 << shift
        out.append(value + (out[-2] if len(out) > 2 else 0))
        value = shift = 0
    return out


def _coco() -> ModuleType:
    """The mask module of pycocotools, imported where it is used: a machine without it can still import the kit.

    Raises:
        DataError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError(f"masks need pycocotools ({error}): pip install pycocotools") from error
    return mask


def _as_text(code: RLE) -> RLE:
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def _compressed(lengths: list[int], size: Sequence[int]) -> RLE:
    """The code of run lengths that fill `size` (H, W)."""
    return _as_text(_coco().frPyObjects({"size": list(size), "counts": lengths}, *size))


def _differences(groups: np.ndarray, run_end: np.ndarray) -> np.ndarray:
    """Groups of 5 bits, lowest first, to signed numbers (runs,)."""
    start = np.concatenate([[0], run_end[:-1] + 1])
    width = run_end - start + 1
    out = (groups[start] & 31).astype(np.int64)
    for k in range(1, min(int(width.max()), 12)):  # 12 groups fill 60 bits; valid texts have at most 4
        longer = np.flatnonzero(width > k)
        out[longer] += (groups[start[longer] + k] & 31).astype(np.int64) << 5 * k
    negative = np.flatnonzero(groups[run_end] & 16)
    out[negative] -= np.int64(1) << 5 * np.minimum(width[negative], 12)
    return out


def _is_coordinate(number: Any) -> bool:
    return isinstance(number, int | float) and abs(number) <= FARTHEST  # False for NaN


def _from_dict(code: dict[str, Any]) -> RLE:
    """A checked run-length code, its counts as text or bytes."""
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2 or not all(isinstance(n, int) and n >= 0 for n in size):
        raise DataError(f"an RLE must have a size [h, w] in pixels, not {size!r:.60}")
    if isinstance(counts, str | bytes):
        return code
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise DataError("the counts of an RLE must be text, or a list of run lengths of at least 0")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"run lengths add up to {sum(counts)}, but size {list(size)} has {size[0] * size[1]} pixels")
    return _compressed(counts, size)
