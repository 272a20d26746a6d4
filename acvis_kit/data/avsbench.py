"""AVSBench: AVSBench-object's single-source (S4) and multi-source (MS3) subsets, and AVSBench-semantic.

S4, folder "Single-source", one class a video, from the table:
    s4_meta_data.csv                                                    name, start, category, split
    s4_data/visual_frames/<split>/<category>/<name>/<name>_{1..5}.png   one frame a second
    s4_data/audio_wav/<split>/<category>/<name>.wav
    s4_data/gt_masks/<split>/<category>/<name>/<name>_{1..5}.png        in train only the first
MS3, folder "Multi-sources", masks without classes:
    ms3_meta_data.csv                                                   video id, split
    ms3_data/visual_frames/<id>/<id>.mp4_{1..5}.png
    ms3_data/audio_wav/<split>/<id>.wav
    ms3_data/gt_masks/<split>/<id>/<id>_{1..5}.png
AVSBench-semantic, whose subset v1s is S4 and v1m is MS3, with classes:
    metadata.csv                                                        uid, a_obj, split, label and others
    label2idx.json                                                      {"background": 0, name: index, ...}
    <label>/<uid>/frames/{0..}.jpg, <label>/<uid>/audio.wav             label: v1s, v1m (5 frames) or v2 (10)
    <label>/<uid>/labels_semantic/{0..}.png                             indices of classes, or
    <label>/<uid>/labels_rgb/{0..}.png                                  their colours, see `palette`
Masks of S4 and MS3 are read as "above 0": their files hold 1, 255 or an index of a class.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from acvis_kit.data.schema import naming, read_json
from acvis_kit.data.semantic import (
    SOUNDING_OBJECT,
    SemanticSplit,
    SemanticVideo,
    file_name,
    mapped,
    read_table,
    rows_of_split,
)
from acvis_kit.errors import DataError, brief

S4_TABLE, MS3_TABLE, AVSS_TABLE, AVSS_CLASSES = (
    "s4_meta_data.csv",
    "ms3_meta_data.csv",
    "metadata.csv",
    "label2idx.json",
)
OBJECT_FRAMES = 5  # of every video of S4 and MS3
SUBSETS = ("v1s", "v1m", "v2")
PADDED_FRAMES = 10  # to which AVSBench-semantic's published loader pads every video
MOST_CLASSES = 254  # 0 is the background and 255 means unknown


class S4Split(SemanticSplit):
    """AVSBench-object, single source.

    Args:
        root: the folder of `s4_meta_data.csv`.
        split: "train", "val" or "test".

    Raises:
        DataError: no such table, no such split in it, or a row that does not fit; names the line.
    """

    layout = "avsbench-s4"

    def __init__(self, root: str | Path, split: str = "test") -> None:
        root, data = Path(root), Path(root) / "s4_data"
        table = root / S4_TABLE
        rows = read_table(table, ("category", "split"), "AVSBench-object's Single-source")
        names = sorted({file_name(row["category"], place, "category") for place, row in rows})
        videos: list[SemanticVideo] = []
        for place, row in rows_of_split(rows, split, table):
            name, category = file_name(row[""], place, "name"), row["category"]
            frames = data / "visual_frames" / split / category / name
            masks = data / "gt_masks" / split / category / name
            annotated = 1 if split == "train" else OBJECT_FRAMES
            videos.append(
                SemanticVideo(
                    len(videos),
                    name,
                    tuple(frames / f"{name}_{k}.png" for k in range(1, OBJECT_FRAMES + 1)),
                    tuple(masks / f"{name}_{k}.png" if k <= annotated else None for k in range(1, OBJECT_FRAMES + 1)),
                    (data / "audio_wav" / split / category / f"{name}.wav",),
                    (category,),
                )
            )
        check_names(videos, table)
        super().__init__(root, split, names, videos)
        self.truth_file = table

    def class_map_of(self, video: SemanticVideo, pixels: np.ndarray) -> np.ndarray:
        return np.where(foreground(pixels), self.class_names.index(video.classes[0]) + 1, 0).astype(np.uint8)


class MS3Split(SemanticSplit):
    """AVSBench-object, multiple sources, of the one class "sounding object"; subset "v1m" of `AVSSSplit` has classes.

    Args and errors: as of `S4Split`, with `ms3_meta_data.csv`.
    """

    layout = "avsbench-ms3"

    def __init__(self, root: str | Path, split: str = "test") -> None:
        root, data = Path(root), Path(root) / "ms3_data"
        table = root / MS3_TABLE
        rows = read_table(table, ("split",), "AVSBench-object's Multi-sources")
        videos: list[SemanticVideo] = []
        for place, row in rows_of_split(rows, split, table):
            name = file_name(row[""], place, "video id")
            frames, masks = data / "visual_frames" / name, data / "gt_masks" / split / name
            videos.append(
                SemanticVideo(
                    len(videos),
                    name,
                    tuple(frames / f"{name}.mp4_{k}.png" for k in range(1, OBJECT_FRAMES + 1)),
                    tuple(masks / f"{name}_{k}.png" for k in range(1, OBJECT_FRAMES + 1)),
                    (data / "audio_wav" / split / f"{name}.wav",),
                )
            )
        check_names(videos, table)
        super().__init__(root, split, (SOUNDING_OBJECT,), videos)
        self.truth_file = table

    def class_map_of(self, video: SemanticVideo, pixels: np.ndarray) -> np.ndarray:
        return foreground(pixels).astype(np.uint8)


class AVSSSplit(SemanticSplit):
    """AVSBench-semantic, or AVIS-Synth in its layout.

    A video has as many frames as its folder; in training only the first frame of v1s is annotated, as published.

    Args:
        root: the folder of `metadata.csv`.
        split: "train", "val" or "test".
        subsets: which videos: of "v1s", "v1m" and "v2".

    Attributes:
        subsets: of each video, by its id.

    Raises:
        DataError: no such table, no such split in it, a row that does not fit (names the line), damaged classes, or a
            video without frames.
    """

    layout = "avsbench-semantic"

    def __init__(self, root: str | Path, split: str = "test", subsets: Collection[str] = SUBSETS) -> None:
        root = Path(root)
        table = root / AVSS_TABLE
        if unknown := sorted(set(subsets) - set(SUBSETS)):
            raise DataError(f"subset {unknown[0]!r} is unknown: choose from {', '.join(SUBSETS)}")
        names = read_classes(root / AVSS_CLASSES)
        rows = read_table(table, ("uid", "a_obj", "split", "label"), "AVSBench-semantic")
        videos: list[SemanticVideo] = []
        labels: list[str] = []
        for place, row in rows_of_split(rows, split, table):
            if row["label"] not in SUBSETS:
                raise DataError(f"{place}: label {brief(row['label'])} is none of {', '.join(SUBSETS)}")
            if row["label"] in subsets:
                folder = root / row["label"] / file_name(row["uid"], place, "uid")
                videos.append(_semantic_video(len(videos), row, folder, split, names))
                labels.append(row["label"])
        if not videos:
            raise DataError(f"{table} lists no video of split {split!r} in {', '.join(subsets)}")
        check_names(videos, table)
        super().__init__(root, split, names, videos)
        self.truth_file = table
        self.subsets = tuple(labels)
        self._values = np.full(256, -1, np.int64)
        self._values[: len(names) + 1] = np.arange(len(names) + 1)
        self._colours = {code: n for n, code in enumerate(_code(palette(len(names) + 1).astype(np.int64)).tolist())}

    def class_map_of(self, video: SemanticVideo, pixels: np.ndarray) -> np.ndarray:
        return mapped(pixels if pixels.ndim == 2 else self._of_colours(pixels), self._values, "indices of classes")

    def _of_colours(self, pixels: np.ndarray) -> np.ndarray:
        """Indices of classes (H, W) from colours (H, W, 3)."""
        found, place = np.unique(_code(pixels.astype(np.int64)), return_inverse=True)
        if unknown := [code for code in found.tolist() if code not in self._colours]:
            colour = tuple(unknown[0] >> shift & 255 for shift in (16, 8, 0))
            raise DataError(f"colour {colour} stands for no class")
        return np.array([self._colours[code] for code in found.tolist()], np.uint8)[place].reshape(pixels.shape[:2])


def palette(colours: int) -> np.ndarray:
    """The colour of each class with the background, uint8 (C, 3): the bits of its index, spread as in PASCAL VOC."""
    index = np.arange(colours)[:, None]
    bits = [(index >> (3 * i + np.arange(3)) & 1) << (7 - i) for i in range(8)]  # of red, green and blue
    return np.bitwise_or.reduce(bits).astype(np.uint8)


def read_classes(path: Path) -> tuple[str, ...]:
    """The K names of `label2idx.json`, without the background, by their indices.

    Raises:
        DataError: no such file, or indices that are not 0 (the background) to K.
    """
    if not path.is_file():
        raise DataError(f"{path} is not there: AVSBench-semantic lists its classes in it")
    given = read_json(path, "the classes")
    with naming(path):
        numbers = list(given.values()) if isinstance(given, dict) else []
        if not all(type(number) is int for number in numbers) or sorted(numbers) != list(range(len(numbers))):
            raise DataError(f"{brief(given)} is not an object of names and the indices 0, 1, 2, ...")
        if not 2 <= len(numbers) <= MOST_CLASSES + 1:
            raise DataError(f"{len(numbers)} classes with the background: 2 to {MOST_CLASSES + 1} can be read")
        return tuple(sorted(given, key=lambda name: given[name]))[1:]


def objects_of(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """The classes of AVSBench-semantic's column `a_obj`, which joins their names by "_", as some names do themselves.

    What is no class is left out: the column lists what sounds, also without a mask.
    """
    words, found = text.split("_"), []
    while words:
        length = next((n for n in range(len(words), 0, -1) if "_".join(words[:n]) in names), 0)
        if length:
            found.append("_".join(words[:length]))
        words = words[max(length, 1) :]
    return tuple(dict.fromkeys(found))


def foreground(pixels: np.ndarray) -> np.ndarray:
    """Where a mask (H, W) or (H, W, 3) is above 0, bool (H, W)."""
    return np.asarray(pixels if pixels.ndim == 2 else pixels.any(-1)) > 0


def check_names(videos: Sequence[SemanticVideo], table: Path) -> None:
    """Raise a DataError for a video that is listed twice."""
    seen: set[Path] = set()
    for video in videos:
        if video.frames[0] in seen:
            raise DataError(f"{table} lists {brief(video.name)} twice in one split: take one of the lines out")
        seen.add(video.frames[0])


def _semantic_video(number: int, row: dict[str, str], folder: Path, split: str, names: Sequence[str]) -> SemanticVideo:
    frames = folder / "frames"
    length = sum(1 for file in frames.glob("*.jpg")) if frames.is_dir() else 0
    if not length:
        raise DataError(f"{frames} holds no frames 0.jpg, 1.jpg, ...: {AVSS_TABLE} lists this video")
    labels = folder / "labels_semantic"
    if not labels.is_dir():
        labels = folder / "labels_rgb"
    annotated = 1 if split == "train" and row["label"] == "v1s" else length
    return SemanticVideo(
        number,
        row["uid"],
        tuple(frames / f"{t}.jpg" for t in range(length)),
        tuple(labels / f"{t}.png" if t < annotated else None for t in range(length)),
        (folder / "audio.wav",),
        objects_of(row["a_obj"], names),
    )


def _code(colours: np.ndarray) -> np.ndarray:
    """Colours (..., 3) as one number each."""
    return colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
