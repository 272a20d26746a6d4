"""Does the sound decide what is shown? Masks under the original, no, another object's and a foreign soundtrack.

A segmenter that only looks shows the same masks whatever it hears, and its mAP does not tell. Here the picture stays
and the sound is exchanged:

* muted: nothing sounds, so every second should be without a mask;
* foreign: the sound of a class that is not in the picture, so again every second should be without a mask;
* swapped: the sound of another object, visible but silent so far: while it can be heard, the mask should be on that
  object and no longer on the one that sounded before.

Classes are not looked at: the question is where the model listens; wrong names are the business of mAP. A model that
never shows anything is right under mute and foreign sound, 2/3 in the summary: its `iou_original` is 0.

Judge what users see: predictions after the score threshold and, where it is used, the gate by the count.

A second is a frame of the prediction, at the kit's usual one frame per second. Of one clip: `clip_control(muted,
foreign, swaps) -> ControlSums`; over clips: `control_score([sums, ...])`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.masks import RLE, areas, encode, iou
from acvis_kit.metrics.bootstrap import bootstrap_intervals

if TYPE_CHECKING:
    from acvis_kit.inference.prediction import Prediction

# The masks of one object: bool (T, H, W), or a run-length code per second, None where it has no mask.
ObjectMasks = ArrayLike | Sequence[RLE | None]


@dataclass(frozen=True)
class ShownMasks:
    """What a model shows under one soundtrack.

    Attributes:
        frames: for each of T frames the non-empty masks in it, as (score, RLE), by falling score.
    """

    frames: tuple[tuple[tuple[float, RLE], ...], ...]

    def __len__(self) -> int:
        """Seconds."""
        return len(self.frames)

    @classmethod
    def from_tracks(cls, tracks: ArrayLike | Sequence[ObjectMasks], scores: ArrayLike, length: int) -> ShownMasks:
        """From N tracks and their scores; empty masks are dropped, equal scores keep the order of the tracks.

        Args:
            tracks: bool (N, T, H, W), or N lists of T run-length codes.
            scores: (N,), or (N, T) where the ranking changes from second to second.
            length: T; N may be 0.

        Raises:
            DataError: numbers of tracks, scores or frames that differ, NaN among the scores, masks of several sizes.
        """
        codes = [_codes(track) for track in tracks]
        scores = np.asarray(scores, dtype=np.float64)
        if scores.ndim <= 1:
            scores = np.broadcast_to(scores.reshape(-1, 1), (scores.size, length))
        if scores.shape != (len(codes), length) or any(len(track) != length for track in codes):
            raise DataError(
                f"{len(codes)} tracks of {sorted({len(track) for track in codes})} frames with scores "
                f"{scores.shape} for {length} frames: every track needs a mask and a score per second."
            )
        if np.isnan(scores).any():
            raise DataError("the scores of the tracks hold NaN: there is no highest one, mend them first.")
        _check_sizes(*codes)
        order = np.argsort(-scores, axis=0, kind="stable")  # (N, T)
        return cls(
            tuple(
                tuple((float(scores[n, t]), codes[n][t]) for n in order[:, t] if codes[n][t] is not None)
                for t in range(length)
            )
        )

    @classmethod
    def from_prediction(cls, prediction: Prediction) -> ShownMasks:
        """From a `Prediction`; a second's masks rank by track score times mean mask probability, as in its gate."""
        scores = [track.score * np.asarray(track.frame_scores, dtype=np.float64) for track in prediction.tracks]
        tracks = [track.masks for track in prediction.tracks]
        return cls.from_tracks(tracks, np.reshape(scores, (len(tracks), len(prediction))), len(prediction))


@dataclass(frozen=True)
class Swap:
    """One exchange of the sound for that of another visible object, and what is true about it.

    Attributes:
        original, swapped: what the model shows under the original and under the exchanged soundtrack.
        former: the object that sounds in the original; no mask where it is silent or absent.
        new: the object whose sound it becomes; no mask where it cannot be seen.
        audible: bool (T,), where the new sound can be heard: only there anything is judged.
    """

    original: ShownMasks
    swapped: ShownMasks
    former: ObjectMasks
    new: ObjectMasks
    audible: ArrayLike


@dataclass(frozen=True)
class ControlSums:
    """Seconds of one clip; they add up: `sums_a + sums_b`. Shares and intervals are `control_score`'s.

    Attributes:
        muted_frames, muted_silent: judged under mute, and those of them without a mask.
        foreign_frames, foreign_silent: the same under foreign sound.
        swap_frames, swap_followed: new sound audible and its object visible, and those of them in which the
            highest-scoring mask is on it.
        iou_frames: new sound audible and the former object visible and sounding in the original; in them
        iou_original, iou_swapped: sums of the former object's IoU with the mask that fits it best, under each sound.
    """

    muted_frames: float = 0.0
    muted_silent: float = 0.0
    foreign_frames: float = 0.0
    foreign_silent: float = 0.0
    swap_frames: float = 0.0
    swap_followed: float = 0.0
    iou_frames: float = 0.0
    iou_original: float = 0.0
    iou_swapped: float = 0.0

    def __add__(self, other: ControlSums) -> ControlSums:
        return ControlSums(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class ControlScore:
    """How far the sound decides; shares in [0, 1] of the seconds of all clips, NaN where nothing was measured.

    Attributes:
        silent_when_muted: share of the seconds without any mask under mute.
        silent_when_foreign: the same under foreign sound.
        follows_swap: share of the seconds in which the highest-scoring mask is on the object now heard.
        iou_original, iou_swapped: mean IoU of the object that sounded before with the mask that fits it best, under
            the original and under the swapped sound. The best fit, not the highest score: a mask has left the object
            only if none is on it any more. Seconds in which it is silent in the original are not counted: there a
            right model has nothing to take away.
        iou_change: iou_swapped - iou_original, in [-1, 1]; -1 is a perfect mask that left entirely, 0 a deaf model.
        summary: the mean of `silent_when_muted`, `silent_when_foreign` and `follows_swap`, of those measured.
        intervals: (low, high) of each of the numbers above, by resampling clips.
        clips: how many clips there were.
        sums: what was counted.
    """

    silent_when_muted: float
    silent_when_foreign: float
    follows_swap: float
    iou_original: float
    iou_swapped: float
    iou_change: float
    summary: float
    intervals: dict[str, tuple[float, float]]
    clips: int
    sums: ControlSums

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain numbers, NaN where undefined."""
        return asdict(self) | {"intervals": {key: list(ends) for key, ends in self.intervals.items()}}


NUMBERS = (
    "silent_when_muted", "silent_when_foreign", "follows_swap", "iou_original", "iou_swapped", "iou_change", "summary",
)  # fmt: skip


def clip_control(
    muted: ShownMasks | None = None,
    foreign: ShownMasks | None = None,
    swaps: Sequence[Swap] = (),
    iou_threshold: float = 0.5,
) -> ControlSums:
    """Count one clip's seconds under whichever soundtracks it was given.

    Args:
        muted: what is shown without sound; every second is judged.
        foreign: what is shown under the sound of a class not in the picture; every second is judged, pauses too.
        swaps: any number of exchanges, one per pair of objects.
        iou_threshold: in [0, 1); a mask is on an object where their IoU is greater.

    Raises:
        ConfigError: a threshold outside its range.
        DataError: numbers of frames or sizes of masks that differ.
    """
    if not 0 <= iou_threshold < 1:
        raise ConfigError(f"iou_threshold={iou_threshold} must be at least 0 and below 1.")
    total = ControlSums()
    if muted is not None:
        total += ControlSums(muted_frames=len(muted), muted_silent=_silent(muted))
    if foreign is not None:
        total += ControlSums(foreign_frames=len(foreign), foreign_silent=_silent(foreign))
    for swap in swaps:
        total += _swap_sums(swap, iou_threshold)
    return total


def control_score(
    clips: Sequence[ControlSums], level: float = 0.95, draws: int = 2000, generator: np.random.Generator | None = None
) -> ControlScore:
    """The numbers over all clips, pooled by seconds, with bootstrap intervals over the clips.

    Args:
        clips: one entry per clip: all that was measured on it, so that it is drawn or left out as a whole.
        level, draws, generator: as in `bootstrap_intervals`.
    """
    sums = np.array([astuple(clip) for clip in clips]).reshape(len(clips), len(astuple(ControlSums())))
    values = _numbers(sums.sum(0))
    # A resample without a single swap, say, has no summary: means over fewer parts would widen the interval falsely.
    measured = ~np.isnan(values[:3])
    low, high = bootstrap_intervals(sums, lambda drawn: _numbers(drawn, measured), level, draws, generator)
    return ControlScore(
        **{name: float(value) for name, value in zip(NUMBERS, values, strict=True)},
        intervals={name: (float(a), float(b)) for name, a, b in zip(NUMBERS, low, high, strict=True)},
        clips=len(clips),
        sums=ControlSums(*sums.sum(0).tolist()),
    )


def _numbers(sums: NDArray[np.float64], measured: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """`NUMBERS` (..., 7) of the fields of `ControlSums` (..., 9); `measured` (3,) are the parts of the summary."""
    muted_frames, muted, foreign_frames, foreign, swap_frames, followed, iou_frames, original, swapped = np.moveaxis(
        sums, -1, 0
    )
    parts = np.stack([_share(muted, muted_frames), _share(foreign, foreign_frames), _share(followed, swap_frames)])
    original, swapped = _share(original, iou_frames), _share(swapped, iou_frames)
    if measured is None:
        measured = ~np.isnan(parts)
    summary = parts[measured].mean(0) if measured.any() else np.full_like(original, np.nan)
    return np.stack([*parts, original, swapped, swapped - original, summary], axis=-1)


def _share(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    """Part / whole, NaN where whole is 0."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _silent(shown: ShownMasks) -> int:
    return sum(not masks for masks in shown.frames)


def _swap_sums(swap: Swap, iou_threshold: float) -> ControlSums:
    former, new, audible = _codes(swap.former), _codes(swap.new), np.asarray(swap.audible)
    lengths = {len(part) for part in (swap.original, swap.swapped, former, new, audible)}
    if audible.ndim != 1 or audible.dtype != bool or len(lengths) != 1:
        raise DataError(
            f"a swap has parts of {sorted(lengths)} frames and audible of {audible.dtype} {audible.shape}: all parts "
            "need the same length, and audible is bool (T,)."
        )
    total = ControlSums()
    for t in np.flatnonzero(audible):
        before = [mask for _, mask in swap.original.frames[t]]
        after = [mask for _, mask in swap.swapped.frames[t]]
        _check_sizes([former[t], new[t], *before, *after])
        if new[t] is not None:
            total += ControlSums(swap_frames=1, swap_followed=_best_iou(after[:1], new[t]) > iou_threshold)
        if former[t] is not None:
            change = {"iou_original": _best_iou(before, former[t]), "iou_swapped": _best_iou(after, former[t])}
            total += ControlSums(iou_frames=1, **change)
    return total


def _best_iou(masks: list[RLE], truth: RLE) -> float:
    """The highest IoU of any of the masks with the truth, 0 without masks."""
    return float(iou(masks, [truth]).max()) if masks else 0.0


def _codes(masks: ObjectMasks) -> list[RLE | None]:
    """One object's run-length codes, None for those without a pixel."""
    if isinstance(masks, Sequence) and all(mask is None or isinstance(mask, dict) for mask in masks):
        return [mask if mask is not None and areas([mask])[0] > 0 else None for mask in masks]
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool:
        raise DataError(f"masks are {masks.dtype} {masks.shape}: bool (T, H, W), or a list of run-length codes.")
    return [encode(mask) if mask.any() else None for mask in masks]


def _check_sizes(*tracks: Sequence[RLE | None]) -> None:
    sizes = {tuple(mask["size"]) for track in tracks for mask in track if mask is not None}
    if len(sizes) > 1:
        raise DataError(f"masks of {sorted(sizes)} pixels (height, width) cannot be compared: bring all to one size.")
