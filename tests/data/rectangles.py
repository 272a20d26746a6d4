"""A data set whose every pixel and sample is known: one coloured rectangle per object, one tone per video."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import wavfile

from acvis_kit.config import AVISEG_CLASSES

GREY, RED = (96, 96, 96), (250, 20, 20)


@dataclass(frozen=True)
class Rectangle:
    """An object: class, (top, left, bottom, right) in pixels, seconds in which it sounds (None: all)."""

    category: str
    box: tuple[int, int, int, int]
    seconds: tuple[int, ...] | None = None

    def sounds(self, t: int) -> bool:
        return self.seconds is None or t in self.seconds

    def polygon(self) -> list[float]:
        top, left, bottom, right = self.box
        return [left, top, right, top, right, bottom, left, bottom]

    def mask(self, size: tuple[int, int]) -> np.ndarray:
        mask = np.zeros(size, bool)
        mask[self.box[0] : self.box[2], self.box[1] : self.box[3]] = True
        return mask


def write_rectangles(
    root: Path,
    videos: Sequence[Sequence[Rectangle]],
    *,
    lengths: Sequence[int] | int = 8,
    size: tuple[int, int] = (64, 96),
    split: str = "train",
    rate: int = 16_000,
) -> Path:
    """Frames show all rectangles in red on grey; second t of video n is the constant (n + 1) / 100 + t / 1000."""
    lengths = [lengths] * len(videos) if isinstance(lengths, int) else lengths
    entries, annotations = [], []
    for n, (things, length) in enumerate(zip(videos, lengths, strict=True)):
        name = f"video{n}"
        folder = root / split / "JPEGImages" / name
        folder.mkdir(parents=True)
        picture = np.full((*size, 3), GREY, np.uint8)
        for thing in things:
            picture[thing.mask(size)] = RED
        for t in range(length):
            Image.fromarray(picture).save(folder / f"{t:05d}.jpg", quality=95, subsampling=0)
        names = [f"{name}/{t:05d}.jpg" for t in range(length)]
        entries.append({"id": n + 1, "file_names": names, "length": length, "height": size[0], "width": size[1]})
        annotations += [_annotation(len(annotations) + k, n + 1, thing, length) for k, thing in enumerate(things, 1)]
        sounds = root / split / "WAVAudios"
        sounds.mkdir(exist_ok=True)
        levels = np.repeat([tone_of(n, t) for t in range(length)], rate)
        wavfile.write(sounds / f"{name}.wav", rate, (levels * 32768).round().astype(np.int16))
    categories = [{"id": i, "name": name} for i, name in enumerate(AVISEG_CLASSES, start=1)]
    truth = {"videos": entries, "categories": categories, "annotations": annotations}
    (root / f"{split}.json").write_text(json.dumps(truth))
    return root


def tone_of(video: int, t: int) -> float:
    """The level of a second of a video's sound."""
    return (video + 1) / 100 + t / 1000


def _annotation(number: int, video_id: int, thing: Rectangle, length: int) -> dict[str, Any]:
    return {
        "id": number,
        "video_id": video_id,
        "category_id": AVISEG_CLASSES.index(thing.category) + 1,
        "iscrowd": 0,
        "segmentations": [[thing.polygon()] if thing.sounds(t) else None for t in range(length)],
    }
