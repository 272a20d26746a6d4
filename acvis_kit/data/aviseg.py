"""A split of a data set in AVISeg's layout, read clip by clip.

ROOT/{split}.json
ROOT/{split}/JPEGImages/<video>/<frame>.jpg     one frame per second
ROOT/{split}/WAVAudios/<video>.wav
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from acvis_kit.audio import load_sound
from acvis_kit.errors import DataError
from acvis_kit.types import SAMPLE_RATE, Clip


@dataclass(frozen=True)
class VideoEntry:
    """A video as the JSON lists it: its id, folder, frames (below JPEGImages) and size (H, W)."""

    id: int
    name: str
    frames: tuple[str, ...]
    size: tuple[int, int]


class AVISegSplit:
    """One split: its videos, categories and annotations; clips are read when they are asked for.

    Args:
        root: folder of the data set. split: "train", "val" or "test".

    Raises:
        DataError: no such file, or one that does not hold what AVISeg's format says; names the entry.
    """

    def __init__(self, root: str | Path, split: str = "test") -> None:
        self.folder = Path(root) / split
        self.truth_file = Path(root) / f"{split}.json"
        if not self.truth_file.is_file():
            raise DataError(f"{self.truth_file} is not there: is {root} a folder in AVISeg's layout, with this split?")
        try:
            self.truth: dict[str, Any] = json.loads(self.truth_file.read_text())
            self.videos = [self._entry(video) for video in self.truth["videos"]]
            self.categories = {int(c["id"]): str(c["name"]) for c in self.truth["categories"]}
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.truth_file} is not in AVISeg's format ({error!r})") from error

    def __len__(self) -> int:
        """Videos."""
        return len(self.videos)

    def clips(self) -> Iterator[tuple[VideoEntry, Clip]]:
        """All videos in the order of the JSON, one in memory at a time."""
        for video in self.videos:
            yield video, self.clip(video)

    def clip(self, video: VideoEntry) -> Clip:
        """Frames and sound of a video; the sound is cut, or padded with silence, to the length of the picture.

        Raises:
            DataError: a frame that is missing, unreadable or of another size. MediaError: a sound that cannot be read.
        """
        frames = torch.stack([self._frame(video, name) for name in video.frames])
        sound = load_sound(self.folder / "WAVAudios" / f"{video.name}.wav")
        clip = Clip.from_arrays(frames, sound)
        missing = len(frames) - len(sound) / SAMPLE_RATE
        if missing > 1:
            note = f"The sound of {video.name} ends {missing:.1f} s before its picture: silence from then on."
            return Clip(**{**vars(clip), "notes": (note,)})
        return clip

    def _frame(self, video: VideoEntry, name: str) -> torch.Tensor:
        path = self.folder / "JPEGImages" / name
        try:
            with Image.open(path) as image:
                pixels = np.array(image.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"frame {path} cannot be read ({error})") from error
        if pixels.shape[:2] != video.size:
            raise DataError(f"frame {path} is {pixels.shape[:2]}, {self.truth_file.name} says {video.size} (H, W)")
        return torch.from_numpy(pixels).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)

    @staticmethod
    def _entry(video: dict[str, Any]) -> VideoEntry:
        names = tuple(video["file_names"])
        if not names or len(names) != video.get("length", len(names)):
            raise DataError(f"video {video['id']} lists {len(names)} frames and says length {video.get('length')}")
        return VideoEntry(video["id"], Path(names[0]).parent.name, names, (video["height"], video["width"]))
