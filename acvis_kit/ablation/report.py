"""The report on a ledger: tables and figures with means over seeds and intervals of differences from the baseline."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.ablation.cost import GeneratorCost
from acvis_kit.ablation.ledger import RunLedger
from acvis_kit.ablation.scores import MEASURED
from acvis_kit.ablation.tables import TABLES, Row, Table, short_hash
from acvis_kit.config import ACVISConfig
from acvis_kit.errors import DataError
from acvis_kit.files import read_text, write_text
from acvis_kit.viz.stills import drawing

if TYPE_CHECKING:
    import plotly.graph_objects as go

REPORT, FINDINGS = "report.md", "findings.md"
LEVEL = 0.95
COMPARED = ("mAP", "HOTA", "FSLA", "counted", "muted", "foreign")
LABELS = {  # of `scores.MEASURED`, where they differ
    "FSLAn": "FSLA silent", "FSLAs": "one source", "FSLAm": "several", "counted": "counted right",
    "counted_exactly": "up to own K_max", "counted_by_masks": "by masks shown", "muted": "silent if muted",
    "foreign": "silent if foreign", "swapped": "follows swap",
}  # fmt: skip
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


@dataclass(frozen=True)
class Found:
    """The runs of one row.

    Attributes:
        row: of a table.
        lines: of the ledger, by seed; empty if the row was not run.
        gate: the evaluation that the row refers to, "gate_off" or "gate_on".
    """

    row: Row
    lines: Mapping[int, dict[str, Any]]
    gate: str

    def values(self, name: str, protocol: str = "paper") -> NDArray[np.float64]:
        """A score by name, percent, (seeds,), without NaN."""
        given = [line[protocol].get(self.gate, {}).get(name) for _, line in sorted(self.lines.items())]
        return np.array([value for value in given if value is not None], np.float64)


class Runs:
    """The runs of one setting, on the data set of each kind ("usual", "dense") that has the most runs.

    Args:
        ledger: of the runs.
        setting: hash of the setting, as shown in a report; None: the one with the most runs.

    Raises:
        DataError: no runs, or none of this setting.
    """

    def __init__(self, ledger: RunLedger, setting: str | None = None) -> None:
        self.ledger = ledger
        self.settings = Counter(short_hash(line["setting"]) for line in ledger.lines)
        if not self.settings:
            raise DataError(f"{ledger.folder} contains no runs: make some with acvis ablate required --data DIR")
        if setting is not None and setting not in self.settings:
            raise DataError(f"no runs of setting {setting}: there are {', '.join(self.settings)}")
        self.setting = setting or self.settings.most_common(1)[0][0]
        lines = [line for line in ledger.lines if short_hash(line["setting"]) == self.setting]
        self.prints: dict[str, str] = {}
        for kind in {line["data"]["kind"] for line in lines}:
            prints = Counter(line["data"]["print"] for line in lines if line["data"]["kind"] == kind)
            self.prints[kind] = prints.most_common(1)[0][0]
        self.lines = [line for line in lines if line["data"]["print"] == self.prints[line["data"]["kind"]]]
        self.base = ACVISConfig.from_dict(self.lines[0]["setting"]["base"])

    def of(self, row: Row) -> Found:
        """The runs of a row."""
        row_id, gate = row.id(self.base), "gate_on" if row.gated else "gate_off"
        return Found(row, {line["seed"]: line for line in self.lines if line["row"] == row_id}, gate)

    def difference(self, row: Row, baseline: Row) -> dict[str, tuple[float, float, float]] | None:
        """The mean of `row` minus that of `baseline` over the seeds of both, with its 95 % interval.

        The bootstrap draws clips, the same for both rows and all seeds, and pairs of runs with equal seeds: the
        interval covers the choice of clips and the randomness of training. With one seed only clips are drawn.

        Returns:
            (difference, low, high) in points, by the name of the score; None if the rows have no common seed.
        """
        a, b = self.of(row), self.of(baseline)
        drawn = [self._draws(found) for found in (a, b)]
        seeds = sorted(drawn[0].keys() & drawn[1].keys())
        if not seeds:
            return None
        changes = np.stack([drawn[0][seed] - drawn[1][seed] for seed in seeds])  # (seeds, draws, numbers)
        picked = np.random.default_rng(1).integers(len(seeds), size=(changes.shape[1], len(seeds)))  # (draws, seeds)
        change = changes[picked.T, np.arange(changes.shape[1])].mean(0)  # (draws, numbers)
        out = {}
        for column, name in enumerate(MEASURED):
            values = [[found.lines[seed]["paper"][found.gate][name] for seed in seeds] for found in (a, b)]
            present = change[:, column][~np.isnan(change[:, column])]
            if present.size and None not in values[0] + values[1]:
                low, high = np.quantile(present, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
                out[name] = (float(np.mean(values[0]) - np.mean(values[1])), float(low), float(high))
        return out

    def _draws(self, found: Found) -> dict[int, NDArray[np.float64]]:
        """Bootstrap draws, (draws, len(MEASURED)), by seed; without seeds that have none."""
        drawn = {seed: self.ledger.draws(line["key"], seed, found.gate) for seed, line in found.lines.items()}
        return {seed: values for seed, values in drawn.items() if values is not None}


def write_report(
    ledger: RunLedger, cost: str | None = None, setting: str | None = None, say: Callable[[str], None] = print
) -> Path:
    """Write report.md and a figure per table (JSON, and PNG if there is a browser) to the ledger's folder.

    Conclusions are written by hand into findings.md in the same folder, under headings "## TABLE". The report shows
    them with their tables; the text before the first heading comes at its beginning.

    Args:
        ledger: of the runs.
        cost: table of the query generators' costs, see `cost_text`; None: left out.
        setting: see `Runs`.
        say: for messages.

    Returns:
        The file report.md.

    Raises:
        DataError: see `Runs` and `read_findings`.
    """
    runs = Runs(ledger, setting)
    findings = read_findings(ledger.folder)
    shown = [table for table in TABLES.values() if any(runs.of(row).lines for row in table.rows[1:])]
    figures = {table.name: table_figure(runs, table) for table in shown}
    for name, figure in figures.items():
        write_text(ledger.folder / f"{name}.json", figure.to_json())
    pictures = _pictures(figures, ledger.folder, say)
    parts = [_head(runs), *filter(None, [findings.get("")])]
    for table in TABLES.values():
        figure = pictures.get(table.name, f"{table.name}.json") if table.name in figures else None
        parts.append(table_text(runs, table, figure, findings.get(table.name)))
    if cost is not None:
        parts.append("## What the query generators cost\n\n" + cost)
    return write_text(ledger.folder / REPORT, "\n\n".join(parts) + "\n")


def read_findings(folder: Path) -> dict[str, str]:
    """The sections of findings.md by table name; "" is the text before the first heading.

    Raises:
        DataError: a heading that names no table, or a second one of the same table.
    """
    file = folder / FINDINGS
    if not file.is_file():
        return {}
    try:
        head, *sections = re.split(r"^## +", read_text(file), flags=re.MULTILINE)
    except ValueError as error:
        raise DataError(f"{file} is not UTF-8 ({error}): save it as UTF-8") from error
    found = {"": head.strip()}
    for section in sections:
        name, _, text = section.partition("\n")
        if name.strip() not in TABLES:
            raise DataError(f"{file}: '## {name.strip()}' is no table: the tables are {', '.join(TABLES)}")
        if name.strip() in found:
            raise DataError(f"{file} has two sections '## {name.strip()}': join them")
        found[name.strip()] = text.strip()
    return found


def table_text(runs: Runs, table: Table, figure: str | None = None, finding: str | None = None) -> str:
    """One table in Markdown: finding, scores, differences from the baseline, notes, and the file of its figure."""
    lines = [f"## {table.name}", "", table.question, "", *([finding, ""] if finding else [])]
    lines += _grid(
        [
            "",
            "seeds",
            *(LABELS.get(name, name) for name in MEASURED),
            "official mAP / HOTA / FSLA",
            "parameters",
            "min",
        ],
        [_score_cells(runs, row, row is table.baseline) for row in table.rows],
    )
    changes = [(row, runs.difference(row, table.baseline)) for row in table.rows[1:]]
    lines += [
        "",
        f"Differences from **{table.baseline.name}**, with {LEVEL:.0%} intervals (clips and seeds drawn in pairs):",
        "",
    ]
    lines += _grid(
        ["", *(LABELS.get(name, name) for name in COMPARED)],
        [[row.name, *(_change(change, name) for name in COMPARED)] for row, change in changes],
    )
    notes = [f"{row.name}: {row.note}" for row in table.rows if row.note]
    lines += ["", *(f"* {note}" for note in notes)] if notes else []
    if figure is not None:
        lines += ["", f"![{table.question}]({figure})" if figure.endswith(".png") else f"Figure: `{figure}`"]
    return "\n".join(lines)


def table_figure(runs: Runs, table: Table) -> go.Figure:
    """Differences from the baseline, with intervals."""
    from plotly import graph_objects as go

    figure = go.Figure()
    for number, (name, colour) in enumerate(zip(COMPARED, COLOURS, strict=True)):
        rows, means, below, above = [], [], [], []
        for row in table.rows[1:]:
            change = (runs.difference(row, table.baseline) or {}).get(name)
            if change is not None:
                rows.append(row.name)
                means.append(change[0])
                below.append(change[0] - change[1])
                above.append(change[2] - change[0])
        bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        figure.add_scatter(
            x=means, y=rows, error_x=bars, name=LABELS.get(name, name), mode="markers",
            marker={"color": colour, "size": 10}, visible=True if number < 3 else "legendonly",
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": "#888", "dash": "dot"})
    return figure.update_layout(
        title=f"{table.question}<br><sub>minus {table.baseline.name}, points, {LEVEL:.0%} intervals</sub>",
        xaxis_title="points", scattermode="group", template="plotly_white", font={"family": "system-ui, sans-serif"},
        height=180 + 70 * len(table.rows), width=900, margin={"l": 220}, yaxis={"autorange": "reversed"},
    )  # fmt: skip


def cost_text(sizes: Mapping[str, Sequence[GeneratorCost]], device: str) -> str:
    """What the query generators cost, in Markdown.

    Args:
        sizes: costs, by the name of the network.
        device: its name.
    """
    rows = [
        [network, c.name, f"{c.parameters:,}", f"{c.gflops:.3f}", f"{c.milliseconds:.2f}", f"{c.kept_mb:.1f}"]
        for network, costs in sizes.items()
        for c in costs
    ]
    head = f"Per frame, measured on {device}; memory is what a training step keeps for the gradient."
    table = _grid(["network", "query generator", "parameters", "GFLOPs", "ms", "MB"], rows)
    return "\n".join([head, "", *table])


def _head(runs: Runs) -> str:
    lines = runs.lines
    setting = lines[0]["setting"]
    paragraphs = [
        "# Ablations on AVIS-Synth",
        f"{len(lines)} runs of setting `{runs.setting}`. Scores are percent, mean ± standard deviation over seeds, by "
        'protocol "paper"; a column has those of the published evaluator.',
        f"Steps {setting['recipe'].get('steps')}, batch {setting['recipe'].get('batch')} clips of "
        f"{setting['recipe'].get('clip_frames')} frames, audio pretraining {setting['ears_steps']} steps, "
        f"visual weights {_visual_weights(setting)}; {setting['eval_clips']} held-out clips. Data: "
        + ", ".join(f"{kind} `{found}`" for kind, found in sorted(runs.prints.items()))
        + f". Devices: {', '.join(sorted({line['device'] for line in lines}))}. "
        f"Revisions: {', '.join(sorted({str(line['git'])[:8] for line in lines}))}.",
    ]
    others = [f"`{name}` ({count})" for name, count in runs.settings.items() if name != runs.setting]
    if others:
        paragraphs.append(f"Runs of other settings, not shown: {', '.join(others)}.")
    return "\n\n".join(paragraphs)


def _score_cells(runs: Runs, row: Row, is_baseline: bool) -> list[str]:
    """A row of the table of scores."""
    found = runs.of(row)
    name = f"**{row.name}** (baseline)" if is_baseline else row.name
    if not any(found.gate in line["paper"] for line in found.lines.values()):
        return [name, "not run", *[""] * (len(MEASURED) + 3)]
    official = " / ".join(_mean(found.values(key, "official")) for key in ("mAP", "HOTA", "FSLA"))
    lines = list(found.lines.values())
    minutes = np.mean([sum(line["minutes"].values()) for line in lines])
    cells = [_mean_and_spread(found.values(key)) for key in MEASURED]
    return [name, str(len(lines)), *cells, official, f"{lines[0]['parameters'] / 1e6:.2f} M", f"{minutes:.1f}"]


def _mean(values: NDArray[np.float64]) -> str:
    return f"{values.mean():.1f}" if len(values) else "-"


def _mean_and_spread(values: NDArray[np.float64]) -> str:
    if len(values) < 2:
        return _mean(values)
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def _change(change: Mapping[str, tuple[float, float, float]] | None, name: str) -> str:
    """A difference with its interval, bold if the interval excludes 0."""
    if change is None:
        return "not run"
    if name not in change or any(map(math.isnan, change[name])):
        return "-"
    value, low, high = change[name]
    text = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def _visual_weights(setting: Mapping[str, Any]) -> str:
    return f"from `{setting['eyes']}`, frozen" if setting.get("eyes") else "random"


def _pictures(figures: Mapping[str, go.Figure], folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Write PNG files with Chromium; their names by table, empty if Chromium or playwright is missing."""
    try:
        from playwright.sync_api import Error
    except ImportError as error:
        say(f"no PNG files are written ({error}): pip install playwright, playwright install chromium")
        return {}
    try:
        with drawing() as draw:
            for name, figure in figures.items():
                (folder / f"{name}.png").write_bytes(draw(json.loads(figure.to_json())))
    except Error as error:
        say(f"no PNG files are written: {str(error).splitlines()[0]}")
        return {}
    return {name: f"{name}.png" for name in figures}
