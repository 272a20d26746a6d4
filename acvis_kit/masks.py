"""Masks and COCO run-length codes: masks to run lengths, segmentations to masks.

A code lists alternating runs of 0 and 1, beginning with 0, down the columns of the mask. Its text encodes each run
(from the fourth on: the difference to the run two places before) in groups of 5 bits, lowest first, one printable
character per group: character - 48; bit 5 means "more follows", bit 4 of the last group is the sign. pycocotools writes
and reads these codes. This module checks them first, because pycocotools does not: comparing masks of different spans
never ends, and a polygon with a huge coordinate ends the process. Nothing is rasterised before the frame's size and
the length of the outlines are within the limits below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import DataError, brief

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

NUMBERS = {int, float}  # without bool, which is an int to isinstance
RLE = dict[str, Any]  # {"size": [h, w], "counts": str or bytes}
FIRST, MORE, LAST = 48, 32, 80  # the characters' offset, the bit "more follows", the first character that has it
CHARACTERS = bytes(range(FIRST, FIRST + 64))
BLANK_720P = "PPTl0"  # the text of an empty 720x1280 mask, by which the published evaluator recognises empty masks
LARGEST_SIDE, LARGEST_FRAME = 2**16, 2**26  # pixels of a side and of a frame; 8K video has 7680 and 2**25
FARTHEST = 4096  # pixels from the frame, of a polygon's coordinates: COCO samples edges outside the frame too
LONGEST_OUTLINE = 2**20  # pixels, all edges of a segmentation together: about 100 MB while they are sampled
WIDEST = 6  # characters of a run: 30 bits with the sign, enough for the largest frame
TOO_WIDE = -(2**40)  # stands for a wider run: it makes its text's run lengths negative
MERGED_AT_ONCE = 64  # polygons: the time of one merge grows with their number's square
AREAS_AT_ONCE = 255  # pycocotools 2.0.11 stores the number of masks in 8 bits and raises OverflowError from 256 on


def empty(size: tuple[int, int]) -> RLE:
    """The code of an empty mask of `size` (H, W); counts as text."""
    return _compressed([size[0] * size[1]], size)


def encode(mask: np.ndarray) -> RLE:
    """The code of one mask (H, W), inside where it is not 0; counts as text."""
    return _as_text(_coco().encode(np.asfortranarray(np.asarray(mask) != 0, dtype=np.uint8)))


def encode_masks(masks: Tensor) -> list[RLE]:
    """The codes of bool masks (N, H, W) on any device; counts as bytes."""
    block, ends = texts_in_a_block(masks)
    return [{"size": [*masks.shape[1:]], "counts": block[start:end]} for start, end in pairwise([0, *ends])]


def texts_in_a_block(masks: Tensor) -> tuple[bytes, list[int]]:
    """The texts of bool masks (N, H, W) on any device, one behind the other, and where each of them ends.

    pycocotools codes masks on the CPU. Those on another device are coded there, to the same texts: only these are
    copied to the host.
    """
    if masks.device.type == "cpu":
        columns_first = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))  # (H, W, N)
        texts = [code["counts"] for code in _coco().encode(columns_first)]
        return b"".join(texts), list(accumulate(map(len, texts)))
    return coded_by_torch(masks)


def coded_by_torch(masks: Tensor) -> tuple[bytes, list[int]]:
    """As `texts_in_a_block`, by operations of torch for all masks at once; a device is waited for three times."""
    import torch

    device, n, pixels = masks.device, len(masks), masks.shape[1] * masks.shape[2]
    columns = masks.transpose(1, 2).reshape(n, pixels)
    changed = torch.cat([columns[:, :1], columns[:, 1:] != columns[:, :-1]], 1)
    where = changed.flatten().nonzero()[:, 0]  # (R,), pixel numbers in all masks together
    of_change = where // max(pixels, 1)  # number of the mask
    run = torch.arange(len(where), device=device) + of_change  # that ends with a change; a mask's last ends with it
    last = (changed.sum(1) + 1).cumsum(0) - 1  # (N,), the last run of each mask
    first = torch.cat([last.new_zeros(1), last[:-1] + 1])[:n]
    ends = where.new_full((len(where) + n,), pixels)
    ends[run] = where - of_change * pixels
    mask = torch.empty_like(ends)  # of each run
    mask[run] = of_change
    mask[last] = torch.arange(n, device=device)
    lengths = ends.diff(prepend=ends.new_zeros(1))
    lengths[first] = ends[first]

    within = torch.arange(len(ends), device=device) - first[mask]
    numbers = torch.where(within > 2, lengths - lengths.roll(2), lengths)
    size = torch.where(numbers < 0, ~numbers, numbers)  # what must fit beside the sign
    groups = torch.ones_like(numbers)
    for width in range(1, WIDEST):
        groups += size >= 1 << (5 * width - 1)
    until = groups.cumsum(0)
    text_ends = until[last].tolist()
    length = text_ends[-1] if text_ends else 0
    text = torch.empty(length + 1, dtype=torch.uint8, device=device)  # what lies behind a run goes to the last place
    for number in range(WIDEST):
        place = torch.where(groups > number, until - groups + number, length)
        more = (groups > number + 1) * MORE
        text[place] = ((numbers >> 5 * number & 31) + more + FIRST).to(torch.uint8)
    return text[:length].cpu().numpy().tobytes(), text_ends


def decode(code: RLE) -> NDArray[np.bool_]:
    """The mask of a code, bool (H, W)."""
    return _coco().decode(code).astype(bool)


def plain(value: Any) -> Any:
    """Scalars and arrays of NumPy and torch as Python's numbers and lists of them; any other value as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def whole(value: Any) -> int | None:
    """The whole number that a value is, of whatever type (2.0 is 2); None if it is none, as True and "2" are."""
    if type(value) is int:
        return value
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if value == int(value) else None


def frame_size(height: Any, width: Any) -> tuple[int, int]:
    """A checked size of frames, (H, W) in pixels.

    Raises:
        DataError: a side that is no whole number, or out of range; names both.
    """
    h, w = whole(height), whole(width)
    if h is None or w is None or min(h, w) < 1 or max(h, w) > LARGEST_SIDE or h * w > LARGEST_FRAME:
        raise DataError(
            f"height and width are ({brief(height)}, {brief(width)}), not whole numbers from 1 to {LARGEST_SIDE} of at "
            f"most {LARGEST_FRAME} pixels together"
        )
    return h, w


def from_segmentation(segmentation: Any, size: tuple[int, int]) -> RLE | None:
    """The code of one segmentation in a file; None for null and for an empty list.

    Polygons are rasterised as COCO does it; those of fewer than 3 points enclose nothing. The text of a code is not
    checked here but by `misfit`, for many codes at once.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...] (their union), an RLE with its counts as text or as a list of
            run lengths, an array (H, W) of bool or whole numbers, inside where it is not 0, or None. Other lists may
            be tuples or arrays, numbers of any type.
        size: (H, W) of the frame.

    Raises:
        DataError: another kind of value, one of another size, or a polygon that would take much memory to rasterise.
            The message describes it but not its place in the file, which the caller adds.
    """
    if isinstance(segmentation, dict):
        return _from_dict(segmentation, size)
    if getattr(segmentation, "ndim", 1) != 1:
        return _from_array(np.asarray(segmentation), size)
    polygons = plain(segmentation)
    if polygons is None:
        return None
    if not isinstance(polygons, list | tuple):
        raise DataError(f"a segmentation is a list of polygons, an RLE or null, not {type(polygons).__name__}")
    return _rasterised([_outline(polygon, size) for polygon in polygons], size) if polygons else None


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
    if (wrong := misfit([code])) is not None:
        raise DataError(wrong[1])
    return decode(code)


def as_code(mask: Any) -> RLE:
    """The code of a mask in memory: an array (H, W), inside where it is not 0, or a code of any size, checked.

    Raises:
        DataError: neither of the two.
    """
    if isinstance(mask, dict):
        size = plain(mask.get("size"))
        if not isinstance(size, list | tuple) or len(size) != 2:
            raise DataError(f"an RLE must have a size [h, w] in pixels, not {brief(size)}")
        return _from_dict(mask, frame_size(*size))
    pixels = np.asarray(mask)
    if pixels.ndim != 2 or pixels.dtype.kind not in "biuf":
        raise DataError(f"a mask must be an array (H, W) or an RLE, not {type(mask).__name__} of shape {pixels.shape}")
    frame_size(*pixels.shape)
    return encode(pixels)


def areas(codes: Sequence[RLE]) -> NDArray[np.int64]:
    """Pixels inside each mask, int64 (N,)."""
    coco = _coco()
    parts = [coco.area(codes[n : n + AREAS_AT_ONCE]) for n in range(0, len(codes), AREAS_AT_ONCE)]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def boxes(codes: Sequence[RLE]) -> NDArray[np.float64]:
    """Left, top, width and height of each mask in pixels, float64 (N, 4); zeros for an empty mask."""
    return _coco().toBbox(list(codes))


def shared_fractions(found: Sequence[RLE], true: Sequence[RLE]) -> NDArray[np.float64]:
    """Pixels that each pair of masks of one size shares, as a fraction of those of the first, float64 (found, true).

    pycocotools divides by the first mask where the second counts as a crowd. It reads each text once.
    """
    if not found or not true:
        return np.zeros((len(found), len(true)))
    return _coco().iou(list(found), list(true), [1] * len(true))


def iou(found: Sequence[RLE], true: Sequence[RLE]) -> NDArray[np.float64]:
    """Intersection over union of all pairs, float64 (found, true), in [0, 1]."""
    if not found or not true:
        return np.zeros((len(found), len(true)))
    return _coco().iou(list(found), list(true), [0] * len(true))


def spans(texts: Sequence[str | bytes]) -> NDArray[np.int64]:
    """Pixels that each text spans, int64 (N,): H * W of its size if it is valid; -1 for a text that is not.

    A text is not valid if it has other characters, ends within a run, or has a run that is negative or longer than the
    largest frame.
    """
    codes = [t.encode("ascii", "xmlcharrefreplace") if isinstance(t, str) else t for t in texts]  # "&" is invalid
    valid = [n for n, code in enumerate(codes) if code and not code.translate(None, CHARACTERS) and code[-1] < LAST]
    out = np.array([-1 if code else 0 for code in codes], np.int64)
    if valid:
        lengths, first = _lengths([codes[n] for n in valid])
        longest = np.maximum.reduceat(lengths.view(np.uint64), first)  # a negative run is huge without its sign
        out[valid] = np.where(longest > LARGEST_FRAME, -1, np.add.reduceat(lengths, first))
    return out


def misfit(codes: Sequence[RLE]) -> tuple[int, str] | None:
    """Index of the first code that does not fill its own size, and what is wrong with it; None if all do."""
    for n, (code, span) in enumerate(zip(codes, spans([c["counts"] for c in codes]).tolist(), strict=True)):
        pixels = code["size"][0] * code["size"][1]
        if span != pixels:
            found = "are no text of run lengths or hold a negative run" if span < 0 else f"span {span} pixels"
            return n, f"the counts of the RLE {found}, but its size {list(code['size'])} has {pixels} pixels."
    return None


def runs(text: str | bytes) -> list[int]:
    """The run lengths of one text: of 0, of 1, of 0, ...

    Raises:
        DataError: a text that is not valid, see `spans`.
    """
    if spans([text])[0] < 0:
        raise DataError(f"{brief(text)} is no text of run lengths: code the mask again")
    return _lengths([text.encode("ascii") if isinstance(text, str) else text])[0].tolist() if text else []


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


def _lengths(codes: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The run lengths of valid texts, end to end, int64 (runs,), and the index of each text's first, (N,).

    All texts are decoded at once. From its fourth on, a run is the difference to the run two places before it: summed
    over every other run, the differences since a text's second and third run are the lengths.
    """
    groups = np.frombuffer(b"".join(codes), np.uint8) - np.uint8(FIRST)  # (characters,)
    run_end = np.flatnonzero(groups < MORE)
    out = _differences(groups, run_end)  # (runs,)
    until = np.searchsorted(run_end, np.cumsum([len(code) for code in codes]))  # (N,), runs up to a text's end
    first = np.concatenate([[0], until[:-1]])
    starts = (first[:, None] + np.arange(3)).ravel()  # a text's first three runs are relative to none
    starts = starts[starts < np.repeat(until, 3)]
    for parity in (0, 1):
        own = starts[starts % 2 == parity] // 2
        total = np.cumsum(out[parity::2])
        before = np.where(own > 0, total[own - 1], 0)
        out[parity::2] = total - np.repeat(before, np.diff(own, append=len(total)))
    return out, first


def _differences(groups: np.ndarray, run_end: np.ndarray) -> np.ndarray:
    """Groups of 5 bits, lowest first, to signed numbers (runs,)."""
    out = ((groups[run_end] & 31) ^ 16).astype(np.int64) - 16  # a run's last group has the sign
    run, at = np.arange(len(run_end)), run_end
    for width in range(1, WIDEST + 1):
        group = groups[at - 1]  # before the first comes the last of all, behind which nothing follows
        more = np.flatnonzero(group >= MORE)
        run, at = run[more], at[more] - 1
        out[run] = out[run] << 5 | group[more] & 31 if width < WIDEST else TOO_WIDE
    return out


def _outline(polygon: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """The points of one polygon, float64 (n, 2), x and y."""
    polygon = plain(polygon)
    if isinstance(polygon, list | tuple):
        numbers = polygon if set(map(type, polygon)) <= NUMBERS else [plain(x) for x in polygon]
        if not len(numbers) % 2 and (numbers is polygon or set(map(type, numbers)) <= NUMBERS):
            points = _points(numbers)
            if _is_near(points, size):
                return points
    raise DataError(
        f"a polygon is a flat list x, y, x, y, ... of finite numbers, at most {FARTHEST} from the frame: repair or "
        "drop it"
    )


def _points(numbers: Sequence[float]) -> NDArray[np.float64]:
    try:
        return np.array(numbers, np.float64).reshape(-1, 2)
    except OverflowError:  # an integer beyond all floats
        return np.full((1, 2), np.inf)


def _is_near(points: NDArray[np.float64], size: tuple[int, int]) -> bool:
    """Whether all points (n, 2) are finite and at most `FARTHEST` from the frame."""
    if not len(points):
        return True
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()  # NaN stays NaN
    return min(left, top) >= -FARTHEST and right <= size[1] + FARTHEST and bottom <= size[0] + FARTHEST


def _rasterised(outlines: list[NDArray[np.float64]], size: tuple[int, int]) -> RLE:
    """The union of polygons (n, 2)."""
    outlines = [points for points in outlines if len(points) > 2]  # pycocotools would take two points for a box
    if not outlines:
        return empty(size)
    if sum(map(len, outlines)) * (max(size) + 2 * FARTHEST) > LONGEST_OUTLINE:  # no edge is longer
        pixels = sum(float(np.abs(np.diff(points, axis=0)).max(axis=1).sum()) for points in outlines)
        if pixels > LONGEST_OUTLINE:
            raise DataError(f"the polygons are {pixels:.0f} pixels long, more than {LONGEST_OUTLINE}: simplify them")
    coco = _coco()
    codes = coco.frPyObjects([points.ravel().tolist() for points in outlines], *size)
    while len(codes) > 1:
        codes = [coco.merge(codes[n : n + MERGED_AT_ONCE]) for n in range(0, len(codes), MERGED_AT_ONCE)]
    return _as_text(codes[0])


def _from_array(mask: np.ndarray, frame: tuple[int, int]) -> RLE:
    """The code of a mask of the frame's size."""
    if mask.shape != tuple(frame):
        raise DataError(f"the mask's size is {list(mask.shape)}, the video's {list(frame)}")
    if mask.dtype.kind not in "bui":
        raise DataError(f"a mask must be an array of bool or whole numbers, not of {mask.dtype}: compare it with 0.5")
    return encode(mask)


def _from_dict(code: dict[str, Any], frame: tuple[int, int]) -> RLE:
    """A code of the frame's size, its counts as text or bytes."""
    size, counts = code.get("size"), code.get("counts")
    if type(counts) is str and type(size) is list and size == [*frame] and type(size[0]) is type(size[1]) is int:
        return code  # as nearly all are
    size, counts = plain(size), plain(counts)
    sides = [whole(side) for side in size] if isinstance(size, list | tuple) else []
    if len(sides) != 2 or None in sides:
        raise DataError(f"an RLE must have a size [h, w] in pixels, not {brief(size)}")
    if tuple(sides) != tuple(frame):
        raise DataError(f"the mask's size is {brief(sides)}, the video's {list(frame)}")
    if isinstance(counts, str | bytes):
        return {"size": sides, "counts": counts}
    given = [whole(n) for n in counts] if isinstance(counts, list | tuple) else [None]
    lengths = [n for n in given if n is not None and n >= 0]
    if len(lengths) < len(given):
        raise DataError("the counts of an RLE must be text, or a list of run lengths of at least 0")
    if (total := sum(lengths)) != frame[0] * frame[1]:
        raise DataError(f"run lengths add up to {brief(total)}, but size {sides} has {frame[0] * frame[1]} pixels")
    return _compressed(lengths, frame)
