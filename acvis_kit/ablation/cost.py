"""Costs of the query generators: parameters, GFLOPs, milliseconds and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from acvis_kit.config import ACVISConfig
from acvis_kit.evaluation.cost import FRAME_SIZE
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.encoders.audio import NUM_PATCHES, AudioFeatures

STRIDES = (32, 16, 8)
KINDS: Mapping[str, dict[str, Any]] = {  # fields of ACVISConfig
    "ACQG, 1 token a second": {"query_generator": "acqg", "audio_tokens": "clip"},
    f"ACQG, {NUM_PATCHES} tokens a second": {"query_generator": "acqg", "audio_tokens": "patch"},
    "additive (AVISM)": {"query_generator": "additive", "audio_tokens": "clip"},
}
PATCH_DIMS = {"vggish": 512, "compact": 128, "precomputed": 512}


@dataclass(frozen=True)
class GeneratorCost:
    """The cost of one query generator per frame.

    Attributes:
        name: of the generator.
        parameters: their number.
        gflops: of the forward pass; a multiply-add counts as two.
        milliseconds: of the forward pass, the median.
        kept_mb: 10^6 bytes of activations that a training step keeps for the gradient, without weights and inputs.
    """

    name: str
    parameters: int
    gflops: float
    milliseconds: float
    kept_mb: float


def generator_costs(
    config: ACVISConfig,
    frame: tuple[int, int] = FRAME_SIZE,
    *,
    frames: int = 4,
    runs: int = 7,
    device: torch.device | str = "cpu",
) -> list[GeneratorCost]:
    """Measure each generator of `KINDS` alone, on random maps; they take turns, so that drift affects all alike.

    Args:
        config: sizes; fusion in frames is assumed.
        frame: (H, W) at the network's input, multiples of 32.
        frames: processed together; the costs are per frame.
        runs: timed runs of each generator.
        device: that is measured.
    """
    random = torch.Generator().manual_seed(0)
    shapes = [(frames, (frame[0] // s) * (frame[1] // s), config.hidden_dim) for s in STRIDES]  # (T, H W / s^2, C)
    tokens = [torch.randn(shape, generator=random).to(device) for shape in shapes]
    patch_dim = PATCH_DIMS[config.audio_encoder]
    sound = AudioFeatures(
        torch.randn(1, frames, config.audio_dim, generator=random).to(device),
        torch.randn(1, frames, NUM_PATCHES, patch_dim, generator=random).to(device),
    )
    encoder = "compact" if config.audio_encoder == "precomputed" else config.audio_encoder
    own = replace(config, audio_encoder=encoder, frame_fusion=True)
    built = {
        name: QueryGenerator(replace(own, **fields), patch_dim).to(device).requires_grad_(True)
        for name, fields in KINDS.items()
    }
    times: dict[str, list[float]] = {name: [] for name in built}
    with torch.no_grad():
        for _ in range(runs + 1):
            for name, generator in built.items():
                _wait(device)
                start = time.perf_counter()
                generator(sound, tokens)
                _wait(device)
                times[name].append(time.perf_counter() - start)
    return [
        GeneratorCost(
            name,
            sum(p.numel() for p in generator.parameters()),
            _flops(generator, sound, tokens) / frames / 1e9,
            1000 * statistics.median(times[name][1:]) / frames,
            _kept(generator, sound, tokens) / frames / 1e6,
        )
        for name, generator in built.items()
    ]


def cost_text(sizes: Mapping[str, list[GeneratorCost]], device: str) -> str:
    """A Markdown table.

    Args:
        sizes: costs, by the name of the network.
        device: its name.
    """
    lines = [
        f"Per frame, measured on {device}; memory is what a training step keeps for the gradient.",
        "",
        "| network | query generator | parameters | GFLOPs | ms | MB |",
        "|---|---|---|---|---|---|",
    ]
    for network, costs in sizes.items():
        lines += [
            f"| {network} | {c.name} | {c.parameters:,} | {c.gflops:.3f} | {c.milliseconds:.2f} | {c.kept_mb:.1f} |"
            for c in costs
        ]
    return "\n".join(lines)


@torch.no_grad()
def _flops(generator: QueryGenerator, sound: AudioFeatures, tokens: list[Tensor]) -> float:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):  # fused CPU kernels are not counted
        generator(sound, tokens)
    return counter.get_total_flops()


def _kept(generator: QueryGenerator, sound: AudioFeatures, tokens: list[Tensor]) -> int:
    """Bytes of the distinct storages that autograd keeps, without weights and inputs."""
    given = [*generator.parameters(), *tokens, *(x for x in (sound.clip, sound.patches) if x is not None)]
    given_storages = {x.untyped_storage().data_ptr() for x in given}
    kept: dict[int, Any] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in given_storages:
            kept[storage.data_ptr()] = storage  # a reference, so that no address is used twice
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), torch.enable_grad():
        generator(sound, tokens)
    return sum(storage.nbytes() for storage in kept.values())


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
