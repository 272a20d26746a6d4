"""`{split}_scenes.json`: every visible mask, which objects sound when, and what other soundtracks are rendered from."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acvis_kit.data.synth.acoustics import Acoustics
from acvis_kit.data.synth.classes import category_id
from acvis_kit.data.synth.filmed import FilmedScene, FilmedThing
from acvis_kit.data.synth.placing import Region
from acvis_kit.data.synth.scenes import Scene, Thing
from acvis_kit.data.synth.sounds import Recordings, Voice
from acvis_kit.data.synth.soundtrack import Soundtrack
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM
from acvis_kit.errors import DataError
from acvis_kit.files import read_text
from acvis_kit.masks import encode, mask_of

VERSION = 2


@dataclass(frozen=True)
class ObjectRecord:
    """One object of a scene of T seconds.

    Attributes:
        id: its index in the scene.
        category_id: AVISeg's id of its class.
        voice: its voice.
        level_db: its level, dBFS.
        segmentations: RLE or None per second, of the visible pixels, whether it sounds or not.
        areas: int64 (T,), number of visible pixels.
        share: float (T,), fraction of the object that is in view, 0..1.
        sounding: bool (T,).
        cue: bool (T,), whether its cue is drawn, which only twins have.
        may_sound: bool (T,), when another soundtrack may let it sound; None: see `SceneRecord.may_sound`.
        annotation_id: id in {split}.json, None if it never sounds.
        size: height and width of the frame, pixels.
    """

    id: int
    category_id: int
    voice: Voice
    level_db: float
    segmentations: tuple[dict[str, Any] | None, ...]
    areas: np.ndarray
    share: np.ndarray
    sounding: np.ndarray
    cue: np.ndarray
    may_sound: np.ndarray | None
    annotation_id: int | None
    size: tuple[int, int]

    @property
    def class_name(self) -> str:
        return self.voice.class_name

    def mask(self, second: int) -> np.ndarray:
        """The visible pixels in one second, bool (H, W)."""
        found = mask_of(self.segmentations[second], self.size)
        return np.zeros(self.size, bool) if found is None else found

    def masks(self, seconds: Sequence[int] | None = None) -> np.ndarray:
        """The visible pixels in the given seconds, or in all: bool (n, H, W)."""
        chosen = range(len(self.segmentations)) if seconds is None else seconds
        return np.stack([self.mask(int(t)) for t in chosen])


@dataclass(frozen=True)
class SceneRecord:
    """One clip.

    Attributes:
        video_id: id in {split}.json.
        name: folder of the frames, and name of the sound file.
        length: seconds, T.
        size: height and width of the frames, pixels.
        pair: indices of two objects of one class, None if there are none.
        twins: whether the pair are twins, of which one at a time may sound; else both are silent.
        objects: all N objects.
        soundtrack: the original sound.
        offscreen: bool (T,), seconds with a sound from outside the picture.
        voices: files of recorded voices by class, empty if voices are synthetic.
        recordings: source of recorded voices for `soundtrack.render(recordings=...)`, None if voices are synthetic.
        room: where it is filmed, for other recorded voices; None if recordings stay as they are.
    """

    video_id: int
    name: str
    length: int
    size: tuple[int, int]
    pair: tuple[int, int] | None
    twins: bool
    objects: tuple[ObjectRecord, ...]
    soundtrack: Soundtrack
    offscreen: np.ndarray
    voices: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    recordings: Recordings | None = field(default=None, repr=False)
    room: Acoustics | None = None

    @property
    def sounding(self) -> np.ndarray:
        """Which objects sound, bool (N, T)."""
        return np.stack([thing.sounding for thing in self.objects])

    @property
    def may_sound(self) -> np.ndarray:
        """Which objects another soundtrack may let sound, bool (N, T): the picture shows that it is this object.

        As written, or, for drawn scenes, where the only object of its class is far enough in view.
        """
        number = Counter(thing.class_name for thing in self.objects)
        rows = [
            (thing.share >= SOUNDS_FROM) & (number[thing.class_name] == 1)
            if thing.may_sound is None
            else thing.may_sound
            for thing in self.objects
        ]
        return np.stack(rows)

    @property
    def share(self) -> np.ndarray:
        """Fraction of each object that is in view, float (N, T)."""
        return np.stack([thing.share for thing in self.objects])


def describe(scene: Scene | FilmedScene, video_id: int, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A scene as JSON: its entry in {split}_scenes.json, and its annotations, to which the caller gives ids."""
    objects, annotations = [], []
    things: Sequence[Thing | FilmedThing] = scene.things
    for number, thing in enumerate(things):
        patches, sounding = scene.patches[number], scene.sounding[number]
        codes = [encode(p.mask(scene.size)) if p is not None and p.area else None for p in patches]
        areas = [p.area if p is not None else 0 for p in patches]
        objects.append(
            {
                "id": number,
                "category_id": category_id(thing.class_name),
                "voice": thing.voice.to_dict(),
                "level_db": thing.level_db,
                "segmentations": codes,
                "areas": areas,
                "share": [round(float(s), 3) for s in scene.share[number]],
                "sounding": [int(s) for s in sounding],
                "cue": [int(s) for s in scene.cue[number]],
                "annotation_id": None,
            }
        )
        if isinstance(scene, FilmedScene):
            objects[-1]["may_sound"] = [int(s) for s in scene.may_sound[number]]
        if sounding.any():
            annotations.append(
                {
                    "object": number,
                    "video_id": video_id,
                    "category_id": category_id(thing.class_name),
                    "iscrowd": 0,
                    "height": scene.size,
                    "width": scene.size,
                    "length": scene.length,
                    "segmentations": [c if s else None for c, s in zip(codes, sounding, strict=True)],
                    "areas": [a if s else None for a, s in zip(areas, sounding, strict=True)],
                    "bboxes": [_box(p) if s else None for p, s in zip(patches, sounding, strict=True)],
                }
            )
    entry = {
        "video_id": video_id,
        "name": name,
        "length": scene.length,
        "height": scene.size,
        "width": scene.size,
        "pair": list(scene.pair) if scene.pair else None,
        "twins": scene.twins,
        "objects": objects,
        "soundtrack": scene.soundtrack.to_dict(),
        "offscreen": [int(s) for s in scene.offscreen],
    }
    if isinstance(scene, FilmedScene) and scene.room is not None:
        entry["room"] = scene.room.to_dict()
    return entry, annotations


def load_scenes(path: str | Path) -> dict[int, SceneRecord]:
    """The scenes of a split by video id.

    Raises:
        DataError: no such file, not of this format, or of another version.
    """
    path = Path(path)
    try:
        data = json.loads(read_text(path))
    except FileNotFoundError:
        raise DataError(f"{path} is not there: `acvis synth` writes it beside the split's JSON") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}): make the split again with `acvis synth`") from error
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = data.get("version") if isinstance(data, dict) else type(data).__name__
        raise DataError(
            f"{path} has version {found}, this kit reads {VERSION}: make the split again with `acvis synth`"
        )
    try:
        voices = data.get("voices") or {}
        recordings = _Folder(data["sounds"]) if data.get("sounds") else None
        scenes = [_read_scene(entry, voices, recordings) for entry in data["scenes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error!r}): make the split again with `acvis synth`") from error
    return {scene.video_id: scene for scene in scenes}


def _box(patch: Region | None) -> list[int] | None:
    """Left, top, width, height of the visible pixels; None if there are none."""
    if patch is None or not patch.area:
        return None
    rows, columns = np.flatnonzero(patch.visible.any(1)), np.flatnonzero(patch.visible.any(0))
    left, top = int(columns[0]), int(rows[0])
    return [patch.left + left, patch.top + top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]


class _Folder:
    """A data set's folder of recordings, opened at its first use: masks can be read without it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._voices: Recordings | None = None

    def second(self, voice: Voice, second: int) -> np.ndarray:
        if self._voices is None:
            from acvis_kit.data.synth.recordings import RecordedVoices

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # given already when the data were made
                self._voices = RecordedVoices(self._folder)
        return self._voices.second(voice, second)


def _read_scene(
    entry: dict[str, Any], voices: Mapping[str, Sequence[str]], recordings: Recordings | None
) -> SceneRecord:
    size = int(entry["height"]), int(entry["width"])
    objects = tuple(
        ObjectRecord(
            int(thing["id"]), int(thing["category_id"]), Voice.from_dict(thing["voice"]), float(thing["level_db"]),
            tuple(thing["segmentations"]), np.array(thing["areas"], np.int64), np.array(thing["share"], np.float32),
            np.array(thing["sounding"], bool), np.array(thing["cue"], bool),
            np.array(thing["may_sound"], bool) if "may_sound" in thing else None, thing["annotation_id"], size,
        )
        for thing in entry["objects"]
    )  # fmt: skip
    pair = tuple(entry["pair"]) if entry["pair"] else None
    room = Acoustics.from_dict(entry["room"]) if entry.get("room") else None
    return SceneRecord(
        int(entry["video_id"]), str(entry["name"]), int(entry["length"]), size, pair, bool(entry["twins"]), objects,
        Soundtrack.from_dict(entry["soundtrack"]), np.array(entry["offscreen"], bool), voices,
        recordings, room,
    )  # fmt: skip
