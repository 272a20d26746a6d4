"""Ablations that take seconds: a network of 32 channels, two steps, clips of 64 pixels and 3 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from acvis_kit.ablation.start import Plan
from acvis_kit.ablation.tables import ABLATION_BASE, ABLATION_RECIPE
from acvis_kit.data.synth.writer import write_dataset

SMALL = {
    "hidden_dim": 32, "pixel_layers": 1, "pixel_feedforward_dim": 32, "feedforward_dim": 32, "num_frame_queries": 6,
    "num_video_queries": 6, "frame_layers": 1, "tracker_layers": 1, "num_points": 16, "short_side": 64,
}  # fmt: skip
BASE = replace(ABLATION_BASE, score_threshold=0.0, top_k=4, **SMALL)
RECIPE = replace(ABLATION_RECIPE, steps=2, batch=1, clip_frames=2, warmup=1)


def write_data(folder: Path, counts: str = "usual") -> Path:
    """AVIS-Synth with two clips per split."""
    write_dataset(folder, {"train": 2, "val": 2}, size=64, seconds=(3, 3), progress=False, counts=counts)
    return folder


def plan(data: Path, work: Path, **changes: object) -> Plan:
    """A plan whose runs take seconds."""
    small = Plan(
        {"usual": data}, work, "cpu", BASE, RECIPE, audio_pretraining_steps=1, eval_clips=2, workers=0, threads=1
    )
    return replace(small, **changes)
