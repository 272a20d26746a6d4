"""The model that a Predictor runs: a copy of the given one, which is not changed, in memory shared where possible."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from acvis_kit.errors import ConfigError, brief, kind_of
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.fit import ModuleT

COMPILED_PARTS = ("encode", "hear", "decode_frames")  # of a model from torch.compile


def unwrapped(model: object) -> tuple[ACVIS, Callable[[Any], Any] | None]:
    """The model inside `torch.compile(model)`, and what compiles a function with the same settings; else None.

    Raises:
        ConfigError: something else than a model, for example one wrapped for training on several GPUs.
    """
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, ACVIS):
        return inner, model.dynamo_ctx  # type: ignore[attr-defined]  # an OptimizedModule has it
    if isinstance(model, ACVIS):
        return model, None
    kind = kind_of(model)
    if isinstance(getattr(model, "module", None), ACVIS):
        raise ConfigError(f"the model is wrapped in {kind}: pass the model inside, Predictor(model.module)")
    if isinstance(model, AVSC | RAVS):
        raise ConfigError(f"model is {kind}, which marks pixels of classes: use SemanticPredictor, or ak.predict")
    raise ConfigError(
        f"model is {kind}: pass an ACVIS, for example from load_model, or the name or path of weights: "
        "Predictor('acvis-synth-tiny')"
    )


def usable_device(device: torch.device | str) -> torch.device:
    """The device as torch resolves it.

    Raises:
        ConfigError: no tensor can be allocated there.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:  # depending on how torch was built
        available = ["cpu", *(name for name in ("cuda", "mps") if getattr(torch, name).is_available())]
        reason = str(error).strip().split("\n")[0][:200]
        raise ConfigError(
            f"device={brief(device)} cannot be used here, choose {' or '.join(available)}: {reason}"
        ) from error


def evaluation_copy(model: ModuleT, device: torch.device, dtype: torch.dtype) -> ModuleT:
    """A copy of `model` in evaluation mode, without gradients.

    A tensor that is already as wanted shares its memory with the copy. Only the others are copied: those with another
    device or dtype and, on a CPU, convolution kernels whose channels are not innermost, because convolutions are up to
    twice as fast there with that layout.

    Args:
        model: is not changed.
        device: of the copy.
        dtype: of the copy's floating-point weights.
    """
    memo: dict[int, Any] = {}
    for tensor in weights_of(model):
        innermost = tensor.ndim == 4 and device.type == "cpu"
        moved = tensor.detach().to(
            device,
            dtype if tensor.is_floating_point() else tensor.dtype,
            memory_format=torch.channels_last if innermost else torch.preserve_format,
        )
        memo[id(tensor)] = nn.Parameter(moved, requires_grad=False) if isinstance(tensor, nn.Parameter) else moved
    return copy.deepcopy(model, memo).eval()


def weights_of(model: nn.Module) -> list[Tensor]:
    """All parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def version_of(weights: list[Tensor]) -> int:
    """A number that grows whenever one of the tensors is changed in place."""
    return sum(0 if tensor.is_inference() else tensor._version for tensor in weights)
