"""What predictions mark, and in which frame: the parts of a prediction of any system."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from acvis_kit.errors import DataError, brief
from acvis_kit.masks import LARGEST_SIDE


class Mark(Protocol):
    """What is drawn in a colour of its own: a track, or a class that sounds.

    Attributes:
        id: from 0; the colour depends on it alone.
        label: zero-based class.
        score: in (0, 1].
        name: as displayed.
    """

    @property
    def id(self) -> int: ...

    @property
    def label(self) -> int: ...

    @property
    def score(self) -> float: ...

    @property
    def name(self) -> str: ...

    def areas(self) -> Tensor:
        """Pixels per frame, int64 (T,)."""
        ...

    def mask(self, t: int) -> np.ndarray:
        """Bool (h, w) of frame t."""
        ...


@dataclass(frozen=True, repr=False, eq=False)
class MarkedFrame:
    """What is marked in one frame.

    Attributes:
        t: the frame, from 0.
        start: second of the file at which it begins, as in `interval`.
        end: second at which it ends.
        count: number of sounding objects; None of a system that does not count.
        count_text: as displayed: "0", "1", "2+"; None of a system that does not count.
        marks: the tracks, or classes, with a mask in this frame, in the order of the prediction's.
        size: (h, w) of the masks.
    """

    t: int
    start: float
    end: float
    count: int | None
    count_text: str | None
    marks: tuple[Mark, ...]
    size: tuple[int, int]

    @property
    def tracks(self) -> tuple[Any, ...]:
        """The marks of a `Prediction`, which are tracks."""
        return self.marks

    @property
    def masks(self) -> np.ndarray:
        """Bool (M, h, w), of the M marks."""
        return np.stack([mark.mask(self.t) for mark in self.marks]) if self.marks else np.zeros((0, *self.size), bool)

    def __repr__(self) -> str:
        names = ", ".join(f"{mark.name} {mark.score:.2f}" for mark in self.marks)
        count = "" if self.count_text is None else f", {self.count_text} sounding"
        return f"MarkedFrame({self.t}, second {self.start:g} to {self.end:g}{count}: {names or '-'})"


class FrameIndexError(DataError, IndexError):
    """There is no such frame. An IndexError too, with which Python ends a loop over a sequence."""


def frame_number(t: object, frames: int) -> int:
    """The number of a frame, from 0; a negative one counts from the end.

    Args:
        t: as the caller gave it.
        frames: T.

    Raises:
        FrameIndexError: there is no such frame.
        DataError: no whole number.
    """
    number = whole_number(t, f"the number of a frame, 0 to {frames - 1}")
    if not -frames <= number < frames:
        raise FrameIndexError(f"there is no frame {brief(number)}: the {frames} frames count from 0")
    return number % frames


def whole_number(value: object, wanted: str) -> int:
    """`value` as an int.

    Args:
        value: as the caller gave it, of any type that stands for a whole number; True and False are none.
        wanted: what it should be, for the message.

    Raises:
        DataError: no whole number.
    """
    try:
        return _index(value)
    except TypeError:
        raise DataError(f"expected {wanted}, not {brief(value)}") from None


def _index(value: object) -> int:
    """`operator.index`, which takes True for 1; here it is a TypeError."""
    if isinstance(plain_number(value), bool):
        raise TypeError("True and False are no whole numbers")
    return operator.index(value)  # type: ignore[arg-type]  # that is what is found out


def whole_size(value: object, name: str) -> tuple[int, int]:
    """A height and a width as ints.

    Args:
        value: as the caller gave it.
        name: of the argument.

    Raises:
        DataError: not two whole numbers from 1 to `LARGEST_SIDE`.
    """
    try:
        height, width = (_index(side) for side in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise DataError(f"{name}={brief(value)} must be (height, width) in whole pixels")
    return height, width


def frames_of_slice(frames: slice, length: int) -> range:
    """The numbers of the frames that a slice takes of `length` frames.

    Raises:
        DataError: not of whole numbers, or a step of 0.
    """
    wanted = "whole numbers in a slice of frames, prediction[2:5]"
    ends = [None if end is None else whole_number(end, wanted) for end in (frames.start, frames.stop, frames.step)]
    if ends[2] == 0:
        raise DataError("a slice of frames has the step 0: give another")
    return range(*slice(*ends).indices(length))


def plain_number(value: object) -> object:
    """The number in an array or tensor without axes; anything else as it is."""
    return value.item() if isinstance(value, Tensor | np.ndarray) and not value.ndim else value
