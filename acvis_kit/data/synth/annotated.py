"""Photographs with instance masks in COCO's format: what is in them, and their pixels.

Beside COCO's own fields an image may have `cutout_ok` (false: objects are cut off or hidden, so that what a mask cuts
out is a fragment) and `grey` (true: it has no colour).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.schema import PICTURES, is_inside, naming, read_json
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.data.synth.holding_out import part_of
from acvis_kit.errors import DataError, brief
from acvis_kit.masks import mask_of


@dataclass(frozen=True)
class Instance:
    """One object of a photograph.

    Attributes:
        id: of its annotation.
        name: of its category, in lower case with underscores.
        area: pixels.
        segmentation: polygons or run lengths.
    """

    id: Any
    name: str
    area: float
    segmentation: Any


@dataclass(frozen=True)
class Photograph:
    """A photograph and its objects, crowds left out.

    Attributes:
        path: its file.
        size: height and width in pixels, None if the JSON does not say.
        instances: its objects.
        cutout_ok: whether its objects are whole and their masks good enough to be cut out.
        grey: whether it has no colour.
    """

    path: Path
    size: tuple[int, int] | None
    instances: tuple[Instance, ...]
    cutout_ok: bool
    grey: bool

    def read(self) -> Image.Image:
        """Its pixels, RGB.

        Raises:
            DataError: a file that is no picture, or of another size than the JSON says.
        """
        try:
            with Image.open(self.path, formats=PICTURES) as opened:
                photo = opened.convert("RGB")
        except Exception as error:  # a damaged file makes Pillow raise whatever its readers meet
            raise DataError(f"{self.path} cannot be read as a picture ({error})") from error
        if self.size not in (None, (photo.height, photo.width)):
            raise DataError(f"{self.path} is {(photo.height, photo.width)}, but {self.size} in the JSON (H, W)")
        return photo

    def mask(self, instance: Instance, size: tuple[int, int]) -> np.ndarray:
        """The mask of one of its objects, bool (H, W); DataError if it is empty."""
        with naming(f"annotation {brief(instance.id)} of {self.path.name}"):
            mask = mask_of(instance.segmentation, size)
        if mask is None or not mask.any():
            raise DataError(f"annotation {instance.id} of {self.path.name} has an empty mask: take it out")
        return mask


def read_photographs(
    annotations: str | Path, images: str | Path, share: tuple[float, float] = (0.0, 1.0)
) -> list[Photograph]:
    """The photographs of a COCO file whose pictures are there, in the order of the file.

    Args:
        annotations: JSON in COCO's format, masks as polygons or run lengths.
        images: folder of its images.
        share: which part of them, see `holding_out`: a photograph is in it with all its objects.

    Raises:
        DataError: a file that is missing or not in this format.
    """
    path, folder = Path(annotations), Path(images)
    if path.is_dir() and folder.is_file():
        raise DataError(f"{path} is a folder and {folder} a file: give the COCO JSON first, then its images' folder")
    if not path.is_file():
        raise DataError(f"{path} is not there: give a COCO JSON and the folder of its images")
    data = read_json(path, "annotations")
    try:
        for entry in data["images"]:
            if not is_inside(entry["file_name"]):
                raise DataError(
                    f"{path}: {brief(entry['file_name'])} leaves the folder of the images: move the pictures into it"
                )
        names = {entry["id"]: plain_name(entry["name"]) for entry in data["categories"]}
        objects: dict[Any, list[Instance]] = {entry["id"]: [] for entry in data["images"]}
        for entry in data["annotations"]:
            if not entry.get("iscrowd") and entry["segmentation"]:
                objects[entry["image_id"]].append(_instance(entry, names))
        found = [_photograph(entry, folder, objects[entry["id"]]) for entry in data["images"]]
    except (OSError, OverflowError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not in COCO's format ({error!r}): it needs images, categories, annotations"
        ) from error
    found = [photograph for photograph in found if photograph.path.is_file()]
    chosen = part_of({str(p.path.relative_to(folder)): _classes(p.instances) for p in found}, share)
    return [photograph for photograph in found if str(photograph.path.relative_to(folder)) in chosen]


def plain_name(name: str) -> str:
    """Lower case with underscores: "Lawn mover" -> "lawn_mover"."""
    return str(name).strip().lower().replace(" ", "_")


def _instance(entry: dict[str, Any], names: dict[Any, str]) -> Instance:
    area = entry["area"] if "area" in entry else entry["bbox"][2] * entry["bbox"][3]
    return Instance(entry.get("id"), names[entry["category_id"]], float(area), entry["segmentation"])


def _photograph(entry: dict[str, Any], folder: Path, instances: Sequence[Instance]) -> Photograph:
    size = (int(entry["height"]), int(entry["width"])) if "height" in entry and "width" in entry else None
    return Photograph(
        folder / entry["file_name"], size, tuple(instances), bool(entry.get("cutout_ok", True)),
        bool(entry.get("grey", False)),
    )  # fmt: skip


def _classes(instances: Sequence[Instance]) -> set[str]:
    return {one.name if one.name in AVISEG_CLASSES else OTHER for one in instances}
