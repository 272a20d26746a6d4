"""Helpers of the notebooks: amounts of work, synthetic clips, initial weights, a child process, and figures.

ACVIS_TUTORIAL_SCALE reduces all amounts of work (0.25 in CI) or increases them (4, on a GPU).
"""

from __future__ import annotations

import atexit
import base64
import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
BAR = 62  # pixels of a colour bar with its numbers
AXIS = 46  # pixels of an axis with its title
ROW_NAMES = 70  # pixels of the names of a map's rows
WIDTH, HEIGHT = 740, 320  # pixels of a plot
LANE = 34  # pixels of an object's lane
SOUNDING = "#0072b2"
PR_SET_PDEATHSIG = 1  # from Linux' prctl.h
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


@contextmanager
def child_process(command: Sequence[str], messages: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that ends with the block, and with this process, whatever ends it.

    On Linux the system kills it when the thread that started it dies; elsewhere it outlives a process that is killed.

    Args:
        command: the program and its arguments.
        messages: file to which its output is appended.
    """
    with messages.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, preexec_fn=_ends_with_parent())
    atexit.register(process.kill)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        atexit.unregister(process.kill)


def _ends_with_parent() -> Callable[[], object] | None:
    """What a new process calls first, so that it is killed when its parent dies; None where the system cannot do so."""
    if sys.platform != "linux":
        return None
    return partial(ctypes.CDLL(None).prctl, PR_SET_PDEATHSIG, signal.SIGKILL)  # loaded here: nothing may load in a fork


def show(figure: go.Figure, x: str = "", y: str = "", width: int = WIDTH, height: int = HEIGHT, **layout: Any) -> None:
    """Lay a plot out as the notebooks do, and show it.

    Args:
        figure: is changed.
        x: title of the horizontal axis.
        y: title of the vertical axis.
        width: pixels.
        height: pixels.
        **layout: of Plotly, for example barmode="stack".
    """
    figure.update_xaxes(title=x, automargin=True).update_yaxes(title=y, automargin=True)
    margin = {"l": 60, "r": 10, "t": 12, "b": 45}
    figure.update_layout(template="plotly_white", width=width, height=height, margin=margin)
    figure.update_layout(**layout).show()


def lanes(names: Sequence[str], sounding: np.ndarray, colours: Sequence[Sequence[str]] | None = None) -> go.Figure:
    """Figure with a lane per object and a bar in each second in which it sounds.

    Args:
        names: of the N objects.
        sounding: bool (N, T).
        colours: of each object and second; None: one colour.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for n, name in enumerate(names):
        seconds = np.flatnonzero(sounding[n]).tolist()
        shades = [SOUNDING if colours is None else colours[n][t] for t in seconds]
        figure.add_bar(
            orientation="h", y=[name] * max(1, len(seconds)), base=seconds or [0], x=[1] * len(seconds) or [0],
            marker_color=shades or SOUNDING, hoverinfo="skip",
        )  # fmt: skip
    figure.update_xaxes(range=[0, sounding.shape[1]])
    return figure.update_layout(barmode="overlay", bargap=0.2, showlegend=False)


@dataclass(frozen=True)
class Maps:
    """How maps are drawn: with a colour bar, and with axes where these have titles.

    Attributes:
        bar: title of the colour bars.
        x: title of the horizontal axis; "": none, as beside a picture of the same size.
        y: title of the vertical axis.
        ticks: whether rows and columns have numbers.
        limits: values of the darkest and the brightest colour, with one bar for all maps; None: each map's least and
            greatest, with a bar each.
        rows: names of a map's rows, from above; (): their numbers.
    """

    bar: str
    x: str = ""
    y: str = ""
    ticks: bool = True
    limits: tuple[float, float] | None = None
    rows: Sequence[str] = ()

    def range_of(self, array: np.ndarray) -> tuple[float, float]:
        """The values of the darkest and the brightest colour in a map."""
        return self.limits or (float(array.min()), float(array.max()))


VALUES = Maps("value")


class _Place(NamedTuple):
    """Row and column of a picture in a figure, from 1."""

    row: int
    col: int


def pictures(
    images: Sequence[np.ndarray | Tensor],
    titles: Sequence[str] = (),
    columns: int | None = None,
    tile: int = TILE,
    maps: Maps = VALUES,
) -> go.Figure:
    """Figure of pictures side by side.

    Args:
        images: each uint8 (H, W, 3) or (3, H, W), or a map (H, W) of any numbers.
        titles: one for each image.
        columns: images per row; None: all in one row.
        tile: width of each image, pixels.
        maps: how maps are drawn.

    Raises:
        ConfigError: an image of another type or shape.
    """
    from plotly.subplots import make_subplots

    arrays = [_upright(image) for image in images]
    columns = columns or len(arrays)
    rows = -(-len(arrays) // columns)
    mapped = any(array.ndim == 2 for array in arrays)
    gap = 4 + (BAR if mapped and maps.limits is None else 0)
    left = AXIS * mapped * bool(maps.y) + ROW_NAMES * mapped * bool(maps.rows) or 10
    below, right = (AXIS if mapped and maps.x else 10), (BAR if mapped else 10)
    inner = columns * tile + (columns - 1) * gap
    figure = make_subplots(
        rows, columns, subplot_titles=list(titles), horizontal_spacing=gap / inner, vertical_spacing=0.14 / rows
    )
    for n, array in enumerate(arrays):
        place = _Place(n // columns + 1, n % columns + 1)
        if array.ndim == 3:
            _add_picture(figure, array, place)
        else:
            _add_map(figure, array, place, maps, last_row=n + columns >= len(arrays))
    if mapped and maps.limits is not None:
        _add_bar(figure, maps.bar, maps.limits, {"x": 1, "len": 1, "y": 0.5}, _Place(1, 1))
    ratio = max(array.shape[0] / array.shape[1] for array in arrays)
    return figure.update_layout(
        template="plotly_white",
        width=inner + left + right,
        height=round(rows * (tile * ratio + TITLE)) + 20 + below,
        margin={"l": left, "r": right, "t": TITLE + 8, "b": below - 4},
        font={"size": 11},
        showlegend=False,
    )


def _add_picture(figure: go.Figure, array: np.ndarray, place: _Place) -> None:
    """A picture without axes."""
    import plotly.graph_objects as go

    where = place._asdict()
    figure.add_trace(go.Image(source=_png(array), hoverinfo="skip"), **where)
    figure.update_xaxes(visible=False, constrain="domain", **where)
    figure.update_yaxes(visible=False, constrain="domain", **where)


def _add_map(figure: go.Figure, array: np.ndarray, place: _Place, maps: Maps, last_row: bool) -> None:
    """A map; its axes at the left and below the last row, and its colour bar unless all maps have one together."""
    import plotly.graph_objects as go

    where, limits = place._asdict(), maps.range_of(array)
    if array.size > MAP_CELLS:
        figure.add_trace(go.Image(source=_png(_coloured(array, limits)), hoverinfo="skip"), **where)
    else:
        low, high = limits
        values = array.astype(np.float32)
        figure.add_trace(go.Heatmap(z=values, zmin=low, zmax=high, colorscale="Viridis", showscale=False), **where)
    plot, first = figure.get_subplot(*place), place.col == 1
    common = {"ticks": "", "showgrid": False, "zeroline": False, "constrain": "domain", "title_standoff": 4, **where}
    figure.update_xaxes(
        visible=bool(maps.x), title_text=maps.x if last_row else "", showticklabels=maps.ticks and last_row, **common
    )
    figure.update_yaxes(
        visible=bool(maps.y or maps.rows), title_text=maps.y if first else "", showticklabels=maps.ticks and first,
        autorange="reversed", **common,
    )  # fmt: skip
    if maps.rows:
        figure.update_yaxes(tickvals=list(range(len(maps.rows))), ticktext=list(maps.rows), **where)
    else:  # cells are squares
        figure.update_yaxes(scaleanchor=plot.xaxis.plotly_name.replace("axis", ""), **where)
    if maps.limits is None:
        right, (bottom, top) = plot.xaxis.domain[1], plot.yaxis.domain
        _add_bar(figure, maps.bar, limits, {"x": right, "len": top - bottom, "y": (top + bottom) / 2}, place)


def _add_bar(figure: go.Figure, title: str, limits: tuple[float, float], at: dict[str, float], place: _Place) -> None:
    """A colour bar, carried by a trace without points: a picture has none."""
    bar = {"title": {"text": title, "side": "right"}, "thickness": 8, "xanchor": "left", "tickfont": {"size": 9}, **at}
    marker = {"color": [limits[0]], "cmin": limits[0], "cmax": limits[1], "colorscale": "Viridis", "colorbar": bar}
    figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, hoverinfo="skip", **place._asdict())


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


def _coloured(array: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """A map in heat-map colours, uint8 (H, W, 3)."""
    from plotly.colors import get_colorscale, hex_to_rgb, unlabel_rgb

    scale = get_colorscale("Viridis")
    colours = np.array([hex_to_rgb(c) if c.startswith("#") else unlabel_rgb(c) for _, c in scale], float)
    low, high = limits
    place = (array.astype(float) - low) / ((high - low) or 1.0)
    return np.stack([np.interp(place, [p for p, _ in scale], channel) for channel in colours.T], -1).astype(np.uint8)


def _png(array: np.ndarray) -> str:
    """A picture as a data URI, with a hundredth of the bytes of a list of numbers."""
    png = image_file(array, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
