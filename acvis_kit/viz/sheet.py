"""One clip under several soundtracks, as a single picture: a row per soundtrack, a column per frame."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from acvis_kit.errors import AcvisError, DataError, brief
from acvis_kit.files import atomic_write, write_errors
from acvis_kit.inference.clip_prediction import ClipPrediction, named_predictions
from acvis_kit.inference.marks import whole_number
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.media.limits import SIDES, check_number
from acvis_kit.viz.overlay import COUNT_SCALE, Painter
from acvis_kit.viz.pixels import upright

WRITER = "acvis evaluate"  # in the metadata of a sheet's file
GAP, STRIP, TITLE = 4, 22, 24  # pixels: between frames, of the text below a row, of the title above it
BAND, MARGIN = 8, 6  # pixels: of each band of counts below that, and of the margin below the bands
MOST_COLUMNS = 1000
RIGHT, WRONG = "#00795a", "#b3261e"


def soundtrack_sheet(
    predictions: Mapping[str, ClipPrediction],
    true_counts: Mapping[str, Sequence[int]] | None = None,
    columns: int = 8,
    side: int = 176,
) -> Image.Image:
    """Frames of one clip with the predicted masks under each soundtrack, and the count below every frame.

    Below a frame of a semantic prediction are the classes that sound. Below each row two bands show the counts of the
    whole clip: the predicted ones, of a system that counts, and, if given, the true ones.

    Args:
        predictions: predictions of one clip, which they hold, by the name of the soundtrack.
        true_counts: true counts (T,), by the same names: a count is coloured by whether it is right, and a wrong one is
            followed by the true one.
        columns: number of frames shown, spread evenly over the clip.
        side: height of a frame, pixels.

    Raises:
        DataError: predictions of different lengths or without their clip, or other counts than one for each frame.
        ConfigError: no prediction, or a number outside its range.
    """
    predictions = named_predictions(predictions)
    columns, side = whole_number(columns, "a number of columns"), whole_number(side, "a height in pixels")
    check_number("columns", columns, 1, MOST_COLUMNS)
    check_number("side", side, *SIDES, "pixels")
    lengths = {len(prediction) for prediction in predictions.values()}
    clips = [prediction.clip for prediction in predictions.values() if prediction.clip is not None]
    if len(lengths) != 1 or len(clips) < len(predictions):
        raise DataError(f"predictions of {sorted(lengths)} frames: a sheet needs those of one clip, made from a clip")
    (length,) = lengths
    if true_counts is not None:
        _check_counts(true_counts, length)
    shown = np.unique(np.linspace(0, length - 1, min(columns, length)).round().astype(int))
    height, width = clips[0].size
    wide = round(side * width / height)
    row = TITLE + side + STRIP + 2 * BAND + MARGIN + GAP
    sheet = Image.new("RGB", (len(shown) * (wide + GAP) - GAP, len(predictions) * row - GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for n, ((name, prediction), clip) in enumerate(zip(predictions.items(), clips, strict=True)):
        pen.text((2, n * row + 4), name, fill="black", font=font)
        true = None if true_counts is None else true_counts.get(name)
        paint = Painter(prediction, (side, wide))
        for column, t in enumerate(shown.tolist()):
            left, top = column * (wide + GAP), n * row + TITLE
            picture = Image.fromarray(upright(clip.frames[t]))
            picture = picture.resize((wide, side), Image.Resampling.BICUBIC)
            sheet.paste(Image.fromarray(paint(np.asarray(picture), t)), (left, top))
            _count(pen, font, (left, top + side, wide), prediction, t, None if true is None else int(true[t]))
        below = n * row + TITLE + side + STRIP
        for counts in (prediction.counts, true):
            if counts is not None:
                most = len(COUNT_SCALE) - 1 if prediction.k_max is None else prediction.k_max  # "or more"
                _band(pen, (0, below, sheet.width), [min(int(count), most) for count in counts])
            below += BAND
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as JPEG or, by its suffix, as PNG; folders are created.

    Raises:
        AcvisError: a file of others is there, or the file cannot be written.
    """
    check_sheet_place(path)
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as draft:
        if path.suffix == ".png":
            info = PngInfo()
            info.add_text("Software", WRITER)
            sheet.save(draft, format="PNG", pnginfo=info)
        else:
            sheet.save(draft, format="JPEG", quality=80, comment=WRITER.encode())


def check_sheet_place(path: Path) -> None:
    """Refuse a place where something else than an earlier sheet lies.

    Raises:
        AcvisError: names the file.
    """
    if not os.path.lexists(path):
        return
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as there:
            own = WRITER in (there.info.get("Software"), there.info.get("comment", b"").decode(errors="replace"))
    except Exception:  # no picture: Pillow raises whatever its readers meet
        own = False
    if not own:
        raise AcvisError(
            f"{path} is not from {WRITER}, which would replace it: choose another folder of pictures, or move it away"
        )


def _check_counts(true_counts: Any, length: int) -> None:
    """Refuse true counts that are not one whole number for each frame, by name."""
    fits = isinstance(true_counts, Mapping)
    try:
        fits = fits and all(len([int(count) for count in each]) == length for each in true_counts.values())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise DataError(f"true_counts={brief(true_counts)} must give {length} numbers by the name of a soundtrack")


def _band(pen: ImageDraw.ImageDraw, place: tuple[int, int, int], counts: Sequence[int]) -> None:
    """Draw counts over time, a cell per frame."""
    left, top, wide = place
    edges = np.linspace(left, left + wide, len(counts) + 1).round().astype(int).tolist()
    for count, start, stop in zip(counts, edges[:-1], edges[1:], strict=True):
        pen.rectangle((start, top, stop - 2, top + BAND - 2), fill=COUNT_SCALE[min(count, len(COUNT_SCALE) - 1)])


def _count(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    place: tuple[int, int, int],
    prediction: ClipPrediction,
    t: int,
    true: int | None,
) -> None:
    """Write time and count of a frame into the strip below it, coloured by whether the count is right."""
    left, top, wide = place
    text, colour = f"{prediction.interval(t)['start']:g} s: {_sounding(prediction, t)}", "black"
    if prediction.counts is not None:
        count = int(prediction.counts[t])
        pen.rectangle((left, top, left + wide - 1, top + 4), fill=COUNT_SCALE[min(count, len(COUNT_SCALE) - 1)])
    if true is not None and prediction.counts is not None:
        most = prediction.k_max if prediction.k_max is not None else max(true, count)
        right = min(true, most) == count
        text, colour = text + ("" if right else f" (true {min(true, most)})"), RIGHT if right else WRONG
    while len(text) > 1 and pen.textlength(text, font=font) > wide - 2:
        text = text.rstrip("…")[:-1] + "…"
    pen.text((left + 2, top + 5), text, fill=colour, font=font)


def _sounding(prediction: ClipPrediction, t: int) -> str:
    """What sounds in frame t: "2 sound", or the classes of a semantic prediction."""
    if isinstance(prediction, SemanticPrediction):
        return ", ".join(prediction.sounding(t)) or "nothing"
    return f"{prediction.count_text(t)} sound"
