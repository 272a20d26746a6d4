"""Golden tensors of the reference: the weights they were computed with, and how to compare with them."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tests.conftest import FIXTURES, SHARED

CASES = ("acvis_saoc", "acvis_count4", "acvis_ce", "acvis_swin_t", "avism", "avism_in")
OVERRIDES = {"acvis_ce": {"count_head": "ce"}}
SMALL, FULL = FIXTURES / "parity", SHARED / "parity"


@cache
def shapes(case: str) -> dict[str, list[int]]:
    """Names and shapes of the reference's weights."""
    return json.loads(gzip.decompress((SMALL / "keys.json.gz").read_bytes()))[case]


def fill(names: dict[str, list[int]]) -> dict[str, Tensor]:
    """The weights of the golden tensors, generated from their names instead of stored in a file."""
    out = {}
    for name, shape in names.items():
        g = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if len(shape) >= 2:
            t = torch.randn(shape, generator=g) / math.sqrt(max(1, math.prod(shape[1:])))
        elif name.endswith("running_var"):
            t = 1 + 0.1 * torch.rand(shape, generator=g)
        elif name.endswith("weight"):
            t = 1 + 0.1 * torch.randn(shape, generator=g)
        else:
            t = 0.1 * torch.randn(shape, generator=g)
        if name.endswith("out_proj.weight"):
            t = t * 0.25
        if name.endswith("linear2.weight"):
            t = t * 0.5
        if "query_feat" in name or "query_embed" in name or "cls_token" in name:
            t = t * 16
        if name.endswith("class_embed.weight"):
            t = t * 4
        if name.endswith(("av_pre_proj.weight", "av_proj.weight")):
            t = t * 0.01
        out[name] = t
    return out


def disagreement(got: Tensor | np.ndarray, want: np.ndarray) -> float:
    """Largest difference relative to the largest value. A larger `got` is cropped to the shape of `want`."""
    got = np.asarray(got, dtype=np.float64)
    got = got[tuple(slice(n) for n in want.shape)]
    assert got.shape == want.shape, f"{got.shape} against {want.shape}"
    want = want.astype(np.float64)
    return float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-30))


def tolerance(want: np.ndarray) -> float:
    """1e-5 for golden arrays stored as float32, which have seven digits; else 1e-8."""
    return 1e-5 if want.dtype == np.float32 else 1e-8
