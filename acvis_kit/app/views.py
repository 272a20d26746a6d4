"""Views of a take: the timeline, one second with its masks, the table of tracks or classes, the summary."""

from __future__ import annotations

import html
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from acvis_kit.app.clips import picture_of
from acvis_kit.app.studio import FLOOR, Take, TakeView, without_folders
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.viz.figures import sounding_spans, timeline_figure
from acvis_kit.viz.overlay import track_hex, track_name
from acvis_kit.viz.pixels import resized_mask

LANES_SHOWN = 8  # of the timeline, at most
LEAST_SHARE = 0.001  # of the picture; a smaller one is shown as less than this
GATE = "Limit the masks to the predicted count"  # the label of the option


def timeline(take: Take, view: TakeView) -> go.Figure:
    """The take over time, see `timeline_figure`."""
    return timeline_figure(take.shown(view), LANES_SHOWN)


def second(take: Take, view: TakeView, t: int) -> tuple[np.ndarray, list[tuple[np.ndarray, str]], dict[str, str]]:
    """Frame t with its masks.

    Returns:
        The picture, uint8 (H, W, 3); per mask its opacity per pixel, float (H, W), and its label, the name with the
        track's score or the class' share of the picture; label -> colour.
    """
    prediction = take.shown(view)
    t = min(max(0, t), len(prediction) - 1)
    picture = picture_of(take.stills[t])
    masks: list[tuple[np.ndarray, str]] = []
    colours: dict[str, str] = {}
    for mark in prediction.marks:
        mask = mark.mask(t)
        if mask.any():
            amount = (
                share_text(float(mask.mean())) if isinstance(prediction, SemanticPrediction) else f"{mark.score:.2f}"
            )
            label = f"{track_name(prediction, mark)} {amount}"
            masks.append((resized_mask(mask, picture.shape[:2]) * view.opacity, label))
            colours[label] = track_hex(mark.id)
    return picture, masks, colours


def second_caption(take: Take, view: TakeView, t: int) -> str:
    """The caption of frame t, Markdown: "Second 3 to 4: **2+ sounding** (probability 91%)".

    Without a count: "Second 3 to 4: **dog, cat**". Where masks and count differ, a sentence says so.
    """
    prediction = take.shown(view)
    t = min(max(0, t), len(prediction) - 1)
    span = "Second {start:g} to {end:g}".format(**prediction.interval(t))
    count = prediction.count_text(t)
    if isinstance(prediction, SemanticPrediction):
        names = html.escape(", ".join(prediction.sounding(t))) or "nothing"
        caption = f"{span}: **{names}**" + ("" if count is None else f", **{count} sounding**")
        difference = html.escape(_class_difference(prediction, t))
    else:
        probability = "" if prediction.count_probs is None else f" (probability {prediction.count_probs[t].max():.0%})"
        caption = f"{span}: **{count} sounding**{probability}"
        difference = _mask_difference(prediction, t)
    return f"{caption}. {difference}" if difference else caption


def _masks_beyond(prediction: Prediction) -> torch.Tensor:
    """Number of masks less the count of each frame, int64 (T,); 0 where it fits the count, or none is predicted."""
    if prediction.count_probs is None:
        return torch.zeros_like(prediction.counts)
    beyond = -prediction.counts
    for track in prediction.tracks:
        beyond = beyond + (track.areas() > 0)
    or_more = prediction.counts == prediction.count_probs.shape[1] - 1
    return torch.where(or_more, beyond.clamp(max=0), beyond)


def _mask_difference(prediction: Prediction, t: int) -> str:
    """How the masks of frame t differ from its count, in a sentence or two; empty if they do not."""
    beyond = int(_masks_beyond(prediction)[t])
    if not beyond:
        return ""
    number = int(prediction.counts[t]) + beyond
    shown = {0: "No mask is", 1: "1 mask is"}.get(number, f"{number} masks are")
    option = f' "{GATE}" hides the rest.' if beyond > 0 else ""
    return f"{shown} shown: the count {_origin(prediction)}.{option}"


def _origin(prediction: Prediction) -> str:
    """How a count comes about that differs from the number of masks."""
    source = prediction.count_source
    if source is None or source.count_from == "token":
        return "is predicted separately"
    return "weighs how probably each track above the score sounds"


def _class_difference(prediction: SemanticPrediction, t: int) -> str:
    """Which classes of frame t are marked and not counted, or the other way round; empty if there are none."""
    if prediction.instances is None or prediction.class_scores is None:
        return ""
    marked, seen = prediction.areas()[t] > 0, prediction.instances[t] > 0
    counted = seen & (prediction.class_scores[t] > prediction.threshold)
    names = prediction.class_names
    missed = [
        f"{names[k]} ({'its class scores too low' if seen[k] else 'too small'})"
        for k in (marked & ~counted).nonzero()[:, 0].tolist()
    ]
    unmarked = [names[k] for k in (counted & ~marked).nonzero()[:, 0].tolist()]
    sentences = [f"Not counted: {', '.join(missed)}."] if missed else []
    return " ".join([*sentences, *([f"Counted, but not marked: {', '.join(unmarked)}."] if unmarked else [])])


def _differences(prediction: Prediction | SemanticPrediction) -> list[str]:
    """A note that says in how many frames masks and count differ; none if they never do."""
    length, word = len(prediction), "seconds" if prediction.fps == 1 else "frames"
    if isinstance(prediction, SemanticPrediction):
        number = sum(bool(_class_difference(prediction, t)) for t in range(length))
        reason = "a class is marked that is not counted, or counted that is not marked."
    else:
        number = int((_masks_beyond(prediction) != 0).sum())
        reason = f"the masks are more or fewer than the count, which {_origin(prediction)}."
    return [f"In {number} of {length} {word} {reason}"] if number else []


def share_text(share: float) -> str:
    """A share of the picture: "2.5%"; of what is there, but tiny, "<0.1%"."""
    return f"<{LEAST_SHARE:.1%}" if 0 < share < LEAST_SHARE / 2 else f"{share:.1%}"


def track_rows(take: Take, view: TakeView) -> list[dict[str, Any]]:
    """One row per track or class, for the table and the endpoint.

    Returns:
        Dictionaries of "object" (its name), "class", "score", "seconds" (how long it sounds), "spans" ([start, end]
        pairs, seconds), "share" (mean fraction of the picture in its sounding frames) and "colour" (#rrggbb).
    """
    prediction = take.shown(view)
    pixels = prediction.size[0] * prediction.size[1]
    rows = []
    for mark in prediction.marks:
        areas = mark.areas()
        sounding = areas > 0
        share = float(areas[sounding].double().mean()) / pixels if sounding.any() else 0.0
        rows.append(
            {
                "object": track_name(prediction, mark),
                "class": prediction.class_names[mark.label],
                "score": round(mark.score, 4),
                "seconds": int(sounding.sum()) / prediction.fps,
                "spans": sounding_spans(mark, prediction.fps),
                "share": round(share, 6),
                "colour": track_hex(mark.id),
            }
        )
    return rows


def track_table(take: Take, view: TakeView) -> str:
    """`track_rows` as an HTML table."""
    rows = track_rows(take, view)
    word, title = _word(take), {"object": "Objects", "class": "Classes"}[_word(take)]
    if not rows:
        advice = " Lower the threshold to see weaker detections." if view.threshold > FLOOR else ""
        return f"<p class='nothing'>No {word} scores above the threshold.{advice}</p>"
    body = "".join(
        f"<tr><td><span class='chip' style='background:{row['colour']}'></span>{html.escape(row['object'])}</td>"
        f"<td>{row['score']:.2f}</td><td>{_when(row)}</td><td>{html.escape(share_text(row['share']))}</td></tr>"
        for row in rows
    )
    heads = (word, "score", "sounds", "picture area")
    head = "".join(f"<th scope='col'>{text}</th>" for text in heads)
    table = f"<table aria-label='{title}'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div class='tracks'>{table}</div>"


def _word(take: Take) -> str:
    """What a row of the table is."""
    return "class" if isinstance(take.prediction, SemanticPrediction) else "object"


def _words(take: Take) -> str:
    """The plural of `_word`."""
    return {"object": "objects", "class": "classes"}[_word(take)]


def _when(row: dict[str, Any]) -> str:
    """When a track sounds: "5 s: 1 to 3, 7 to 10", or "never"."""
    spans = ", ".join(f"{start:g} to {end:g}" for start, end in row["spans"])
    return f"{row['seconds']:g} s: {spans}" if spans else "never"


def summary(take: Take, view: TakeView) -> str:
    """The clip and its sound, the number of objects, the durations, where the count differs, all notes; Markdown."""
    prediction = without_folders(take.shown(view))
    name, label = html.escape(take.clip_name), html.escape(take.settings.label())
    encoding = f"{take.encoding:.1f} s" if take.encoding else "0 s"
    encoding += f" ({html.escape(take.when_encoded)})" if take.when_encoded else ""
    notes = [*_differences(prediction), *_left_out(take, view), *prediction.notes]
    lines = [
        f"**{name}** with **{label}**, {len(prediction) / prediction.fps:g} s. **{found(take, view)}**",
        "",
        f"<small>encoding {encoding} · decoding {take.decoding:.1f} s · drawing {take.drawing:.1f} s</small>",
        "",
        *(f"* {html.escape(note, quote=False)}" for note in notes),
    ]
    return "\n".join(lines)


def _left_out(take: Take, view: TakeView) -> list[str]:
    """A note that the timeline does not show all marks, if so."""
    number = len(take.shown(view).marks)
    return [f"The timeline shows the first {LANES_SHOWN} of {number} {_words(take)}."] if number > LANES_SHOWN else []


def found(take: Take, view: TakeView) -> str:
    """How many objects, or classes, the view shows: "2 objects are marked."."""
    number, word = len(take.shown(view).marks), _word(take)
    return {0: "Nothing is marked.", 1: f"1 {word} is marked."}.get(number, f"{number} {_words(take)} are marked.")


def liveliest(take: Take, view: TakeView) -> int:
    """The first of the frames with the most masks, shown first of a new take; 0 without any."""
    marks = take.shown(view).marks
    return int(torch.stack([mark.areas() > 0 for mark in marks]).sum(0).argmax()) if marks else 0
