"""Photographs as places of scenes: their pixels and what stands where, framed, joined and extended."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from PIL import Image, ImageFilter

from acvis_kit.data.synth.annotated import Instance, Photograph, read_photographs
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.data.synth.cutouts import SMALL, cut_out
from acvis_kit.data.synth.sprites import Sprite
from acvis_kit.errors import DataError

KEPT = 96  # opened photographs and cut-outs kept in memory, about 1 MB each
MOST = 250  # objects of a photograph; ids are bytes
SUBJECT = 40.0**2  # pixels: a smaller object is not what a photograph is chosen for
SEVERAL = 6  # photographs of a class from which on it is chosen as often as others
PLAIN = 0.4  # fraction of the surroundings that is white or black paper, above which they are no place
SMOOTH = 14.0  # standard deviation along the edge of a picture, 0..255, up to which it can be continued
FEATHER = 0.7  # pixels over which the edge of a cut-out fades

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Bounds = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class View:
    """A picture and the object at each of its pixels.

    Attributes:
        picture: RGB.
        ids: uint8 (H, W), number of the object + 1; 0: none.
        names: class of each object.
        areas: float (N,), pixels of each whole object, hidden and cut off parts of the photograph's masks included.
        grey: whether it has no colour.
    """

    picture: Image.Image
    ids: np.ndarray
    names: tuple[str, ...]
    areas: np.ndarray
    grey: bool

    def box(self, number: int) -> Bounds:
        """The box of an object."""
        found = self.ids == number + 1
        rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    def subjects(self, class_name: str) -> list[int]:
        """The objects of a class that are large enough to be looked at, the largest first."""
        seen = np.bincount(self.ids.reshape(-1), minlength=len(self.names) + 1)[1:]
        numbers = [n for n, name in enumerate(self.names) if name == class_name and seen[n] >= SUBJECT]
        return sorted(numbers, key=lambda n: -seen[n])

    @cached_property
    def is_place(self) -> bool:
        """Whether its objects stand somewhere, not on white or black paper."""
        around = np.asarray(self.picture)[self.ids == 0]  # (n, 3)
        if len(around) < 0.02 * self.ids.size:
            return True
        paper = (around.min(1) > 232) | (around.max(1) < 24)
        return float(paper.mean()) <= PLAIN

    @cached_property
    def continues(self) -> bool:
        """Whether its edges are smooth enough to be continued, like sky."""
        pixels = np.asarray(self.picture, np.float32).mean(2)
        edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
        return max(float(np.abs(np.diff(edge)).mean()) for edge in edges) * 4 < SMOOTH

    def framed(self, box: Bounds, size: tuple[int, int], fill: str) -> View:
        """The part of it in a box, at another size; outside the picture lies what `fill` names, see `extended`.

        Args:
            box: pixels of this view; may reach beyond it.
            size: width and height of the result.
            fill: "edge", "blurred" or "black".
        """
        left, top, right, bottom = box
        beyond = (-left, -top, right - self.picture.width, bottom - self.picture.height)
        pads = [max(0, math.ceil(pixels)) for pixels in beyond]
        picture, ids = self.picture, self.ids
        if any(pads):
            picture = extended(picture, pads, fill)
            ids = np.pad(ids, ((pads[1], pads[3]), (pads[0], pads[2])))
            box = (left + pads[0], top + pads[1], right + pads[0], bottom + pads[1])
        picture = picture.resize(size, Image.Resampling.BICUBIC, box)
        scaled = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST, box)
        scale = size[0] * size[1] / ((right - left) * (bottom - top))
        return View(picture, np.asarray(scaled), self.names, self.areas * scale, self.grey)


class Photographs:
    """The photographs of a COCO file with the classes that scenes name; everything else is of the class "other".

    Args:
        annotations: JSON in COCO's format, see `annotated`.
        images: folder of its images.
        share: which part of the photographs, with all their objects; see `holding_out`.
        classes: names of categories.

    Attributes:
        showing: class -> photographs with an object of it that is large enough to be looked at.
        cut: class -> photographs and objects that can be cut out.
        places: photographs in colour that cannot be cut out: they show places.

    Raises:
        DataError: unreadable files, or no photograph with an object of the classes.
    """

    def __init__(
        self, annotations: str | Path, images: str | Path, share: tuple[float, float], classes: Sequence[str]
    ) -> None:
        self.classes = tuple(classes)
        self._views: _Recent[Path, View] = _Recent()
        self._sprites: _Recent[tuple[Path, Any, int], Sprite] = _Recent()
        found = read_photographs(annotations, images, share)
        self.showing: dict[str, list[Photograph]] = {name: [] for name in (*classes, OTHER)}
        self.cut: dict[str, list[tuple[Photograph, Instance]]] = {name: [] for name in (*classes, OTHER)}
        for photograph in found:
            large = [one for one in photograph.instances if one.area >= SUBJECT]
            for name in {self.class_of(one) for one in large}:
                self.showing[name].append(photograph)
            for one in photograph.instances:
                if photograph.cutout_ok and one.area >= SMALL:
                    self.cut[self.class_of(one)].append((photograph, one))
        self.places = [p for p in found if p.instances and not p.cutout_ok and not p.grey]
        self.places = self.places or [p for p in found if p.instances]
        self.pictured = tuple(name for name in classes if self.showing[name])
        if not self.pictured:
            raise DataError(
                f"{annotations} with images in {images} has no object of {', '.join(classes)} of at least "
                f"{SUBJECT:.0f} pixels in its part {share}: give other photographs, or a larger share"
            )

    def weights(self, names: Sequence[str]) -> np.ndarray:
        """How often each class is chosen: classes of few photographs less, float (n,), sum 1."""
        counts = np.minimum([len(self.showing[name]) for name in names], SEVERAL)
        return counts / counts.sum()

    def class_of(self, instance: Instance) -> str:
        return instance.name if instance.name in self.classes else OTHER

    def view(self, photograph: Photograph) -> View:
        """The photograph with its objects; of objects that overlap the smaller one is in front. Cached."""
        return self._views.get(photograph.path, lambda: self._open(photograph))

    def sprite(self, photograph: Photograph, instance: Instance, side: int) -> Sprite:
        """A cut-out with a soft edge, its longer side at most `side` pixels. Cached."""
        key = (photograph.path, instance.id, side)
        return self._sprites.get(key, lambda: softened(cut_out(photograph, instance, side)))

    def _open(self, photograph: Photograph) -> View:
        picture = photograph.read()
        ids = np.zeros((picture.height, picture.width), np.uint8)
        large_first = sorted(photograph.instances, key=lambda one: -one.area)[:MOST]
        areas = []
        for number, instance in enumerate(large_first):
            mask = photograph.mask(instance, ids.shape)
            ids[mask] = number + 1
            areas.append(float(mask.sum()))
        names = tuple(self.class_of(one) for one in large_first)
        return View(picture, ids, names, np.array(areas), photograph.grey)


class _Recent(Generic[Key, Value]):
    """The last `KEPT` values that were made."""

    def __init__(self) -> None:
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        value = self._values.pop(key, None)
        self._values[key] = value = make() if value is None else value
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
        return value


def joined(first: View, second: View, at: int) -> View:
    """Two views of one size side by side, the left part of the first up to column `at`, then that of the second."""
    ids, picture = first.ids.copy(), first.picture.copy()
    width = picture.width - at
    moved = second.ids[:, :width].astype(np.int64)
    ids[:, at:] = np.where(moved > 0, np.minimum(moved + len(first.names), 255), 0)
    picture.paste(second.picture.crop((0, 0, width, picture.height)), (at, 0))
    names = (*first.names, *second.names)[:255]
    return View(picture, ids, names, np.append(first.areas, second.areas)[:255], first.grey or second.grey)


def extended(picture: Image.Image, pads: Sequence[int], fill: str) -> Image.Image:
    """A picture with more room around it.

    Args:
        picture: RGB.
        pads: pixels on the left, at the top, on the right and at the bottom.
        fill: "edge": its edges go on, for sky; "blurred": itself, large, dark and blurred, as around upright videos;
            "black".
    """
    left, top, right, bottom = pads
    size = picture.width + left + right, picture.height + top + bottom
    if fill == "edge":
        wide = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge")
        room = Image.fromarray(wide).filter(ImageFilter.GaussianBlur(6))
    elif fill == "blurred":
        small = picture.resize((max(size[0] // 8, 1), max(size[1] // 8, 1)), Image.Resampling.BOX)
        room = small.filter(ImageFilter.GaussianBlur(3)).resize(size, Image.Resampling.BICUBIC).point(lambda v: v * 0.6)
    else:
        room = Image.new("RGB", size)
    room.paste(picture, (left, top))
    return room


def softened(sprite: Sprite) -> Sprite:
    """A cut-out without the outermost pixels, which show its old surroundings, and with a soft edge."""
    picture = sprite.picture.copy()
    alpha = picture.getchannel("A")
    if min(alpha.size) > 48:
        alpha = alpha.filter(ImageFilter.MinFilter(3))
    picture.putalpha(alpha.filter(ImageFilter.GaussianBlur(FEATHER)))
    return Sprite(picture)
