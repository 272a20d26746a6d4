"""The precision that a Predictor computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from acvis_kit.errors import ConfigError, brief

DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16)
}
LOW = (torch.bfloat16, torch.float16)  # too coarse for positions of pixels: multiplications alone run in them
AUTO = "auto"
MATMUL_PRECISIONS = ("highest", "high", "medium")  # of `torch.set_float32_matmul_precision`


class Precision(NamedTuple):
    """How a network computes.

    Attributes:
        weights: dtype of its weights, float32 or float64.
        autocast: dtype of its multiplications, float16 or bfloat16; None: that of the weights.
    """

    weights: torch.dtype
    autocast: torch.dtype | None = None


def precision_of(dtype: torch.dtype | str | None, own: torch.dtype, device: torch.device) -> Precision:
    """The precision that a user asks for.

    Args:
        dtype: a dtype or its name. float16 and bfloat16 are for multiplications only. "auto": bfloat16 where the device
            multiplies it quickly, else float32. None: `own`.
        own: dtype of the given weights.
        device: where the network runs.

    Raises:
        ConfigError: another dtype, or weights in half precision that nothing converts.
    """
    if isinstance(dtype, str) and dtype == AUTO:
        return Precision(torch.float32, torch.bfloat16 if multiplies_bfloat16_quickly(device) else None)
    chosen = own if dtype is None else DTYPES.get(str(dtype).removeprefix("torch."))
    if chosen is None:
        raise ConfigError(f"dtype={brief(dtype)} is unknown: choose one of {', '.join(DTYPES)}, {AUTO}")
    weights = own if chosen in LOW else chosen
    if weights in LOW:
        raise ConfigError(
            f"the model's weights are {own}, which is too coarse for pixel positions: pass model.float() and "
            f"dtype={own}, which runs its multiplications in that precision"
        )
    return Precision(weights, chosen if chosen in LOW else None)


@contextmanager
def matmul_precision(name: str | None) -> Iterator[None]:
    """Context in which products of float32 matrices have a precision; torch's own setting is restored afterwards.

    Args:
        name: "highest": float32. "high": factors rounded to TensorFloat-32 (10 bits behind the point) where the device
            multiplies these faster. "medium": to bfloat16. None: torch's own setting.

    Raises:
        ConfigError: another name.
    """
    if name is not None and not (isinstance(name, str) and name in MATMUL_PRECISIONS):
        raise ConfigError(f"matmul_precision={brief(name)} is unknown: choose one of {', '.join(MATMUL_PRECISIONS)}")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name or before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def multiplies_bfloat16_quickly(device: torch.device) -> bool:
    """Whether the device has instructions that multiply matrices of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
