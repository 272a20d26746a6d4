"""A split of a data set in AVISeg's layout, read on demand.

ROOT/{split}.json                               videos, categories, annotations: checked when the split is opened
ROOT/{split}/JPEGImages/<video>/<frame>.jpg     one frame per second
ROOT/{split}/WAVAudios/<video>.wav              the sound, or
ROOT/{split}/FEATAudios/<video>.npy             an audio encoder's features of it, (T, 128), where no sound is kept
ROOT/{split}_scenes.json                        AVIS-Synth only: see `acvis_kit.data.synth`
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.errors import DataError
from acvis_kit.files import read_text
from acvis_kit.masks import mask_of
from acvis_kit.media.sound import load_sound
from acvis_kit.media.wav import read_seconds

if TYPE_CHECKING:
    from acvis_kit.data.synth.records import ObjectRecord

IMAGES, SOUNDS, FEATURES = "JPEGImages", "WAVAudios", "FEATAudios"


@dataclass(frozen=True)
class VideoEntry:
    """A video in the JSON: its id, folder, frames (paths below JPEGImages) and size (H, W)."""

    id: int
    name: str
    frames: tuple[str, ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class TrackEntry:
    """An annotated object: its id, class and a segmentation per frame (polygons, RLE or None), not decoded yet."""

    id: int
    category_id: int
    segmentations: tuple[Any, ...]


class AVISegSplit:
    """One split: its videos, categories and annotations; frames, sounds and masks are read on demand.

    Args:
        root: folder of the data set.
        split: "train", "val" or "test".

    Raises:
        DataError: no such file, or one that does not follow AVISeg's format: ids that are unknown or occur twice, a
            number of segmentations other than that of the frames, sizes that differ; names the entry.
    """

    def __init__(self, root: str | Path, split: str = "test") -> None:
        self.root, self.name = Path(root), split
        self.folder = self.root / split
        self.truth_file = self.root / f"{split}.json"
        self.scenes_file = self.root / f"{split}_scenes.json"
        if not self.truth_file.is_file():
            raise DataError(f"{self.truth_file} does not exist: give a folder in AVISeg's layout with this split")
        try:
            self.truth: dict[str, Any] = json.loads(read_text(self.truth_file))
            self.videos = [self._entry(video) for video in self.truth["videos"]]
            self.categories = {int(c["id"]): str(c["name"]) for c in self.truth["categories"]}
            self._check_ids()
            self._tracks = self._read_tracks(self.truth.get("annotations") or [])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.truth_file} is not in AVISeg's format ({error!r})") from error

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def clips(self) -> Iterator[tuple[VideoEntry, Clip]]:
        """All videos in the order of the JSON, one in memory at a time."""
        for video in self.videos:
            yield video, self.clip(video)

    def clip(self, video: VideoEntry) -> Clip:
        """Frames and sound of a video; the sound is cut, or padded with silence, to the length of the picture.

        Raises:
            DataError: a frame that is missing, unreadable or of another size.
            MediaError: a sound that cannot be read.
        """
        images = (np.array(self.image(video, t)) for t in range(len(video.frames)))  # (H, W, 3) -> (3, H, W)
        frames = torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for pixels in images])
        sound = self._sound(video)
        clip = Clip.from_arrays(frames, sound)
        missing = len(frames) - len(sound) / SAMPLE_RATE
        if missing > 1:
            note = f"The sound of {video.name} ends {missing:.1f} s before its picture: silence from then on."
            return Clip(**{**vars(clip), "notes": (note,)})
        return clip

    def _sound(self, video: VideoEntry) -> Tensor:
        try:
            return load_sound(self.sound_file(video))
        except ImportError:  # a training machine without PyAV can still read WAV files
            return torch.from_numpy(read_seconds(self.sound_file(video), np.arange(len(video.frames))).reshape(-1))

    def image(self, video: VideoEntry, t: int) -> Image.Image:
        """Frame `t` in RGB.

        Raises:
            DataError: a file that is missing, unreadable, or of another size than in the JSON.
        """
        path = self.folder / IMAGES / video.frames[t]
        try:
            with Image.open(path) as image:
                picture = image.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise DataError(f"frame {path} cannot be read ({error})") from error
        size = picture.height, picture.width
        if size != video.size:
            raise DataError(f"frame {path} is {size}, but {self.truth_file.name} says {video.size} (H, W)")
        return picture

    def sound_file(self, video: VideoEntry) -> Path:
        """Path of a video's WAV file."""
        return self.folder / SOUNDS / f"{video.name}.wav"

    def tracks(self, video: VideoEntry) -> tuple[TrackEntry, ...]:
        """The annotated objects of a video, in the order of the JSON."""
        return self._tracks[video.id]

    def mask(self, video: VideoEntry, track: TrackEntry | ObjectRecord, t: int) -> np.ndarray | None:
        """Mask of an object in frame `t`, bool (H, W); None where it is silent or absent.

        Raises:
            DataError: a segmentation that cannot be read; names the annotation.
        """
        try:
            return mask_of(track.segmentations[t], video.size)
        except DataError as error:
            raise DataError(f"{self.truth_file.name}, annotation {track.id}, frame {t}: {error}") from None

    def features(self, video: VideoEntry, folder: str = FEATURES) -> np.ndarray:
        """Precomputed features of the sound, float (T or more, 128), memory-mapped.

        Raises:
            DataError: a file that is missing, unreadable, or without a vector per frame.
        """
        path = self.folder / folder / f"{video.name}.npy"
        try:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"audio features {path} cannot be read ({error})") from error
        if values.ndim != 2 or len(values) < len(video.frames):
            raise DataError(f"{path} has shape {values.shape}, but video {video.name} has {len(video.frames)} frames")
        return values

    def _entry(self, video: dict[str, Any]) -> VideoEntry:
        names = tuple(video["file_names"])
        if not names or len(names) != video.get("length", len(names)):
            raise DataError(f"video {video['id']} lists {len(names)} frames, but its length is {video.get('length')}")
        return VideoEntry(video["id"], Path(names[0]).parent.name, names, (video["height"], video["width"]))

    def _check_ids(self) -> None:
        for what, ids in (
            ("videos", [video.id for video in self.videos]),
            ("categories", [int(category["id"]) for category in self.truth["categories"]]),
        ):
            if twice := sorted({number for number in ids if ids.count(number) > 1} if len(set(ids)) < len(ids) else ()):
                raise DataError(f"{self.truth_file.name}: id {twice[0]} occurs twice among the {what}")

    def _read_tracks(self, annotations: list[dict[str, Any]]) -> dict[int, tuple[TrackEntry, ...]]:
        videos = {video.id: video for video in self.videos}
        tracks: dict[int, list[TrackEntry]] = {number: [] for number in videos}
        seen: set[tuple[int, int]] = set()
        for n, entry in enumerate(annotations):
            where = f"{self.truth_file.name}: annotations[{n}] (id {entry.get('id')})"
            number, category, segmentations = entry["video_id"], entry["category_id"], entry["segmentations"]
            if number not in videos:
                raise DataError(f"{where} is of video {number}, which is not among the {len(videos)} listed")
            if category not in self.categories:
                raise DataError(f"{where} is of category {category}, which is not among {sorted(self.categories)}")
            video = videos[number]
            if len(segmentations) != len(video.frames):
                raise DataError(
                    f"{where} has {len(segmentations)} segmentations, but video {number} has {len(video.frames)} frames"
                )
            sides = entry.get("height", video.size[0]), entry.get("width", video.size[1])
            if sides != video.size:
                raise DataError(f"{where} is of size {sides}, but video {number} of {video.size} (H, W)")
            if entry.get("iscrowd"):
                raise DataError(f"{where} is a crowd, which this task does not have: drop it, or set iscrowd to 0")
            identity = entry.get("id", n)
            if (number, identity) in seen:
                raise DataError(f"{where}: video {number} has another annotation of this id")
            seen.add((number, identity))
            for t, segmentation in enumerate(segmentations):
                size = tuple(segmentation.get("size", ())) if isinstance(segmentation, dict) else video.size
                if size != video.size:
                    raise DataError(f"{where}, frame {t}: the mask's size is {list(size)}, the video's {video.size}")
            tracks[number].append(TrackEntry(identity, category, tuple(segmentations)))
        return {number: tuple(entries) for number, entries in tracks.items()}
