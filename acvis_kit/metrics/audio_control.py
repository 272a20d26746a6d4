"""Audio control: how far the soundtrack determines the predicted masks.

A segmenter that ignores the sound predicts the same masks under every soundtrack, and mAP does not reveal it. Here the
picture stays and the soundtrack is exchanged:

* muted: nothing sounds, so no frame should have a mask;
* foreign: the sound of a class that is not in the picture, so again no frame should have a mask;
* swapped: the sound of another object, which is visible and was silent: where the new sound is audible, the mask should
  be on that object and no longer on the former one.

Classes are ignored: mAP measures them. A model that predicts no mask at all is right under mute and foreign sound and
has a summary of 2/3; its `iou_original` is 0.

Pass final predictions: after the score threshold and, where it is used, the count gate.

One clip: `clip_control(muted, foreign, swaps) -> ControlSums`. All clips: `control_score([sums, ...])`. Axes: N tracks,
T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.masks import RLE, areas, encode, iou
from acvis_kit.metrics.bootstrap import bootstrap_intervals
from acvis_kit.metrics.tally import quotient

if TYPE_CHECKING:
    from acvis_kit.inference.prediction import Prediction

# The masks of one object: bool (T, H, W), or one run-length code per frame, None where it has no mask.
ObjectMasks = ArrayLike | Sequence[RLE | None]


@dataclass(frozen=True)
class ShownMasks:
    """The masks that a model predicts under one soundtrack.

    Attributes:
        frames: for each of T frames its non-empty masks, as (score, RLE), by falling score.
    """

    frames: tuple[tuple[tuple[float, RLE], ...], ...]

    def __len__(self) -> int:
        """Number of frames, T."""
        return len(self.frames)

    @classmethod
    def from_tracks(cls, tracks: NDArray | Sequence[ObjectMasks], scores: ArrayLike, length: int) -> ShownMasks:
        """Rank the masks of N tracks by score; empty masks are dropped, equal scores keep the order of the tracks.

        Args:
            tracks: bool (N, T, H, W), or N lists of T run-length codes.
            scores: (N,), or (N, T) where the ranking changes from frame to frame.
            length: T; N may be 0.

        Raises:
            DataError: the numbers of tracks, scores or frames differ, a score is NaN, or masks differ in size.
        """
        codes = [_codes(track) for track in tracks]
        scores = np.asarray(scores, dtype=np.float64)
        if scores.ndim <= 1:
            scores = np.broadcast_to(scores.reshape(-1, 1), (scores.size, length))
        if scores.shape != (len(codes), length) or any(len(track) != length for track in codes):
            raise DataError(
                f"{len(codes)} tracks of {sorted({len(track) for track in codes})} frames with scores "
                f"{scores.shape} for {length} frames: every track needs a mask and a score per frame."
            )
        if np.isnan(scores).any():
            raise DataError("the track scores contain NaN, so the tracks cannot be ranked: repair the scores first.")
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
        """Rank each frame's masks by track score times mean mask probability, as the count gate does."""
        scores = [track.score * np.asarray(track.frame_scores, dtype=np.float64) for track in prediction.tracks]
        tracks = [track.masks for track in prediction.tracks]
        return cls.from_tracks(tracks, np.reshape(scores, (len(tracks), len(prediction))), len(prediction))


@dataclass(frozen=True)
class Swap:
    """Predictions and ground truth of one swap, which replaces the sound by that of another visible object.

    Attributes:
        original: prediction under the original soundtrack.
        swapped: prediction under the exchanged soundtrack.
        former: masks of the object that sounds in the original; None or empty where it is silent or absent.
        new: masks of the object whose sound replaces it; None or empty where it is not visible.
        audible: bool (T,), frames in which the new sound is audible; only these are scored.
    """

    original: ShownMasks
    swapped: ShownMasks
    former: ObjectMasks
    new: ObjectMasks
    audible: ArrayLike


@dataclass(frozen=True)
class ControlSums:
    """Frame counts and IoU sums of one clip; clips are added with `+`. `control_score` turns the sums into ratios.

    Attributes:
        muted_frames: frames scored under mute.
        muted_silent: those of them without a mask.
        foreign_frames: frames scored under foreign sound.
        foreign_silent: those of them without a mask.
        swap_frames: frames in which the new sound is audible and its object visible.
        swap_followed: those of them in which the highest-scoring mask is on that object.
        iou_frames: frames in which the new sound is audible and the former object visible and sounding in the original.
        iou_original: sum over `iou_frames` of the best IoU of a mask with the former object, under the original sound.
        iou_swapped: the same sum under the swapped sound.
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
    """Audio control over all clips, pooled by frames: fractions in [0, 1], NaN where nothing was measured.

    Attributes:
        silent_when_muted: fraction of the frames without any mask under mute.
        silent_when_foreign: the same under foreign sound.
        follows_swap: fraction of the frames in which the highest-scoring mask is on the object that now sounds.
        iou_original: mean over frames of the best IoU of any mask with the former object, under the original sound.
            Best IoU, not highest score: the object is unmasked only if no mask is on it. Frames in which it is silent
            in the original are not counted, because a right model has no mask to remove there.
        iou_swapped: the same mean under the swapped sound.
        iou_change: iou_swapped - iou_original, in [-1, 1]; -1 if a perfect mask disappears, 0 if the sound has no
            effect.
        summary: mean of `silent_when_muted`, `silent_when_foreign` and `follows_swap`, of those measured.
        intervals: (low, high) of each of the numbers above, by resampling clips.
        clips: number of clips.
        sums: the sums over all clips.
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
        """All fields in plain numbers, NaN where undefined."""
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
    """Score one clip under each soundtrack that is given.

    Args:
        muted: prediction without sound; every frame is scored.
        foreign: prediction under the sound of a class that is not in the picture; every frame is scored, pauses of the
            sound too.
        swaps: any number of swaps, one per pair of objects.
        iou_threshold: in [0, 1); a mask is on an object where their IoU is greater.

    Raises:
        ConfigError: the threshold is outside its range.
        DataError: numbers of frames or sizes of masks differ.
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
    """Audio control over all clips, pooled by frames, with bootstrap intervals over the clips.

    Args:
        clips: one entry per clip with all its sums, so that a clip is drawn as a whole.
        level: see `bootstrap_intervals`.
        draws: see `bootstrap_intervals`.
        generator: see `bootstrap_intervals`.
    """
    sums = np.array([astuple(clip) for clip in clips]).reshape(len(clips), len(astuple(ControlSums())))
    values = _numbers(sums.sum(0))
    # A resample without, e.g., any swap has no summary: a mean over fewer parts would widen the interval.
    measured = ~np.isnan(values[:3])
    low, high = bootstrap_intervals(sums, lambda drawn: _numbers(drawn, measured), level, draws, generator)
    return ControlScore(
        **{name: float(value) for name, value in zip(NUMBERS, values, strict=True)},
        intervals={name: (float(a), float(b)) for name, a, b in zip(NUMBERS, low, high, strict=True)},
        clips=len(clips),
        sums=ControlSums(*sums.sum(0).tolist()),
    )


def _numbers(sums: NDArray[np.float64], measured: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """`NUMBERS` (..., 7) from the fields of `ControlSums` (..., 9); `measured` (3,) marks the parts of the summary."""
    muted_frames, muted, foreign_frames, foreign, swap_frames, followed, iou_frames, original, swapped = np.moveaxis(
        sums, -1, 0
    )
    parts = np.stack(
        [quotient(muted, muted_frames), quotient(foreign, foreign_frames), quotient(followed, swap_frames)]
    )
    original, swapped = quotient(original, iou_frames), quotient(swapped, iou_frames)
    if measured is None:
        measured = ~np.isnan(parts)
    summary = parts[measured].mean(0) if measured.any() else np.full_like(original, np.nan)
    return np.stack([*parts, original, swapped, swapped - original, summary], axis=-1)


def _silent(shown: ShownMasks) -> int:
    return sum(not masks for masks in shown.frames)


def _swap_sums(swap: Swap, iou_threshold: float) -> ControlSums:
    former, new, audible = _codes(swap.former), _codes(swap.new), np.asarray(swap.audible)
    lengths = {len(part) for part in (swap.original, swap.swapped, former, new, audible)}
    if audible.ndim != 1 or audible.dtype != bool or len(lengths) != 1:
        raise DataError(
            f"a swap has parts of {sorted(lengths)} frames and audible of {audible.dtype} {audible.shape}: all parts "
            "must have the same length, and audible must be bool (T,)."
        )
    total = ControlSums()
    for t in np.flatnonzero(audible):
        before = [mask for _, mask in swap.original.frames[t]]
        after = [mask for _, mask in swap.swapped.frames[t]]
        former_mask, new_mask = former[t], new[t]
        _check_sizes([former_mask, new_mask, *before, *after])
        if new_mask is not None:
            total += ControlSums(swap_frames=1, swap_followed=_best_iou(after[:1], new_mask) > iou_threshold)
        if former_mask is not None:
            change = {"iou_original": _best_iou(before, former_mask), "iou_swapped": _best_iou(after, former_mask)}
            total += ControlSums(iou_frames=1, **change)
    return total


def _best_iou(masks: list[RLE], truth: RLE) -> float:
    """The highest IoU of any mask with the truth, 0 without masks."""
    return float(iou(masks, [truth]).max()) if masks else 0.0


def _codes(masks: ObjectMasks) -> list[RLE | None]:
    """One object's run-length codes, None for those without a pixel."""
    if isinstance(masks, Sequence) and all(mask is None or isinstance(mask, dict) for mask in masks):
        codes = cast("Sequence[RLE | None]", masks)
        return [mask if mask is not None and areas([mask])[0] > 0 else None for mask in codes]
    pixels = np.asarray(masks)
    if pixels.ndim != 3 or pixels.dtype != bool:
        raise DataError(f"masks are {pixels.dtype} {pixels.shape}: pass bool (T, H, W) or a list of run-length codes.")
    return [encode(mask) if mask.any() else None for mask in pixels]


def _check_sizes(*tracks: Sequence[RLE | None]) -> None:
    sizes = {tuple(mask["size"]) for track in tracks for mask in track if mask is not None}
    if len(sizes) > 1:
        raise DataError(f"masks of {sorted(sizes)} pixels (height, width) cannot be compared: resize all to one size.")
