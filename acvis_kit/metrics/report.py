"""Renders a report as a table for the terminal, as plain values for JSON, and as an HTML page with figures.

The report itself has the values of the reference, which gives numbers to some quotients of nothing by nothing (LocA 100
without a match). Here these are undefined, see `defined`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.metrics.counting import CountScore
from acvis_kit.metrics.evaluate import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

GROUPS = {
    "mAP": ("AP_all", "AP_s", "AP_m", "AP_l", "AR_all"),
    "HOTA": ("HOTA", "DetA", "DetRe", "DetPr", "AssA", "AssRe", "AssPr", "LocA"),
    "FSLA": ("FA", "FAn", "FAs", "FAm"),
}
OF_MATCHES = ("AssA", "AssRe", "AssPr", "LocA")  # means over the masks that match
NOT_ANNOTATED = "the ground truth has no objects: every frame counts as silent, and FSLA alone is defined"
KINDS = {"FAn": "silent", "FAs": "one source", "FAm": "several"}
WORST_SHOWN = 20
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00")


def table(report: Report) -> str:
    """A text table of the scores in percent by family, with intervals where the report has them."""
    counts, scores = report.counts, defined(report, report.scores, report.counts)
    lines = [
        f'protocol "{report.protocol}": {counts["videos"]} videos, {counts["frames"]} frames, {counts["true_tracks"]} '
        f"tracks, {counts['pred_tracks']} predicted",
        *([] if counts["true_tracks"] else [NOT_ANNOTATED]),
        "",
    ]
    for family, keys in GROUPS.items():
        lines.append(family)
        lines += [
            f"  {key:<8}{_percent(scores[key])}{_interval(report, key, scores)}{_frames(report, key)}" for key in keys
        ]
    return "\n".join(lines)


def defined(report: Report, scores: Mapping[str, float], counts: Mapping[str, float]) -> dict[str, float]:
    """Scores with NaN where nothing is measured.

    That is HOTA's family where nothing is annotated at all, what is a mean over matching masks where none match, and
    the precision of no predictions.

    Args:
        report: which they are of.
        scores: of the whole set, or of one class or video.
        counts: "true_tracks" and "pred_tracks" of the same.
    """
    if not report.counts["true_tracks"]:
        undefined: tuple[str, ...] = GROUPS["HOTA"]
    else:
        undefined = (*(OF_MATCHES if scores["DetA"] == 0 else ()), *(() if counts["pred_tracks"] else ("DetPr",)))
    return {key: math.nan if key in undefined else value for key, value in scores.items()}


def _defined_curves(report: Report) -> dict[str, NDArray[np.float64]]:
    """The curves, with NaN where the score of the same name is undefined."""
    scores = defined(report, report.scores, report.counts)
    return {
        name: np.full_like(values, np.nan) if math.isnan(scores.get(name, 0)) else values
        for name, values in report.curves.items()
    }


def count_table(score: CountScore) -> str:
    """A text table of the counting scores and the confusion matrix."""
    names = [str(k) for k in range(score.k_max)] + [f"{score.k_max}+"]
    rows = zip(names, score.confusion.tolist(), strict=True)
    return "\n".join(
        [
            f"counting, {score.frames} frames",
            f"  accuracy{100 * score.accuracy:>10.2f}",
            f"  error   {score.mean_absolute_error:>10.2f}   mean absolute error, counts clamped to {names[-1]}",
            f"  ECE     {100 * score.calibration_error:>10.2f}   expected calibration error",
            "  true \\ predicted" + "".join(f"{name:>8}" for name in names),
            *(f"  {name:<16}" + "".join(f"{n:>8}" for n in row) for name, row in rows),
        ]
    )


def to_dict(report: Report, counting: CountScore | None = None) -> dict[str, Any]:
    """The report without figures, as plain values; undefined scores are None."""
    scores = defined(report, report.scores, report.counts)
    return plain(
        {
            "protocol": report.protocol,
            "scores": scores,
            "intervals": {
                key: (math.nan, math.nan) if math.isnan(scores[key]) else ends for key, ends in report.intervals.items()
            },
            "counts": report.counts,
            "per_class": {name: defined(report, row, row) for name, row in report.per_class.items()},
            "per_video": {name: defined(report, row, row) for name, row in report.per_video.items()},
            "curves": _defined_curves(report),
            "counting": counting.to_dict() if counting is not None else None,
        }
    )


def to_html(report: Report, title: str = "Evaluation") -> str:
    """A self-contained HTML page: table, curves over thresholds, counts over time, the worst videos."""
    figures = [curve_figure(report), count_figure(report), worst_figure(report)]
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures)
    ]
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<style>body{font-family:system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}"
        "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right}th:first-child,td:first-child"
        "{text-align:left}tr:nth-child(even){background:#f6f8fa}</style></head><body>"
        f"<h1>{html.escape(title)}</h1><pre>{html.escape(table(report))}</pre>"
        + "".join(parts)
        + f"<h2>By class</h2>{_class_table(report)}</body></html>"
    )


def curve_figure(report: Report) -> go.Figure:
    """Scores in percent over the IoU threshold."""
    from plotly import graph_objects as go

    curves = _defined_curves(report)
    figure = go.Figure()
    for colour, (name, x) in zip(
        COLOURS, {"AP": "iou_thresholds", "HOTA": "alphas", "DetA": "alphas", "AssA": "alphas", "FA": "alphas"}.items(),
        strict=True,
    ):  # fmt: skip
        figure.add_scatter(x=curves[x], y=curves[name], name="FSLA" if name == "FA" else name, line={"color": colour})
    figure.update_layout(title="Scores over thresholds", xaxis_title="IoU threshold", yaxis_title="percent")
    return _styled(figure)


def count_figure(report: Report) -> go.Figure:
    """Numbers of sounding objects and predicted masks per frame, with a menu of videos, worst first."""
    from plotly import graph_objects as go

    figure = go.Figure()
    names = _worst_first(report)[:WORST_SHOWN]
    by_name = {tally.name: tally for tally in report.tallies}
    for number, name in enumerate(names):
        for colour, dash, label, counts in (
            (COLOURS[0], "solid", "sounding", by_name[name].true_counts),
            (COLOURS[1], "dot", "predicted", by_name[name].pred_counts),
        ):
            line = {"shape": "hv", "color": colour, "dash": dash, "width": 3}
            frames = np.arange(len(counts) + 1)
            figure.add_scatter(
                x=frames, y=[*counts, *counts[-1:]], name=label, line=line, visible=number == 0, mode="lines"
            )
    buttons = [
        {"label": name, "method": "update", "args": [{"visible": [n // 2 == i for n in range(2 * len(names))]}]}
        for i, name in enumerate(names)
    ]
    figure.update_layout(title="Objects over time", xaxis_title="frame", yaxis_title="objects", yaxis_dtick=1)
    if buttons:
        figure.update_layout(updatemenus=[{"buttons": buttons, "x": 1, "xanchor": "right", "y": 1.2}])
    return _styled(figure)


def worst_figure(report: Report) -> go.Figure:
    """HOTA and FSLA of the videos with the lowest FSLA."""
    from plotly import graph_objects as go

    names = _worst_first(report)[:WORST_SHOWN]
    figure = go.Figure()
    for colour, key, label in ((COLOURS[1], "FA", "FSLA"), (COLOURS[0], "HOTA", "HOTA")):
        rows = [defined(report, report.per_video[name], report.per_video[name]) for name in names]
        figure.add_bar(x=names, y=[row[key] for row in rows], name=label, marker_color=colour)
    figure.update_layout(title=f"The {len(names)} worst videos", yaxis_title="percent", barmode="group")
    return _styled(figure)


def _worst_first(report: Report) -> list[str]:
    """Video names by rising FSLA, then HOTA; undefined scores last."""

    def rank(name: str) -> tuple[float, float, str]:
        fa, hota = (report.per_video[name][key] for key in ("FA", "HOTA"))
        return (math.inf if math.isnan(fa) else fa, math.inf if math.isnan(hota) else hota, name)

    return sorted(report.per_video, key=rank)


def _class_table(report: Report) -> str:
    keys = ("AP_all", "HOTA", "DetA", "AssA", "true_tracks", "pred_tracks")
    head = "".join(f"<th>{key}</th>" for key in ("class", *keys))
    rows = [
        f"<tr><td>{html.escape(name)}</td>" + "".join(f"<td>{_cell(row[key])}</td>" for key in keys) + "</tr>"
        for name, row in ((name, defined(report, row, row)) for name, row in report.per_class.items())
        if row["true_tracks"] or row["pred_tracks"]
    ]
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _cell(value: float) -> str:
    return str(value) if isinstance(value, int) else _percent(value).strip()


def _percent(value: float) -> str:
    return f"{'undefined':>10}" if math.isnan(value) or value == -100 else f"{value:>10.2f}"


def _interval(report: Report, key: str, scores: Mapping[str, float]) -> str:
    if key not in report.intervals or math.isnan(report.intervals[key][0]) or math.isnan(scores[key]):
        return ""
    low, high = report.intervals[key]
    return f"   [{low:.2f}, {high:.2f}]"


def _frames(report: Report, key: str) -> str:
    if key not in KINDS:
        return ""
    right, frames = report.scores[f"{key}_count"], report.scores[f"{key}_all"]
    return f"   {right} of {frames} frames ({KINDS[key]})"


def plain(value: Any) -> Any:
    """The value with lists, dictionaries and Python numbers only, for JSON; NaN becomes None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _styled(figure: go.Figure) -> go.Figure:
    return figure.update_layout(template="plotly_white", font={"family": "system-ui, sans-serif"}, height=420)
