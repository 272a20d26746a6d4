"""Parameters and operations of each part of a model, and the software and hardware in use: `acvis info`.

Operations, parameters and seconds are counted here for `benchmark` and the ablations too.
"""

from __future__ import annotations

import copy
import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.encoders.audio import NUM_PATCHES, AudioFeatures
from acvis_kit.models.encoders.pixel_decoder import PixelDecoder, PixelDecoderConfig, PixelFeatures

FRAME_SIZE = (384, 640)  # a 360x640 frame, padded to multiples of 32
WINDOWS = 1  # windows of frames over which the tracker is counted
PACKAGES = ("torch", "torchvision", "torchaudio", "numpy", "scipy", "av", "moviepy", "pycocotools", "huggingface-hub",
            "safetensors", "plotly", "gradio", "accelerate")  # fmt: skip

Result = TypeVar("Result")


@dataclass(frozen=True)
class Cost:
    """Cost of one part.

    Attributes:
        part: its name.
        parameters: number of parameters.
        gflops: 10^9 operations per frame; a multiply-add counts as two, as in `FlopCounterMode`.
        milliseconds: per frame; None where it was not measured.
    """

    part: str
    parameters: int
    gflops: float
    milliseconds: float | None = None

    def without(self, part: str, *others: Cost) -> Cost:
        """What remains of this part without some within it, under another name; of noisy times at least 0."""
        less = self.milliseconds
        if less is not None:
            less = max(0.0, less - sum(o.milliseconds or 0 for o in others))
        return Cost(
            part,
            self.parameters - sum(o.parameters for o in others),
            self.gflops - sum(o.gflops for o in others),
            less,
        )


class CostTable:
    """The costs of the parts of a model, which are run one after another.

    Args:
        runs: of each part that are timed, after a first one; the median counts. 0: none.
        device: that the parts run on.

    Attributes:
        rows: in the order in which they were counted.
    """

    def __init__(self, runs: int = 0, device: torch.device | str = "cpu") -> None:
        self.runs, self.device = runs, torch.device(device)
        self.rows: list[Cost] = []

    def count(
        self, part: str, module: nn.Module | None, run: Callable[[], Any], frames: int = 1, extra: float = 0.0
    ) -> Any:
        """Add a row, and return the result of `run`.

        Args:
            part: its name.
            module: whose parameters are counted; None: no parameters.
            run: runs the part.
            frames: number of frames that it works on.
            extra: operations per frame that the counter does not see.
        """
        result, operations = with_operations(run)
        parameters = number_of_parameters(module) if module is not None else 0
        milliseconds = None
        if self.runs:
            milliseconds = 1e3 * median_seconds({part: run}, self.runs, self.device)[part] / frames
        self.rows.append(Cost(part, parameters, (operations / frames + extra) / 1e9, milliseconds))
        return result

    def add_total(self, model: nn.Module) -> None:
        """Add the row "whole"."""
        milliseconds = sum(row.milliseconds or 0 for row in self.rows) if self.runs else None
        gflops = sum(row.gflops for row in self.rows)
        self.rows.append(Cost("whole", number_of_parameters(model), gflops, milliseconds))


def sampling_operations(decoder: nn.Module, config: PixelDecoderConfig, maps: Sequence[Tensor]) -> float:
    """Operations of the samples of deformable attention in a pixel decoder, by formula, see `costs`; 0 of others."""
    if not isinstance(decoder, PixelDecoder):
        return 0.0
    tokens = sum(m.shape[-2] * m.shape[-1] for m in maps[1:])
    return config.pixel_layers * tokens * config.hidden_dim * 3 * config.pixel_points * 4 * 2


@torch.no_grad()
def costs(model: ACVIS, runs: int = 0) -> list[Cost]:
    """Parameters and GFLOPs per 360x640 frame of each part, in the order of the data, then of two query generators.

    With `runs` also milliseconds, medians of so many runs of one frame.

    Operations are counted by torch's FlopCounterMode. It omits the samples of deformable attention, which are added by
    formula: each of C channels, L levels and `points` samples takes 4 corners, one multiply-add each.
    """
    config = model.config
    model = copy.deepcopy(model).eval().requires_grad_(False)  # the counter's hooks need this
    dtype, device = model.pixel_mean.dtype, model.pixel_mean.device
    image = torch.zeros(1, 3, *FRAME_SIZE, dtype=dtype, device=device)
    table = CostTable(runs, device)
    rows, count = table.rows, table.count
    maps = count("backbone", model.backbone, lambda: model.backbone(image))
    semantics = None
    if model.mask_classifier is not None:
        *maps, semantics = maps
    sampled = sampling_operations(model.pixel_decoder, config, maps)
    pixels = count("pixel decoder", model.pixel_decoder, lambda: model.pixel_decoder(maps), extra=sampled)
    sound = _silence(model)
    if model.audio_encoder is not None:
        mel = torch.zeros(1, 1, 96, 64, dtype=dtype, device=device)
        count("audio encoder", model.audio_encoder, partial(model.audio_encoder, mel))
    if model.audio_class_head is not None:
        count("audio class head", model.audio_class_head, partial(model.audio_class_head, sound.clip))
    scales = model.frame_decoder.tokens(pixels.scales)
    generator = model.query_generator
    queries = count("query generator", generator, lambda: generator(sound, scales))
    decoder = model.frame_decoder
    out = count("frame decoder", decoder, lambda: decoder(queries, generator.positions(), scales, pixels))
    if model.count_head is not None:
        count("count head", model.count_head, partial(model.count_head, out.count_token))
    frames = WINDOWS * config.window_size
    clip_queries = out.queries.expand(frames, *out.queries.shape[1:]).transpose(0, 1)  # (1, T, Q_f, C)
    clip_sound = AudioFeatures.join([sound] * frames)
    if model.mask_classifier is None:
        count("tracker", model.tracker, lambda: model.tracker(clip_queries, clip_sound), frames=frames)
    else:
        assert semantics is not None, "this backbone returns what its classifier pools"
        clip_pixels = PixelFeatures(
            pixels.scales, *(x.expand(frames, *x.shape[1:]) for x in (pixels.fine, semantics))
        )  # the scales are not read
        both = nn.ModuleList([model.tracker, model.mask_classifier])
        tracked = partial(model.track, clip_queries, clip_sound, [clip_pixels])
        count("tracker and mask classifier", both, tracked, frames=frames)

    for name, head in {"class": model.pixel_class_head, **model.auxiliary_heads}.items():
        if head is not None:
            rows.append(Cost(f"pixel {name} head, in training", number_of_parameters(head), 0.0, 0.0 if runs else None))
    if model.audio_teacher_head is not None:
        parameters = number_of_parameters(model.audio_teacher_head)
        rows.append(Cost("audio teacher head, in training", parameters, 0.0, 0.0 if runs else None))
    table.add_total(model)
    for kind, audio_tokens in (("acqg", config.audio_tokens), ("additive", "clip")):
        variant = replace(config, query_generator=kind, audio_tokens=audio_tokens, frame_fusion=True)
        own = QueryGenerator(variant, sound.patches.shape[-1] if sound.patches is not None else None).to(device, dtype)
        own.requires_grad_(False)
        tokens_text = f"{NUM_PATCHES} tokens" if audio_tokens == "patch" else "1 token"
        count(f"query generator: {kind}, {tokens_text} a second", own, partial(own, sound, scales))
    return rows


@torch.no_grad()
def with_operations(run: Callable[[], Result]) -> tuple[Result, int]:
    """The result of `run`, and its operations; a multiply-add counts as two."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # fused CPU kernels are not counted
        result = run()
    return result, counter.get_total_flops()


def median_seconds(steps: Mapping[str, Callable[[], Any]], runs: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each step after one warm-up round; the steps alternate, so that drift affects all alike.

    Args:
        steps: what is timed, by name.
        runs: timed rounds, each of all steps.
        device: that they work on; its queue is empty before a time is taken.
    """
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t[1:]) for name, t in times.items()}


def number_of_parameters(module: nn.Module) -> int:
    """All of them, trained or frozen; a shared one counts once."""
    return sum(p.numel() for p in module.parameters())


def _silence(model: ACVIS) -> AudioFeatures:
    """Audio features of one frame, all zero: B = T = 1."""
    zeros = partial(torch.zeros, dtype=model.pixel_mean.dtype, device=model.pixel_mean.device)
    patches = None
    if model.config.audio_tokens == "patch" and model.audio_encoder is not None:
        patches = zeros(1, 1, NUM_PATCHES, model.audio_encoder.patch_dim)
    class_logits = zeros(1, 1, model.config.num_classes) if model.config.audio_classes else None
    return AudioFeatures(zeros(1, 1, model.config.audio_dim), patches, class_logits)


def cost_table(rows: list[Cost]) -> str:
    """Plain-text table of the parts."""
    width = max(len(row.part) for row in rows)
    timed = any(row.milliseconds is not None for row in rows)
    lines = [f"{'part':<{width}}  {'parameters':>12}  {'GFLOPs a frame':>14}" + f"  {'ms a frame':>10}" * timed]
    for row in rows:
        shown = "" if row.milliseconds is None else f"  {row.milliseconds:>10.2f}"
        lines.append(f"{row.part:<{width}}  {row.parameters:>12,}  {row.gflops:>14.3f}" + shown)
    return "\n".join(lines)


def environment() -> dict[str, str]:
    """Versions and hardware for a bug report, by name."""
    found = {"acvis-kit": _version("acvis-kit"), "python": platform.python_version(), "platform": platform.platform()}
    found |= {name: _version(name) for name in PACKAGES}
    found["cpu threads"] = str(torch.get_num_threads())
    found["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    if torch.backends.mps.is_available():
        found["gpu"] = "Apple MPS"
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
