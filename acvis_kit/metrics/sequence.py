"""One video as the track metrics take it: identities, classes, presence, areas and overlaps; no files, no pixels.

The overlaps are computed once, frame by frame on run-length codes, and shared by mAP, HOTA and FSLA. Axes: T frames,
G true tracks, P predicted tracks.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from acvis_kit.data import schema
from acvis_kit.errors import DataError, brief
from acvis_kit.masks import BLANK_720P, RLE, areas, as_code, misfit, runs, shared_fractions

Floats = NDArray[np.float64]
MOST_PAIRS = 2**24  # of a true and a predicted mask in one frame of a video: scores keep about 40 bytes of each


@dataclass(frozen=True)
class MaskTrack:
    """One object over a whole video, as listed in a file.

    Attributes:
        category: class id.
        masks: T codes of the video's size; None where the file lists nothing.
        score: in [0, 1]; unused for a true track.
        id: of a true track, unique within its video. A predicted track is identified by its place in the file.
        mean_area: mean pixels over the non-empty frames, as the file states it; None to measure the masks.
    """

    category: int
    masks: tuple[RLE | None, ...]
    score: float = 1.0
    id: int = 0
    mean_area: float | None = None


@dataclass(frozen=True, eq=False)
class Sequence:
    """The data of one video for all track metrics, with tracks in the order of their files.

    Attributes:
        name: key of the video; sequences are summed in the order of their names.
        true_ids: int64 (G,).
        true_classes: int64 (G,).
        true_mean_area: float64 (G,), pixels; see `MaskTrack.mean_area`.
        true_listed: bool (T, G), whether the file lists a mask, empty or not.
        true_area: int64 (T, G), pixels; 0 where nothing is listed.
        pred_classes: int64 (P,).
        scores: float64 (P,), in [0, 1].
        pred_listed: bool (T, P).
        pred_area: int64 (T, P).
        pred_blank_text: bool (T, P), whether the code is the text of an empty 720x1280 mask.
        intersection: int64 (T, G, P), pixels.
        true_rank: int64 (G,), indices that sort the tracks by content. This order depends neither on the order in the
            file nor on an integer scale factor of the picture.
        pred_rank: int64 (P,), likewise.
    """

    name: str
    true_ids: NDArray[np.int64]
    true_classes: NDArray[np.int64]
    true_mean_area: NDArray[np.float64]
    true_listed: NDArray[np.bool_]
    true_area: NDArray[np.int64]
    pred_classes: NDArray[np.int64]
    scores: NDArray[np.float64]
    pred_listed: NDArray[np.bool_]
    pred_area: NDArray[np.int64]
    pred_blank_text: NDArray[np.bool_]
    intersection: NDArray[np.int64]
    true_rank: NDArray[np.int64]
    pred_rank: NDArray[np.int64]

    @classmethod
    def from_tracks(cls, name: str, length: int, true: Seq[MaskTrack], predicted: Seq[MaskTrack]) -> Sequence:
        """Build from tracks whose masks all have one size and `length` frames, as `checks` and `from_masks` ensure.

        Raises:
            DataError: more than `MOST_PAIRS` pairs of masks.
        """
        if (pairs := length * len(true) * len(predicted)) > MOST_PAIRS:
            raise DataError(
                f"video {name}: {len(true)} true and {len(predicted)} predicted tracks of {length} frames are {pairs} "
                f"pairs of masks, more than {MOST_PAIRS}: drop predictions of low score, or split the video."
            )
        true_area, pred_area = _areas(true, length), _areas(predicted, length)
        measured = mean_area(true_area)
        given = [t.mean_area for t in true]
        return cls(
            name=name,
            true_ids=np.array([t.id for t in true], np.int64),
            true_classes=np.array([t.category for t in true], np.int64),
            true_mean_area=np.array([m if a is None else a for a, m in zip(given, measured, strict=True)], float),
            true_listed=_listed(true, length),
            true_area=true_area,
            pred_classes=np.array([t.category for t in predicted], np.int64),
            scores=np.array([t.score for t in predicted], float),
            pred_listed=_listed(predicted, length),
            pred_area=pred_area,
            pred_blank_text=_blank(predicted, length),
            intersection=_intersections(true, predicted, true_area, pred_area),
            true_rank=_content_order(true, true_area),
            pred_rank=_content_order(predicted, pred_area),
        )

    @classmethod
    def from_masks(
        cls,
        true_masks: Any,
        true_classes: Seq[int],
        pred_masks: Any,
        pred_classes: Seq[int],
        scores: Seq[float],
        name: str = "video",
        length: int | None = None,
    ) -> Sequence:
        """Build from arrays or run-length codes, without a file.

        Args:
            true_masks: bool array (G, T, H, W), or G lists of T entries, each an array (H, W), an RLE or None. Under
                "official" None means "does not sound", and an empty mask is an object like any other.
            true_classes: G category ids.
            pred_masks: likewise for P tracks.
            pred_classes: P category ids.
            scores: P numbers in [0, 1].
            name: unique among the videos that are scored together.
            length: T; by default that of the tracks. Required without tracks; all frames are then silent.

        Raises:
            DataError: tracks differ in length or size, a mask is neither an array nor a code that fills its size, the
                numbers of classes or scores and tracks differ, a class is no whole number, a score is outside [0, 1],
                there is neither a track nor a length, or there are more than `MOST_PAIRS` pairs of masks.
        """
        true = _tracks(true_masks, true_classes, [1.0] * len(true_classes), name, "true")
        predicted = _tracks(pred_masks, pred_classes, scores, name, "predicted")
        lengths = {len(track.masks) for track in [*true, *predicted]} | (set() if length is None else {length})
        sizes = {tuple(m["size"]) for track in [*true, *predicted] for m in track.masks if m is not None}
        if len(lengths) > 1 or len(sizes) > 1:
            raise DataError(
                f"video {name}: all tracks must have the same number of frames and the same size, but these have "
                f"{sorted(lengths)} frames and sizes {sorted(sizes)}."
            )
        if not lengths:
            raise DataError(f"video {name} has no track, so its number of frames is unknown: pass length=.")
        return cls.from_tracks(name, lengths.pop(), true, predicted)

    def as_defined(self) -> Sequence:
        """The same video without differences that protocol "paper" ignores.

        Empty masks are absent, tracks without a pixel are dropped, and the other tracks are sorted by content.
        """
        true = self.true_rank[np.any(self.true_area, axis=0)[self.true_rank]]
        pred = self.pred_rank[np.any(self.pred_area, axis=0)[self.pred_rank]]
        true_area, pred_area = self.true_area[:, true], self.pred_area[:, pred]
        return Sequence(
            name=self.name,
            true_ids=np.arange(len(true)),
            true_classes=self.true_classes[true],
            true_mean_area=mean_area(true_area),
            true_listed=true_area > 0,
            true_area=true_area,
            pred_classes=self.pred_classes[pred],
            scores=self.scores[pred],
            pred_listed=pred_area > 0,
            pred_area=pred_area,
            pred_blank_text=np.zeros(pred_area.shape, bool),
            intersection=self.intersection[:, true][:, :, pred],
            true_rank=np.arange(len(true)),
            pred_rank=np.arange(len(pred)),
        )

    def __len__(self) -> int:
        """Number of frames, T."""
        return len(self.intersection)

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """IoU of each two masks in each frame, (T, G, P); 0 where both are empty."""
        union = self.true_area[:, :, None] + self.pred_area[:, None, :] - self.intersection
        return self.intersection / np.maximum(union, 1)

    @cached_property
    def track_iou(self) -> NDArray[np.float64]:
        """IoU of each two tracks over all frames together, (G, P); 0 where both are empty."""
        intersection = self.intersection.sum(0)
        union = self.true_area.sum(0)[:, None] + self.pred_area.sum(0)[None, :] - intersection
        return intersection / np.maximum(union, 1)

    @cached_property
    def pred_mean_area(self) -> NDArray[np.float64]:
        """Mean pixels over the non-empty frames, (P,)."""
        return mean_area(self.pred_area)


def mean_area(area: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean pixels over the non-empty frames, (N,), from areas (T, N); 0 without such a frame."""
    return area.sum(0) / np.maximum((area > 0).sum(0), 1)


def _tracks(masks: Any, classes: Seq[int], scores: Seq[float], name: str, which: str) -> list[MaskTrack]:
    if not len(masks) == len(classes) == len(scores):
        raise DataError(
            f"video {name}: {len(masks)} {which} tracks, but {len(classes)} classes and {len(scores)} scores."
        )
    out = []
    for n, (track, given_category, given_score) in enumerate(zip(masks, classes, scores, strict=True)):
        where = f"video {name}, {which} track {n}"
        score, category = schema.finite(given_score), schema.identifier(given_category)
        if score is None or not 0 <= score <= 1:
            raise DataError(f"{where}: score {brief(given_score)} is not in [0, 1].")
        if not isinstance(category, int):
            raise DataError(f"{where}: class {brief(given_category)} is no whole number.")
        with schema.naming(where):
            codes = tuple(m if m is None else as_code(m) for m in track)
            if broken := misfit([m for m in codes if m is not None]):
                raise DataError(broken[1])
        out.append(MaskTrack(category, codes, score, id=n))
    return out


def _grid(tracks: Seq[MaskTrack], length: int, values: ArrayLike, dtype: DTypeLike) -> NDArray[Any]:
    """Values (N * T,), listed track by track, as (T, N)."""
    return np.array(values, dtype).reshape(len(tracks), length).T  # (N, T) -> (T, N)


def _listed(tracks: Seq[MaskTrack], length: int) -> NDArray[np.bool_]:
    return _grid(tracks, length, [m is not None for t in tracks for m in t.masks], bool)


def _blank(tracks: Seq[MaskTrack], length: int) -> NDArray[np.bool_]:
    texts = (BLANK_720P, BLANK_720P.encode("ascii"))
    return _grid(tracks, length, [m is not None and m["counts"] in texts for t in tracks for m in t.masks], bool)


def _areas(tracks: Seq[MaskTrack], length: int) -> NDArray[np.int64]:
    masks = [m for t in tracks for m in t.masks]
    out = np.zeros(len(masks), np.int64)
    listed = {n: m for n, m in enumerate(masks) if m is not None}
    out[list(listed)] = areas(list(listed.values()))
    return _grid(tracks, length, out, np.int64)


def _intersections(
    true: Seq[MaskTrack],
    predicted: Seq[MaskTrack],
    true_area: NDArray[np.int64],
    pred_area: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Common pixels of all pairs, (T, G, P)."""
    pairs = (true_area > 0)[:, :, None] & (pred_area > 0)[:, None, :]  # (T, G, P)
    fractions = [
        shared_fractions(_masks(true, t, true_area[t]), _masks(predicted, t, pred_area[t])).ravel()
        for t in np.flatnonzero(pairs.any((1, 2))).tolist()
    ]
    shares = np.zeros(pairs.shape)
    shares[pairs] = np.concatenate([np.zeros(0), *fractions])  # frame by frame, as the pairs are
    return np.rint(shares * true_area[:, :, None]).astype(np.int64)


def _masks(tracks: Seq[MaskTrack], t: int, area: NDArray[np.int64]) -> list[RLE]:
    """The masks of frame `t` that have pixels: those are listed."""
    return [cast("RLE", track.masks[t]) for track, pixels in zip(tracks, area.tolist(), strict=True) if pixels]


def _content_order(tracks: Seq[MaskTrack], area: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices sorted by class, falling score and areas frame by frame; equal tracks are sorted by their pixels."""
    keys = [(t.category, -t.score, tuple(area[:, n])) for n, t in enumerate(tracks)]
    order = sorted(range(len(tracks)), key=keys.__getitem__)
    if len(set(keys)) < len(keys):
        order = sorted(order, key=lambda n: (keys[n], _pixels(tracks[n])))
    return np.array(order, np.int64)


def _pixels(track: MaskTrack) -> list[list[int]]:
    """A key that sorts masks by their first differing pixel, down the columns: later starts and earlier ends first.

    An integer scale factor of the picture keeps this order.
    """
    codes = [[] if m is None else runs(m["counts"]) for m in track.masks]
    return [[-n if k % 2 == 0 else n for k, n in enumerate(code)] if any(code[1::2]) else [] for code in codes]
