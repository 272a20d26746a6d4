"""The result of ACVIS: tracks with run-length coded masks, and counts per frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from acvis_kit.errors import DataError, brief
from acvis_kit.inference.clip_prediction import ClipPrediction
from acvis_kit.inference.marks import Mark, frame_number, whole_number
from acvis_kit.masks import RLE, areas, decode, encode_masks

if TYPE_CHECKING:
    from acvis_kit.clip import Clip
    from acvis_kit.models.acvis.count import CountSource


NAMED_IN_REPR = 5  # tracks


@dataclass(frozen=True, repr=False, eq=False)
class Track:
    """One object over the whole clip.

    Attributes:
        id: from 0, in order of falling score; unchanged when other tracks are filtered out.
        label: zero-based class.
        score: in (0, 1], class probability times mean mask probability.
        masks: T run-length codes of size (h, w); an empty one where the object is silent or absent.
        frame_scores: float32 (T,), mean probability of the mask's pixels in each frame, 0 where it is empty.
        class_name: of `label`; empty if the track was made without one.
    """

    id: int
    label: int
    score: float
    masks: tuple[RLE, ...]
    frame_scores: Tensor
    class_name: str = ""

    @property
    def name(self) -> str:
        """As displayed: "dog #0"."""
        return f"{self.class_name or f'class {self.label}'} #{self.id}"

    def __repr__(self) -> str:
        shown = int((self.frame_scores > 0).sum())
        return f"Track({self.name}, score {self.score:.2f}, in {shown} of {len(self.masks)} frames)"

    def areas(self) -> Tensor:
        """Pixels per frame, int64 (T,)."""
        return torch.from_numpy(areas(list(self.masks)))

    def mask(self, t: int) -> np.ndarray:
        """Bool (h, w) of frame t."""
        return decode(self.masks[frame_number(t, len(self.masks))])


@dataclass(frozen=True, repr=False, eq=False)
class Prediction(ClipPrediction):
    """Which objects sound in each of T frames: `prediction[3]` is frame 3, `len(prediction)` is T.

    Attributes:
        tracks: by falling score.
        counts: int64 (T,), number of sounding objects; the highest value of a count head means "or more". Without a
            count head: the number of masks in each frame.
        count_probs: float32 (T, K_max + 1), of 0, 1, ..., K_max "or more"; None without a count head.
        class_names: K names; a track's label points here.
        size: (h, w) of the masks.
        fps: frames per second of the prediction.
        clip: the frames, and the sound that the model was given; None if predicted from bare tensors.
        notes: what the user should know, one sentence each.
        count_source: what the counts follow from, for `above`; None without a count head, and of foreign counts.
    """

    tracks: tuple[Track, ...]
    counts: Tensor
    count_probs: Tensor | None
    class_names: tuple[str, ...]
    size: tuple[int, int]
    fps: float = 1.0
    clip: Clip | None = None
    notes: tuple[str, ...] = ()
    count_source: CountSource | None = None
    mark_word: ClassVar[str] = "track"

    def __len__(self) -> int:
        """Number of frames T."""
        return self.counts.shape[0]

    def __repr__(self) -> str:
        best = ", ".join(f"{track.name} {track.score:.2f}" for track in self.tracks[:NAMED_IN_REPR])
        more = ", ..." if len(self.tracks) > NAMED_IN_REPR else ""
        return f"Prediction({self.summary()}" + (f"; {best}{more})" if best else ")")

    @property
    def marks(self) -> tuple[Track, ...]:
        """The tracks."""
        return self.tracks

    def name_of(self, mark: Mark) -> str:
        """As displayed: "dog #0"."""
        if not isinstance(mark, Track):
            raise DataError(f"{brief(mark)} is no track: give one of prediction.tracks")
        return f"{self.class_names[mark.label]} #{mark.id}"

    @property
    def scores(self) -> Tensor:
        """Scores of the N tracks, float32 (N,)."""
        return torch.tensor([track.score for track in self.tracks], dtype=torch.float32)

    @property
    def labels(self) -> Tensor:
        """Zero-based classes of the N tracks, int64 (N,)."""
        return torch.tensor([track.label for track in self.tracks], dtype=torch.int64)

    def masks(self) -> Tensor:
        """Bool (N, T, h, w). Large for long clips: `Track.mask(t)` gives one."""
        out = torch.zeros(len(self.tracks), len(self), *self.size, dtype=torch.bool)
        for n, track in enumerate(self.tracks):
            for t in range(len(self)):
                out[n, t] = torch.from_numpy(track.mask(t))
        return out

    def count_text(self, t: int) -> str:
        """The count of frame t as displayed: "0", "1", "2+"."""
        count = int(self.counts[frame_number(t, len(self))])
        return f"{count}+" if count == self.k_max else str(count)

    def summary(self) -> str:
        """One sentence: number of frames, number of tracks, and in how many frames each count occurs."""
        texts = [self.count_text(t) for t in range(len(self))]
        counted = ", ".join(f"{text} in {texts.count(text)}" for text in sorted(set(texts)))
        frames, tracks = ("" if len(them) == 1 else "s" for them in (self, self.tracks))
        return f"{len(self)} frame{frames}, {len(self.tracks)} track{tracks}; objects sounding: {counted} frame{frames}"

    def _ids(self) -> list[int]:
        return [track.id for track in self.tracks]

    def _above(self, score_threshold: float) -> Prediction:
        """Only those tracks that score higher, counted anew."""
        tracks = tuple(track for track in self.tracks if track.score > score_threshold)
        if self.count_source is not None:
            probabilities = self.count_source.probabilities(score_threshold)
            return replace(self, tracks=tracks, counts=probabilities.argmax(-1), count_probs=probabilities)
        return self._with(tracks)

    def _without(self, hidden: frozenset[int]) -> Prediction:
        return self._with(tuple(track for track in self.tracks if track.id not in hidden))

    def _with(self, tracks: tuple[Track, ...]) -> Prediction:
        """Only these tracks; without a count head they are counted anew."""
        counts = self.counts if self.count_probs is not None else masks_of_frames(tracks, len(self))
        return replace(self, tracks=tracks, counts=counts)

    def gated(self) -> Prediction:
        """The prediction with only as many masks per frame as the count: none where it is 0, else the best `count`.

        Masks of a frame are ranked by track score times mean mask probability in that frame. Frames counted as "K_max
        or more" are unchanged, and so is a prediction without a count head. Tracks without any mask left are dropped.
        """
        if self.k_max is None or not self.tracks:
            return self
        rank = torch.stack([track.score * track.frame_scores for track in self.tracks])  # (N, T)
        allowed = torch.where(self.counts < self.k_max, self.counts, len(self.tracks))
        place = rank.argsort(dim=0, descending=True, stable=True).argsort(dim=0)
        keep = place < allowed
        tracks = [_emptied(track, k, self.size) for track, k in zip(self.tracks, keep, strict=True)]
        return replace(self, tracks=tuple(track for track in tracks if track.frame_scores.any()))

    def to_dict(self, video_id: int = 1) -> dict[str, Any]:
        """Plain values for JSON, with AVISeg's result list under "results". Category ids count from 1.

        The lists of several clips may be joined for `evaluate`, which goes by "category_name": ids of a data set may
        count otherwise.

        Raises:
            DataError: an id that is no whole number.
        """
        video_id = whole_number(video_id, "video_id, a whole number")
        results = [
            {
                "video_id": video_id,
                "score": track.score,
                "category_id": track.label + 1,
                "category_name": self.class_names[track.label],
                "track_id": track.id,
                "segmentations": [{"size": m["size"], "counts": m["counts"].decode("ascii")} for m in track.masks],
            }
            for track in self.tracks
        ]
        return {
            "video": self.clip.source.name if self.clip is not None and self.clip.source else None,
            "height": self.size[0],
            "width": self.size[1],
            "length": len(self),
            "fps": self.fps,
            "start": self.interval(0)["start"],
            "class_names": list(self.class_names),
            "k_max": self.k_max,
            "counts": self.counts.tolist(),
            "count_probs": self.count_probs.tolist() if self.count_probs is not None else None,
            "results": results,
            "notes": list(self.notes),
        }

    def _rows(self) -> list[dict[str, Any]]:
        """A row per frame, by the names of the columns."""
        pixels = [track.areas() for track in self.tracks]
        columns = [f"p_{k}" for k in range(self.k_max)] + [f"p_{self.k_max}+"] if self.k_max is not None else []
        rows = []
        for t in range(len(self)):
            shown = [track for track, area in zip(self.tracks, pixels, strict=True) if area[t] > 0]
            numbers = self.count_probs[t].tolist() if self.count_probs is not None else []
            row = {**self.interval(t), "count": int(self.counts[t])}
            names = "; ".join(map(self.name_of, shown))
            rows.append(row | dict(zip(columns, numbers, strict=True)) | {"masks": len(shown), "sounding": names})
        return rows


def masks_of_frames(tracks: tuple[Track, ...], length: int) -> Tensor:
    """The number of masks in each frame, int64 (T,)."""
    return sum((track.areas() > 0 for track in tracks), torch.zeros(length, dtype=torch.int64))


def _emptied(track: Track, keep: Tensor, size: tuple[int, int]) -> Track:
    """`track` with empty masks where `keep` (T,) is False."""
    (empty,) = encode_masks(torch.zeros(1, *size, dtype=torch.bool))
    masks = tuple(mask if k else empty for mask, k in zip(track.masks, keep.tolist(), strict=True))
    return replace(track, masks=masks, frame_scores=track.frame_scores * keep)
