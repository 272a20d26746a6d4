"""`{split}_scenes.json`: every visible mask, which objects sound when, and what other soundtracks are rendered from."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acvis_kit.data import schema
from acvis_kit.data.synth.acoustics import Acoustics
from acvis_kit.data.synth.classes import category_id
from acvis_kit.data.synth.filmed import FilmedScene, FilmedThing
from acvis_kit.data.synth.placing import Region
from acvis_kit.data.synth.scenes import Scene, Thing
from acvis_kit.data.synth.sounds import Recordings, Voice
from acvis_kit.data.synth.soundtrack import Soundtrack
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM
from acvis_kit.errors import DataError, brief
from acvis_kit.masks import LARGEST_FRAME, encode, frame_size, mask_of, plain, whole

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
    def filmed(self) -> bool:
        """Whether the scene is made of photographs, which say themselves what may sound."""
        return any(thing.may_sound is not None for thing in self.objects)

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
        DataError: no such file, of another version, or with an entry that does not fit; names the entry.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} is not there: `acvis synth` writes it beside the split's JSON")
    data = schema.read_json(path, "the split's scenes")
    if not isinstance(data, dict) or data.get("version") != VERSION:
        found = brief(data.get("version")) if isinstance(data, dict) else type(data).__name__
        raise DataError(
            f"{path} has version {found}, this kit reads {VERSION}: make the split again with `acvis synth`"
        )
    try:
        voices, recordings = _voice_files(data.get("voices")), _recordings(data.get("sounds"))
        entries = schema.items(schema.field(data, "scenes", "the file"), "scenes")
        scenes = [_read_scene(entry, f"scenes[{n}]", voices, recordings) for n, entry in enumerate(entries)]
    except DataError as error:
        raise DataError(f"{path} is damaged: {error} Make the split again with `acvis synth`.") from None
    found_scenes = {scene.video_id: scene for scene in scenes}
    if len(found_scenes) < len(scenes):
        raise DataError(f"{path} has two scenes of one video: make the split again with `acvis synth`")
    return found_scenes


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


def _voice_files(given: Any) -> dict[str, list[str]]:
    """Files of recorded voices by class; none where null is given."""
    if given is not None and not isinstance(given, dict):
        raise DataError(f"voices are {brief(given)}, not lists of files by class.")
    files = {name: schema.items(own, f"voices of {name}") for name, own in (given or {}).items()}
    return {name: [schema.text(file, f"voices of {name}", "file") for file in own] for name, own in files.items()}


def _recordings(folder: Any) -> Recordings | None:
    return _Folder(schema.text(folder, "sounds", "folder")) if folder else None


def _read_scene(
    entry: Any, where: str, voices: Mapping[str, Sequence[str]], recordings: Recordings | None
) -> SceneRecord:
    def given(key: str) -> Any:
        return schema.field(entry, key, where)

    video_id = whole(given("video_id"))
    if video_id is None or not 0 <= video_id <= schema.LARGEST_ID:
        raise DataError(f"{where}: video_id is {brief(given('video_id'))}, not a whole number from 0 on.")
    length = whole(given("length"))
    if length is None or not 1 <= length <= schema.MOST_FRAMES:
        raise DataError(f"{where}: length is {brief(given('length'))}, not a number of seconds from 1 on.")
    with schema.naming(where):
        size = frame_size(given("height"), given("width"))
        soundtrack = Soundtrack.from_dict(given("soundtrack"))
    if soundtrack.length != length:
        raise DataError(f"{where}: the soundtrack has {soundtrack.length} seconds, the scene {length}.")
    things = schema.items(given("objects"), f"{where}: objects")
    objects = tuple(_read_object(thing, f"{where}.objects[{k}]", k, length, size) for k, thing in enumerate(things))
    if not objects:
        raise DataError(f"{where}: there are no objects.")
    pair, twins = _read_pair(given("pair"), objects, where), plain(given("twins"))
    if not isinstance(twins, bool) or (twins and pair is None):
        raise DataError(f"{where}: twins is {brief(twins)}, but the pair {pair}: twins are the two objects of a pair.")
    name, offscreen = schema.text(given("name"), where, "name"), _row(entry, "offscreen", bool, length, where)
    with schema.naming(where):
        room = Acoustics.from_dict(entry["room"]) if entry.get("room") else None
    return SceneRecord(
        video_id, name, length, size, pair, twins, objects, soundtrack, offscreen, voices, recordings, room,
    )  # fmt: skip


def _read_object(entry: Any, where: str, number: int, length: int, size: tuple[int, int]) -> ObjectRecord:
    def given(key: str) -> Any:
        return schema.field(entry, key, where)

    category, level, annotation = whole(given("category_id")), schema.finite(given("level_db")), given("annotation_id")
    if whole(given("id")) != number:
        raise DataError(f"{where}: the id is {brief(given('id'))}, not its place in the list.")
    if category is None or level is None or not (annotation is None or whole(annotation) is not None):
        raise DataError(f"{where}: category_id and level_db must be numbers, annotation_id a whole number or null.")
    segmentations = tuple(schema.frame_segmentations(entry, "of the scene", length, where))
    schema.check_codes(segmentations, size, where)
    with schema.naming(where):
        voice = Voice.from_dict(given("voice"))
    return ObjectRecord(
        number, category, voice, level, segmentations,
        _row(entry, "areas", np.int64, length, where), _row(entry, "share", np.float32, length, where),
        _row(entry, "sounding", bool, length, where), _row(entry, "cue", bool, length, where),
        _row(entry, "may_sound", bool, length, where) if "may_sound" in entry else None,
        None if annotation is None else whole(annotation), size,
    )  # fmt: skip


def _read_pair(given: Any, objects: Sequence[ObjectRecord], where: str) -> tuple[int, int] | None:
    """Two different objects of one class."""
    if given is None:
        return None
    numbers = [whole(number) for number in schema.items(given, f"{where}: pair")]
    first, second = numbers if len(numbers) == 2 else (None, None)
    if first is None or second is None or first == second or not {first, second} <= set(range(len(objects))):
        raise DataError(f"{where}: pair is {brief(given)}, not two of its {len(objects)} objects.")
    if objects[first].class_name != objects[second].class_name:
        raise DataError(
            f"{where}: the pair is {objects[first].class_name} and {objects[second].class_name}, not twice one."
        )
    return first, second


def _row(entry: dict[str, Any], key: str, dtype: type, length: int, where: str) -> np.ndarray:
    """A number per second, (T,)."""
    listed = schema.items(schema.field(entry, key, where), f"{where}: {key}")
    try:
        values = np.array(listed)
    except ValueError:  # lists of different lengths
        values = np.array(None)
    if values.shape != (length,) or values.dtype.kind not in "biuf" or not np.all(np.abs(values) <= LARGEST_FRAME):
        raise DataError(f"{where}: {key} must be {length} finite numbers, one per second.")
    return values.astype(dtype)
