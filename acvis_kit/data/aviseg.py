"""A split of a data set in AVISeg's layout, read on demand.

ROOT/{split}.json                               see `acvis_kit.data.schema`; checked when the split is opened
ROOT/{split}/JPEGImages/<video>/<frame>.jpg     one frame per second
ROOT/{split}/WAVAudios/<video>.wav              the sound, or
ROOT/{split}/FEATAudios/<video>.npy             an audio encoder's features of it, (T, 128), where no sound is kept
ROOT/{split}_scenes.json                        AVIS-Synth only: see `acvis_kit.data.synth`
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.data.schema import (
    PICTURES,
    TrackEntry,
    VideoEntry,
    check_codes,
    is_inside,
    naming,
    read_json,
    truth_entries,
)
from acvis_kit.errors import DataError, brief
from acvis_kit.files import check_none_empty, missing_files
from acvis_kit.masks import mask_of
from acvis_kit.media.sound import load_sound
from acvis_kit.media.wav import read_seconds

if TYPE_CHECKING:
    from acvis_kit.data.synth.records import ObjectRecord

IMAGES, SOUNDS, FEATURES = "JPEGImages", "WAVAudios", "FEATAudios"


class AVISegSplit:
    """One split: its videos, categories and annotations; frames, sounds and masks are read on demand.

    Args:
        root: folder of the data set.
        split: "train", "val" or "test".
        allow_outside: read frames whose names are absolute or leave the folder by "..", for files that you trust.

    Raises:
        DataError: no such file, or one that does not follow AVISeg's format: ids that are unknown or occur twice, a
            number of segmentations other than that of the frames, sizes that differ, names of frames that leave the
            folder; names the entry.
    """

    def __init__(self, root: str | Path, split: str = "test", *, allow_outside: bool = False) -> None:
        self.root, self.name = Path(root), split
        self.folder = self.root / split
        self.truth_file = self.root / f"{split}.json"
        self.scenes_file = self.root / f"{split}_scenes.json"
        if not self.truth_file.is_file():
            raise DataError(f"{self.truth_file} does not exist: give a folder in AVISeg's layout with this split")
        self.truth: dict[str, Any] = read_json(self.truth_file, "ground truth")
        with naming(self.truth_file):
            entries = truth_entries(self.truth)
            self.videos = list(entries.videos.values())
            self.categories, self._tracks = entries.categories, entries.tracks
            for video in self.videos:
                _check_files(video, allow_outside)
                for track in self._tracks[video.id]:
                    check_codes(track.segmentations, video.size, track.place)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    def check_files(self, features: str | None = None) -> None:
        """See that all frames and sounds are there and no sound is empty, before hours of work; none is opened.

        Args:
            features: folder of the precomputed features that are read in place of the sounds.

        Raises:
            DataError: names the first file that is missing or has 0 bytes, and says how many are.
        """
        kind = "sounds" if features is None else "audio features"
        frames = [self.folder / IMAGES / name for video in self.videos for name in video.frames]
        sounds = [
            self.sound_file(video) if features is None else self.feature_file(video, features) for video in self.videos
        ]
        if missing := missing_files([*frames, *sounds]):
            raise DataError(
                f"{len(missing)} of the {len(frames) + len(sounds)} frames and {kind} of {self.truth_file} are not "
                f"there, the first is {missing[0]}: copy all of them to {self.folder}, or choose another split"
            )
        check_none_empty(sounds, DataError)  # a number that is quickly asked for, unlike that of the frames

    def clips(self) -> Iterator[tuple[VideoEntry, Clip]]:
        """All videos in the order of the JSON, one in memory at a time."""
        for video in self.videos:
            yield video, self.clip(video)

    def clip(self, video: VideoEntry) -> Clip:
        """Frames and sound of a video; the sound is cut, or padded with silence, to the length of the picture.

        A sound that ends more than a second earlier is noted, and said in a warning.

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
            warnings.warn(note, stacklevel=2)  # whoever scores a whole split sees no notes of clips
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
            with Image.open(path, formats=PICTURES) as image:
                size = image.height, image.width
                picture = image.convert("RGB") if size == video.size else None  # nothing is decoded at another size
        except Exception as error:  # a damaged file makes Pillow raise whatever its readers meet
            raise DataError(f"frame {path} cannot be read ({error})") from error
        if picture is None:
            raise DataError(f"frame {path} is {size}, but {self.truth_file.name} says {video.size} (H, W)")
        return picture

    def sound_file(self, video: VideoEntry) -> Path:
        """Path of a video's WAV file."""
        return self.folder / SOUNDS / f"{video.name}.wav"

    def sound(self, video: VideoEntry, seconds: np.ndarray) -> np.ndarray:
        """Seconds of a video's sound, see `read_seconds`: float32 (n, 16000)."""
        return read_seconds(self.sound_file(video), seconds)

    def classes_in(self, video: VideoEntry) -> set[int]:
        """Category ids of the objects that are annotated in a video."""
        return {track.category_id for track in self.tracks(video)}

    def sounding_seconds(self, video: VideoEntry) -> list[int]:
        """Numbers of the frames in which an annotated object sounds."""
        tracks = self.tracks(video)
        return [t for t in range(len(video.frames)) if any(track.segmentations[t] for track in tracks)]

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

    def feature_file(self, video: VideoEntry, folder: str = FEATURES) -> Path:
        """Path of a video's precomputed features."""
        return self.folder / folder / f"{video.name}.npy"

    def features(self, video: VideoEntry, folder: str = FEATURES) -> np.ndarray:
        """Precomputed features of the sound, float (T or more, 128), memory-mapped.

        Raises:
            DataError: a file that is missing, unreadable, or without a vector per frame.
        """
        path = self.feature_file(video, folder)
        try:
            values = np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # a damaged header makes NumPy raise whatever its reader meets
            raise DataError(f"audio features {path} cannot be read ({error})") from error
        if values.dtype.kind != "f":
            raise DataError(f"{path} holds {values.dtype}, not floats: extract the features again")
        if values.ndim != 2 or len(values) < len(video.frames):
            raise DataError(f"{path} has shape {values.shape}, but video {video.name} has {len(video.frames)} frames")
        return values


def _check_files(video: VideoEntry, allow_outside: bool) -> None:
    """Raise a DataError for a video without frames, and for frames in no folder or outside the data set's."""
    where = f"video {video.id}"
    if not video.frames:
        raise DataError(f"{where} lists no file_names: it has no frames to read")
    if video.name in ("", ".."):
        raise DataError(f"{where}: {brief(video.frames[0])} names no folder, whose name is that of the sound file")
    if not allow_outside and (outside := [name for name in video.frames if not is_inside(name)]):
        raise DataError(
            f"{where}: {brief(outside[0])} leaves the data set's folder: move the frames into it, or pass "
            "allow_outside=True for a file that you trust"
        )
