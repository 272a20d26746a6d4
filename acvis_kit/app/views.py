"""Views of a take: the timeline, one second with its masks, the table of tracks, the summary."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image
from plotly.subplots import make_subplots
from torch import Tensor

from acvis_kit.app.clips import clip_of, picture_of
from acvis_kit.app.studio import Take, TakeView, without_folders
from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.viz.overlay import COUNT_SCALE, sounding_spans, track_colour, track_name

POINTS = 600  # of the drawn waveform, at most
INK, FAINT = "#7c8aa0", "rgba(124, 138, 160, 0.25)"  # readable on white and on black
LANE, LANES_SHOWN = 26, 8  # pixels per lane; lanes at most


def timeline(take: Take, view: TakeView) -> go.Figure:
    """The take over time: the model's input sound with the counts, the count probabilities, and a lane per track."""
    prediction = take.shown(view)
    lanes = prediction.tracks[:LANES_SHOWN]
    counted = prediction.count_probs is not None
    heights = [84, 96 if counted else 0, LANE * max(1, len(lanes)) + 8]
    heights = [h for h in heights if h]
    figure = make_subplots(
        rows=len(heights), cols=1, shared_xaxes=True, row_heights=heights, vertical_spacing=22 / (sum(heights) + 70)
    )
    seconds = len(prediction) / prediction.fps
    _add_waveform(figure, prediction)
    _add_counts(figure, prediction)
    if prediction.count_probs is not None:
        _add_probabilities(figure, prediction, prediction.count_probs)
    _add_lanes(figure, prediction, lanes, row=len(heights))
    figure.update_xaxes(
        range=[0, seconds], dtick=_step(seconds), showgrid=True, gridcolor=FAINT, zeroline=False, fixedrange=True
    )
    figure.update_xaxes(ticksuffix=" s", showticksuffix="last", row=len(heights), col=1)
    figure.update_yaxes(fixedrange=True, showgrid=False, zeroline=False)
    return figure.update_layout(
        height=sum(heights) + 22 * len(heights) + 56,
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


def _add_waveform(figure: go.Figure, prediction: Prediction) -> None:
    low, high, times = envelope(clip_of(prediction).waveform.numpy())
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
    figure.update_yaxes(range=[-1.05, 1.6], tickvals=[0], ticktext=["sound"], row=1, col=1)


def envelope(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A waveform (S,) in N <= `POINTS` blocks: lowest sample, highest sample and time in seconds of each, all (N,).

    The samples are divided by the largest absolute one, at least 0.05: faint sounds stay small.
    """
    block = max(1, -(-len(waveform) // POINTS))
    padded = np.pad(waveform, (0, -len(waveform) % block)).reshape(-1, block)
    scale = max(0.05, float(np.abs(waveform).max(initial=0.0)))
    times = (np.arange(len(padded)) + 0.5) * block / SAMPLE_RATE
    return padded.min(1) / scale, padded.max(1) / scale, times


def _add_counts(figure: go.Figure, prediction: Prediction) -> None:
    """The count of each frame above the waveform; of about 30 frames in long clips."""
    every = max(1, round(len(prediction) / 30))
    shown = range(0, len(prediction), every)
    figure.add_scatter(
        x=[(t + 0.5) / prediction.fps for t in shown],
        y=[1.32] * len(shown),
        mode="text",
        text=[f"<b>{prediction.count_text(t)}</b>" for t in shown],
        textfont={"size": 13},
        hovertemplate="%{text} sounding<extra></extra>",
        showlegend=False,
        row=1,
        col=1,
    )


def _add_probabilities(figure: go.Figure, prediction: Prediction, probabilities: Tensor) -> None:
    """The count probabilities (T, K_max + 1) as stacked bars, one stack per frame."""
    for k in range(probabilities.shape[1]):
        name = f"{k}+" if k == prediction.k_max else str(k)
        figure.add_bar(
            x=[(t + 0.5) / prediction.fps for t in range(len(prediction))],
            y=probabilities[:, k].tolist(),
            width=0.96 / prediction.fps,
            name=f"{name} sounding",
            marker={"color": COUNT_SCALE[k % len(COUNT_SCALE)], "line": {"width": 1, "color": INK}},  # visible on black
            hovertemplate=f"{name} sounding: %{{y:.0%}}<extra></extra>",
            row=2,
            col=1,
        )
    figure.update_yaxes(range=[0, 1], tickvals=[0, 0.5, 1], tickformat=".0%", row=2, col=1)


def _add_lanes(figure: go.Figure, prediction: Prediction, lanes: tuple[Track, ...], row: int) -> None:
    names = [track_name(prediction, track) for track in lanes]
    for track, name in zip(lanes, names, strict=True):
        spans = sounding_spans(track, prediction.fps)
        figure.add_bar(
            orientation="h",
            y=[name] * len(spans),
            base=[start for start, _ in spans],
            x=[end - start for start, end in spans],
            width=0.62,
            marker={"color": f"rgb{track_colour(track.id)}", "line": {"width": 0}},
            customdata=spans,
            hovertemplate="%{customdata[0]:g} to %{customdata[1]:g} s<extra>" + f"{name}, {track.score:.2f}</extra>",
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
        middle = len(prediction) / prediction.fps / 2
        figure.add_annotation(text="no object above the threshold", x=middle, y=0.5, showarrow=False, row=row, col=1)


def _step(seconds: float) -> float:
    """Seconds between ticks of an axis this long: at most 12 ticks up to 6 minutes."""
    return next((step for step in (1, 2, 5, 10, 15, 30) if seconds / step <= 12), 60)


def second(take: Take, view: TakeView, t: int) -> tuple[np.ndarray, list[tuple[np.ndarray, str]], dict[str, str]]:
    """Frame t with its masks.

    Returns:
        The picture, uint8 (H, W, 3); per mask its opacity per pixel, float (H, W), and its label; label -> colour.
    """
    prediction = take.shown(view)
    t = min(max(0, t), len(prediction) - 1)
    picture = picture_of(take.stills[t])
    masks: list[tuple[np.ndarray, str]] = []
    colours: dict[str, str] = {}
    for track in prediction.tracks:
        mask = track.mask(t)
        if mask.any():
            label = f"{track_name(prediction, track)} {track.score:.2f}"
            small = Image.fromarray(mask.astype(np.uint8) * 255).resize(picture.shape[1::-1], Image.Resampling.BILINEAR)
            masks.append(((np.asarray(small) > 127) * view.opacity, label))
            colours[label] = "#{:02x}{:02x}{:02x}".format(*track_colour(track.id))
    return picture, masks, colours


def second_caption(take: Take, t: int) -> str:
    """The caption of frame t, Markdown: "Second 3 to 4: **2+ sounding** (probability 91%)"."""
    prediction = take.prediction
    t = min(max(0, t), len(prediction) - 1)
    return f"Second {t / prediction.fps:g} to {(t + 1) / prediction.fps:g}: **{prediction.count_text(t)} sounding**" + (
        "" if prediction.count_probs is None else f" (probability {prediction.count_probs[t].max():.0%})"
    )


def track_rows(take: Take, view: TakeView) -> list[dict[str, Any]]:
    """One row per track, for the table and the endpoint.

    Returns:
        Dictionaries of "object" (its name), "class", "score", "seconds" (how long it sounds), "spans" ([start, end]
        pairs, seconds), "share" (mean fraction of the picture in its sounding frames) and "colour" (#rrggbb).
    """
    prediction = take.shown(view)
    pixels = prediction.size[0] * prediction.size[1]
    rows = []
    for track in prediction.tracks:
        areas = track.areas()
        sounding = areas > 0
        share = float(areas[sounding].double().mean()) / pixels if sounding.any() else 0.0
        rows.append(
            {
                "object": track_name(prediction, track),
                "class": prediction.class_names[track.label],
                "score": round(track.score, 4),
                "seconds": int(sounding.sum()) / prediction.fps,
                "spans": sounding_spans(track, prediction.fps),
                "share": round(share, 4),
                "colour": "#{:02x}{:02x}{:02x}".format(*track_colour(track.id)),
            }
        )
    return rows


def track_table(take: Take, view: TakeView) -> str:
    """`track_rows` as an HTML table."""
    rows = track_rows(take, view)
    if not rows:
        return (
            "<p class='nothing'>No object scores above the threshold. Lower the threshold to see weaker detections.</p>"
        )
    body = "".join(
        f"<tr><td><span class='chip' style='background:{row['colour']}'></span>{html.escape(row['object'])}</td>"
        f"<td>{row['score']:.2f}</td><td>{_when(row)}</td><td>{row['share']:.1%}</td></tr>"
        for row in rows
    )
    heads = ("object", "score", "sounds", "picture area")
    head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
    table = f"<table aria-label='Objects'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='tracks'>{table}</div>"


def _when(row: dict[str, Any]) -> str:
    """When a track sounds: "5 s: 1 to 3, 7 to 10", or "never"."""
    spans = ", ".join(f"{start:g} to {end:g}" for start, end in row["spans"])
    return f"{row['seconds']:g} s: {spans}" if spans else "never"


def summary(take: Take, view: TakeView) -> str:
    """The clip and its sound, the number of objects, the durations, and all notes; Markdown."""
    prediction = without_folders(take.shown(view))
    objects = len(prediction.tracks)
    found = {0: "Nothing is marked.", 1: "1 object is marked."}.get(objects, f"{objects} objects are marked.")
    name, label = html.escape(take.clip_name), html.escape(take.settings.label())
    encoding = f"{take.encoding:.1f} s (once per clip)" if take.encoding else "0 s (done before)"
    lines = [
        f"**{name}** with **{label}**, {len(prediction) / prediction.fps:g} s. **{found}**",
        "",
        f"<small>encoding {encoding} · decoding {take.decoding:.1f} s · drawing {take.drawing:.1f} s</small>",
        "",
        *(f"* {html.escape(note)}" for note in prediction.notes),
    ]
    return "\n".join(lines)


def liveliest(take: Take, view: TakeView) -> int:
    """The first of the frames with the most masks, shown first of a new take; 0 without tracks."""
    tracks = take.shown(view).tracks
    return int(torch.stack([track.areas() > 0 for track in tracks]).sum(0).argmax()) if tracks else 0
