"""Helpers of the notebooks: amounts of work, synthetic clips, initial weights, and pictures as figures.

ACVIS_TUTORIAL_SCALE reduces all amounts of work (0.25 in CI) or increases them (4, on a GPU).
"""

from __future__ import annotations

import base64
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from acvis_kit.config import ACVISConfig
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.viz.pixels import image_file
from acvis_kit.weights.load import load_model, save_model
from acvis_kit.weights.transfer import copy_weights

if TYPE_CHECKING:
    import plotly.graph_objects as go

SCALE = "ACVIS_TUTORIAL_SCALE"
FOLDER = Path(tempfile.gettempdir()) / f"acvis-tutorial-{os.getuid() if hasattr(os, 'getuid') else 0}"
TILE = 190  # pixels of a picture's width in a figure
TITLE = 26  # pixels of the title above it
MAP_CELLS = 2500  # larger maps are drawn as pictures: numbers would take a hundred times the bytes
AUDIO_PARTS = ("audio_encoder.", "audio_class_head.")
AUDIO_PATH = (  # modules between the sound and masks or counts
    *AUDIO_PARTS, "query_generator.project", "query_generator.patch_position", "query_generator.layers",
    "query_generator.merge", "query_generator.count_token", "count_head.", "frame_decoder.sounding_head.",
    "tracker.sounding.", "tracker.project_sound.", "tracker.sound_attention.", "tracker.sound_feed_forward.",
)  # fmt: skip


def begin(seed: int = 0) -> torch.device:
    """Seed all random generators and let figures be stored without their library. Returns the device to use."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global one)
    torch.manual_seed(seed)
    if "google.colab" not in sys.modules:  # Colab has its own renderer
        import plotly.io

        plotly.io.renderers.default = "plotly_mimetype"
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scaled(number: float, least: int = 1) -> int:
    """An amount of work times ACVIS_TUTORIAL_SCALE, rounded, at least `least`.

    Raises:
        ConfigError: the scale is not a number above 0.
    """
    text = os.environ.get(SCALE, "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise ConfigError(f"{SCALE}={text!r} must be a number above 0, such as 0.25 or 4")
    return max(least, round(number * scale))


def synth_split(
    clips: int = 6, split: str = "test", seed: int = 7, seconds: tuple[int, int] = (8, 10), size: int = 128
) -> AVISegSplit:
    """Synthesise clips of AVIS-Synth, once per machine; equal arguments give equal clips.

    Args:
        clips: number of clips.
        split: name of the split, which the clips depend on.
        seed: seed of the clips.
        seconds: lengths of the shortest and the longest clip.
        size: height and width of the frames, pixels.
    """
    from acvis_kit.data.synth.writer import write_dataset

    folder = FOLDER / f"{clips}-{seed}-{seconds[0]}-{seconds[1]}-{size}-{split}"
    write_dataset(folder, {split: clips}, seed, size, seconds, progress=False)
    return AVISegSplit(folder, split)


def initial_weights(config: ACVISConfig, folder: Path, audio: bool = False) -> Path:
    """Write weights for a short training: visual parts of the bundled weights, random ones in `AUDIO_PATH`.

    The papers' networks start from weights trained on COCO; from random weights a few minutes of training are too few.

    Args:
        config: its visual parts have the sizes of acvis-synth-tiny.
        folder: where to write, for `init_from`.
        audio: also take the audio encoder and its class head from the bundled weights.

    Returns:
        The folder.
    """
    model = ACVIS(config)
    random_parts = tuple(name for name in AUDIO_PATH if not (audio and name in AUDIO_PARTS))
    copy_weights(load_model("acvis-synth-tiny"), model, without=random_parts)
    return save_model(model, folder)


def pictures(
    images: Sequence[np.ndarray | Tensor],
    titles: Sequence[str] = (),
    columns: int | None = None,
    tile: int = TILE,
    limits: tuple[float, float] | None = None,
) -> go.Figure:
    """Figure of pictures side by side.

    Args:
        images: each uint8 (H, W, 3) or (3, H, W), or a map (H, W) of any numbers.
        titles: one for each image.
        columns: images per row; None: all in one row.
        tile: width of each image, pixels.
        limits: values of the darkest and the brightest colour; None: each map's least and greatest.

    Raises:
        ConfigError: an image of another type or shape.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    arrays = [_upright(image) for image in images]
    columns = columns or len(arrays)
    rows = -(-len(arrays) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=list(titles), horizontal_spacing=0.012, vertical_spacing=0.14 / rows
    )
    for n, array in enumerate(arrays):
        place = {"row": n // columns + 1, "col": n % columns + 1}
        if array.ndim == 3 or array.size > MAP_CELLS:
            shown = array if array.ndim == 3 else _coloured(array, limits)
            figure.add_trace(go.Image(source=_png(shown), hoverinfo="skip"), **place)
        else:
            values = array.astype(np.float32)
            low, high = limits or (float(array.min()), float(array.max()))
            heat = go.Heatmap(z=values, zmin=low, zmax=high, colorscale="Viridis", showscale=False)
            figure.add_trace(heat, **place)
            figure.update_yaxes(autorange="reversed", scaleanchor=f"x{n + 1}" if n else "x", **place)
        figure.update_xaxes(visible=False, constrain="domain", **place)
        figure.update_yaxes(visible=False, constrain="domain", **place)
    ratio = max(array.shape[0] / array.shape[1] for array in arrays)
    return figure.update_layout(
        template="plotly_white",
        width=columns * (tile + 4) + 20,
        height=round(rows * (tile * ratio + TITLE)) + 30,
        margin={"l": 10, "r": 10, "t": TITLE + 8, "b": 6},
        font={"size": 11},
    )


def spectrogram(log_mel: Tensor, height: int = 260, title: str = "") -> go.Figure:
    """Figure of log-mel seconds (T, 96, 64) in a row: time in seconds to the right, mel bands upwards."""
    import plotly.graph_objects as go

    joined = log_mel.flatten(0, 1).T.double().numpy()  # (64, T * 96)
    figure = go.Figure(
        go.Heatmap(
            z=joined[:, ::2].astype(np.float32),  # every other column: half the bytes
            x=np.round((np.arange(joined.shape[1])[::2] + 0.5) / log_mel.shape[1], 4),
            colorscale="Magma",
            zmin=-4.7,
            zmax=2.5,
            colorbar={"title": "log mel"},
        )
    )
    figure.update_xaxes(title="seconds", dtick=1)
    figure.update_yaxes(title="mel band")
    margin = {"l": 50, "r": 10, "t": 36 if title else 10, "b": 40}
    return figure.update_layout(template="plotly_white", title=title, height=height, width=780, margin=margin)


def _upright(image: np.ndarray | Tensor) -> np.ndarray:
    """A picture as (H, W, 3), or a map as (H, W).

    Raises:
        ConfigError: another type or shape.
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3:
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and (array.dtype != np.uint8 or array.shape[2] != 3):
        raise ConfigError(
            f"a picture is uint8 (H, W, 3) or (3, H, W), or a map (H, W): not {array.dtype} {array.shape}"
        )
    if array.ndim not in (2, 3):
        raise ConfigError(f"a picture has two or three axes, not {array.shape}")
    return np.ascontiguousarray(array)


def _coloured(array: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """A map in heat-map colours, uint8 (H, W, 3)."""
    from plotly.colors import get_colorscale, hex_to_rgb, unlabel_rgb

    scale = get_colorscale("Viridis")
    colours = np.array([hex_to_rgb(c) if c.startswith("#") else unlabel_rgb(c) for _, c in scale], float)
    low, high = limits or (float(array.min()), float(array.max()))
    place = (array.astype(float) - low) / ((high - low) or 1.0)
    return np.stack([np.interp(place, [p for p, _ in scale], channel) for channel in colours.T], -1).astype(np.uint8)


def _png(array: np.ndarray) -> str:
    """A picture as a data URI, with a hundredth of the bytes of a list of numbers."""
    png = image_file(array, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
