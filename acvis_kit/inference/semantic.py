"""The result of a semantic system: which pixels of which class sound.

Beside `Prediction`, whose tracks say which objects sound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from acvis_kit.errors import DataError, brief
from acvis_kit.inference.clip_prediction import ClipPrediction
from acvis_kit.inference.marks import Mark, frame_number, whole_number
from acvis_kit.masks import encode_masks

if TYPE_CHECKING:
    from acvis_kit.clip import Clip


@dataclass(frozen=True, repr=False, eq=False)
class SoundingClass:
    """A class over the whole clip.

    Attributes:
        label: zero-based class.
        class_name: of `label`.
        score: in (0, 1], mean probability of its pixels.
        class_maps: int16 (T, h, w), those of the prediction.
        pixels: int64 (T,), of this class.
    """

    label: int
    class_name: str
    score: float
    class_maps: Tensor
    pixels: Tensor

    @property
    def id(self) -> int:
        """The label, on which the colour depends."""
        return self.label

    @property
    def name(self) -> str:
        """As displayed."""
        return self.class_name

    def __repr__(self) -> str:
        shown = int((self.pixels > 0).sum())
        return f"SoundingClass({self.name}, score {self.score:.2f}, in {shown} of {len(self.pixels)} frames)"

    def areas(self) -> Tensor:
        """Pixels per frame, int64 (T,)."""
        return self.pixels

    def mask(self, t: int) -> np.ndarray:
        """Bool (h, w) of frame t."""
        return (self.class_maps[frame_number(t, len(self.class_maps))] == self.label + 1).numpy()


@dataclass(frozen=True, repr=False, eq=False)
class SemanticPrediction(ClipPrediction):
    """Which pixels of which class sound in each of T frames: `prediction[3]` is frame 3, `len(prediction)` is T.

    Attributes:
        class_maps: int16 (T, h, w): 0 where nothing sounds, class k (from 0) is k + 1.
        probabilities: float16 (T, h, w) in [0, 1], how certainly each pixel sounds.
        class_names: K names; a value k + 1 of a map points at name k.
        counts: int64 (T,), connected instances that sound; None of a system without instances (RAVS).
        class_scores: float32 (T, K) in [0, 1], the classes that are heard; None of a system without such an output.
        uncertainty: float16 (T, h, w) in [0, 1]; None of a system that states none (AVSC).
        instances: int64 (T, K), connected instances that are seen, sounding or not; None of a system without them.
        threshold: a pixel, or an instance of a class, sounds where its score exceeds it.
        fps: frames per second of the prediction.
        clip: the frames, and the sound that the model was given; None if predicted from bare tensors.
        notes: what the user should know, one sentence each.
    """

    class_maps: Tensor
    probabilities: Tensor
    class_names: tuple[str, ...]
    counts: Tensor | None = None
    class_scores: Tensor | None = None
    uncertainty: Tensor | None = None
    instances: Tensor | None = None
    threshold: float = 0.0
    fps: float = 1.0
    clip: Clip | None = None
    notes: tuple[str, ...] = ()
    mark_word: ClassVar[str] = "class"

    def __len__(self) -> int:
        """Number of frames T."""
        return self.class_maps.shape[0]

    def __repr__(self) -> str:
        return f"SemanticPrediction({self.summary()})"

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the maps."""
        return self.class_maps.shape[-2], self.class_maps.shape[-1]

    @property
    def count_probs(self) -> None:
        """None: no semantic system has a count head."""
        return None

    @cached_property
    def marks(self) -> tuple[SoundingClass, ...]:
        """The classes that sound somewhere in the clip, the largest first."""
        pixels, weights = self._tally
        total = pixels.sum(0)
        order = [label for label in total.argsort(descending=True, stable=True).tolist() if total[label]]
        scores = weights.sum(0) / total.clamp(min=1)
        return tuple(
            SoundingClass(k, self.class_names[k], float(scores[k]), self.class_maps, pixels[:, k]) for k in order
        )

    def name_of(self, mark: Mark) -> str:
        """The name of the class."""
        if not isinstance(mark, SoundingClass):
            raise DataError(f"{brief(mark)} is no class that sounds: give one of prediction.marks")
        return self.class_names[mark.label]

    def mask(self, t: int, label: int | None = None) -> np.ndarray:
        """Bool (h, w), the pixels of frame t that sound; of a zero-based class, or of all."""
        one = self.class_maps[frame_number(t, len(self))]
        if label is None:
            return (one > 0).numpy()
        label = whole_number(label, f"a class, 0 to {len(self.class_names) - 1}")
        if not 0 <= label < len(self.class_names):
            raise DataError(f"there is no class {brief(label)}: the {len(self.class_names)} classes count from 0")
        return (one == label + 1).numpy()

    def areas(self) -> Tensor:
        """Pixels of each class in each frame, int64 (T, K)."""
        return self._tally[0]

    def shares(self) -> Tensor:
        """Share of each class of the pixels of each frame, float32 (T, K) in [0, 1]."""
        return self.areas().float() / (self.size[0] * self.size[1])

    @cached_property
    def _tally(self) -> tuple[Tensor, Tensor]:
        """Of each class in each frame: pixels, int64, and sum of their probabilities, float64; (T, K) each."""
        bins = len(self.class_names) + 1
        pixels, weights = [], []
        for one, probability in zip(self.class_maps, self.probabilities, strict=True):
            labels = one.flatten().long()
            pixels.append(torch.bincount(labels, minlength=bins)[1:])
            weights.append(torch.bincount(labels, probability.flatten().double(), minlength=bins)[1:])
        return torch.stack(pixels), torch.stack(weights)

    def sounding(self, t: int) -> tuple[str, ...]:
        """Names of the classes with a mask in frame t, in the order of `class_names`."""
        return tuple(self.class_names[label] for label in self._labels(frame_number(t, len(self))))

    def _labels(self, t: int) -> list[int]:
        return self.areas()[t].nonzero()[:, 0].tolist()

    def count_text(self, t: int) -> str | None:
        """The count of frame t; None of a system without instances."""
        t = frame_number(t, len(self))
        return None if self.counts is None else str(int(self.counts[t]))

    def summary(self) -> str:
        """One sentence: number of frames, and in how many of them each class sounds."""
        frames = (self.areas() > 0).sum(0)
        shown = [f"{name} in {n}" for name, n in zip(self.class_names, frames.tolist(), strict=True) if n]
        return f"{len(self)} frames; sounding: {', '.join(shown) if shown else 'nothing'}" + (
            " frames" if shown else ""
        )

    def _ids(self) -> range:
        return range(len(self.class_names))

    def _above(self, score_threshold: float) -> SemanticPrediction:
        """With a higher threshold; a lower one changes nothing.

        Counts are those of the instances whose class is heard with a higher score.
        """
        if score_threshold <= self.threshold:
            return self
        maps = torch.where(self.probabilities.float() > score_threshold, self.class_maps, 0)
        counts = self.counts
        if self.instances is not None and self.class_scores is not None:
            counts = heard_instances(self.instances, self.class_scores, score_threshold)
        return replace(self, class_maps=maps, counts=counts, threshold=score_threshold)

    def _without(self, hidden: frozenset[int]) -> SemanticPrediction:
        """Without the pixels of these zero-based classes; the counts stay."""
        if not hidden:
            return self
        unwanted = torch.isin(self.class_maps, torch.tensor([label + 1 for label in hidden], dtype=torch.int16))
        return replace(self, class_maps=self.class_maps.masked_fill(unwanted, 0))

    def to_dict(self, video_id: int = 1) -> dict[str, Any]:
        """Plain values for JSON.

        Under "results" there is one entry for each class of each frame: its run-length code, and its share of the
        frame. Category ids count from 1.

        Raises:
            DataError: an id that is no whole number.
        """
        video_id = whole_number(video_id, "video_id, a whole number")
        results, shares = [], self.shares()
        for t in range(len(self)):
            labels = self._labels(t)
            masks = torch.stack([self.class_maps[t] == label + 1 for label in labels]) if labels else None
            for label, code in zip(labels, encode_masks(masks) if masks is not None else [], strict=True):
                results.append(
                    {
                        "video_id": video_id,
                        "frame": t,
                        "category_id": label + 1,
                        "category_name": self.class_names[label],
                        "share": round(float(shares[t, label]), 6),
                        "segmentation": {"size": code["size"], "counts": code["counts"].decode("ascii")},
                    }
                )
        return {
            "video": self.clip.source.name if self.clip is not None and self.clip.source else None,
            "height": self.size[0],
            "width": self.size[1],
            "length": len(self),
            "fps": self.fps,
            "start": self.interval(0)["start"],
            "class_names": list(self.class_names),
            "counts": self.counts.tolist() if self.counts is not None else None,
            "class_scores": _rounded(self.class_scores),
            "uncertainty": _rounded(self.mean_uncertainty()),
            "results": results,
            "notes": list(self.notes),
        }

    def mean_uncertainty(self) -> Tensor | None:
        """The mean over the pixels of each frame, float32 (T,); None without uncertainty."""
        return self.uncertainty.float().flatten(1).mean(1) if self.uncertainty is not None else None

    def _rows(self) -> list[dict[str, Any]]:
        """A row per frame: count and uncertainty where there are any, share of all that sounds, classes, their shares.

        The entries of "sounding" and of "shares" are in the same order.
        """
        uncertainty, shares = self.mean_uncertainty(), self.shares()
        rows = []
        for t in range(len(self)):
            row: dict[str, Any] = {**self.interval(t)}
            if self.counts is not None:
                row["count"] = int(self.counts[t])
            if uncertainty is not None:
                row["uncertainty"] = float(uncertainty[t])
            own = "; ".join(f"{shares[t, label]:.4f}" for label in self._labels(t))
            rows.append(row | {"area": float(shares[t].sum()), "sounding": "; ".join(self.sounding(t)), "shares": own})
        return rows


def heard_instances(instances: Tensor, class_scores: Tensor, threshold: float) -> Tensor:
    """The number of instances whose class is heard, int64 (T,).

    Args:
        instances: int64 (T, K), that are seen.
        class_scores: (T, K).
        threshold: a class is heard where its score exceeds it.
    """
    return (instances * (class_scores > threshold)).sum(1)


def _rounded(values: Tensor | None) -> Any:
    """For JSON, in four decimals."""
    return None if values is None else np.round(values.double().numpy(), 4).tolist()
