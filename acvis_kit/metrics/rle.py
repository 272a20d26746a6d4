"""Masks as COCO run-length codes: made from polygons, lists and arrays; their runs read from the text.

A mask is a list of runs of 0 and 1 in turn, starting with 0, down the columns. The text writes each run (from the
fourth on: its difference to the run two places before) in groups of 5 bits, lowest first, one printable character per
group: character - 48, bit 5 says "more follows", bit 4 of the last group is the sign.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from acvis_kit.errors import DataError

RLE = dict[str, Any]  # {"size": [h, w], "counts": str or bytes}
FIRST, MORE, LAST = 48, 32, 80  # the characters' offset, the bit "more follows", the first character that has it
CHARACTERS = bytes(range(FIRST, FIRST + 64))
BLANK_720P = "PPTl0"  # the text of an empty 720x1280 mask, by which the published evaluator knows empty masks


def empty(size: tuple[int, int]) -> RLE:
    """The mask of `size` (h, w) without a pixel."""
    return {"size": list(size), "counts": written([size[0] * size[1]])}


def from_array(mask: np.ndarray) -> RLE:
    """Code of a mask (h, w), anything that is not 0 being inside."""
    from acvis_kit.metrics.coco import coco_mask

    code = coco_mask.encode(np.asfortranarray(np.asarray(mask) != 0, dtype=np.uint8))
    return {"size": [int(n) for n in code["size"]], "counts": code["counts"].decode("ascii")}


def from_segmentation(segmentation: Any, size: tuple[int, int]) -> RLE | None:
    """Code of one entry of a file: polygons (their union), compressed or uncompressed run lengths; None for null or [].

    Polygons are rasterised as COCO does it, at `size` (h, w); those of fewer than 3 points enclose nothing.

    Raises:
        DataError: what the entry is instead, without saying where it stands; the caller knows.
    """
    from acvis_kit.metrics.coco import coco_mask

    if segmentation is None or segmentation == []:
        return None
    if isinstance(segmentation, dict):
        return _from_dict(segmentation)
    if not isinstance(segmentation, list):
        raise DataError(f"a segmentation is a list of polygons, an RLE or null, not {type(segmentation).__name__}")
    for polygon in segmentation:
        if not isinstance(polygon, list | tuple) or len(polygon) % 2 or not all(map(_is_finite, polygon)):
            raise DataError("a polygon is a flat list x, y, x, y, ... of finite numbers: repair or drop it")
    # pycocotools would take the four numbers of a two-point polygon for a box
    polygons = [[float(x) for x in polygon] for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return empty(size)
    code = coco_mask.merge(coco_mask.frPyObjects(polygons, *size))
    return {"size": list(size), "counts": code["counts"].decode("ascii")}


def areas(codes: Sequence[RLE]) -> np.ndarray:
    """Pixels inside each mask, int64 (N,)."""
    from acvis_kit.metrics.coco import coco_mask

    # pycocotools 2.0.11 puts the number of masks into 8 bits and raises OverflowError from 256 on
    parts = [coco_mask.area(codes[n : n + 255]) for n in range(0, len(codes), 255)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def spans(texts: Sequence[str | bytes]) -> np.ndarray:
    """Pixels that each text spans, int64 (N,): h * w of its size if it is sound; -1 for a text of other characters.

    All texts at once, without writing the runs out: a run is a sum of differences, so a difference counts as often as
    runs of its parity follow it. pycocotools does not look: it never returns from comparing masks of different spans.
    """
    texts = [t.encode("ascii", "xmlcharrefreplace") if isinstance(t, str) else t for t in texts]  # "&" is none
    sound = [n for n, text in enumerate(texts) if text and not text.translate(None, CHARACTERS) and text[-1] < LAST]
    out = np.array([-1 if text else 0 for text in texts], np.int64)
    if not sound:
        return out
    groups = np.frombuffer(b"".join(texts[n] for n in sound), np.uint8) - np.uint8(FIRST)  # (characters,)
    run_end = np.flatnonzero(groups < MORE)
    difference = _differences(groups, run_end)  # (runs,)
    until = np.searchsorted(run_end, np.cumsum([len(texts[n]) for n in sound]))  # (texts,), runs up to a text's end
    first = np.concatenate([[0], until[:-1]])
    followers = (np.repeat(until - 1, until - first) - np.arange(len(run_end))) // 2 + 1
    followers[first] = 1  # differences begin with the fourth run, whose partner is the second: none is to the first
    out[sound] = np.add.reduceat(difference * followers, first)
    return out


def misfit(codes: Sequence[RLE]) -> tuple[int, str] | None:
    """Place of the first code that does not fill its own size, and what is wrong with it; None if all do."""
    for n, (code, span) in enumerate(zip(codes, spans([c["counts"] for c in codes]).tolist(), strict=True)):
        pixels = code["size"][0] * code["size"][1]
        if span != pixels:
            found = "are no text of an RLE" if span < 0 else f"span {span} pixels"
            return n, f"the counts of the RLE {found}, its size {list(code['size'])} has {pixels}."
    return None


def runs(text: str | bytes) -> list[int]:
    """The run lengths of one text: of 0, of 1, of 0, ..."""
    out: list[int] = []
    value = shift = 0
    for character in text.encode("ascii") if isinstance(text, str) else text:
        group = character - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        out.append(value + (out[-2] if len(out) > 2 else 0))
        value = shift = 0
    return out


def _differences(groups: np.ndarray, run_end: np.ndarray) -> np.ndarray:
    """Groups of 5 bits, lowest first, to signed numbers (runs,)."""
    start = np.concatenate([[0], run_end[:-1] + 1])
    width = run_end - start + 1
    out = (groups[start] & 31).astype(np.int64)
    for k in range(1, min(int(width.max()), 12)):  # 12 groups fill 60 bits; sound texts have 4 at most
        longer = np.flatnonzero(width > k)
        out[longer] += (groups[start[longer] + k] & 31).astype(np.int64) << 5 * k
    negative = np.flatnonzero(groups[run_end] & 16)
    out[negative] -= np.int64(1) << 5 * np.minimum(width[negative], 12)
    return out


def _is_finite(number: Any) -> bool:
    return isinstance(number, int | float) and math.isfinite(number)


def _from_dict(code: dict[str, Any]) -> RLE:
    """A run-length code with its counts as text."""
    size, counts = code.get("size"), code.get("counts")
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise DataError(f"an RLE has a size [h, w], not {size!r}")
    if isinstance(counts, str | bytes):
        return code
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise DataError("the counts of an RLE are text, or a list of run lengths of at least 0")
    if sum(counts) != size[0] * size[1]:
        raise DataError(f"run lengths add up to {sum(counts)}, but size {list(size)} has {size[0] * size[1]} pixels")
    return {"size": list(size), "counts": written(counts)}


def written(lengths: list[int]) -> str:
    """The text of run lengths."""
    text = []
    for n, length in enumerate(lengths):
        value = length - lengths[n - 2] if n > 2 else length
        while True:
            group, value = value & 31, value >> 5
            done = value == (-1 if group & 16 else 0)
            text.append(chr(48 + group + (0 if done else 32)))
            if done:
                break
    return "".join(text)
