"""The result of inference: tracks with run-length coded masks, counts per frame, and export to JSON, CSV and video."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acvis_kit.files import write_text
from acvis_kit.masks import RLE, areas, decode, encode_masks

if TYPE_CHECKING:
    from types import ModuleType

    from acvis_kit.clip import Clip


@dataclass(frozen=True)
class Track:
    """One object over the whole clip.

    Attributes:
        id: from 0, in order of falling score; unchanged when other tracks are filtered out.
        label: zero-based class.
        score: in (0, 1], class probability times mean mask probability.
        masks: T run-length codes of size (h, w); an empty one where the object is silent or absent.
        frame_scores: float32 (T,), mean probability of the mask's pixels in each frame, 0 where it is empty.
    """

    id: int
    label: int
    score: float
    masks: tuple[RLE, ...]
    frame_scores: Tensor

    def areas(self) -> Tensor:
        """Pixels per frame, int64 (T,)."""
        return torch.from_numpy(areas(list(self.masks)))

    def mask(self, t: int) -> np.ndarray:
        """Bool (h, w) of frame t."""
        return decode(self.masks[t])


@dataclass(frozen=True)
class Prediction:
    """Which objects sound in each of T frames.

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
    """

    tracks: tuple[Track, ...]
    counts: Tensor
    count_probs: Tensor | None
    class_names: tuple[str, ...]
    size: tuple[int, int]
    fps: float = 1.0
    clip: Clip | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of frames T."""
        return self.counts.shape[0]

    @property
    def scores(self) -> Tensor:
        """Scores of the N tracks, float32 (N,)."""
        return torch.tensor([track.score for track in self.tracks], dtype=torch.float32)

    @property
    def labels(self) -> Tensor:
        """Zero-based classes of the N tracks, int64 (N,)."""
        return torch.tensor([track.label for track in self.tracks], dtype=torch.int64)

    @property
    def k_max(self) -> int | None:
        """The count that means "or more"; None without a count head."""
        return self.count_probs.shape[1] - 1 if self.count_probs is not None else None

    def masks(self) -> Tensor:
        """Bool (N, T, h, w). Large for long clips: `Track.mask(t)` gives one."""
        out = torch.zeros(len(self.tracks), len(self), *self.size, dtype=torch.bool)
        for n, track in enumerate(self.tracks):
            for t in range(len(self)):
                out[n, t] = torch.from_numpy(track.mask(t))
        return out

    def count_text(self, t: int) -> str:
        """The count of frame t as displayed: "0", "1", "2+"."""
        count = int(self.counts[t])
        return f"{count}+" if count == self.k_max else str(count)

    def summary(self) -> str:
        """One sentence: number of frames, number of tracks, and in how many frames each count occurs."""
        texts = [self.count_text(t) for t in range(len(self))]
        counted = ", ".join(f"{text} in {texts.count(text)}" for text in sorted(set(texts)))
        plural = "" if len(self.tracks) == 1 else "s"
        return f"{len(self)} frames, {len(self.tracks)} track{plural}; objects sounding: {counted} frames"

    def above(self, score_threshold: float) -> Prediction:
        """The prediction with only those tracks that score higher."""
        return replace(self, tracks=tuple(track for track in self.tracks if track.score > score_threshold))

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
        """Plain values for JSON, with AVISeg's result list under "results". Category ids count from 1."""
        results = [
            {
                "video_id": video_id,
                "score": track.score,
                "category_id": track.label + 1,
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
            "class_names": list(self.class_names),
            "k_max": self.k_max,
            "counts": self.counts.tolist(),
            "count_probs": self.count_probs.tolist() if self.count_probs is not None else None,
            "results": results,
            "notes": list(self.notes),
        }

    def to_json(self, path: str | Path, video_id: int = 1) -> Path:
        """Write `to_dict`. The list under "results" is what AVISeg's evaluators read."""
        return write_text(path, json.dumps(self.to_dict(video_id)))

    def to_csv(self, path: str | Path) -> Path:
        """Write one row per frame: start and end in seconds, count and its probabilities, number and names of masks."""
        pixels = [track.areas() for track in self.tracks]
        probabilities = [f"p_{k}" for k in range(self.k_max)] + [f"p_{self.k_max}+"] if self.k_max is not None else []
        table = io.StringIO()
        writer = csv.writer(table)
        writer.writerow(["start", "end", "count", *probabilities, "masks", "sounding"])
        for t in range(len(self)):
            shown = [track for track, area in zip(self.tracks, pixels, strict=True) if area[t] > 0]
            numbers = [f"{p:.4f}" for p in self.count_probs[t].tolist()] if self.count_probs is not None else []
            names = "; ".join(f"{self.class_names[track.label]} #{track.id}" for track in shown)
            start, end = f"{t / self.fps:g}", f"{(t + 1) / self.fps:g}"
            writer.writerow([start, end, self.count_text(t), *numbers, len(shown), names])
        return write_text(path, table.getvalue())

    def to_video(self, path: str | Path, **options: Any) -> Path:
        """Write the clip with its masks and the sound that the model was given; see `viz.write_overlay`."""
        return _viz().write_overlay(self, path, **options)


def _emptied(track: Track, keep: Tensor, size: tuple[int, int]) -> Track:
    """`track` with empty masks where `keep` (T,) is False."""
    (empty,) = encode_masks(torch.zeros(1, *size, dtype=torch.bool))
    masks = tuple(mask if k else empty for mask, k in zip(track.masks, keep.tolist(), strict=True))
    return replace(track, masks=masks, frame_scores=track.frame_scores * keep)


def _viz() -> ModuleType:
    """The room that draws predictions, through the public names of the kit, which load when they are first used.

    viz imports this room; nothing of it is loaded before something is drawn.
    """
    import acvis_kit

    return acvis_kit.viz
