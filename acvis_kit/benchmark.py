"""Speed and memory, measured side by side in one process: `acvis benchmark`."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from acvis_kit.config import PRESETS
from acvis_kit.errors import AcvisError
from acvis_kit.models.acvis import ACVIS
from acvis_kit.predict import Predictor
from acvis_kit.types import SAMPLE_RATE, Clip

FRAME_SIZE = (360, 640)


def speed(
    preset: str = "acvis-r50",
    frames: int = 12,
    runs: int = 3,
    peer: bool = True,
    device: str | None = None,
    dtype: torch.dtype | None = None,
    size: tuple[int, int] = FRAME_SIZE,
    tracks: int = 8,
) -> dict[str, Any]:
    """Seconds per frame to encode, to decode, and of transformers' Mask2Former on the same frames.

    Weights are random. So that masks are drawn as a trained model would, the `tracks` best pairs of query and class are
    drawn whatever their score.

    Args:
        frames: of the clip, one per second. runs: of each; medians are reported, the models take turns.
        peer: measure Mask2Former (ResNet-50, 26 labels, 100 queries) too. Needs `pip install transformers`.
        size: (H, W) of the frames; the network sees them as they are.
    """
    torch.manual_seed(0)
    config = replace(PRESETS[preset], top_k=tracks, score_threshold=0.0)
    predictor = Predictor(ACVIS(config), short_side="keep", device=device, dtype=dtype)
    clip = _noise_clip(frames, size)
    features = None

    def encode() -> None:
        nonlocal features
        features = predictor.encode(clip)

    steps: dict[str, Callable[[], Any]] = {"encode": encode, "decode": lambda: predictor.decode(features, clip)}
    if peer:
        steps["peer"] = _peer(clip.frames, predictor.device, dtype)
    seconds = _in_turns(steps, runs, predictor.device)
    report: dict[str, Any] = {
        "preset": preset,
        "frames": frames,
        "size": list(size),
        "runs": runs,
        "tracks": tracks,
        "device": torch.cuda.get_device_name() if predictor.device.type == "cuda" else predictor.device.type,
        "dtype": str(dtype or torch.float32).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    report |= {f"{name}_s_per_frame": s / frames for name, s in seconds.items()}
    whole = seconds["encode"] + seconds["decode"]
    report |= {"frames_per_second": frames / whole, "another_soundtrack_share": seconds["decode"] / whole}
    if peer:
        report["ratio_to_peer"] = whole / seconds["peer"]
    return report


def memory(preset: str = "acvis-r50", frames: int = 600, size: tuple[int, int] = FRAME_SIZE) -> dict[str, Any]:
    """Peak resident memory of encoding and decoding a long clip, in a process that did nothing else before."""
    torch.manual_seed(0)
    model = ACVIS(replace(PRESETS[preset], top_k=8, score_threshold=0.0))
    weights = sum(t.nbytes for t in model.state_dict().values())
    predictor = Predictor(model, short_side="keep")
    start = time.perf_counter()
    features = predictor.encode(_noise_clip(frames, size))
    predictor.decode(features)
    return {
        "preset": preset,
        "frames": frames,
        "size": list(size),
        "weights_gb": weights / 2**30,
        "peak_gb": _peak_bytes() / 2**30,
        "peak_beyond_weights_gb": (_peak_bytes() - weights) / 2**30,
        "features_in_memory_gb": features.bytes_in_memory / 2**30,
        "features_on_disk_gb": features.bytes_on_disk / 2**30,
        "minutes": (time.perf_counter() - start) / 60,
    }


def _noise_clip(frames: int, size: tuple[int, int]) -> Clip:
    generator = torch.Generator().manual_seed(0)
    picture = torch.randint(0, 256, (frames, 3, *size), dtype=torch.uint8, generator=generator)
    sound = torch.randn(frames * SAMPLE_RATE, generator=generator) * 0.1
    return Clip.from_arrays(picture, sound)


def _peer(frames: torch.Tensor, device: torch.device, dtype: torch.dtype | None) -> Callable[[], None]:
    try:
        from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, ResNetConfig
    except ImportError as error:
        raise AcvisError("the peer needs transformers: pip install transformers, or pass --no-peer") from error
    backbone = ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = Mask2FormerConfig(backbone_config=backbone, num_labels=26, num_queries=100)
    model = Mask2FormerForUniversalSegmentation(config).eval().to(device)
    mean, std = PRESETS["acvis-r50"].pixel_mean, PRESETS["acvis-r50"].pixel_std
    pad = (0, -frames.shape[-1] % 32, 0, -frames.shape[-2] % 32)

    @torch.inference_mode()
    def forward() -> None:
        for frame in frames:
            image = (frame.to(device).float() - torch.tensor(mean, device=device).view(3, 1, 1)) / torch.tensor(
                std, device=device
            ).view(3, 1, 1)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                model(pixel_values=torch.nn.functional.pad(image, pad)[None])

    return forward


def _in_turns(steps: dict[str, Callable[[], Any]], runs: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each step after one uncounted round; the steps take turns, so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
