"""The scores of a semantic system, as plain values and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from acvis_kit.metrics.audio_control import ControlScore
from acvis_kit.metrics.avs import BinaryResult, RobustnessResult
from acvis_kit.metrics.avs_semantic import AvssResult, CavpResult, DdesegResult
from acvis_kit.metrics.report import plain


@dataclass(frozen=True)
class PooledScores:
    """Scores of protocol "dataset", by both published averages."""

    cavp: CavpResult
    ddeseg: DdesegResult


@dataclass(frozen=True)
class SemanticReport:
    """The scores of a model on a split; None where a protocol was not asked for or a part does not apply.

    Attributes:
        videos: number of videos.
        frames: number of frames.
        annotated: number of annotated frames, which are scored.
        class_names: of the data.
        tpavi: J and F of whether a pixel sounds.
        tpavi_classes: AVSBench-semantic's scores, where model and data have the same classes; padding counts.
        dataset: of whether a pixel sounds, two classes with the background.
        dataset_classes: of the classes.
        sources: J of annotated frames by the number of classes that sound: (frames, J), NaN without frames.
        robustness: under "silent" and "unmatched" sound.
        control: under muted, foreign and swapped sound, with intervals; AVIS-Synth only.
        candidates: mean number of candidates per frame; AVSC only.
        uncertainty_auc: probability that a frame in which another set of classes sounds than in the frame before has a
            higher mean uncertainty than one in which the set is the same; RAVS with uncertainty only.
        uncertainty_frames: number of frames of these two kinds.
        notes: what to know when comparing, one sentence each.
    """

    videos: int
    frames: int
    annotated: int
    class_names: tuple[str, ...]
    tpavi: BinaryResult | None = None
    tpavi_classes: AvssResult | None = None
    dataset: PooledScores | None = None
    dataset_classes: PooledScores | None = None
    sources: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    robustness: Mapping[str, RobustnessResult] = field(default_factory=dict)
    control: ControlScore | None = None
    candidates: float | None = None
    uncertainty_auc: float | None = None
    uncertainty_frames: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; undefined scores are None."""
        pooled = lambda s: None if s is None else {"cavp": s.cavp.to_dict(), "ddeseg": s.ddeseg.to_dict()}  # noqa: E731
        own = lambda s: None if s is None else s.to_dict()  # noqa: E731
        values = {
            "videos": self.videos,
            "frames": self.frames,
            "annotated_frames": self.annotated,
            "class_names": self.class_names,
            "tpavi": {"sounding": own(self.tpavi), "classes": own(self.tpavi_classes)},
            "dataset": {"sounding": pooled(self.dataset), "classes": pooled(self.dataset_classes)},
            "sources": {name: {"frames": frames, "j": j} for name, (frames, j) in self.sources.items()},
            "robustness": {name: result.to_dict() for name, result in self.robustness.items()},
            "control": own(self.control),
            "candidates_per_frame": self.candidates,
            "uncertainty": None
            if self.uncertainty_auc is None
            else {"auc_of_changes": self.uncertainty_auc, "changing_and_other_frames": self.uncertainty_frames},
            "notes": self.notes,
        }
        return plain(values)


def semantic_table(report: SemanticReport) -> str:
    """Markdown tables of the scores, in percent."""
    lines = [f"{report.videos} videos, {report.annotated} of {report.frames} frames annotated", ""]
    rows: list[tuple[str, str, tuple[float, ...]]] = []
    if report.tpavi is not None:
        t = report.tpavi
        rows += [("tpavi", "J, F, J&F: what sounds", (t.j, t.f, t.j_and_f))]
    if report.tpavi_classes is not None:
        c = report.tpavi_classes
        rows += [
            ("tpavi", "mIoU, F: classes", (c.miou, c.f)),
            ("tpavi", "mIoU, F: classes that occur", (c.miou_seen, c.f_seen)),
        ]
    for name, pooled in (("what sounds", report.dataset), ("classes", report.dataset_classes)):
        if pooled is not None:
            rows += [
                ("dataset, CAVP", f"mIoU, F 0.3, FDR: {name}", (pooled.cavp.miou, pooled.cavp.f03, pooled.cavp.fdr)),
                ("dataset, DDESeg", f"mIoU, F 0.3: {name}", (pooled.ddeseg.miou, pooled.ddeseg.f03)),
            ]
    rows += [("J by source", f"{name}, {frames} frames", (j,)) for name, (frames, j) in report.sources.items()]
    rows += [
        (f"{name} sound", f"mIoU (blank pixels), RA (blank frames), {result.frames} frames", (result.miou, result.ra))
        for name, result in report.robustness.items()
    ]
    if report.control is not None:
        control = report.control
        rows.append(("swapped sound", "frames whose top mask is on the object now heard", (control.follows_swap,)))
    if report.uncertainty_auc is not None:
        what = f"AUC of changing frames, {report.uncertainty_frames[0]} of {sum(report.uncertainty_frames)}"
        rows.append(("uncertainty", what, (report.uncertainty_auc,)))
    lines += ["| | | % |", "|---|---|---|"]
    lines += [f"| {a} | {b} | {', '.join(_percent(value) for value in values)} |" for a, b, values in rows]
    if report.candidates is not None:
        lines += ["", f"{report.candidates:.2f} candidates per frame"]
    return "\n".join([*lines, *([""] if report.notes else []), *report.notes])


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


# Columns of the comparison: heading, and where the value lies in a report as `SemanticReport.to_dict` gives it.
_COMPARED: dict[str, tuple[str, ...]] = {
    "J": ("tpavi", "sounding", "j"),
    "F": ("tpavi", "sounding", "f"),
    "J, one class": ("sources", "one class", "j"),
    "J, several": ("sources", "several classes", "j"),
    "mIoU, classes": ("tpavi", "classes", "miou_seen"),
    "silence: blank": ("robustness", "silent", "ra"),
    "unmatched: blank": ("robustness", "unmatched", "ra"),
    "follows a swap": ("control", "follows_swap"),
    "AUC of changes": ("uncertainty", "auc_of_changes"),
}


def comparison_table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A Markdown table with a row for each of several reports, in percent; candidates are numbers per frame.

    Columns that no report has are left out. Several reports whose names begin with "seed" have one row: the mean, and
    in brackets the least and the greatest value.

    Args:
        reports: by the name of the row, as `SemanticReport.to_dict` gives them.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for name, report in reports.items():
        rows.setdefault("seeds" if name.startswith("seed") else name, []).append(report)
    if "seeds" in rows:
        rows = {f"{len(rows['seeds'])} seeds": rows.pop("seeds"), **rows}
    paths = {**_COMPARED, "candidates": ("candidates_per_frame",)}
    cells = {
        heading: [
            _mean_and_range([_at(one, path) for one in of], 1 if heading == "candidates" else 100)
            for of in rows.values()
        ]
        for heading, path in paths.items()
    }
    kept = {heading: column for heading, column in cells.items() if any(column)}
    lines = [f"| | {' | '.join(kept)} |", "|---" * (len(kept) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(column[n] or '-' for column in kept.values())} |" for n, name in enumerate(rows)]
    return "\n".join(lines)


def _at(report: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = report
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _mean_and_range(values: list[float | None], scale: float) -> str:
    """One value, or the mean of several and their range; "" if one is missing."""
    known = [scale * value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    digits = 2 if scale == 1 else 1
    mean = f"{np.mean(known):.{digits}f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.{digits}f} to {max(known):.{digits}f})"
