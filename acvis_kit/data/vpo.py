"""VPO: still pictures of COCO with sounds of VGGSound, in three subsets.

ROOT/VPO/VPO-SS/data/<category>/<image:012d>.jpg                   single source: a row of the table is a sample
ROOT/VPO/VPO-SS/mask/<category>/<image:012d>_<annotation:012d>.png
ROOT/VPO/VPO-MS/{data,mask}/<image:012d>.{jpg,png}                 multiple sources: all rows of an image are a sample
ROOT/VPO/VPO-MSMI/{data,mask}/<image:012d>.{jpg,png}               with several instances of a class; others are in MS
ROOT/VPO/VPO-XX/vpo_xx_data_stereo.csv, or in ROOT/VPO             img_Id, ann_Ids, cateName, vgg_file, split, ...
ROOT/VGGSound/audios/<vgg_file>.wav                                one for each source

A sample is one frame and the middle 3 s of its sound, a shorter one repeated: a clip at 1/3 frame per second, of which
networks hear the middle second. With several sources it is their sum, as in CAVP's mono setting. (The stereo setting
needs two channels, and the kit's sound is mono.) Masks hold COCO's ids, and 92, 93, 94 for male, female, baby.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from acvis_kit.clip import IGNORED, SAMPLE_RATE
from acvis_kit.data.semantic import (
    SemanticSplit,
    SemanticVideo,
    check_sound,
    file_name,
    mapped,
    read_table,
    rows_of_split,
)
from acvis_kit.errors import DataError, brief
from acvis_kit.media.wav import read_seconds, wav_duration

VPO_SUBSETS = ("ss", "ms", "msmi")
SECONDS = 3  # of the sound of a sample
COCO_IDS = {  # of the 21 classes, in the order of their labels
    "airplane": 5, "baby": 94, "bird": 16, "bus": 6, "car": 3, "cat": 17, "cell phone": 77, "cow": 21, "dog": 18,
    "elephant": 22, "female": 93, "horse": 19, "keyboard": 76, "male": 92, "motorcycle": 4, "mouse": 74, "sheep": 20,
    "skateboard": 41, "sports ball": 37, "tennis racket": 43, "zebra": 24,
}  # fmt: skip


class VPOSplit(SemanticSplit):
    """One subset of VPO.

    Args:
        root: the folder that holds VPO and VGGSound.
        split: "train" or "test", which some tables call "val".
        subset: "ss", "ms" or "msmi".

    Raises:
        DataError: an unknown subset, no table, no such split in it, or a row that does not fit; names the line.
    """

    fps = 1 / SECONDS

    def __init__(self, root: str | Path, split: str = "test", subset: str = "ss") -> None:
        root = Path(root)
        if subset not in VPO_SUBSETS:
            raise DataError(f"subset {subset!r} is unknown: choose from {', '.join(VPO_SUBSETS)}")
        self.layout = f"vpo-{subset}"
        columns = ["img_Id", "ann_Ids", "cateName", "vgg_file", "split"] + ["multi_instance"] * (subset == "msmi")
        table = table_of(root, subset)
        rows = read_table(table, columns, "VPO")
        rows = [(place, row | {"split": "test" if row["split"] == "val" else row["split"]}) for place, row in rows]
        samples: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]] = {}
        for place, row in rows_of_split(rows, split, table):
            if row["cateName"] not in COCO_IDS:
                raise DataError(f"{place}: cateName {brief(row['cateName'])} is none of {', '.join(COCO_IDS)}")
            key = (row["img_Id"], row["ann_Ids"], place) if subset == "ss" else (row["img_Id"],)
            samples.setdefault(key, []).append((place, row))
        videos = [_video(number, own, root, subset) for number, own in enumerate(samples.values())]
        super().__init__(root, split, tuple(COCO_IDS), videos)
        self.truth_file = table_of(root, subset)
        self._values = np.full(256, -1, np.int64)
        self._values[[0, IGNORED]] = 0, IGNORED
        self._values[list(COCO_IDS.values())] = np.arange(1, len(COCO_IDS) + 1)

    def class_map_of(self, video: SemanticVideo, pixels: np.ndarray) -> np.ndarray:
        return mapped(pixels, self._values, "COCO's ids")

    def sound(self, video: SemanticVideo, seconds: np.ndarray | None = None) -> np.ndarray:
        """The sum of the sources: all 3 s, (3, 16000), or for frame 0 the middle second, (1, 16000)."""
        total = np.zeros((SECONDS, SAMPLE_RATE), np.float32)
        for path in video.sounds:
            total += middle_of(path)
        return total if seconds is None else total[[SECONDS // 2] * len(seconds)]


def table_of(root: Path, subset: str) -> Path:
    """The table of a subset, in the subset's folder or beside it."""
    name = f"vpo_{subset}_data_stereo.csv"
    inside = root / "VPO" / f"VPO-{subset.upper()}" / name
    return inside if inside.is_file() else root / "VPO" / name


def middle_of(path: Path) -> np.ndarray:
    """The middle 3 s of a sound file, float32 (3, 16000); a shorter sound is repeated.

    Raises:
        DataError: there is no such file.
        MediaError: a file that cannot be read or is empty.
    """
    check_sound(path)
    length = wav_duration(path)
    if length >= SECONDS:
        return read_seconds(path, (length - SECONDS) / 2 + np.arange(SECONDS))
    whole = read_seconds(path, np.arange(math.ceil(length))).reshape(-1)[: max(1, int(length * SAMPLE_RATE))]
    return np.resize(whole, (SECONDS, SAMPLE_RATE))


def _video(number: int, rows: list[tuple[str, dict[str, str]]], root: Path, subset: str) -> SemanticVideo:
    """A sample of one row (SS) or of all rows of an image."""
    place, row = rows[0]
    image = _id(row["img_Id"], place, "img_Id")
    for other, own in rows:
        file_name(own["vgg_file"], other, "vgg_file")
    single = subset == "msmi" and all(own["multi_instance"] in ("0", "0.0") for _, own in rows)
    folder = root / "VPO" / f"VPO-{'MS' if single else subset.upper()}"
    name = image
    if subset == "ss":
        folder_of_class = row["cateName"]
        name = f"{image}_{_id(row['ann_Ids'], place, 'ann_Ids')}"
        frame = folder / "data" / folder_of_class / f"{image}.jpg"
        label = folder / "mask" / folder_of_class / f"{name}.png"
    else:
        frame, label = folder / "data" / f"{image}.jpg", folder / "mask" / f"{image}.png"
    return SemanticVideo(
        number,
        name,
        (frame,),
        (label,),
        tuple(root / "VGGSound" / "audios" / f"{own['vgg_file']}.wav" for _, own in rows),
        tuple(dict.fromkeys(own["cateName"] for _, own in rows)),
    )


def _id(text: str, place: str, what: str) -> str:
    """An id of COCO in twelve digits."""
    if not text.isdecimal() or len(text) > 12:
        raise DataError(f"{place}: {what} {brief(text)} is no id of COCO")
    return text.zfill(12)
