"""Measures the time and memory of an evaluation on a synthetic test set of AVISeg's size."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from acvis_kit.masks import RLE, empty, encode
from acvis_kit.metrics import checks
from acvis_kit.metrics.evaluate import evaluate_in_full, evaluate_sequences
from acvis_kit.metrics.sequence import Sequence

SHAPES = 60  # different blobs, each with one position per frame


def measure(
    videos: int = 205, frames: int = 60, size: tuple[int, int] = (720, 1280), repeats: int = 3, seed: int = 0
) -> dict[str, Any]:
    """Time and memory of scoring videos with 1 to 4 true tracks and as many predicted ones.

    The evaluation runs on one core. Times are medians; they exclude making the set, opening files and rasterising
    polygons (the truth is already run-length coded).

    Args:
        videos: number of videos.
        frames: frames per video.
        size: (H, W) of the masks.
        repeats: number of runs per time.
        seed: seed of the synthetic set.

    Returns:
        Sizes of the set: `videos`, `frames`, `tracks`, `masks` (true and predicted). Times in seconds: `seconds` of
        overlaps and all scores under "paper", `official_seconds` under "official", `check_seconds` of checking the
        results (in neither of the two), `whole_seconds` of `evaluate_in_full` from loaded objects. `peak_mb`: peak
        memory of `evaluate_in_full` in MiB, without its inputs.
    """
    gt, results = synthetic_set(videos, frames, size, seed)
    truth = checks.read_truth(gt)
    predicted = checks.read_results(results, truth)

    def score(protocol: checks.Protocol) -> None:
        sequences = [Sequence.from_tracks(v.name, v.length, v.tracks, predicted[v.id]) for v in truth.videos.values()]
        assert evaluate_sequences(sequences, truth.categories, protocol).scores

    timed: dict[str, Callable[[], object]] = {
        "seconds": lambda: score("paper"),
        "official_seconds": lambda: score("official"),
        "check_seconds": lambda: checks.read_results(results, truth),
        "whole_seconds": lambda: evaluate_in_full(gt, results).scores,
    }
    out: dict[str, Any] = {
        "videos": videos,
        "frames": videos * frames,
        "tracks": len(results),
        "masks": sum(m is not None for track in [*gt["annotations"], *results] for m in track["segmentations"]),
    }
    for name, work in timed.items():
        out[name] = statistics.median(_seconds(work) for _ in range(repeats))
    tracemalloc.start()
    timed["whole_seconds"]()
    out["peak_mb"] = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return out


def synthetic_set(
    videos: int, frames: int, size: tuple[int, int], seed: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results in AVISeg's format: moving blobs, silent at times, predicted one frame late."""
    generator = np.random.default_rng(seed)
    paths = [_path(frames, size, generator) for _ in range(SHAPES)]
    nothing = empty(size)
    gt: dict[str, Any] = {"categories": [{"id": k, "name": f"class {k}"} for k in range(1, 27)]}
    gt |= {"videos": [], "annotations": []}
    results: list[dict[str, Any]] = []
    for video in range(1, videos + 1):
        names = [f"{video:04d}/{t:05d}.jpg" for t in range(frames)]
        gt["videos"].append({"id": video, "file_names": names, "length": frames, "height": size[0], "width": size[1]})
        for _ in range(generator.integers(1, 5)):
            category, path = int(generator.integers(1, 27)), paths[generator.integers(SHAPES)]
            sounding = generator.random(frames) < 0.8
            predicted = sounding ^ (generator.random(frames) < 0.05)
            entry = {"video_id": video, "category_id": category}
            true = [code if on else None for code, on in zip(path, sounding, strict=True)]
            late = [path[max(t - 1, 0)] if on else nothing for t, on in enumerate(predicted)]
            gt["annotations"].append(entry | {"id": len(results) + 1, "iscrowd": 0, "segmentations": true})
            results.append(entry | {"score": float(generator.uniform(0.3, 1)), "segmentations": late})
    return gt, results


def _path(frames: int, size: tuple[int, int], generator: np.random.Generator) -> list[RLE]:
    """The masks of one blob that moves on a line, one per frame."""
    h, w = size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    start, end = generator.uniform(0.25, 0.75, (2, 2))
    radius, wobble, lobes = generator.uniform(0.08, 0.25) * h, generator.uniform(0.05, 0.3), generator.integers(3, 12)
    steps = max(min(frames, 8), 1)  # a few positions suffice: repeated masks are still read anew
    codes = []
    for s in np.linspace(0, 1, steps):
        dy, dx = y - (start + s * (end - start))[0] * h, x - (start + s * (end - start))[1] * w
        edge = radius * (1 + wobble * np.sin(lobes * np.arctan2(dy, dx)))
        codes.append(encode(dy**2 + dx**2 < edge**2))
    return [codes[t * steps // frames] for t in range(frames)]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
