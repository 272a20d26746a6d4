"""Figures of a prediction over time: its sound, counts, and tracks or classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.errors import DataError, brief
from acvis_kit.inference.clip_prediction import ClipPrediction, require_prediction
from acvis_kit.inference.marks import Mark, whole_number
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.media.limits import DAY, FPS, check_number
from acvis_kit.viz.overlay import COUNT_SCALE, track_hex, track_name

MOST_LANES = 10_000
POINTS = 600  # of the drawn waveform, at most
INK, FAINT = "#6b7689", "rgba(124, 138, 160, 0.25)"  # INK has a contrast of 4.6:1 on white and on black
UNCERTAINTY = "#cc79a7"
SOUND, BARS, LANE, GAP = 84, 96, 26, 22  # pixels: heights of the sound, the probabilities and a lane; between the rows


def timeline_figure(prediction: ClipPrediction, lanes: int | None = None) -> go.Figure:
    """Figure of a prediction over time, in seconds of the file.

    From above: the sound that the model was given with the count of each frame; the probability of each count, with a
    count head, or the mean uncertainty of each frame, of a system that states one; and a lane for each track or class,
    in its colour, with bars over the times at which it sounds.

    Args:
        prediction: one made from bare tensors has no sound to draw.
        lanes: tracks or classes shown, at most; None: all.

    Raises:
        DataError: no prediction.
        ConfigError: `lanes` is no whole number, 0 or more.
    """
    require_prediction(prediction)
    if lanes is not None:
        check_number("lanes", lanes := whole_number(lanes, "a number of lanes"), 0, MOST_LANES)
    marks = prediction.marks[:lanes]
    uncertainty = prediction.mean_uncertainty() if isinstance(prediction, SemanticPrediction) else None
    between = prediction.count_probs is not None or uncertainty is not None
    heights = [SOUND, *([BARS] if between else []), LANE * max(1, len(marks)) + 8]
    figure = make_subplots(
        rows=len(heights), cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=GAP / (sum(heights) + 70)
    )
    _add_sound(figure, prediction)
    if prediction.count_probs is not None:
        _add_probabilities(figure, prediction, prediction.count_probs)
    if uncertainty is not None:
        _add_uncertainty(figure, prediction, uncertainty)
    _add_lanes(figure, prediction, marks, row=len(heights))
    seconds = len(prediction) / prediction.fps
    figure.update_xaxes(
        range=_range(prediction), dtick=_step(seconds), gridcolor=FAINT, zeroline=False, fixedrange=True
    )
    figure.update_xaxes(ticksuffix=" s", showticksuffix="last", row=len(heights), col=1)
    figure.update_yaxes(fixedrange=True, showgrid=False, zeroline=False)
    return _dressed(figure, sum(heights) + GAP * len(heights) + 56)


def count_figure(prediction: ClipPrediction) -> go.Figure:
    """Figure of the count over time in steps; below it, with a count head, the probability of each count.

    Times are seconds of the file.

    Raises:
        DataError: no prediction of a system that counts.
    """
    require_prediction(prediction)
    if prediction.counts is None:
        raise DataError("this system does not count: use timeline_figure")
    counts, k_max = prediction.counts.tolist(), prediction.k_max
    rows = 1 if prediction.count_probs is None else 2
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.12)
    edges = [prediction.start + t / prediction.fps for t in range(len(counts) + 1)]
    texts = [prediction.count_text(t) for t in range(len(counts))]
    figure.add_scatter(
        x=edges,
        y=[*counts, *counts[-1:]],  # the last step lasts as long as the others
        mode="lines",
        line={"shape": "hv", "color": "#b35806", "width": 3},
        text=[*texts, *texts[-1:]],
        hovertemplate="%{x:g} s: %{text}<extra></extra>",
        showlegend=False,
        row=1,
        col=1,
    )
    highest = max(counts, default=0) if k_max is None else k_max
    ticks = list(range(0, highest + 1, max(1, highest // 6)))
    labels = [_count_name(prediction, k) for k in ticks]
    figure.update_yaxes(title="sounding", range=[-0.15, highest + 0.15], tickvals=ticks, ticktext=labels, row=1, col=1)
    if prediction.count_probs is not None:
        _add_probabilities(figure, prediction, prediction.count_probs)
    figure.update_xaxes(range=_range(prediction), dtick=_step(edges[-1] - edges[0]), gridcolor=FAINT, zeroline=False)
    figure.update_yaxes(gridcolor=FAINT, zeroline=False)
    figure.update_xaxes(title="seconds", row=rows, col=1)
    return _dressed(figure, 180 + 160 * (rows - 1))


def sounding_spans(track: Mark, fps: float, begin: float = 0.0) -> list[tuple[float, float]]:
    """The spans (start, end), in seconds, in which the track, or class, has a mask.

    Args:
        track: a track or class.
        fps: frames per second.
        begin: second at which the first frame's interval begins, for example `prediction.start`.

    Raises:
        DataError: no track or class.
        ConfigError: `fps` outside its range, or `begin` is negative or no number.
    """
    if not callable(getattr(track, "areas", None)):
        raise DataError(f"{brief(track)} is no track or class: give one of prediction.marks")
    check_number("fps", fps, *FPS, "frames per second")
    check_number("begin", begin, 0, DAY, "seconds")
    sounds = np.concatenate([[0], (track.areas() > 0).numpy().astype(np.int8), [0]])
    starts, ends = np.flatnonzero(np.diff(sounds) == 1), np.flatnonzero(np.diff(sounds) == -1)
    return [(begin + start / fps, begin + end / fps) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def envelope(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A waveform (S,) in N <= `POINTS` blocks: lowest sample, highest sample and time in seconds of each, all (N,).

    The samples are divided by the largest absolute one, at least 0.05: faint sounds stay small.
    """
    block = max(1, -(-len(waveform) // POINTS))
    padded = np.pad(waveform, (0, -len(waveform) % block)).reshape(-1, block)
    scale = max(0.05, float(np.abs(waveform).max(initial=0.0)))
    times = (np.arange(len(padded)) + 0.5) * block / SAMPLE_RATE
    return padded.min(1) / scale, padded.max(1) / scale, times


def _add_sound(figure: go.Figure, prediction: ClipPrediction) -> None:
    """The waveform, and above it the count of each frame, if there is one; of about 30 frames in long clips."""
    if prediction.clip is not None:
        low, high, times = envelope(prediction.clip.waveform.numpy())
        times = times + prediction.start
        figure.add_scatter(
            x=np.concatenate([times, times[::-1]]).round(3).tolist(),
            y=np.concatenate([high, low[::-1]]).round(3).tolist(),
            fill="toself",
            mode="lines",
            line={"width": 0.5, "color": INK},
            fillcolor="rgba(124, 138, 160, 0.45)",
            hoverinfo="skip",
            showlegend=False,
            row=1,
            col=1,
        )
    if prediction.counts is not None:
        shown = range(0, len(prediction), max(1, round(len(prediction) / 30)))
        figure.add_scatter(
            x=_middles(prediction, shown),
            y=[1.32] * len(shown),
            mode="text",
            text=[f"<b>{prediction.count_text(t)}</b>" for t in shown],
            textfont={"size": 13},
            hovertemplate="%{text} sounding<extra></extra>",
            showlegend=False,
            row=1,
            col=1,
        )
    label = "no sound" if prediction.clip is None else "sound"
    figure.update_yaxes(range=[-1.05, 1.6], tickvals=[0], ticktext=[label], row=1, col=1)


def _add_uncertainty(figure: go.Figure, prediction: ClipPrediction, uncertainty: Tensor) -> None:
    """The mean uncertainty of each frame (T,) as bars, in the second row."""
    figure.add_bar(
        x=_middles(prediction, range(len(prediction))),
        y=uncertainty.tolist(),
        width=0.96 / prediction.fps,
        name="mean uncertainty",
        marker={"color": UNCERTAINTY, "line": {"width": 1, "color": INK}},
        hovertemplate="uncertainty: %{y:.3f}<extra></extra>",
        showlegend=True,
        row=2,
        col=1,
    )
    figure.update_yaxes(range=[0, max(1e-3, 1.1 * float(uncertainty.max()))], nticks=3, row=2, col=1)


def _add_probabilities(figure: go.Figure, prediction: ClipPrediction, probabilities: Tensor) -> None:
    """The count probabilities (T, K_max + 1) as stacked bars, one stack per frame, in the second row."""
    for k in range(probabilities.shape[1]):
        name = _count_name(prediction, k)
        figure.add_bar(
            x=_middles(prediction, range(len(prediction))),
            y=probabilities[:, k].tolist(),
            width=0.96 / prediction.fps,
            name=f"{name} sounding",
            marker={"color": COUNT_SCALE[k % len(COUNT_SCALE)], "line": {"width": 1, "color": INK}},  # visible on black
            hovertemplate=f"{name} sounding: %{{y:.0%}}<extra></extra>",
            row=2,
            col=1,
        )
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%", row=2, col=1)


def _count_name(prediction: ClipPrediction, k: int) -> str:
    return f"{k}+" if k == prediction.k_max else str(k)


def _add_lanes(figure: go.Figure, prediction: ClipPrediction, marks: Sequence[Mark], row: int) -> None:
    """A lane per track or class, the first on top; a note if there is none."""
    names = [track_name(prediction, mark) for mark in marks]
    for mark, name in zip(marks, names, strict=True):
        spans = sounding_spans(mark, prediction.fps, prediction.start)
        figure.add_bar(
            orientation="h",
            y=[name] * len(spans),
            base=[start for start, _ in spans],
            x=[end - start for start, end in spans],
            width=0.62,
            marker={"color": track_hex(mark.id), "line": {"width": 0}},
            customdata=spans,
            hovertemplate="%{customdata[0]:g} to %{customdata[1]:g} s<extra>" + f"{name}, {mark.score:.2f}</extra>",
            showlegend=False,
            row=row,
            col=1,
        )
    if names:
        figure.update_yaxes(
            type="category", categoryorder="array", categoryarray=names, range=[len(names) - 0.5, -0.5], row=row, col=1
        )
    else:
        figure.update_yaxes(visible=False, range=[0, 1], row=row, col=1)
        middle = sum(_range(prediction)) / 2
        what = "object" if prediction.mark_word == "track" else prediction.mark_word
        figure.add_annotation(
            text=f"no {what} is marked",
            x=middle,
            y=0.5,
            showarrow=False,
            row=row,
            col=1,
        )


def _middles(prediction: ClipPrediction, frames: Iterable[int]) -> list[float]:
    """Seconds of the file in the middle of frames."""
    return [prediction.start + (t + 0.5) / prediction.fps for t in frames]


def _range(prediction: ClipPrediction) -> list[float]:
    """Seconds of the file at which a prediction begins and ends."""
    return [prediction.start, prediction.start + len(prediction) / prediction.fps]


def _step(seconds: float) -> float:
    """Seconds between ticks of an axis this long: at most 12 ticks up to 6 minutes."""
    return next((step for step in (1, 2, 5, 10, 15, 30) if seconds / step <= 12), 60)


def _dressed(figure: go.Figure, height: int) -> go.Figure:
    """The layout of all figures: legible on light and dark pages, small margins, a legend above, no dragging."""
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 30, "b": 26},
        barmode="stack",
        bargap=0,
        dragmode=False,
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 12},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom", "traceorder": "normal"},
    )
