"""The result of a semantic system: which pixels of which class sound, and export to JSON and CSV.

Beside `Prediction`, whose tracks say which objects sound.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acvis_kit.files import write_text
from acvis_kit.masks import encode_masks

if TYPE_CHECKING:
    from acvis_kit.clip import Clip


@dataclass(frozen=True, repr=False)
class SemanticPrediction:
    """Which pixels of which class sound in each of T frames.

    Attributes:
        class_maps: int16 (T, h, w): 0 where nothing sounds, class k (from 0) is k + 1.
        probabilities: float16 (T, h, w) in [0, 1], how certainly each pixel sounds.
        class_names: K names; a value k + 1 of a map points at name k.
        counts: int64 (T,), connected instances that sound; None of a system without instances (RAVS).
        class_scores: float32 (T, K) in [0, 1], the classes that are heard; None of a system without such an output.
        uncertainty: float16 (T, h, w) in [0, 1]; None of a system that states none (AVSC).
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
    fps: float = 1.0
    clip: Clip | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of frames T."""
        return self.class_maps.shape[0]

    def __repr__(self) -> str:
        return f"SemanticPrediction({self.summary()})"

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the maps."""
        return self.class_maps.shape[-2], self.class_maps.shape[-1]

    def mask(self, t: int, label: int | None = None) -> np.ndarray:
        """Bool (h, w), the pixels of frame t that sound; of a zero-based class, or of all."""
        one = self.class_maps[t]
        return (one > 0 if label is None else one == label + 1).numpy()

    def areas(self) -> Tensor:
        """Pixels of each class in each frame, int64 (T, K)."""
        classes = len(self.class_names) + 1
        return torch.stack([torch.bincount(one.flatten().long(), minlength=classes)[1:] for one in self.class_maps])

    def sounding(self, t: int) -> tuple[str, ...]:
        """Names of the classes with a mask in frame t, in the order of `class_names`."""
        present = self.class_maps[t].unique().tolist()
        return tuple(self.class_names[value - 1] for value in present if value)

    def summary(self) -> str:
        """One sentence: number of frames, and in how many of them each class sounds."""
        frames = (self.areas() > 0).sum(0)
        shown = [f"{name} in {n}" for name, n in zip(self.class_names, frames.tolist(), strict=True) if n]
        return f"{len(self)} frames; sounding: {', '.join(shown) if shown else 'nothing'}" + (
            " frames" if shown else ""
        )

    def to_dict(self, video_id: int = 1) -> dict[str, Any]:
        """Plain values for JSON; masks are run-length codes, one entry for each class of each frame."""
        results = []
        for t in range(len(self)):
            values = [value for value in self.class_maps[t].unique().tolist() if value]
            masks = torch.stack([self.class_maps[t] == value for value in values]) if values else None
            for value, code in zip(values, encode_masks(masks) if masks is not None else [], strict=True):
                segmentation = {"size": code["size"], "counts": code["counts"].decode("ascii")}
                results.append({"video_id": video_id, "frame": t, "category_id": value, "segmentation": segmentation})
        return {
            "video": self.clip.source.name if self.clip is not None and self.clip.source else None,
            "height": self.size[0],
            "width": self.size[1],
            "length": len(self),
            "fps": self.fps,
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

    def to_json(self, path: str | Path, video_id: int = 1) -> Path:
        """Write `to_dict`."""
        return write_text(path, json.dumps(self.to_dict(video_id)))

    def to_csv(self, path: str | Path) -> Path:
        """Write one row per frame: start and end in seconds, count, share of sounding pixels, classes, uncertainty."""
        table = io.StringIO()
        writer = csv.writer(table)
        uncertainty = self.mean_uncertainty()
        optional = ["count"] * (self.counts is not None) + ["uncertainty"] * (uncertainty is not None)
        writer.writerow(["start", "end", *optional, "area", "sounding"])
        for t in range(len(self)):
            values = [str(int(self.counts[t]))] if self.counts is not None else []
            values += [f"{uncertainty[t]:.4f}"] if uncertainty is not None else []
            area = float((self.class_maps[t] > 0).float().mean())
            start, end = f"{t / self.fps:g}", f"{(t + 1) / self.fps:g}"
            writer.writerow([start, end, *values, f"{area:.4f}", "; ".join(self.sounding(t))])
        return write_text(path, table.getvalue())


def _rounded(values: Tensor | None) -> Any:
    """For JSON, in four decimals."""
    return None if values is None else np.round(values.double().numpy(), 4).tolist()
