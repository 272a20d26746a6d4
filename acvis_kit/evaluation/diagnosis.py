"""Why sounding objects are missed, and what is marked where nothing sounds: second by second, each under one cause.

In every second in which an object of the truth sounds, a mask on it is looked for twice: among the masks that are
shown, and among all that the network has, however little it hears and however uncertain it is. So what is missed is
the mask, the name, the sound, or the last two together.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.distributed import collect, own_share
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import category_ids_of
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import RLE, areas, from_segmentation, iou

ON_OBJECT = 0.5  # least IoU of a mask that is on an object
NEAR = 0.1  # least IoU of one that touches it, but has another outline
# Of a second in which an object sounds.
FOUND, OTHER_NAME, UNHEARD, UNHEARD_OTHER_NAME, OUTLINE, NOTHING = CAUSES = (
    "marked, with its class",
    "marked as another class",
    "not heard: a hidden mask has its class",
    "not heard: a hidden mask has another class",
    "another outline",
    "no mask",
)
# Of a second in which a mask is shown.
RIGHT, WRONG_NAME, WRONG_OUTLINE, SILENT = SHOWN = (
    "on a sounding object, with its class",
    "on a sounding object, another class",
    "on a part of a sounding object, or on more",
    "nothing sounds there",
)


@dataclass(frozen=True)
class Diagnosis:
    """Seconds by cause.

    Attributes:
        missed: class -> cause (`CAUSES`) -> seconds in which an object of the class sounds.
        shown: `SHOWN` -> seconds in which a mask is shown, all classes together.
    """

    missed: Mapping[str, Mapping[str, int]]
    shown: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "sounding": {name: {cause: found.get(cause, 0) for cause in CAUSES} for name, found in self.missed.items()},
            "shown": {kind: self.shown.get(kind, 0) for kind in SHOWN},
        }

    def table(self) -> str:
        """Markdown: percentages of an object's sounding seconds by class, and of the seconds with a mask."""
        total = sum((Counter(found) for found in self.missed.values()), start=Counter[str]())
        by_size = sorted(self.missed.items(), key=lambda item: -sum(item[1].values()))
        lines = ["| an object sounds | seconds | " + " | ".join(CAUSES) + " |", "|---" * (len(CAUSES) + 2) + "|"]
        lines += [_row(name, found, CAUSES) for name, found in [("all", total), *by_size]]
        lines += ["", "| a mask is shown | seconds | " + " | ".join(SHOWN) + " |", "|---" * (len(SHOWN) + 2) + "|"]
        return "\n".join([*lines, _row("all", self.shown, SHOWN)])


def diagnose(predictor: Predictor, split: AVISegSplit, say: Callable[[str], None] = lambda _: None) -> Diagnosis:
    """Predict a split twice, as it is shown and with everything shown, and count the causes.

    Several processes (torchrun) divide the videos among themselves; the whole is in the main process.

    Args:
        predictor: the model with its thresholds.
        split: the videos.
        say: called with a line of text after every video.

    Raises:
        DataError: the data set has no annotations or lacks a class of the model, or files do not fit.
    """
    category_ids_of(predictor.model, split)  # refuses other data
    if not any(split.tracks(video) for video in split.videos):
        raise DataError(f"{split.truth_file} has no annotations: what is missed, or marked wrongly, is not known")
    everything = showing_everything(predictor)
    found = {}
    for number, video in own_share(split.videos):
        features = predictor.encode(split.clip(video))
        shown, hidden = predictor.decode(features), everything.decode(features)
        truth = [
            (split.categories[track.category_id], [from_segmentation(s, video.size) for s in track.segmentations])
            for track in split.tracks(video)
        ]
        found[number] = causes_of(shown, hidden, truth)
        say(f"[{number + 1}/{len(split)}] {video.name}: {shown.summary()}")
    missed: dict[str, Counter[str]] = {}
    kinds: Counter[str] = Counter()
    for seconds, marks in collect(found):
        for name, cause in seconds:
            missed.setdefault(name, Counter())[cause] += 1
        kinds.update(marks)
    return Diagnosis(missed, kinds)


def showing_everything(predictor: Predictor, **settings: Any) -> Predictor:
    """A copy that shows all masks that the network has, however uncertain or silent.

    Args:
        predictor: stays as it is.
        **settings: further fields of the copy's inference.
    """
    everything = copy.copy(predictor)
    everything.inference = replace(
        predictor.inference, score_threshold=0.0, sounding_threshold=0.0, count_gate=False, top_k=10_000, **settings
    )
    return everything


def causes_of(
    shown: Prediction, hidden: Prediction, truth: Sequence[tuple[str, Sequence[RLE | None]]]
) -> tuple[list[tuple[str, str]], list[str]]:
    """The cause of each second in which an object sounds, with the object's class; and of each mask that is shown.

    Args:
        shown: what is shown.
        hidden: everything that the network has.
        truth: of each object its class, and its mask in every second, None where it is silent.
    """
    seconds, marks = [], []
    for t in range(len(shown)):
        objects = [(name, mask) for name, masks in truth if (mask := masks[t]) is not None and areas([mask])[0]]
        names, codes = [name for name, _ in objects], [mask for _, mask in objects]
        marked, all_tracks = shown[t].tracks, hidden[t].tracks
        on_shown, on_hidden = _overlaps(marked, codes, t), _overlaps(all_tracks, codes, t)  # (tracks, objects)
        for n, name in enumerate(names):
            seconds.append((name, _cause(name, marked, on_shown[:, n], all_tracks, on_hidden[:, n])))
        marks += [_kind(track, names, row) for track, row in zip(marked, on_shown, strict=True)]
    return seconds, marks


def _overlaps(tracks: Sequence[Track], objects: Sequence[RLE], t: int) -> NDArray[np.float64]:
    return iou([track.masks[t] for track in tracks], objects)


def _cause(
    name: str,
    shown: Sequence[Track],
    on_shown: NDArray[np.float64],
    hidden: Sequence[Track],
    on_hidden: NDArray[np.float64],
) -> str:
    marks = [track.class_name for track, overlap in zip(shown, on_shown, strict=True) if overlap >= ON_OBJECT]
    if marks:
        return FOUND if name in marks else OTHER_NAME
    behind = [track for track, overlap in zip(hidden, on_hidden, strict=True) if overlap >= ON_OBJECT]
    if behind:
        best = max(behind, key=lambda track: track.score)
        return UNHEARD if best.class_name == name else UNHEARD_OTHER_NAME
    return OUTLINE if max([0.0, *on_shown, *on_hidden]) >= NEAR else NOTHING


def _kind(track: Track, names: Sequence[str], overlaps: NDArray[np.float64]) -> str:
    on = [name for name, overlap in zip(names, overlaps, strict=True) if overlap >= ON_OBJECT]
    if on:
        return RIGHT if track.class_name in on else WRONG_NAME
    return WRONG_OUTLINE if max([0.0, *overlaps]) >= NEAR else SILENT


def _row(name: str, found: Mapping[str, int], kinds: Sequence[str]) -> str:
    total = sum(found.values())
    shares = [f"{100 * found.get(kind, 0) / total:.0f} %" if total else "-" for kind in kinds]
    return f"| {name} | {total} | " + " | ".join(shares) + " |"
