"""Data sets for semantic systems: what all their layouts have in common once they are read.

A video has T frames, one a second, some or all of which have a class map of what sounds. The layouts are in `avsbench`
and `vpo`; `semantic_layouts.open_split` recognises them. Layouts and label values: the published loaders of AVSBench
and CAVP.
"""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from acvis_kit.clip import Clip, SemanticTargets
from acvis_kit.data.schema import PICTURES, is_inside
from acvis_kit.errors import DataError, brief
from acvis_kit.files import check_none_empty, missing_files, read_text
from acvis_kit.media.wav import read_seconds

SOUNDING_OBJECT = "sounding object"  # the class of masks without classes


@dataclass(frozen=True)
class SemanticVideo:
    """A video and its files, none of which has been opened.

    Attributes:
        id: its place in the split, from 0.
        name: the data set's.
        frames: T pictures.
        labels: T pictures; None for a frame that is not annotated.
        sounds: one file, or in VPO one of every source, whose sum is the sound.
        classes: names of the classes that sound at some time, from the data set's table; () where it names none.
    """

    id: int
    name: str
    frames: tuple[Path, ...]
    labels: tuple[Path | None, ...]
    sounds: tuple[Path, ...]
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of frames T."""
        return len(self.frames)

    @property
    def supervised(self) -> np.ndarray:
        """Which frames are annotated, bool (T,)."""
        return np.array([label is not None for label in self.labels], bool)


@dataclass(frozen=True, repr=False)
class SemanticSample:
    """A video that has been read.

    Attributes:
        name: of the video.
        clip: frames uint8 (T, 3, H, W) and sound float32 (S,) at 16 kHz.
        targets: class maps (T, H, W) and which frames are annotated; maps of the others are 0.
        class_names: K names; a value k + 1 of a map points at name k.
        classes: see `SemanticVideo`.
    """

    name: str
    clip: Clip
    targets: SemanticTargets
    class_names: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"SemanticSample({self.name!r}, {self.clip}, {self.targets}, classes {list(self.classes)})"


class SemanticSplit(ABC):
    """One split of a data set: its videos; pictures and sounds are read on demand.

    Attributes:
        layout: name of the layout.
        root: folder of the data set.
        name: of the split.
        truth_file: the data set's table.
        class_names: K names; a value k + 1 of a class map points at name k.
        videos: all, in the order of the data set's table.
        fps: frames per second.
    """

    layout: str
    truth_file: Path
    fps: float = 1.0

    def __init__(self, root: Path, name: str, class_names: Sequence[str], videos: Sequence[SemanticVideo]) -> None:
        self.root, self.name = root, name
        self.class_names, self.videos = tuple(class_names), tuple(videos)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.videos)

    @property
    def scenes_file(self) -> Path:
        """Where AVIS-Synth describes its scenes; other data sets have no such file."""
        return self.root / f"{self.name}_scenes.json"

    @abstractmethod
    def class_map_of(self, video: SemanticVideo, pixels: np.ndarray) -> np.ndarray:
        """The class map of a label picture, uint8 (H, W): 0 nothing sounds, k + 1 class k, 255 unknown.

        Args:
            video: which it belongs to.
            pixels: the picture, (H, W) or (H, W, 3).

        Raises:
            DataError: a value that stands for no class; names it.
        """

    def check_files(self) -> None:
        """See that all frames, labels and sounds are there and no sound is empty, before hours of work; none is opened.

        Raises:
            DataError: names the first file that is missing or has 0 bytes, and says how many are.
        """
        listed = [path for video in self.videos for path in (*video.frames, *video.labels, *video.sounds) if path]
        if missing := missing_files(listed):
            sounds = {path for video in self.videos for path in video.sounds}
            if sounds.issuperset(missing):
                check_sound(missing[0])  # perhaps they are there in another form
            raise DataError(
                f"{len(missing)} of the {len(listed)} frames, labels and sounds of split {self.name!r} of "
                f"{self.truth_file} are not there, the first is {missing[0]}: copy all of them, or choose another split"
            )
        check_none_empty((path for video in self.videos for path in video.sounds if path), DataError)

    def samples(self) -> Iterator[SemanticSample]:
        """All videos in the order of the table, one in memory at a time."""
        for video in self.videos:
            yield self.sample(video)

    def sample(self, video: SemanticVideo) -> SemanticSample:
        """Frames, sound and class maps of a video.

        Raises:
            DataError: a file that is missing, unreadable, or of another size than the first frame; names it.
            MediaError: a sound that cannot be read; names it.
        """
        images = [np.array(self.image(video, t)) for t in range(len(video))]
        frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()  # (T, 3, H, W)
        maps = np.zeros((len(video), *images[0].shape[:2]), np.int64)
        for t in np.flatnonzero(video.supervised):
            maps[t] = self.class_map(video, int(t))
        sound = torch.from_numpy(self.sound(video).reshape(-1))
        targets = SemanticTargets(torch.from_numpy(maps), torch.from_numpy(video.supervised))
        clip = Clip.from_arrays(frames, sound, self.fps)
        return SemanticSample(video.name, clip, targets, self.class_names, video.classes)

    def image(self, video: SemanticVideo, t: int) -> Image.Image:
        """Frame `t` in RGB; errors as in `sample`."""
        return self._sized(video, video.frames[t], "frame").convert("RGB")

    def class_map(self, video: SemanticVideo, t: int) -> np.ndarray:
        """The class map of an annotated frame, uint8 (H, W); errors as in `sample`."""
        path = video.labels[t]
        assert path is not None, "only annotated frames have a class map"
        picture = self._sized(video, path, "label")
        pixels = np.asarray(picture.convert("RGB") if picture.mode in ("RGBA", "LA", "CMYK") else picture)
        try:
            return self.class_map_of(video, pixels)
        except DataError as error:
            raise DataError(f"label {path}: {error}") from None

    def sound_file(self, video: SemanticVideo) -> Path:
        """The file of a video's sound, of its first source in VPO."""
        return video.sounds[0]

    def sound(self, video: SemanticVideo, seconds: np.ndarray | None = None) -> np.ndarray:
        """Seconds of the sound, in any order, or of all frames: float32 (n, 16000), 16 kHz, mean of the channels.

        Raises:
            DataError: there is no such file.
            MediaError: a file that cannot be read.
        """
        check_sound(video.sounds[0])
        return read_seconds(video.sounds[0], np.arange(len(video)) if seconds is None else seconds)

    def classes_in(self, video: SemanticVideo) -> set[str]:
        """Names of the classes that sound in a video at some time; empty where the data set names none."""
        return set(video.classes)

    def sounding_seconds(self, video: SemanticVideo) -> list[int]:
        """Numbers of the frames in which something may sound: all, because masks are not read for it."""
        return list(range(len(video)))

    def size_of(self, video: SemanticVideo) -> tuple[int, int]:
        """(H, W) of a video's frames, of which only the first one's header is read."""
        with _opened(video.frames[0], "frame") as picture:
            return picture.height, picture.width

    def _sized(self, video: SemanticVideo, path: Path, what: str) -> Image.Image:
        """A decoded picture of the size of the video's first frame."""
        size = self.size_of(video)
        with _opened(path, what) as picture:
            if (picture.height, picture.width) != size:
                raise DataError(
                    f"{what} {path} is {(picture.height, picture.width)}, but {video.frames[0].name} is {size} (H, W): "
                    "frames and labels of a video need one size"
                )
            try:
                picture.load()
            except Exception as error:  # a damaged file makes Pillow raise whatever its readers meet
                raise DataError(f"{what} {path} cannot be read ({error})") from error
            return picture


def check_sound(path: Path) -> None:
    """Raise a DataError if a sound file is not there."""
    if path.is_file():
        return
    # AVSBench is also handed out with log-mel spectrograms alone.
    pickled = Path(*("audio_log_mel" if part == "audio_wav" else part for part in path.parts)).with_suffix(".pkl")
    hint = f" ({pickled} is a pickle, which can run any code and is not read)" if pickled.is_file() else ""
    raise DataError(f"sound {path} is not there: every video needs its WAV file{hint}")


def read_table(path: Path, columns: Sequence[str], example: str) -> list[tuple[str, dict[str, str]]]:
    """The rows of a CSV file with a header, each with its place for messages.

    Args:
        path: the file, UTF-8.
        columns: that must be there.
        example: of the data set, for the message where the file is missing.

    Returns:
        (place, row) of every row. A row has its first field under the name "" too, since some tables are read by
        position.

    Raises:
        DataError: a file that is missing or not UTF-8, without one of the columns, or a row of another length.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there: give the folder of {example}")
    try:
        lines = list(csv.reader(read_text(path).splitlines()))
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error})") from error
    header = [name.strip() for name in lines[0]] if lines else []
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{path} has no column {', '.join(missing)}: its columns are {', '.join(header) or 'none'}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line:
            continue
        if len(line) != len(header):
            raise DataError(f"{path}, line {number}: {len(line)} fields, but the header has {len(header)}")
        fields = [field.strip() for field in line]
        rows.append((f"{path.name}, line {number}", {"": fields[0], **dict(zip(header, fields, strict=True))}))
    return rows


def rows_of_split(
    rows: Sequence[tuple[str, dict[str, str]]], split: str, path: Path
) -> list[tuple[str, dict[str, str]]]:
    """The rows of one split, by their column "split".

    Raises:
        DataError: there are none; names the splits that there are.
    """
    found = [(place, row) for place, row in rows if row["split"] == split]
    if not found:
        known = sorted({row["split"] for _, row in rows})
        raise DataError(f"{path} lists no video of split {split!r}: it has {', '.join(known) or 'no rows'}")
    return found


def file_name(text: str, place: str, what: str) -> str:
    """A text of a table that is part of a path.

    Raises:
        DataError: it is empty, or leaves the data set's folder.
    """
    if not text or text == "." or not is_inside(text):
        raise DataError(f"{place}: {what} {brief(text)} is no name of a file inside the data set's folder")
    return text


def mapped(pixels: np.ndarray, values: np.ndarray, what: str) -> np.ndarray:
    """Pixels (H, W) of label values replaced by `values` (256,), where a negative one is a value of no class; uint8.

    Raises:
        DataError: a picture in colours, or a pixel of no class.
    """
    if pixels.ndim != 2 or pixels.dtype.kind not in "bu" or pixels.dtype.itemsize > 1:
        raise DataError(f"its pixels are {pixels.dtype} of shape {pixels.shape}: {what} are one byte per pixel")
    found = values[pixels.astype(np.uint8)]
    if (found < 0).any():
        unknown = np.unique(pixels[found < 0]).tolist()
        raise DataError(f"values {brief(unknown)} stand for no class")
    return found.astype(np.uint8)


def _opened(path: Path, what: str) -> Image.Image:
    """A picture whose header has been read."""
    try:
        return Image.open(path, formats=PICTURES)
    except FileNotFoundError:
        raise DataError(f"{what} {path} is not there") from None
    except Exception as error:  # a damaged file makes Pillow raise whatever its readers meet
        raise DataError(f"{what} {path} cannot be read ({error})") from error
