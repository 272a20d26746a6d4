"""Measures training: seconds per step on samples that need no files, in one process."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from acvis_kit.clip import Targets
from acvis_kit.config import PRESETS
from acvis_kit.data.training_clips import TrainingSample
from acvis_kit.inference.precision import matmul_precision
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.loading import batches
from acvis_kit.training.parallel import make_accelerator
from acvis_kit.training.recipe import RuntimeConfig, recipe_of
from acvis_kit.training.stages import whole_network
from acvis_kit.training.trainer import Trainer

WARM_UP = 3  # steps before the measured ones
OBJECTS = 3  # of a sample


def measure(
    preset: str = "acvis-r50",
    size: tuple[int, int] = (360, 640),
    batch: int | None = None,
    steps: int = 20,
    seconds: float | None = None,
    precision: str = "float32",
    workers: int = 1,
    device: str | None = None,
    matmul: str = "highest",
) -> dict[str, Any]:
    """Time and memory of steps of the whole network by its recipe, with random weights.

    Samples are noise with moving boxes. Workers draw and collate them; nothing is decoded or warped.

    Args:
        preset: name of the configuration in `PRESETS`.
        size: (H, W) of the frames.
        batch: clips per step; None: the recipe's.
        steps: that are measured at most.
        seconds: after which no step begins; None: no limit.
        precision: of the recipe.
        workers: processes that prepare batches.
        device: "cpu", or None for what accelerate finds.
        matmul: see `RuntimeConfig.matmul_precision`.

    Returns:
        What was run, and `steps`; medians of `seconds_per_step` and of `waiting_per_step`, the part of it in which no
        batch was ready; `frames_per_second` of all measured steps; the last `loss`; `gpu_peak_gb` on a GPU.
    """
    torch.manual_seed(0)
    config = PRESETS[preset]
    recipe = replace(recipe_of(config, preset), precision=precision, accumulation=1, warmup=0)
    recipe = replace(recipe, batch=batch or recipe.batch, steps=WARM_UP + steps)
    accelerator = make_accelerator(precision, device)
    clips: Any = SimpleNamespace(sample=_Samples(config.num_classes, recipe.clip_frames, size))
    model = ACVIS(config)
    stage = whole_network(model, clips, recipe)
    draws = [list(range(n * recipe.batch, (n + 1) * recipe.batch)) for n in range(recipe.steps)]
    kind = accelerator.device.type
    with tempfile.TemporaryDirectory() as folder, matmul_precision(matmul):
        trainer = Trainer(model, [stage], Path(folder), accelerator, RuntimeConfig(eval_clips=0))
        trainer.begin(0)
        if kind == "cuda":
            torch.cuda.reset_peak_memory_stats()
        loaded = batches(stage.sample, stage.collate, draws, workers=workers, pin_memory=kind == "cuda")
        waited, took = [], []
        with closing(loaded):
            for number, own in enumerate(draws):
                began = time.perf_counter()
                made = next(loaded)
                ready = time.perf_counter()
                trainer.step([(own, made)])
                _finish(kind)
                if number >= WARM_UP:
                    waited.append(ready - began)
                    took.append(time.perf_counter() - began)
                if seconds is not None and sum(took) > seconds:
                    break
        loss = trainer.read()[-1][1]["loss"]
    report: dict[str, Any] = {
        "preset": preset,
        "size": list(size),
        "batch": recipe.batch,
        "frames": recipe.clip_frames,
        "precision": precision,
        "matmul_precision": matmul,
        "workers": workers,
        "device": torch.cuda.get_device_name() if kind == "cuda" else kind,
        "steps": len(took),
        "seconds_per_step": sorted(took)[len(took) // 2],
        "waiting_per_step": sorted(waited)[len(waited) // 2],
        "frames_per_second": len(took) * recipe.batch * recipe.clip_frames / sum(took),
        "loss": loss,
    }
    if kind == "cuda":
        report["gpu_peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    return report


def _finish(kind: str) -> None:
    """Wait for the device, so that a step is timed and not its launch."""
    if kind == "cuda":
        torch.cuda.synchronize()


class _Samples:
    """The numbered stream of samples: T frames of noise with OBJECTS boxes that move."""

    def __init__(self, classes: int, frames: int, size: tuple[int, int]) -> None:
        self._classes, self._frames, self._size = classes, frames, size

    def __call__(self, draw: int) -> TrainingSample:
        g = torch.Generator().manual_seed(draw)
        height, width = self._size
        pictures = torch.randint(0, 256, (self._frames, 3, height, width), dtype=torch.uint8, generator=g)
        masks = torch.zeros(OBJECTS, self._frames, height, width, dtype=torch.bool)
        for n in range(OBJECTS):
            for t in range(self._frames):
                top, left = (int(torch.randint(0, side // 2, (), generator=g)) for side in (height, width))
                masks[n, t, top : top + height // 3, left : left + width // 3] = True
        sounding = torch.rand(OBJECTS, self._frames, generator=g) < 0.7
        labels = torch.randint(0, self._classes, (OBJECTS,), generator=g)
        heard = torch.zeros(self._frames, self._classes, dtype=torch.bool)
        heard[:, labels] = sounding.T
        targets = Targets(labels, masks, sounding, sounding.sum(0), heard)
        return TrainingSample(pictures, torch.randn(self._frames, 96, 64, generator=g), None, targets)
