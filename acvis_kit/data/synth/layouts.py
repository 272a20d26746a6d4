"""Where AVIS-Synth's files lie, and how its truth is written: in AVISeg's layout, or in AVSBench-semantic's.

Both have `{split}_scenes.json` beside the truth, from which other soundtracks are rendered.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acvis_kit.data.avsbench import AVSS_CLASSES, AVSS_TABLE, palette, read_classes
from acvis_kit.data.semantic import read_table
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.errors import DataError
from acvis_kit.files import write_errors, write_text
from acvis_kit.masks import mask_of

MARKER = ".unfinished.json"  # there while a split is written


class Layout(ABC):
    """The files of a data set below the folder `out`.

    A split's truth is written last: once `is_complete`, it need not be made again.
    """

    name: str

    @abstractmethod
    def marker(self, out: Path, split: str) -> Path:
        """The file that is there while the split is written."""

    @abstractmethod
    def is_complete(self, out: Path, split: str) -> bool:
        """Whether the truth of the split is there."""

    @abstractmethod
    def clips(self, out: Path, split: str) -> list[Path]:
        """Folders that are there with files of the split's clips."""

    @abstractmethod
    def frame(self, out: Path, split: str, clip: str, t: int) -> Path:
        """A JPEG file."""

    @abstractmethod
    def sound(self, out: Path, split: str, clip: str) -> Path:
        """A WAV file."""

    def check(self, out: Path, categories: Sequence[Mapping[str, Any]]) -> None:  # noqa: B027
        """Raise a DataError if the folder holds what does not go together with clips of these categories."""

    def write_labels(  # noqa: B027
        self, out: Path, video: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]],
        categories: Sequence[Mapping[str, Any]],
    ) -> None:  # fmt: skip
        """Write the pictures of a clip that say what sounds, if the layout has some.

        Args:
            out: folder of the data set.
            video: entry of the clip, with its name.
            annotations: of its sounding objects, with run-length codes.
            categories: of the data set.
        """

    @abstractmethod
    def write_truth(self, out: Path, split: str, truth: Mapping[str, Any], names: Sequence[str]) -> None:
        """Write what makes the split complete.

        Args:
            out: folder of the data set.
            split: its name.
            truth: in AVISeg's format.
            names: of the clips.

        Raises:
            DataError: a file cannot be written.
        """

    def clear(self, out: Path, split: str) -> None:
        """Remove the files of the split's clips."""
        for folder in self.clips(out, split):
            shutil.rmtree(folder, ignore_errors=True)


class AVISegLayout(Layout):
    """{split}.json, {split}/JPEGImages/<clip>/<frame:05d>.jpg, {split}/WAVAudios/<clip>.wav."""

    name = "aviseg"

    def marker(self, out: Path, split: str) -> Path:
        return out / split / MARKER

    def is_complete(self, out: Path, split: str) -> bool:
        return (out / f"{split}.json").exists()

    def clips(self, out: Path, split: str) -> list[Path]:
        folder = out / split
        return [folder] if folder.exists() and any(folder.iterdir()) else []

    def frame(self, out: Path, split: str, clip: str, t: int) -> Path:
        return out / split / "JPEGImages" / clip / f"{t:05d}.jpg"

    def sound(self, out: Path, split: str, clip: str) -> Path:
        return out / split / "WAVAudios" / f"{clip}.wav"

    def write_truth(self, out: Path, split: str, truth: Mapping[str, Any], names: Sequence[str]) -> None:
        write_text(out / f"{split}.json", json.dumps(truth, separators=(",", ":")), DataError)


class AVSBenchLayout(Layout):
    """AVSBench-semantic's, see `data.avsbench`: all clips are of subset v2, their labels say what sounds in each frame.

    The table and the classes are common to all splits of a folder.
    """

    name = "avsbench"

    def marker(self, out: Path, split: str) -> Path:
        return out / f".{split}{MARKER}"

    def is_complete(self, out: Path, split: str) -> bool:
        return split in {row["split"] for row in self._rows(out)}

    def clips(self, out: Path, split: str) -> list[Path]:
        own = re.compile(re.escape(split) + r"_\d{5,}")
        folder = out / "v2"
        return [path for path in sorted(folder.iterdir()) if own.fullmatch(path.name)] if folder.is_dir() else []

    def frame(self, out: Path, split: str, clip: str, t: int) -> Path:
        return out / "v2" / clip / "frames" / f"{t}.jpg"

    def sound(self, out: Path, split: str, clip: str) -> Path:
        return out / "v2" / clip / "audio.wav"

    def check(self, out: Path, categories: Sequence[Mapping[str, Any]]) -> None:
        if (out / AVSS_CLASSES).exists() and list(read_classes(out / AVSS_CLASSES)) != list(labels_of(categories)):
            raise DataError(f"{out / AVSS_CLASSES} has other classes than these clips: write them to another folder")

    def write_labels(
        self, out: Path, video: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]],
        categories: Sequence[Mapping[str, Any]],
    ) -> None:  # fmt: skip
        folder, size = out / "v2" / video["name"], (video["height"], video["width"])
        numbers = labels_of(categories)
        classes = {entry["id"]: numbers[entry["name"]] for entry in categories if entry["name"] in numbers}
        colours = palette(len(numbers) + 1)
        for part in ("labels_semantic", "labels_rgb"):
            with write_errors(folder / part, DataError):
                (folder / part).mkdir(exist_ok=True)
        for t in range(video["length"]):
            labels = np.zeros(size, np.uint8)
            for annotation in annotations:
                mask = mask_of(annotation["segmentations"][t], size)
                if mask is not None:
                    labels[mask] = classes[annotation["category_id"]]
            for part, pixels in (("labels_semantic", labels), ("labels_rgb", colours[labels])):
                with write_errors(folder / part / f"{t}.png", DataError):
                    Image.fromarray(pixels).save(folder / part / f"{t}.png")

    def write_truth(self, out: Path, split: str, truth: Mapping[str, Any], names: Sequence[str]) -> None:
        categories = {entry["id"]: entry["name"] for entry in truth["categories"]}
        known = {"background": 0} | labels_of(truth["categories"])
        write_text(out / AVSS_CLASSES, json.dumps(known, indent=1) + "\n", DataError)
        sounding: dict[Any, dict[str, None]] = {video["id"]: {} for video in truth["videos"]}
        for annotation in truth["annotations"]:
            sounding[annotation["video_id"]][categories[annotation["category_id"]]] = None
        header = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")
        others = [[row[name] for name in header] for row in self._rows(out) if row["split"] != split]
        own = [
            [name, name, "0", "0", "_".join(sounding[video["id"]]), split, "v2"]
            for name, video in zip(names, truth["videos"], strict=True)
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *others, *own])
        write_text(out / AVSS_TABLE, text.getvalue(), DataError)

    def _rows(self, out: Path) -> list[dict[str, str]]:
        if not (out / AVSS_TABLE).is_file():
            return []
        columns = ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label")
        return [row for _, row in read_table(out / AVSS_TABLE, columns, "AVIS-Synth")]


LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (AVISegLayout(), AVSBenchLayout())}


def labels_of(categories: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The label in class maps of each category that can sound, from 1; things of no class have no voice."""
    names = [entry["name"] for entry in categories if entry["name"] != OTHER]
    return {name: number for number, name in enumerate(names, start=1)}
