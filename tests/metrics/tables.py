"""Videos small enough to work out by hand: masks are strings of pixels, "#" inside and anything else outside."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from acvis_kit.masks import encode
from acvis_kit.metrics.sequence import Sequence

GOLDENS = Path(__file__).parents[1] / "fixtures" / "metrics"


def pixels(rows: str, scale: int = 1) -> np.ndarray:
    """ "##./..." -> bool (2, 3), every pixel `scale` x `scale` times."""
    table = np.array([[c == "#" for c in row] for row in rows.split("/")])
    return np.kron(table, np.ones((scale, scale), bool))


def track(*frames: str | None) -> list[np.ndarray | None]:
    return [None if f is None else pixels(f) for f in frames]


def sequence(
    true: list[tuple[int, list[Any]]],
    predicted: list[tuple[int, float, list[Any]]],
    name: str = "video",
    length: int | None = None,
) -> Sequence:
    """From (class, track) and (class, score, track); without any, of no frame."""
    if not true and not predicted:
        length = length or 0
    return Sequence.from_masks(
        [t for _, t in true], [c for c, _ in true], [t for _, _, t in predicted], [c for c, _, _ in predicted],
        [s for _, s, _ in predicted], name, length,
    )  # fmt: skip


def files(
    videos: list[tuple[list[Any], list[Any]]], classes: int = 3, scale: int = 1
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results as AVISeg writes them, but run-length coded, from (true, predicted) as in `sequence`.

    All masks need one size; a video without tracks has two frames.
    """
    some = [f for v in videos for t in (*v[0], *v[1]) for f in t[-1] if f is not None]
    size = pixels(some[0], scale).shape if some else (1, 4)
    gt: dict[str, Any] = {"categories": [{"id": k, "name": f"class {k}"} for k in range(1, classes + 1)]}
    gt |= {"videos": [], "annotations": []}
    results = []
    for number, (true, predicted) in enumerate(videos, 1):
        length = len((*true, *predicted)[0][-1]) if true or predicted else 2
        names = [f"v{number}/{t}.jpg" for t in range(length)]
        gt["videos"].append({"id": number, "file_names": names, "length": length, "height": size[0], "width": size[1]})
        for category, frames in true:
            entry = {"id": len(gt["annotations"]) + 1, "video_id": number, "category_id": category, "iscrowd": 0}
            gt["annotations"].append(entry | {"segmentations": _codes(frames, scale)})
        for category, score, frames in predicted:
            entry = {"video_id": number, "category_id": category, "score": score}
            results.append(entry | {"segmentations": _codes(frames, scale)})
    return gt, results


def golden(name: str) -> tuple[Any, Any, dict[str, float]]:
    """Ground truth, results and the published evaluator's output."""
    data = json.loads(gzip.decompress((GOLDENS / f"{name}.json.gz").read_bytes()))
    return data["gt"], data["results"], data["official"]


def _codes(frames: list[str | None], scale: int) -> list[Any]:
    return [None if f is None else encode(pixels(f, scale)) for f in frames]
