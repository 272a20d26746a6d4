"""Scores on single filmed clips of which little is known: who sounds at one second, when nothing in view does.

The truth is a JSON object, as annotated by hand in minutes for a clip:

{"objects": [{"file", "second", "class", "box": [x0, y0, x1, y1], "sounds": true | false | null}],
 "no_class_sounds": {file: [first, end]}}

Boxes are in shares of width and height, at the middle of the second. null: not known. From `first` up to `end`, in
seconds, nothing in view that has a class sounds. Clips are read with one frame per second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acvis_kit.data.schema import field, finite, items, read_json, text
from acvis_kit.errors import DataError, MediaError, brief
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import boxes, whole
from acvis_kit.media.load import load_clip

ON_OBJECT = 0.5  # least IoU of two boxes


@dataclass(frozen=True)
class KnownObject:
    """An object at one second of a clip.

    Attributes:
        file: name of the clip.
        second: from 0.
        class_name: in AVISeg's words.
        box: x0, y0, x1, y1 in shares of width and height.
        sounds: None: not known.
    """

    file: str
    second: int
    class_name: str
    box: tuple[float, float, float, float]
    sounds: bool | None


@dataclass(frozen=True)
class ClipTruth:
    """What is known of some clips.

    Attributes:
        objects: objects at single seconds.
        quiet: by file, the seconds [first, end) in which nothing in view that has a class sounds.
    """

    objects: tuple[KnownObject, ...]
    quiet: dict[str, tuple[int, int]]

    @property
    def files(self) -> list[str]:
        """Names of the clips, in order."""
        return sorted({known.file for known in self.objects} | set(self.quiet))


@dataclass(frozen=True)
class FoundObject:
    """What was found of a known object that sounds.

    Attributes:
        known: the object.
        overlap: IoU of its box with the box of the mask that fits it best; 0 without masks.
        class_name: of that mask's track; None without masks.
    """

    known: KnownObject
    overlap: float
    class_name: str | None

    @property
    def on_object(self) -> bool:
        """Whether the mask is on the object."""
        return self.overlap >= ON_OBJECT

    @property
    def right(self) -> bool:
        """Whether the mask is on the object and has its class."""
        return self.on_object and self.class_name == self.known.class_name


@dataclass(frozen=True)
class ClipScores:
    """Three measurements that are not pooled.

    Attributes:
        found: for every object that is known to sound.
        quiet: (empty seconds, seconds) where nothing in view sounds.
        muted: (empty seconds, seconds) of all clips without their sound.
        failed: names of the clips that are missing or cannot be read; nothing above is of them.
    """

    found: tuple[FoundObject, ...]
    quiet: tuple[int, int]
    muted: tuple[int, int]
    failed: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "objects": {
                "sounding": len(self.found),
                "box": sum(one.on_object for one in self.found),
                "box_and_class": sum(one.right for one in self.found),
                "each": [asdict(one.known) | {"iou": one.overlap, "found": one.class_name} for one in self.found],
            },
            "quiet": {"empty": self.quiet[0], "seconds": self.quiet[1]},
            "muted": {"empty": self.muted[0], "seconds": self.muted[1]},
            "failed": [*self.failed],
        }

    def table(self) -> str:
        """Markdown: a row per measurement, and a line that names the clips that are not in it."""
        rows = [
            ("an object sounds: the best mask's box has IoU 0.5", sum(one.on_object for one in self.found)),
            ("an object sounds: the same, and the class is right", sum(one.right for one in self.found)),
        ]
        lines = [(name, count, len(self.found), "objects") for name, count in rows]
        lines += [("nothing in view sounds: seconds without a mask", *self.quiet, "seconds")]
        lines += [("muted: seconds without a mask", *self.muted, "seconds")]
        shown = [
            f"| {name} | {100 * count / total:.0f} % | {count} of {total} {unit} |"
            if total
            else f"| {name} | - | no {unit} |"
            for name, count, total, unit in lines
        ]
        missing = ["", f"not in this table: {', '.join(self.failed)}"] if self.failed else []
        return "\n".join(["| | | |", "|---|---|---|", *shown, *missing])


def read_clip_truth(path: str | Path) -> ClipTruth:
    """Read what is known of some clips.

    Raises:
        DataError: a file that cannot be read, or an entry that does not fit; names it.
    """
    data = read_json(path, "truth of clips")
    objects = [
        _known(entry, f"{Path(path).name}: object {n}")
        for n, entry in enumerate(items(field(data, "objects", Path(path).name), "objects"))
    ]
    quiet = data.get("no_class_sounds", {})
    if not isinstance(quiet, dict):
        raise DataError(f"{Path(path).name}: no_class_sounds must be an object of [first, end], not {brief(quiet)}.")
    return ClipTruth(
        tuple(objects),
        {
            text(file, "no_class_sounds", "file"): _span(span, f"no_class_sounds of {file}")
            for file, span in quiet.items()
        },
    )


def score_clips(
    predictor: Predictor,
    folder: str | Path,
    truth: ClipTruth,
    say: Callable[[str], None] = lambda _: None,
    pictures: Path | None = None,
) -> ClipScores:
    """Predict every clip of which something is known, with its own sound and muted.

    Args:
        predictor: the model with its thresholds.
        folder: holds the clips.
        truth: what is known of them.
        say: called with a line of text after every clip, one that cannot be read too: the others are scored.
        pictures: a folder for a picture of every clip, with its own sound and muted: "NAME.jpg".

    Raises:
        MediaError: no clip can be read.
        DataError: the truth names a second beyond the end of its clip.
        AcvisError: a file of others lies where a picture is to be written.
    """
    found: list[FoundObject] = []
    quiet, muted = np.zeros(2, int), np.zeros(2, int)
    places = _pictures_of(truth, pictures)
    failed: list[str] = []
    for file in truth.files:
        try:
            clip = load_clip(Path(folder) / file)
        except MediaError as error:
            say(f"{file}: FAILED: {error}")
            failed.append(file)
            continue
        features = predictor.encode(clip)
        prediction = predictor.decode(features, clip)
        own = [known for known in truth.objects if known.file == file and known.sounds]
        first, end = truth.quiet.get(file, (0, 0))
        if (last := max([end - 1, *(known.second for known in own)])) >= len(clip):
            raise DataError(f"the truth of {file} names second {last}, but the clip lasts {len(clip)} s")
        found += [_find(prediction, known) for known in own]
        quiet += empty_seconds(prediction, range(first, end))
        silent = predictor.decode(features, torch.zeros_like(clip.waveform))
        muted += empty_seconds(silent, range(len(clip)))
        if file in places:
            _draw({f"{file}, its own sound": prediction, "muted": silent}, places[file])
        say(f"{file}: {prediction.summary()}")
    if failed and len(failed) == len(truth.files):
        raise MediaError(f"{folder}: none of the clips that the truth names can be read")
    return ClipScores(tuple(found), (int(quiet[0]), int(quiet[1])), (int(muted[0]), int(muted[1])), tuple(failed))


def _draw(predictions: dict[str, Prediction], path: Path) -> None:
    from acvis_kit.viz.sheet import save_sheet, soundtrack_sheet

    save_sheet(soundtrack_sheet(predictions, columns=6, side=150), path)


def _pictures_of(truth: ClipTruth, pictures: Path | None) -> dict[str, Path]:
    """The picture of each clip, none without a folder; AcvisError where a file of others lies."""
    from acvis_kit.viz.sheet import check_sheet_place

    places = {file: pictures / f"{Path(file).stem}.jpg" for file in truth.files} if pictures is not None else {}
    for place in places.values():
        check_sheet_place(place)
    return places


def empty_seconds(prediction: Prediction, seconds: Sequence[int]) -> tuple[int, int]:
    """How many of some frames show no mask, and how many there are."""
    shown = [bool(prediction[t].tracks) for t in seconds]
    return shown.count(False), len(shown)


def _find(prediction: Prediction, known: KnownObject) -> FoundObject:
    tracks = prediction[known.second].tracks
    if not tracks:
        return FoundObject(known, 0.0, None)
    height, width = prediction.size
    found = boxes([track.masks[known.second] for track in tracks])  # (N, 4): x, y, width, height
    x0, y0, x1, y1 = np.multiply(known.box, (width, height, width, height))
    across = np.minimum(found[:, 0] + found[:, 2], x1) - np.maximum(found[:, 0], x0)
    down = np.minimum(found[:, 1] + found[:, 3], y1) - np.maximum(found[:, 1], y0)
    shared = across.clip(0) * down.clip(0)
    overlaps = shared / (found[:, 2] * found[:, 3] + (x1 - x0) * (y1 - y0) - shared)
    # Of masks that fit equally well the one with the right class counts: a query may show its mask under two classes.
    best = max(range(len(tracks)), key=lambda n: (overlaps[n], tracks[n].class_name == known.class_name))
    return FoundObject(known, float(overlaps[best]), tracks[best].class_name)


def _known(entry: Any, where: str) -> KnownObject:
    second = whole(field(entry, "second", where))
    if second is None or second < 0:
        raise DataError(f"{where}: second is {brief(entry['second'])}, it must be a whole number, 0 or more.")
    numbers = [finite(value) for value in items(field(entry, "box", where), f"{where}: the box")]
    box = [value for value in numbers if value is not None]
    if len(box) != 4 or len(numbers) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise DataError(f"{where}: the box is {brief(entry['box'])}, it must be x0, y0, x1, y1 in shares, 0 to 1.")
    if (sounds := entry.get("sounds")) not in (True, False, None):
        raise DataError(f"{where}: sounds is {brief(sounds)}, it must be true, false or null.")
    return KnownObject(
        text(field(entry, "file", where), where, "file"),
        second,
        text(field(entry, "class", where), where, "class"),
        (box[0], box[1], box[2], box[3]),
        sounds,
    )


def _span(value: Any, where: str) -> tuple[int, int]:
    ends = [whole(end) for end in items(value, where)]
    if len(ends) != 2 or ends[0] is None or ends[1] is None or not 0 <= ends[0] <= ends[1]:
        raise DataError(f"{where} is {brief(value)}, it must be [first, end] in whole seconds.")
    return ends[0], ends[1]
