"""Masks painted on pictures, and an overlay video with its sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from acvis_kit.clip import Progress, check_progress
from acvis_kit.errors import AcvisError, DataError
from acvis_kit.inference.clip_prediction import ClipPrediction, require_prediction
from acvis_kit.inference.marks import Mark, frame_number, whole_number, whole_size
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.media.limits import SIDES, check_number
from acvis_kit.media.load import iter_source_frames
from acvis_kit.media.write import write_video
from acvis_kit.viz.pixels import resized, resized_mask, shrunk

RGB = tuple[int, int, int]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
# Okabe and Ito's colours, distinguishable with the common colour vision deficiencies; the most different come first.
BASE_COLOURS: tuple[RGB, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (204, 121, 167),  # reddish purple
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
)
# Further tracks get the same colours lighter, then darker: fractions of (white, black) mixed in.
SHADES = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.45))
MOST_COLOURS = 100_000  # of a palette
COUNT_SCALE = ("#e8e8e8", "#7fb8d8", "#00466e", "#fdb863", "#b35806")  # of the counts 0, 1, 2, ...
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def track_colour(track_id: int) -> RGB:
    """The colour of a track, which depends on its id alone; after 21 colours they repeat."""
    shade, place = divmod(whole_number(track_id, "the id of a track"), len(BASE_COLOURS))
    light, dark = SHADES[shade % len(SHADES)]
    red, green, blue = (round((c + (255 - c) * light) * (1 - dark)) for c in BASE_COLOURS[place])
    return red, green, blue


def track_hex(track_id: int) -> str:
    """`track_colour` as HTML writes it: "#e69f00"."""
    return "#{:02x}{:02x}{:02x}".format(*track_colour(track_id))


def palette(n: int) -> list[RGB]:
    """The colours of tracks 0 to n - 1."""
    check_number("n", n := whole_number(n, "a number of colours"), 0, MOST_COLOURS)
    return [track_colour(i) for i in range(n)]


def track_name(prediction: ClipPrediction, track: Mark) -> str:
    """The displayed name of a track, "dog #0"; of a class, "dog"."""
    require_prediction(prediction)
    return prediction.name_of(track)


class Painter:
    """Paints a prediction on pictures of one size: tracks with labels, classes with a legend.

    Masks, outlines, labels and the count of a frame are drawn once, as a layer; painting a picture is then a single
    blend. The last layer is cached: in a video many pictures in a row belong to one frame of the prediction.

    Args:
        prediction: what to paint.
        size: (H, W) of the pictures; masks of another size are scaled to it.
        opacity: of the masks, 0..1. Outlines and labels are always opaque.

    Raises:
        ConfigError: an opacity outside its range.
        DataError: no prediction, or no size.
    """

    def __init__(self, prediction: ClipPrediction, size: tuple[int, int], opacity: float = 0.5) -> None:
        require_prediction(prediction)
        check_number("opacity", opacity, 0, 1, "(opaque)")
        size = whole_size(size, "size")
        self.prediction, self.size = prediction, size
        self._alpha = round(255 * opacity)
        self._line = max(1, round(min(size) / 240))
        font = ImageFont.load_default(size=max(9, round(min(size) / 26)))  # smaller than 9 px is not legible
        assert isinstance(font, ImageFont.FreeTypeFont), "with a size Pillow returns a scalable font"
        self._font = font
        self._drawn: int | None = None
        self._kept_of_picture = self._added = np.zeros(0, np.uint16)

    def __call__(self, picture: np.ndarray, t: int) -> np.ndarray:
        """The picture with frame t of the prediction on it.

        Args:
            picture: uint8 (H, W, 3), RGB; it is not changed.
            t: frame of the prediction; a negative number counts from the end.

        Returns:
            uint8 (H, W, 3).

        Raises:
            DataError: a picture of another type or size, or `t` outside its range.
        """
        _require_picture(picture)
        if picture.shape != (*self.size, 3):
            raise DataError(f"the picture is {picture.dtype} {picture.shape}: expected uint8 {(*self.size, 3)}")
        t = frame_number(t, len(self.prediction))
        if t != self._drawn:
            self._keep(self._layer(t))
            self._drawn = t
        return ((picture * self._kept_of_picture + self._added) >> 8).astype(np.uint8)

    def _keep(self, layer: np.ndarray) -> None:
        """Split a layer, uint8 (H, W, 4), RGBA, into the two terms of the blend, in 256ths."""
        alpha = layer[..., 3:].astype(np.uint16)
        alpha += alpha >> 7  # 255 becomes 256: an opaque pixel covers the picture completely
        self._kept_of_picture = 256 - alpha
        self._added = layer[..., :3] * alpha

    def _layer(self, t: int) -> np.ndarray:
        """Everything that frame t adds to a picture, uint8 (H, W, 4), RGBA."""
        layer = np.zeros((*self.size, 4), np.uint8)
        masks = ((mark, resized_mask(mark.mask(t), self.size)) for mark in self.prediction.marks)
        shown = [(mark, mask) for mark, mask in masks if mask.any()]
        for mark, mask in reversed(shown):  # the best on top
            layer[mask] = (*track_colour(mark.id), self._alpha)
        for mark, mask in reversed(shown):  # above all masks, so that the outline of a covered mask is visible
            layer[_outline(mask, self._line)] = (*track_colour(mark.id), 255)
        image = Image.fromarray(layer)
        draw = ImageDraw.Draw(image)
        taken = self._write_count(draw, t)
        if isinstance(self.prediction, SemanticPrediction):  # a class may have many parts: one label is not enough
            self._write_legend(draw, shown, taken)
        else:
            self._write_labels(draw, shown, taken)
        return np.asarray(image)

    def _write_count(self, draw: ImageDraw.ImageDraw, t: int) -> list[Box]:
        """Write the count, if there is one, into the upper right corner; the boxes that are taken then."""
        count = self.prediction.count_text(t)
        if count is None:
            return []
        text, (width, height) = self._fitting([f"{count} sounding", count])
        right = self.size[1] - self._line
        box = (right - width, self._line, right, self._line + height)
        self._write(draw, box, text, BLACK)
        return [box]

    def _write_labels(self, draw: ImageDraw.ImageDraw, shown: list[tuple[Mark, np.ndarray]], taken: list[Box]) -> None:
        """Write a label at each mask, clear of the boxes in `taken`."""
        for track, mask in shown:
            name = track_name(self.prediction, track)
            text, extent = self._fitting([f"{name}  {track.score:.2f}", name, f"#{track.id}"])
            box = _free_place(_bounds(mask), extent, self.size, taken)
            taken.append(box)
            self._write(draw, box, text, track_colour(track.id))

    def _write_legend(self, draw: ImageDraw.ImageDraw, shown: list[tuple[Mark, np.ndarray]], taken: list[Box]) -> None:
        """Write the name of each class and its share of the picture, from the upper left corner downwards.

        As many as there is room for: the last line says how many more there are.
        """
        rows = []
        for mark, mask in shown:
            name, share = track_name(self.prediction, mark), float(mask.mean())
            percent = f"{share:.0%}" if share >= 0.005 else "<1%"
            rows.append(([f"{name}  {percent}", name, percent], track_colour(mark.id)))
        height = sum(self._font.getmetrics())
        room = max(1, (self.size[0] - 2 * self._line) // (height + max(1, height // 4)) - len(taken))
        if len(rows) > room:
            rows = [*rows[: room - 1], ([f"+{len(rows) - room + 1} more"], BLACK)]
        for texts, colour in rows:
            text, extent = self._fitting(texts)
            box = _free_place((self._line, self._line + extent[1], 0, 0), extent, self.size, taken)
            taken.append(box)
            self._write(draw, box, text, colour)

    def _fitting(self, texts: list[str]) -> tuple[str, tuple[int, int]]:
        """The first text that is no wider than the picture, else the last; and the (width, height) of its box."""
        ascent, descent = self._font.getmetrics()
        for text in texts:
            width = round(self._font.getlength(text)) + ascent // 2
            if width <= self.size[1] - 2 * self._line:
                break
        return text, (width, ascent + descent)

    def _write(self, draw: ImageDraw.ImageDraw, box: Box, text: str, ground: RGB) -> None:
        draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(*ground, 255))
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        draw.text(middle, text, font=self._font, fill=(*_ink_on(ground), 255), anchor="mm")


def paint(picture: np.ndarray, prediction: ClipPrediction, t: int, opacity: float = 0.5) -> np.ndarray:
    """Paint masks, names and count of frame t on one picture, uint8 (H, W, 3). For many pictures use a `Painter`.

    Raises:
        DataError: see `Painter`.
        ConfigError: see `Painter`.
    """
    _require_picture(picture)
    height, width = picture.shape[:2]
    return Painter(prediction, (height, width), opacity)(picture, t)


def write_overlay(
    prediction: ClipPrediction,
    path: str | Path,
    *,
    opacity: float = 0.5,
    max_short_side: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the source's pictures with the prediction painted on them, and the sound that the model was given.

    Args:
        prediction: a prediction of a clip.
        path: the MP4 to write.
        opacity: of the masks, 0..1.
        max_short_side: pixels; larger pictures are scaled down to this before they are painted.
        progress: called with ("write", pictures done, pictures in total).

    Returns:
        The path.

    Raises:
        AcvisError: the prediction was made from bare tensors, without pictures to paint on.
        MediaError: the source can no longer be read or has been replaced, or the path cannot be written, or is that
            of the source or of another sound that was given to the model.
        DataError: no prediction.
        ConfigError: a value outside its range.
    """
    require_prediction(prediction)
    if max_short_side is not None:
        check_number("max_short_side", max_short_side, *SIDES, "pixels")
    check_progress(progress)
    clip = prediction.clip
    if clip is None:
        raise AcvisError(
            "this prediction was made from bare tensors and has no picture to paint on: make it from a Clip (load_clip "
            "or Clip.from_arrays), or paint single pictures with viz.paint"
        )
    path = prediction.output_path(path)
    size = shrunk(clip.size, max_short_side)
    painter = Painter(prediction, size, opacity)
    total = max(1, round(clip.duration * clip.source_fps))

    def pictures() -> Iterator[np.ndarray]:
        for done, (_, t, picture) in enumerate(iter_source_frames(clip), start=1):
            yield painter(resized(picture, size), t)
            if progress is not None:
                progress("write", done, total)

    return write_video(path, pictures(), clip.source_fps, clip.waveform)


def _require_picture(picture: object) -> None:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        given = (picture.dtype, picture.shape) if isinstance(picture, np.ndarray) else (type(picture).__name__, "")
        raise DataError(f"the picture is {given[0]} {given[1]}: expected an array, uint8 (H, W, 3), np.asarray(image)")


def _outline(mask: np.ndarray, width: int) -> np.ndarray:
    """The outermost `width` pixels of the mask, bool (H, W); none along the picture's edge, where it may continue."""
    inner = mask
    for _ in range(width):
        around = np.pad(inner, 1, mode="edge")
        inner = inner & around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return mask & ~inner


def _bounds(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _free_place(mask: Box, extent: tuple[int, int], size: tuple[int, int], taken: list[Box]) -> Box:
    """The box of a label of `extent` (width, height): above its mask, or lower to avoid the boxes in `taken`."""
    width, height = extent
    left = max(0, min(mask[0], size[1] - width))
    above = max(0, mask[1] - height)
    for top in range(above, size[0] - height + 1, max(1, height // 4)):
        box = (left, top, left + width, top + height)
        if not any(_overlap(box, other) for other in taken):
            return box
    return (left, above, left + width, above + height)  # no free place: it covers other text


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink_on(ground: RGB) -> RGB:
    """Black or white, whichever is more legible on the colour."""
    red, green, blue = ground
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else WHITE
