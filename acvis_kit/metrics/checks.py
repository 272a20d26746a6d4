"""Reads ground truth and results into checked tracks; an entry that does not fit raises an error that names it.

Formats are AVISeg's (YouTube-VIS style). Ground truth: `videos`, `categories`, `annotations`, whose segmentations are
polygons, run-length codes or null. Results: a list of `{video_id, score, category_id, segmentations}`, or an object
that has such a list under "results", as the kit writes it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.files import read_text
from acvis_kit.masks import RLE, empty, from_segmentation, misfit
from acvis_kit.metrics.sequence import MaskTrack

Protocol = Literal["official", "paper"]
JSONSource = str | Path | dict[str, Any] | list[Any]  # a path or the loaded object


@dataclass(frozen=True)
class Video:
    """A video of the ground truth: `name` is its sorting key and its key in tables; `size` is (H, W)."""

    id: Any
    name: str
    length: int
    size: tuple[int, int]
    tracks: tuple[MaskTrack, ...]


@dataclass(frozen=True)
class GroundTruth:
    """Checked ground truth: category names by id, in the order of the file, and videos by id."""

    categories: dict[int, str]
    videos: dict[Any, Video]


def check_protocol(protocol: str) -> None:
    """Raise a ConfigError if the protocol is neither "official" nor "paper"."""
    if protocol not in get_args(Protocol):
        raise ConfigError(f'protocol={protocol!r} is unknown: use "official" or "paper".')


def read_truth(source: JSONSource, protocol: Protocol = "paper") -> GroundTruth:
    """Ground truth, checked and rasterised.

    Args:
        source: a path or the loaded object.
        protocol: "official" rejects what crashes the published evaluator: run-length codes, videos without file names,
            and videos that share a folder.

    Raises:
        DataError: an entry does not fit; the message names it.
    """
    check_protocol(protocol)
    data = _load(source, "ground truth")
    if not isinstance(data, dict) or not all(isinstance(data.get(k), list) for k in _TRUTH_KEYS):
        raise DataError(f"ground truth must be an object with the lists {', '.join(_TRUTH_KEYS)}, but it is not.")
    categories: dict[int, str] = {}
    for n, entry in enumerate(data["categories"]):
        number, name = _field(entry, "id", f"categories[{n}]"), str(entry.get("name", entry.get("id")))
        if number in categories or name in categories.values():
            raise DataError(f"categories[{n}]: id {number} or name {name!r} occurs twice.")
        categories[number] = name
    videos = read_videos(data["videos"], protocol)
    tracks: dict[Any, list[MaskTrack]] = {number: [] for number in videos}
    for n, entry in enumerate(data["annotations"]):
        where = f"annotations[{n}] (id {entry.get('id') if isinstance(entry, dict) else None})"
        video = _video_of(entry, videos, where)
        track = _read_annotation(entry, video, categories, protocol, where, number=n)
        if any(track.id == other.id for other in tracks[video.id]):
            raise DataError(f"{where}: video {video.id} has another annotation with this id; give each its own id.")
        tracks[video.id].append(track)
    return GroundTruth(
        categories, {v.id: Video(v.id, v.name, v.length, v.size, tuple(tracks[v.id])) for v in videos.values()}
    )


def read_results(source: JSONSource, truth: GroundTruth, protocol: Protocol = "paper") -> dict[Any, list[MaskTrack]]:
    """Predicted tracks by video id, in the order of the file; every video of the truth has a list.

    A track's identity is its place in the file: ids in the entries are ignored.

    Args:
        source: a path or the loaded object.
        truth: ground truth of the same videos.
        protocol: "official" rejects what crashes the published evaluator: null or uncompressed segmentations.

    Raises:
        DataError: an entry has an unknown video or category, a wrong length or size, a broken code, or a score that is
            NaN or outside [0, 1]; the message names the entry.
    """
    check_protocol(protocol)
    data = _load(source, "results")
    if isinstance(data, dict):
        data = data.get("results")
    if not isinstance(data, list):
        raise DataError('results must be a list of tracks, or an object that has the list under "results".')
    tracks: dict[Any, list[MaskTrack]] = {number: [] for number in truth.videos}
    for n, entry in enumerate(data):
        where = f"results[{n}]"
        video = _video_of(entry, truth.videos, where)
        score = _field(entry, "score", where)
        if not isinstance(score, int | float) or isinstance(score, bool) or not 0 <= score <= 1:
            raise DataError(f"{where}: score {score!r} is not a number in [0, 1].")
        category = _category_of(entry, truth.categories, where)
        segmentations = _segmentations(entry, video, where)
        if protocol == "official":
            _reject_unpublished_codes(segmentations, video.size, where)
        masks = _codes(segmentations, video.size, where)
        tracks[video.id].append(MaskTrack(category, masks, float(score)))
    return tracks


_TRUTH_KEYS = ("videos", "categories", "annotations")


def _load(source: Any, what: str) -> Any:
    if not isinstance(source, str | Path):
        return source
    try:
        return json.loads(read_text(source))
    except OSError as error:
        raise DataError(f"{what} {source} cannot be opened: {error.strerror}.") from None
    except ValueError as error:
        raise DataError(f"{what} {source} is not JSON: {error}.") from None


def read_videos(entries: list[Any], protocol: Protocol) -> dict[Any, Video]:
    """The videos of the ground truth by id, without tracks; `name` is the video's key in reports.

    Raises:
        DataError: an entry does not fit; the message names it.
    """
    videos: dict[Any, Video] = {}
    names: set[str] = set()
    for n, entry in enumerate(entries):
        where = f"videos[{n}]"
        number = _field(entry, "id", where)
        if number in videos:
            raise DataError(f"{where}: another video has the id {number}.")
        files = entry.get("file_names") or []
        length = entry.get("length", len(files))
        if not isinstance(length, int) or length < 0 or (files and len(files) != length):
            raise DataError(f"{where} (id {number}): length {length!r}, but {len(files)} file names.")
        size = (_field(entry, "height", where), _field(entry, "width", where))
        if not all(isinstance(side, int) and side > 0 for side in size):
            raise DataError(f"{where} (id {number}): height and width are {size}, not whole numbers above 0.")
        name = str(files[0]).split("/")[0] if files else str(number)
        if protocol == "official" and (not files or name in names):
            cause = f"the folder {name!r} belongs to another video" if files else "no file names"
            raise DataError(
                f"{where} (id {number}): {cause}; the published evaluator identifies a video by the folder of its "
                f'first file name. Give each its own folder, or use protocol="paper".'
            )
        if name in names:
            name = f"{name} ({number})"
        names.add(name)
        videos[number] = Video(number, name, length, size, ())
    return videos


def _read_annotation(
    entry: dict[str, Any], video: Video, categories: dict[int, str], protocol: Protocol, where: str, number: int
) -> MaskTrack:
    category = _category_of(entry, categories, where)
    if entry.get("iscrowd"):
        raise DataError(f"{where}: iscrowd is {entry['iscrowd']}; there are no crowds in this task. Drop it or set 0.")
    sides = (entry.get("height", video.size[0]), entry.get("width", video.size[1]))
    if sides != video.size:
        raise DataError(f"{where}: height and width are {sides}, those of video {video.id} are {video.size}.")
    segmentations = _segmentations(entry, video, where)
    mean_area = None
    if protocol == "official":
        for t, segmentation in enumerate(segmentations):
            if isinstance(segmentation, dict):
                raise DataError(
                    f"{where}, frame {t}: an RLE in the ground truth crashes the published evaluator, which reads "
                    f'polygons only. Convert the truth to polygons, or use protocol="paper".'
                )
        listed = [a for a in entry.get("areas") or [] if a]
        mean_area = math.fsum(listed) / len(listed) if listed else None
    identity = entry.get("id", number)
    if not isinstance(identity, int):
        raise DataError(f"{where}: the id is {identity!r}, not a whole number.")
    return MaskTrack(category, _codes(segmentations, video.size, where), id=identity, mean_area=mean_area)


def _reject_unpublished_codes(segmentations: list[Any], size: tuple[int, int], where: str) -> None:
    """Raise a DataError for a predicted segmentation that crashes the published evaluator."""
    for t, segmentation in enumerate(segmentations):
        if not segmentation:
            raise DataError(
                f"{where}, frame {t}: a null segmentation crashes the published evaluator. Write an empty RLE instead, "
                f'{empty(size)}, or use protocol="paper".'
            )
        if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), list):
            raise DataError(
                f"{where}, frame {t}: uncompressed run lengths crash the published evaluator. Compress them with "
                f'pycocotools.mask.frPyObjects, or use protocol="paper".'
            )
        if not isinstance(segmentation, dict):
            raise DataError(f"{where}, frame {t}: a predicted segmentation is an RLE, not {segmentation!r:.60}.")


def _codes(segmentations: list[Any], size: tuple[int, int], where: str) -> tuple[RLE | None, ...]:
    """Run-length codes with checked sizes and run lengths; None where nothing is listed."""
    codes = []
    for t, segmentation in enumerate(segmentations):
        try:
            code = from_segmentation(segmentation, size)
        except DataError as error:
            raise DataError(f"{where}, frame {t}: {error}") from None
        if code is not None and tuple(code["size"]) != size:
            raise DataError(f"{where}, frame {t}: the mask's size is {list(code['size'])}, the video's {list(size)}.")
        codes.append(code)
    listed = [(t, code) for t, code in enumerate(codes) if code is not None]
    broken = misfit([code for _, code in listed])
    if broken:
        raise DataError(f"{where}, frame {listed[broken[0]][0]}: {broken[1]}")
    return tuple(codes)


def _field(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, dict) or key not in entry:
        raise DataError(f"{where}: {key!r} is missing.")
    return entry[key]


def _video_of(entry: Any, videos: dict[Any, Video], where: str) -> Video:
    number = _field(entry, "video_id", where)
    if not isinstance(number, int | str) or number not in videos:
        raise DataError(f"{where}: video_id {number!r} is not among the ground truth's {len(videos)} videos.")
    return videos[number]


def _category_of(entry: dict[str, Any], categories: dict[int, str], where: str) -> int:
    number = _field(entry, "category_id", where)
    if not isinstance(number, int) or number not in categories:
        raise DataError(f"{where}: category_id {number!r} is not among the ground truth's, {sorted(categories)}.")
    return number


def _segmentations(entry: dict[str, Any], video: Video, where: str) -> list[Any]:
    segmentations = _field(entry, "segmentations", where)
    if not isinstance(segmentations, list | tuple) or len(segmentations) != video.length:
        found = len(segmentations) if isinstance(segmentations, list | tuple) else segmentations
        raise DataError(f"{where}: {found} segmentations, but video {video.id} has {video.length} frames.")
    return list(segmentations)
