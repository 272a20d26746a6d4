"""Costs of the query generators: parameters, GFLOPs, milliseconds and memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from acvis_kit.config import ACVISConfig
from acvis_kit.evaluation.cost import FRAME_SIZE, median_seconds, number_of_parameters, with_operations
from acvis_kit.models.acvis.query_generator import QueryGenerator
from acvis_kit.models.encoders.audio import NUM_PATCHES, AudioFeatures
from acvis_kit.models.encoders.audio_encoders import build_audio_encoder

STRIDES = (32, 16, 8)
KINDS: Mapping[str, dict[str, Any]] = {  # fields of ACVISConfig
    "ACQG, 1 token a second": {"query_generator": "acqg", "audio_tokens": "clip"},
    f"ACQG, {NUM_PATCHES} tokens a second": {"query_generator": "acqg", "audio_tokens": "patch"},
    "additive (AVISM)": {"query_generator": "additive", "audio_tokens": "clip"},
}


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
    encoder = "vggish" if config.audio_encoder == "precomputed" else config.audio_encoder  # one with patches
    with torch.device("meta"):
        built_encoder = build_audio_encoder(replace(config, audio_encoder=encoder, frame_fusion=True))
    assert built_encoder is not None, "this configuration has an audio encoder"
    patch_dim = built_encoder.patch_dim
    sound = AudioFeatures(
        torch.randn(1, frames, config.audio_dim, generator=random).to(device),
        torch.randn(1, frames, NUM_PATCHES, patch_dim, generator=random).to(device),
    )
    own = replace(config, audio_encoder=encoder, frame_fusion=True)
    built = {
        name: QueryGenerator(replace(own, **fields), patch_dim).to(device).requires_grad_(True)
        for name, fields in KINDS.items()
    }
    with torch.no_grad():
        steps = {name: partial(generator, sound, tokens) for name, generator in built.items()}
        seconds = median_seconds(steps, runs, torch.device(device))
    return [
        GeneratorCost(
            name,
            number_of_parameters(generator),
            with_operations(steps[name])[1] / frames / 1e9,
            1000 * seconds[name] / frames,
            _kept(generator, sound, tokens) / frames / 1e6,
        )
        for name, generator in built.items()
    ]


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
