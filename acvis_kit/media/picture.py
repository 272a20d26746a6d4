"""Decoded pictures as a player displays them: the picture at each time, upright, with square pixels, in RGB."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from statistics import fmean, median_low
from typing import TYPE_CHECKING, Any

import numpy as np

from acvis_kit.errors import MediaError
from acvis_kit.media.decoding import GUESSED_STEP
from acvis_kit.media.opening import cause

if TYPE_CHECKING:
    from av import VideoFrame

STAMP = 0.001  # s, the coarsest time stamps in use (Matroska): smaller differences are rounding
JUST = 1e-6  # s: a picture stamped 0.5 is on at 0.5, whatever the rounding errors of the two
ANAMORPHIC = 0.01  # aspect ratios of pixels closer to 1 than this count as 1
HD_LINES = 720  # untagged pictures of at least so many lines are in the colours of HD television, as players assume
UNTAGGED = (2, 3)  # FFmpeg's AVCOL_SPC_UNSPECIFIED and AVCOL_SPC_RESERVED
DISPLAYMATRIX = 6  # FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX
SIDE_DATA_TYPES = 64  # more than FFmpeg has, 32 in version 8.1


class Screen:
    """The picture that a player displays at time t, for increasing t: the last one stamped t or earlier.

    Holds two decoded pictures, whatever the length of the video. Before the first picture it displays the first, after
    the last one the last.
    """

    def __init__(self, pictures: Iterator[tuple[float, VideoFrame]]):
        self._pictures = pictures
        self._next = next(pictures, None)
        self._on: tuple[float, VideoFrame] | None = None
        self._steps: list[float] = []
        self.empty = self._next is None

    def at(self, time: float) -> VideoFrame:
        """The picture on the screen at `time` in seconds. Not for an empty screen."""
        while self._next is not None and (self._on is None or self._next[0] <= time + JUST):
            if self._on is not None:
                self._steps.append(self._next[0] - self._on[0])
            self._on, self._next = self._next, next(self._pictures, None)
        assert self._on is not None, "the caller has checked `empty`"
        return self._on[1]

    @property
    def begins(self) -> float:
        """The time in seconds of the first picture. Before the first call of `at`, and not for an empty screen."""
        assert self._next is not None, "the caller has checked `empty`"
        return self._next[0]

    @property
    def ended(self) -> bool:
        """Whether the last picture is on the screen."""
        return self._next is None

    @property
    def end(self) -> float:
        """The time in seconds at which the current picture ends. After the first call of `at`."""
        if self._next is not None:
            return self._next[0]
        assert self._on is not None, "`at` was called"
        time, frame = self._on
        lasts = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0
        return time + (lasts if lasts > 0 else self.step)

    @property
    def step(self) -> float:
        """The usual time between two pictures so far, in seconds.

        The mean of the steps near the median: with Matroska's 33, 33 and 34 ms the median alone would turn 30 frames
        per second into 30.3.
        """
        steps = [step for step in self._steps if step > 0]
        if not steps:
            return GUESSED_STEP
        middle = median_low(steps)
        return fmean(step for step in steps if abs(step - middle) <= 1.5 * STAMP)


@dataclass(frozen=True)
class DisplayTransform:
    """Conversion of the pictures of a stream for display: turned upright, with square pixels, in RGB.

    Made once per stream: reading the side data of every picture would keep all pictures in memory, in reference cycles,
    until Python's garbage collector runs.

    Attributes:
        size: (H, W) for display. Pictures of another size (streams may change) are scaled to it.
        matrix: xx, xy, yx, yy of x' = xx x + yx y, y' = xy x + yy y, which turns or mirrors the picture.
    """

    size: tuple[int, int]
    matrix: tuple[int, int, int, int]

    @classmethod
    def of(cls, frame: VideoFrame, pixel_aspect: Fraction | None = None) -> DisplayTransform:
        """The conversion for a picture with this width-to-height ratio of its pixels."""
        width = frame.width
        if pixel_aspect and abs(pixel_aspect - 1) > ANAMORPHIC and 1 / 4 <= pixel_aspect <= 4:
            width = max(1, round(width * pixel_aspect))
        view = cls((frame.height, width), _display_matrix(frame))
        return replace(view, size=view.size[::-1]) if view._turned else view

    def render(self, frame: VideoFrame) -> np.ndarray:
        """The picture as uint8 (H, W, 3), on black where it is transparent.

        Raises:
            MediaError: a pixel format that FFmpeg cannot convert.
        """
        xx, _, yx, yy = self.matrix
        if self._turned:  # x' = yx y, y' = xy x
            image = _rgb(frame, *self.size[::-1]).transpose(1, 0, 2)
            xx, yy = yx, self.matrix[1]
        else:
            image = _rgb(frame, *self.size)
        if xx < 0:
            image = image[:, ::-1]
        if yy < 0:
            image = image[::-1]
        return np.ascontiguousarray(image)

    @property
    def _turned(self) -> bool:
        """Whether height and width are swapped."""
        return abs(self.matrix[1]) > abs(self.matrix[0])


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The linear part of a picture's display matrix.

    PyAV's `frame.rotation` is not enough: it reports a mirrored picture (a selfie) as upside down. Nor may the side
    data of a decoded picture be touched: PyAV 18 raises a ValueError for types that it does not know (the EXIF data of
    photos), and frees the name of a colour profile twice, which ends the process. So FFmpeg deletes, from a copy of
    the picture, all but the matrix.
    """
    from av import FFmpegError
    from av.filter import Graph

    graph = Graph()
    others = (number for number in range(SIDE_DATA_TYPES) if number != DISPLAYMATRIX)
    try:
        graph.link_nodes(
            graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)),
            *(graph.add("sidedata", f"mode=delete:type={number}") for number in others),
            graph.add("buffersink"),
        ).configure()
        graph.push(frame)
        side_data: Any = graph.pull().side_data
    except FFmpegError:  # a picture that no filter takes
        return 1, 0, 0, 1
    data = side_data.get("DISPLAYMATRIX")  # a buffer, which PyAV's types do not list
    if data is None or len(bytes(data)) < 36:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data), dtype=np.int32)  # 3 x 3, fixed point
    return int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])


def _source_colours(frame: VideoFrame) -> str | None:
    """The colour space to read a picture in, where it is not to be FFmpeg's choice.

    FFmpeg reads every untagged picture as standard television (BT.601).
    """
    format = frame.format
    is_yuv = len(format.components) >= 3 and not (format.is_rgb or format.has_palette or format.name.startswith("xyz"))
    if not is_yuv or frame.colorspace not in UNTAGGED:
        return None
    return "ITU709" if frame.height >= HD_LINES else "ITU601"


def _rgb(frame: VideoFrame, height: int, width: int) -> np.ndarray:
    """The picture before turning, uint8 (height, width, 3)."""
    transparent = any(component.is_alpha for component in frame.format.components)
    try:
        image = frame.to_ndarray(
            format="rgba" if transparent else "rgb24",
            height=height,
            width=width,
            src_colorspace=_source_colours(frame),
        )
    except Exception as error:
        raise MediaError(
            f"a picture of format {frame.format.name}, {frame.height}x{frame.width}, cannot be converted to RGB "
            f"({cause(error)}): convert the video to MP4 (H.264)."
        ) from None
    if transparent:
        opacity = image[..., 3:].astype(np.uint16)
        image = (image[..., :3] * opacity // 255).astype(np.uint8)
    return image
