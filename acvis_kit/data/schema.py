"""The schema of AVISeg's JSON (YouTube-VIS style): one for who reads a data set and for who scores results on it.

{"videos": [{"id", "file_names", "length", "height", "width"}], "categories": [{"id", "name"}], "annotations":
[{"id", "video_id", "category_id", "segmentations", "iscrowd", "height", "width"}]}

An entry that does not fit raises a DataError that names it. A number may have any type that holds it (2.0, NumPy's); a
list may be a tuple or an array. Segmentations are checked where they are read, by `masks.from_segmentation`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acvis_kit.errors import DataError, brief
from acvis_kit.masks import frame_size, from_segmentation, plain, whole

PICTURES = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # formats of frames: Pillow starts other programs for some others
LARGEST_ID = 2**63 - 1  # ids are counted in 64 bits
MOST_FRAMES = 2**22  # of all videos together: scores keep some numbers of each, and a length is not backed by data
MOST_CATEGORIES = 2**12  # scores keep a curve of each, and in each draw of the bootstrap some numbers


@dataclass(frozen=True)
class VideoEntry:
    """A video in the JSON.

    Attributes:
        id: a whole number or text.
        name: folder of the frames, and name of the sound file; "" where the file names have no folder.
        frames: paths below JPEGImages; may be empty where only `length` is given.
        size: (H, W) in pixels.
        length: T, number of frames.
    """

    id: Any
    name: str
    frames: tuple[str, ...]
    size: tuple[int, int]
    length: int


@dataclass(frozen=True)
class TrackEntry:
    """An annotated object: its id, class and a segmentation per frame (polygons, RLE or None), not decoded yet.

    `place` is its place in the file, for messages; `areas` is as the file has it, unchecked.
    """

    id: int
    category_id: int
    segmentations: tuple[Any, ...]
    place: str = ""
    areas: Any = None


@dataclass(frozen=True)
class TruthEntries:
    """The checked ground truth: names by category id and videos by id, in the order of the file, tracks by video id.

    `annotated` is False where the file has no list of annotations: such a set can be predicted but not scored.
    """

    categories: dict[int, str]
    videos: dict[Any, VideoEntry]
    tracks: dict[Any, tuple[TrackEntry, ...]]
    annotated: bool


def read_json(path: str | Path, what: str) -> Any:
    """What a JSON file holds; in UTF-8, or in UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        DataError: it cannot be opened, or is not JSON; names `what` and the file.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{what} {path} cannot be opened: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # also other encodings, integers of thousands of digits, deep nesting
        raise DataError(f"{what} {path} is not JSON: {error}.") from None


@contextmanager
def naming(source: Any) -> Iterator[None]:
    """Put the file before the message of each DataError, where `source` is a path."""
    try:
        yield
    except DataError as error:
        if isinstance(source, str | Path):
            raise DataError(f"{source}: {error}") from None
        raise


def truth_entries(data: Any) -> TruthEntries:
    """Ground truth, checked; null or no `annotations` are none.

    Raises:
        DataError: an entry that does not fit, an id that occurs twice or is unknown; names the entry.
    """
    if not isinstance(data, dict) or not {"videos", "categories"} <= data.keys():
        raise DataError("ground truth must be an object with the lists videos, categories, annotations, but it is not.")
    categories = category_names(data["categories"])
    videos = video_entries(data["videos"])
    annotations = data.get("annotations")
    tracks: dict[Any, dict[int, TrackEntry]] = {number: {} for number in videos}
    for n, entry in enumerate([] if annotations is None else items(annotations, "annotations")):
        place = f"annotations[{n}] (id {brief(entry.get('id')) if isinstance(entry, dict) else None})"
        video = videos[known_video(entry, videos, place)]
        track = _track(entry, video, categories, place, n)
        if track.id in tracks[video.id]:
            raise DataError(f"{place}: video {video.id} has another annotation with this id; give each its own id.")
        tracks[video.id][track.id] = track
    listed = {number: tuple(own.values()) for number, own in tracks.items()}
    return TruthEntries(categories, videos, listed, annotations is not None)


def category_names(entries: Any) -> dict[int, str]:
    """Names of the categories by id, in the order of the file; a category without a name is called by its id.

    Raises:
        DataError: an entry that does not fit, or an id or name that occurs twice.
    """
    categories: dict[int, str] = {}
    names: set[str] = set()
    for n, entry in enumerate(items(entries, "categories")):
        where = f"categories[{n}]"
        number = identifier(field(entry, "id", where))
        if not isinstance(number, int):
            raise DataError(f"{where}: the id is {brief(entry['id'])}, not a whole number.")
        name = text(entry.get("name", str(number)), where, "name")
        if number in categories or name in names:
            raise DataError(f"{where}: id {number} or name {brief(name)} occurs twice.")
        categories[number] = name
        names.add(name)
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"{len(categories)} categories are more than {MOST_CATEGORIES}: leave out those without videos."
        )
    return categories


def video_entries(entries: Any) -> dict[Any, VideoEntry]:
    """Videos by id, in the order of the file.

    Raises:
        DataError: an entry that does not fit, an id that occurs twice, or too many frames in all.
    """
    videos: dict[Any, VideoEntry] = {}
    for n, entry in enumerate(items(entries, "videos")):
        where = f"videos[{n}]"
        video = video_entry(entry, where)
        if video.id in videos:
            raise DataError(f"{where}: another video has the id {video.id}.")
        videos[video.id] = video
    if (frames := sum(video.length for video in videos.values())) > MOST_FRAMES:
        raise DataError(f"the videos have {brief(frames)} frames together, more than {MOST_FRAMES}: split the file.")
    return videos


def video_entry(entry: Any, where: str) -> VideoEntry:
    """One video, checked; see `video_entries`."""
    number = identifier(field(entry, "id", where))
    if number is None:
        raise DataError(f"{where}: the id is {brief(entry['id'])}, not a whole number or text.")
    where = f"{where} (id {number})"
    listed = entry.get("file_names")
    names = tuple(
        text(name, where, "file name") for name in ([] if listed is None else items(listed, f"{where}: file_names"))
    )
    length = whole(entry.get("length", len(names)))
    if length is None or length < 0 or (names and len(names) != length):
        raise DataError(f"{where}: length {brief(entry.get('length'))}, but {len(names)} file names.")
    sides = field(entry, "height", where), field(entry, "width", where)
    try:
        size = frame_size(*sides)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    return VideoEntry(number, Path(names[0]).parent.name if names else str(number), names, size, length)


def _track(entry: dict[str, Any], video: VideoEntry, names: Mapping[int, str], place: str, n: int) -> TrackEntry:
    category = known_category(entry, names, place)
    if plain(entry.get("iscrowd")):
        raise DataError(
            f"{place}: iscrowd is {brief(entry['iscrowd'])}; there are no crowds in this task. Set it to 0."
        )
    sides = entry.get("height", video.size[0]), entry.get("width", video.size[1])
    if tuple(map(whole, sides)) != video.size:
        raise DataError(f"{place}: height and width are {brief(sides)}, those of video {video.id} are {video.size}.")
    segmentations = frame_segmentations(entry, video.id, video.length, place)
    number = identifier(entry.get("id", n))
    if not isinstance(number, int):
        raise DataError(f"{place}: the id is {brief(entry['id'])}, not a whole number.")
    return TrackEntry(number, category, tuple(segmentations), place, entry.get("areas"))


def known_video(entry: Any, videos: Mapping[Any, Any], where: str) -> Any:
    """The entry's `video_id`, one of `videos`."""
    number = identifier(field(entry, "video_id", where))
    if number is None or number not in videos:
        shown = brief(entry["video_id"])
        raise DataError(f"{where}: video_id {shown} is not among the ground truth's {len(videos)} videos.")
    return number


def known_category(entry: Any, categories: Mapping[int, str], where: str) -> int:
    """The entry's `category_id`, one of `categories`."""
    number = whole(field(entry, "category_id", where))
    if number is None or number not in categories:
        shown = brief(sorted(categories))
        raise DataError(f"{where}: category_id {brief(entry['category_id'])} is not among the ground truth's, {shown}.")
    return number


def frame_segmentations(entry: Any, video_id: Any, length: int, where: str) -> list[Any]:
    """The entry's `segmentations`, one for each of the video's `length` frames."""
    found = field(entry, "segmentations", where)
    # an array's rows stay arrays: they may be masks
    listed = list(found) if isinstance(found, list | tuple) or getattr(found, "ndim", None) else None
    if listed is None or len(listed) != length:
        number = brief(found) if listed is None else len(listed)
        raise DataError(f"{where}: {number} segmentations, but video {video_id} has {length} frames.")
    return listed


def check_codes(segmentations: Iterable[Any], size: tuple[int, int], where: str) -> None:
    """Raise a DataError for a run-length code that is not of the frame's `size` (H, W); polygons are left for later."""
    for t, segmentation in enumerate(segmentations):
        if isinstance(segmentation, dict):
            try:
                from_segmentation(segmentation, size)
            except DataError as error:
                raise DataError(f"{where}, frame {t}: {error}") from None


def is_inside(name: str) -> bool:
    """Whether the path, in this system's notation, stays below the folder that it is joined to."""
    path = Path(name)
    return not path.anchor and ".." not in path.parts and "\0" not in name


def field(entry: Any, key: str, where: str) -> Any:
    """A field that must be there."""
    if not isinstance(entry, dict) or key not in entry:
        raise DataError(f"{where}: {key!r} is missing.")
    return entry[key]


def items(value: Any, where: str) -> list[Any]:
    """What a list, a tuple or an array holds."""
    value = plain(value)
    if not isinstance(value, list | tuple):
        raise DataError(f"{where} must be a list, not {brief(value)}.")
    return list(value)


def text(value: Any, where: str, what: str) -> str:
    """A text that UTF-8 can write."""
    if not isinstance(value, str) or not (value.isascii() or value.encode("utf-8", "replace").decode() == value):
        raise DataError(f"{where}: the {what} is {brief(value)}, not a text.")
    return str(value)


def identifier(value: Any) -> int | str | None:
    """An id: a whole number of 64 bits, or text; None for any other value."""
    if isinstance(value, str):
        return str(value)
    number = whole(value)
    return number if number is not None and abs(number) <= LARGEST_ID else None


def finite(value: Any) -> float | None:
    """The finite number that a value is, of whatever type; None if it is none, as True and "0.5" are."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None
