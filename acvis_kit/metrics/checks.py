"""Reads ground truth and results into checked tracks; an entry that does not fit raises an error that names it.

Formats are AVISeg's (YouTube-VIS style). Ground truth: `videos`, `categories`, `annotations`, whose segmentations are
polygons, run-length codes or null; `data.schema` says what is valid. Results: a list of `{video_id, score,
category_id, segmentations}`, or an object that has such a list under "results", as the kit writes it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from acvis_kit.data import schema
from acvis_kit.errors import ConfigError, DataError, brief
from acvis_kit.masks import LARGEST_FRAME, RLE, empty, from_segmentation, misfit, plain
from acvis_kit.metrics.sequence import MaskTrack

Protocol = Literal["official", "paper"]
JSONSource = str | Path | dict[str, Any] | list[Any] | tuple[Any, ...]  # a path or the loaded object


@dataclass(frozen=True)
class Video:
    """A video of the ground truth.

    Attributes:
        id: a whole number or text.
        name: its sorting key and its key in tables.
        length: T, number of frames.
        size: (H, W).
        tracks: its annotated objects.
        folder: the folder of its frames, the name that `predict_split` writes.
    """

    id: Any
    name: str
    length: int
    size: tuple[int, int]
    tracks: tuple[MaskTrack, ...]
    folder: str = ""


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
    with schema.naming(source):
        entries = schema.truth_entries(data)
        if not entries.annotated:
            raise DataError("the ground truth has no annotations, so there is nothing to score against.")
        videos = _named(entries.videos, protocol)
        tracks = {
            number: tuple(_true_track(entry, videos[number].size, protocol) for entry in own)
            for number, own in entries.tracks.items()
        }
    return GroundTruth(entries.categories, {number: replace(v, tracks=tracks[number]) for number, v in videos.items()})


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
    names: Any = None
    own_ids: dict[Any, Any] = {}
    if isinstance(data, dict):
        own_ids = _videos_by_name(data, truth)
        names, data = data.get("class_names"), data.get("results")
    if isinstance(data, list | tuple) and data and all(isinstance(one, dict) and "results" in one for one in data):
        data = [entry for one in data for entry in schema.items(one["results"], "results")]  # of whole predictions
    if not isinstance(data, list | tuple):
        raise DataError('results must be a list of tracks, or an object that has the list under "results".')
    tracks: dict[Any, list[MaskTrack]] = {number: [] for number in truth.videos}
    with schema.naming(source):
        for n, entry in enumerate(data):
            where = f"results[{n}]"
            if own_ids:
                number = plain(schema.field(entry, "video_id", where))
                entry = {**entry, "video_id": own_ids.get(number if isinstance(number, int) else None, number)}
            video = truth.videos[schema.known_video(entry, truth.videos, where)]
            if names is not None or (isinstance(entry, dict) and "category_name" in entry):
                entry = _with_own_id(entry, names, truth.categories, where)
            tracks[video.id].append(_predicted_track(entry, video, truth.categories, protocol, where))
    return tracks


def _videos_by_name(data: dict[str, Any], truth: GroundTruth) -> dict[Any, Any]:
    """Ids of the truth's videos by those of a file of `predict` or `predict_split`, which names its videos.

    Empty where it names no videos or, with a warning, where no name is the truth's: then the ids are taken as they are.

    Raises:
        DataError: some names are the truth's and others are not.
    """
    listed = data.get("videos")
    given: dict[Any, str] = {}  # a file, whose name is that of the truth's folder, or that folder
    if isinstance(listed, list):
        for one in listed:
            name = one.get("file", one.get("name")) if isinstance(one, dict) else None
            if isinstance(name, str) and isinstance(one.get("id"), int):
                given[one["id"]] = name
    elif isinstance(data.get("video"), str) and isinstance(data.get("results"), list):
        numbers = [one.get("video_id") for one in data["results"] if isinstance(one, dict)]
        given = {number: data["video"] for number in numbers or [0] if isinstance(number, int)}
    by_name = {name: number for number, video in truth.videos.items() for name in (video.folder, video.name)}
    own: dict[Any, Any] = {}
    for number, name in given.items():
        same, names = truth.videos.get(number), (name, Path(name).stem)
        if same is not None and {same.folder, same.name} & {*names}:  # two videos may have folders of one name
            own[number] = number
        elif found := [by_name[known] for known in names if known in by_name]:
            own[number] = found[0]
    if own and (strange := [name for number, name in given.items() if number not in own]):
        raise DataError(f"the results are of {brief(strange[0])} too, which is none of the ground truth's videos.")
    if given and not own:
        other, name = next(iter(given.values())), next(iter(by_name), None)
        warnings.warn(
            f"the results are of {brief(other)}, and no video of the ground truth has this name (its first one is "
            f"{brief(name)}): videos are matched by their ids. Make sure that these mean the same videos.",
            stacklevel=4,
        )
    return own


def _with_own_id(entry: Any, names: Any, categories: Mapping[int, str], where: str) -> Any:
    """An entry of `predict` with the truth's own id: by its category_name, else by its place among class_names."""
    wanted = entry.get("category_name") if isinstance(entry, dict) else None
    if wanted is None:
        given = schema.items(names, "class_names")
        number = plain(schema.field(entry, "category_id", where))
        if not isinstance(number, int) or not 1 <= number <= len(given):
            raise DataError(f"{where}: category_id is {brief(number)}, not one of the {len(given)} class_names.")
        wanted = given[number - 1]
    own = [category for category, name in categories.items() if name == wanted]
    if not own:
        raise DataError(f"{where}: the class {brief(wanted)} is none of the ground truth's categories.")
    return {**entry, "category_id": own[0]}


def _load(source: JSONSource, what: str) -> Any:
    return schema.read_json(source, what) if isinstance(source, str | Path) else source


def read_videos(entries: list[Any], protocol: Protocol) -> dict[Any, Video]:
    """The videos of the ground truth by id, without tracks; `name` is the video's key in reports.

    Raises:
        DataError: an entry does not fit; the message names it.
    """
    return _named(schema.video_entries(entries), protocol)


def _named(entries: dict[Any, schema.VideoEntry], protocol: Protocol) -> dict[Any, Video]:
    videos: dict[Any, Video] = {}
    names: set[str] = set()
    for n, (number, entry) in enumerate(entries.items()):
        name = entry.frames[0].split("/")[0] if entry.frames else str(number)
        if protocol == "official" and (not entry.frames or name in names):
            cause = f"the folder {name!r} belongs to another video" if entry.frames else "no file names"
            raise DataError(
                f"videos[{n}] (id {number}): {cause}; the published evaluator identifies a video by the folder of its "
                f'first file name. Give each its own folder, or use protocol="paper".'
            )
        if name in names:
            name = f"{name} ({number})"
        names.add(name)
        videos[number] = Video(number, name, entry.length, entry.size, (), entry.name)
    return videos


def _true_track(entry: schema.TrackEntry, size: tuple[int, int], protocol: Protocol) -> MaskTrack:
    mean_area = None
    if protocol == "official":
        for t, segmentation in enumerate(entry.segmentations):
            if isinstance(segmentation, dict):
                raise DataError(
                    f"{entry.place}, frame {t}: an RLE in the ground truth crashes the published evaluator, which "
                    f'reads polygons only. Convert the truth to polygons, or use protocol="paper".'
                )
        mean_area = _mean_area(entry.areas, entry.place)
    masks = _codes(entry.segmentations, size, entry.place)
    return MaskTrack(entry.category_id, masks, id=entry.id, mean_area=mean_area)


def _mean_area(areas: Any, where: str) -> float | None:
    """Mean of the listed areas that are not 0, pixels; None without any."""
    given = [] if areas is None else schema.items(areas, f"{where}: areas")
    listed = [schema.finite(area) for area in given if plain(area) is not None]
    if any(area is None or not 0 <= area <= LARGEST_FRAME for area in listed):
        raise DataError(f"{where}: areas {brief(areas)} are not all null or numbers of pixels, 0 to {LARGEST_FRAME}.")
    found = [area for area in listed if area]
    return math.fsum(found) / len(found) if found else None


def _predicted_track(entry: Any, video: Video, categories: dict[int, str], protocol: Protocol, where: str) -> MaskTrack:
    given = schema.field(entry, "score", where)
    score = schema.finite(given)
    if score is None or not 0 <= score <= 1:
        raise DataError(f"{where}: score {brief(plain(given))} is not a number in [0, 1].")
    category = schema.known_category(entry, categories, where)
    segmentations = schema.frame_segmentations(entry, video.id, video.length, where)
    if protocol == "official":
        _reject_unpublished_codes(segmentations, video.size, where)
    return MaskTrack(category, _codes(segmentations, video.size, where), score)


def _reject_unpublished_codes(segmentations: list[Any], size: tuple[int, int], where: str) -> None:
    """Raise a DataError for a predicted segmentation that crashes the published evaluator."""
    for t, segmentation in enumerate(segmentations):
        if segmentation is None or (isinstance(segmentation, list | tuple) and not segmentation):
            raise DataError(
                f"{where}, frame {t}: a null segmentation crashes the published evaluator. Write an empty RLE instead, "
                f'{empty(size)}, or use protocol="paper".'
            )
        if isinstance(segmentation, dict) and isinstance(plain(segmentation.get("counts")), list | tuple):
            raise DataError(
                f"{where}, frame {t}: uncompressed run lengths crash the published evaluator. Compress them with "
                f'pycocotools.mask.frPyObjects, or use protocol="paper".'
            )
        if not isinstance(segmentation, dict):
            raise DataError(f"{where}, frame {t}: a predicted segmentation is an RLE, not {brief(segmentation)}.")


def _codes(segmentations: Sequence[Any], size: tuple[int, int], where: str) -> tuple[RLE | None, ...]:
    """Run-length codes with checked sizes and run lengths; None where nothing is listed."""
    codes = []
    for t, segmentation in enumerate(segmentations):
        try:
            codes.append(from_segmentation(segmentation, size))
        except DataError as error:
            raise DataError(f"{where}, frame {t}: {error}") from None
    listed = [(t, code) for t, code in enumerate(codes) if code is not None]
    broken = misfit([code for _, code in listed])
    if broken:
        raise DataError(f"{where}, frame {listed[broken[0]][0]}: {broken[1]}")
    return tuple(codes)
