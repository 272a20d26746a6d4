"""Speed and memory, measured side by side in one process: `acvis benchmark`."""

from __future__ import annotations

import contextlib
import itertools
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.config import PRESETS
from acvis_kit.errors import AcvisError
from acvis_kit.evaluation.cost import median_seconds
from acvis_kit.inference.features import VisualFeatures
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS

FRAME_SIZE = (360, 640)
GB = 10**9  # 0.931 GiB
DISCS = 8  # in a picture
PEER_BATCHES = (1, 8)  # frames at once; a CPU is not faster with more than one


def speed(
    preset: str = "acvis-r50",
    frames: int = 12,
    runs: int = 3,
    peer: bool = True,
    device: str | None = None,
    dtype: torch.dtype | str | None = None,
    size: tuple[int, int] = FRAME_SIZE,
    tracks: int = 8,
) -> dict[str, Any]:
    """Measure seconds per frame of encoding, of decoding, and of transformers' Mask2Former on the same frames.

    Weights are random. So that as many masks are computed as for a trained model, the `tracks` best (query, class)
    pairs become tracks whatever their score.

    Args:
        preset: name of the configuration in `PRESETS`.
        frames: number of frames of the clip, one per second.
        runs: number of measurements of each step; medians are reported, and the steps alternate.
        peer: also measure Mask2Former (ResNet-50, 26 labels, 100 queries), which needs `pip install transformers`, in
            float32 and in the kit's dtype, on a GPU at several batch sizes; the fastest of these counts.
        device: see `Predictor`.
        dtype: see `Predictor`.
        size: (H, W) of the frames, which are not resized.
        tracks: number of tracks.

    Raises:
        AcvisError: `peer` without transformers.
    """
    torch.manual_seed(0)
    config = replace(PRESETS[preset], top_k=tracks, score_threshold=0.0)
    predictor = Predictor(ACVIS(config), short_side="keep", device=device, dtype=dtype)
    clip = _clip(frames, size)
    features: VisualFeatures | None = None

    def encode() -> None:
        nonlocal features
        features = predictor.encode(clip)

    def decode() -> None:
        assert features is not None, "every round encodes first"
        predictor.decode(features, clip)

    steps: dict[str, Callable[[], Any]] = {"encode": encode, "decode": decode}
    used = predictor.autocast_dtype or predictor.model.pixel_mean.dtype
    batches = PEER_BATCHES if predictor.device.type != "cpu" else (1,)
    peers = list(itertools.product(batches, dict.fromkeys((torch.float32, used)))) if peer else []
    if peers:
        network = _peer(predictor.device)
        steps |= {_name(*chosen): partial(network, clip.frames, *chosen) for chosen in peers}
    seconds = median_seconds(steps, runs, predictor.device)
    report: dict[str, Any] = {
        "preset": preset,
        "frames": frames,
        "size": list(size),
        "runs": runs,
        "tracks": tracks,
        "device": torch.cuda.get_device_name() if predictor.device.type == "cuda" else predictor.device.type,
        "dtype": str(used).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    report |= {f"{name}_s_per_frame": s / frames for name, s in seconds.items()}
    whole = seconds["encode"] + seconds["decode"]
    report |= {"frames_per_second": frames / whole, "another_soundtrack_share": seconds["decode"] / whole}
    if peers:
        best = min(peers, key=lambda chosen: seconds[_name(*chosen)])
        report |= {"peer": _name(*best), "peer_batch": best[0], "ratio_to_peer": whole / seconds[_name(*best)]}
    return report


def _name(batch: int, dtype: torch.dtype) -> str:
    """Of a way to run the peer."""
    return f"peer_of_{batch}_in_{str(dtype).removeprefix('torch.')}"


def synth(clips: int = 24, workers: int = 1, size: int = 128, seconds: int = 10, seed: int = 0) -> dict[str, Any]:
    """Clips of AVIS-Synth per second, written to a temporary folder; without the start of the workers.

    Args:
        clips: number of clips.
        workers: number of processes.
        size: height and width of the frames, pixels.
        seconds: length of the clips.
        seed: of the clips.
    """
    from acvis_kit.data.synth.writer import write_dataset

    def write(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            write_dataset(folder, {"train": count}, seed, size, (seconds, seconds), workers, progress=False)
            return time.perf_counter() - start

    few = 2 * workers  # a set that costs the start and little more
    start, whole = write(few), write(few + clips)
    per_second = clips / (whole - start)
    return {
        "clips": clips,
        "workers": workers,
        "size": size,
        "seconds": seconds,
        "start_s": start,
        "clips_per_second": per_second,
        "clips_per_second_per_worker": per_second / workers,
    }


def memory(
    preset: str = "acvis-r50", frames: int = 600, size: tuple[int, int] = FRAME_SIZE, device: str | None = None
) -> dict[str, Any]:
    """Peak memory of encoding and decoding a long clip, in a process that did nothing else before.

    All numbers are in GB of 10^9 bytes. The peak is the resident memory of the whole process, including PyTorch and the
    clip; `gpu_peak_gb` is what was allocated on a GPU.
    """
    peaks = _Peaks()
    torch.manual_seed(0)
    model = ACVIS(replace(PRESETS[preset], top_k=8, score_threshold=0.0))
    weights = sum(t.nbytes for t in model.state_dict().values())
    predictor = Predictor(model, short_side="keep", device=device)
    if predictor.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(predictor.device)
    clip = _clip(frames, size)
    start = time.perf_counter()
    features = predictor.encode(clip, progress=peaks.progress)
    peaks.enter("audio")
    predictor.decode(features, progress=peaks.progress)
    by_stage = peaks.bytes()
    peak = max(by_stage.values())
    of_gpu = {}
    if predictor.device.type == "cuda":
        of_gpu = {
            "device": torch.cuda.get_device_name(),
            "gpu_peak_gb": torch.cuda.max_memory_allocated(predictor.device) / GB,
        }
    return of_gpu | {
        "preset": preset,
        "frames": frames,
        "size": list(size),
        "weights_gb": weights / GB,
        "clip_gb": clip.frames.nbytes / GB,
        "features_on_device_gb": features.bytes_on_device / GB,
        "features_in_memory_gb": features.bytes_in_memory / GB,
        "features_on_disk_gb": features.bytes_on_disk / GB,
        "peak_gb": peak / GB,
        "peak_beyond_weights_gb": (peak - weights) / GB,
        "peak_by_stage_gb": {stage: n / GB for stage, n in by_stage.items()},
        "minutes": (time.perf_counter() - start) / 60,
    }


class _Peaks:
    """Peak resident memory in each stage of a run.

    On Linux it is read from the process's own counter, which can be reset. Elsewhere there is only `ru_maxrss`, which
    never falls; on Linux a process inherits it from a large parent.
    """

    STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._stage = "start"  # PyTorch, the weights and the clip

    def progress(self, what: str, done: int, total: int) -> None:
        """Progress callback of the Predictor; after the last frame of "decode" the tracker runs."""
        if done == 0:
            self.enter(what)
        elif what == "decode" and done == total:
            self.enter("track")

    def enter(self, stage: str) -> None:
        """Begin `stage`."""
        self._done[self._stage] = max(self._highest(), self._done.get(self._stage, 0))
        self._stage = stage
        with contextlib.suppress(OSError):  # not Linux, or forbidden in a container: peaks are then of the run so far
            self.RESET.write_text("5", encoding="ascii")  # resets the peak to the present value, see `man proc`

    def bytes(self) -> dict[str, int]:
        """Peak of each stage in bytes, in the order of the run."""
        return self._done | {self._stage: self._highest()}

    def _highest(self) -> int:
        if self.STATUS.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", self.STATUS.read_text(encoding="ascii"))):
            return int(found[1]) * 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _clip(frames: int, size: tuple[int, int]) -> Clip:
    """Discs that wander over a gradient, and noise to hear.

    Under random weights a mask has the outlines that the picture has. Masks of a picture of noise would be noise too,
    of fifty times as many run lengths as those of objects, and their coding would take most of the time.
    """
    height, width = size
    generator = torch.Generator().manual_seed(0)
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, width / height, width)[None]
    start, speed, radius, colour = (torch.rand(DISCS, n, generator=generator) for n in (2, 2, 1, 3))
    picture = torch.empty(frames, 3, *size, dtype=torch.uint8)
    for t, frame in enumerate(picture):
        frame[:] = (255 * torch.stack([y + 0 * x, x / 2 + 0 * y, 1 - y + 0 * x])).clamp(max=255)
        for where, way, r, rgb in zip(start, speed - 0.5, radius, colour, strict=True):
            top, left = ((where + way * t / 10) % 1).tolist()
            inside = (y - top) ** 2 + (x - left * width / height) ** 2 < (0.1 + 0.2 * float(r)) ** 2
            frame[:, inside] = (255 * rgb).to(torch.uint8)[:, None]
    sound = torch.randn(frames * SAMPLE_RATE, generator=generator) * 0.1
    return Clip.from_arrays(picture, sound)


def _peer(device: torch.device) -> Callable[[torch.Tensor, int, torch.dtype], None]:
    """Mask2Former, as a function of frames (T, 3, H, W), how many of them it takes at once, and a dtype."""
    try:
        import transformers
    except ImportError as error:
        raise AcvisError("the peer needs transformers: pip install transformers, or pass --no-peer") from error
    peer: Any = transformers  # its types do not know the options that all configurations share
    backbone = peer.ResNetConfig(out_features=["stage1", "stage2", "stage3", "stage4"])
    config = peer.Mask2FormerConfig(backbone_config=backbone, num_labels=26, num_queries=100)
    model = peer.Mask2FormerForUniversalSegmentation(config).eval().to(device)
    given = PRESETS["acvis-r50"]
    mean, std = (torch.tensor(one, device=device).view(3, 1, 1) for one in (given.pixel_mean, given.pixel_std))

    @torch.inference_mode()
    def forward(frames: torch.Tensor, batch: int, dtype: torch.dtype) -> None:
        pad = (0, -frames.shape[-1] % 32, 0, -frames.shape[-2] % 32)
        for part in frames.split(batch):
            image = (part.to(device).float() - mean) / std
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                model(pixel_values=torch.nn.functional.pad(image, pad))

    return forward
