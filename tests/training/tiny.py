"""A run small enough to be repeated, and a script that runs it in processes that may be killed.

python -m tests.training.tiny DATA OUT [OPTIONS as JSON]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.recipe import SYNTH, Recipe, RuntimeConfig

CONFIG: ACVISConfig = replace(
    PRESETS["acvis-synth-tiny"],
    hidden_dim=32,
    num_heads=4,
    pixel_layers=1,
    pixel_feedforward_dim=32,
    feedforward_dim=32,
    num_frame_queries=8,
    num_video_queries=8,
    frame_layers=2,
    tracker_layers=1,
    video_layers=1,
    num_points=32,
    targets="sounding",
    pixel_classes=False,
    auxiliary_targets=(),
    audio_classes=False,
    count_from="token",
    short_side=32,
)
RECIPE: Recipe = replace(
    SYNTH, steps=8, batch=2, clip_frames=2, augmentation="none", warmup=2, ema=0.9, clip_norm=10.0,
    audio_pretraining_steps=0, visual_pretraining_steps=0,
)  # fmt: skip
RUNTIME = RuntimeConfig(workers=0, eval_every=4, eval_clips=1, log_every=1, device="cpu")
CLASSES = ("person", "dog", "cat")


def write_data(
    root: Path, splits: dict[str, int] | None = None, length: int = 6, sizes: tuple[int, ...] = (32,)
) -> Path:
    """Videos in AVISeg's layout: a bright square that sounds in every other second, with colour and pitch by class.

    Args:
        root: created.
        splits: number of videos by name.
        length: of the videos, in seconds.
        sizes: of the frames, in turn.
    """
    for split, count in (splits or {"train": 3, "val": 1}).items():
        rng = np.random.default_rng(len(split))
        videos, annotations = [], []
        (root / split / "WAVAudios").mkdir(parents=True)
        for number in range(1, count + 1):
            name, kind, size = f"v{number:03d}", int(rng.integers(len(CLASSES))), sizes[number % len(sizes)]
            side = size // 3
            (root / split / "JPEGImages" / name).mkdir(parents=True)
            segmentations: list[Any] = []
            for t in range(length):
                picture = rng.integers(0, 100, (size, size, 3), dtype=np.uint8)
                x, y = (int(v) for v in rng.integers(0, size - side, 2))
                picture[y : y + side, x : x + side, kind] = 230
                Image.fromarray(picture).save(root / split / "JPEGImages" / name / f"{t:05d}.jpg")
                square = [[x, y, x + side, y, x + side, y + side, x, y + side]]
                segmentations.append(square if t % 2 else None)
            seconds = np.arange(length * SAMPLE_RATE) / SAMPLE_RATE
            tone = 0.3 * np.sin(seconds * 2 * np.pi * 200 * (kind + 1)) * (seconds.astype(int) % 2)
            wavfile.write(root / split / "WAVAudios" / f"{name}.wav", SAMPLE_RATE, (tone * 32767).astype(np.int16))
            names = [f"{name}/{t:05d}.jpg" for t in range(length)]
            sides = {"height": size, "width": size}
            videos.append({"id": number, "file_names": names, "length": length, **sides})
            areas = [None if s is None else side**2 for s in segmentations]
            annotations.append(
                {"id": number, "video_id": number, "category_id": kind + 1, "iscrowd": 0, **sides}
                | {"segmentations": segmentations, "areas": areas, "bboxes": [a and [0, 0, side, side] for a in areas]}
            )
        categories = [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)]
        truth = {"videos": videos, "categories": categories, "annotations": annotations}
        (root / f"{split}.json").write_text(json.dumps(truth))
    return root


def run(data: Path, out: Path, options: dict[str, Any]) -> None:
    """Train, with or without dropout; `options["die"]` says where the process is killed.

    {"step": n} or {"evaluation": n} is in the n-th of them; "write", "rename" and "removal" are before that happens to
    the path with this ending.
    """
    from acvis_kit.training import checkpoint, trainer
    from acvis_kit.training import run as runs

    torch.set_num_threads(1)
    die = options.get("die", {})
    fresh = runs.initial_model
    if options.get("dropout"):
        runs.initial_model = lambda *args, **kwargs: with_dropout(fresh(*args, **kwargs))
    trainer.Trainer.step = dying_after(trainer.Trainer.step, die.get("step"))
    trainer.Trainer.evaluate = dying_after(trainer.Trainer.evaluate, die.get("evaluation"))
    checkpoint._sync = dying_at(checkpoint._sync, die.get("write"))
    Path.rename = dying_at(Path.rename, die.get("rename"))
    shutil.rmtree = dying_at(shutil.rmtree, die.get("removal"))
    recipe = replace(RECIPE, **options.get("recipe", {}))
    runtime = replace(RUNTIME, **options.get("runtime", {}))
    runs.train(replace(CONFIG, **options.get("config", {})), recipe, data, out, runtime=runtime, say=lambda _: None)
    if torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        (out / f"process{rank}.json").write_text(json.dumps([world, torch.distributed.get_backend(), os.getpid()]))
        torch.distributed.destroy_process_group()


def with_dropout(model: ACVIS) -> ACVIS:
    """The model, with dropout that uses torch's global generator in every step, as Swin's stochastic depth does."""
    model.backbone.register_forward_hook(lambda m, _, maps: tuple(F.dropout(x, 0.05, m.training) for x in maps))
    return model


def dying_after(function: Any, calls: int | None) -> Any:
    """`function`, which kills its process with SIGKILL at its `calls`-th call."""
    done = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        done += 1
        if done == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return dying


def dying_at(function: Any, ending: str | None) -> Any:
    """`function` of a path, which kills its process with SIGKILL when the path has this ending."""

    def dying(path: Any, *args: Any, **kwargs: Any) -> Any:
        if ending is not None and str(path).endswith(ending):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(path, *args, **kwargs)

    return dying


def main() -> None:
    """One run per entry of a list of options, each in a forked process; prints the exit codes, -9 for a kill."""
    data, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
    if isinstance(plan, dict):
        run(data, Path(plan["out"]), plan)
        return
    codes = []
    for options in plan:
        child = os.fork()  # importing torch takes longer than training this
        if not child:
            run(data, Path(options["out"]), options)
            os._exit(0)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
