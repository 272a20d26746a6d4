"""The precision that a user asks for, by dtype or by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from acvis_kit import load_clip, load_model
from acvis_kit.clip import Clip
from acvis_kit.errors import ConfigError
from acvis_kit.inference import precision
from acvis_kit.inference.precision import Precision, precision_of
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.published import ASSETS, DRAWN_WEIGHTS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("dtype", "want"),
    [
        (None, Precision(torch.float32)),
        ("float32", Precision(torch.float32)),
        ("float64", Precision(torch.float64)),
        (torch.float16, Precision(torch.float32, torch.float16)),
        ("float16", Precision(torch.float32, torch.float16)),
        ("bfloat16", Precision(torch.float32, torch.bfloat16)),
        ("torch.bfloat16", Precision(torch.float32, torch.bfloat16)),
    ],
)
def test_a_name_means_the_same_as_the_dtype(dtype: torch.dtype | str | None, want: Precision) -> None:
    assert precision_of(dtype, torch.float32, CPU) == want


@pytest.mark.parametrize("dtype", ["half", "int8", torch.int32, 16])
def test_another_dtype_is_refused_with_the_valid_ones(tiny_model: ACVIS, dtype: object) -> None:
    with pytest.raises(ConfigError, match="choose one of float32, float64, bfloat16, float16, auto"):
        Predictor(tiny_model, dtype=dtype)


@pytest.mark.parametrize("quick", [True, False])
def test_auto_is_bfloat16_only_where_it_is_quick(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16_quickly", lambda device: quick)
    want = Precision(torch.float32, torch.bfloat16 if quick else None)
    for own in (torch.float32, torch.float64, torch.bfloat16):
        assert precision_of("auto", own, CPU) == want


def test_a_cpu_is_quick_with_either_of_two_sets_of_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for avx, amx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda found=avx: found)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda found=amx: found)
        assert precision.multiplies_bfloat16_quickly(CPU) == (avx or amx)
    assert not precision.multiplies_bfloat16_quickly(torch.device("mps"))


def test_a_name_runs_the_network_in_that_precision(tiny_model: ACVIS, noise_clip: Clip) -> None:
    by_name, by_dtype, exact = (
        Predictor(tiny_model, dtype=dtype)(noise_clip).count_probs for dtype in ("bfloat16", torch.bfloat16, None)
    )
    assert torch.equal(by_name, by_dtype) and not torch.equal(by_name, exact)


def test_masks_in_half_precision_are_those_of_float32() -> None:
    """The points that are sampled must keep their precision: rounded to 8 bits they would be cells away."""
    clip = load_clip(ASSETS / "clips" / "quartet.mp4", end=6)
    model = load_model(DRAWN_WEIGHTS)
    exact, half = (Predictor(model, dtype=dtype)(clip) for dtype in ("float32", "bfloat16"))
    assert [track.label for track in half.tracks] == [track.label for track in exact.tracks] != []
    overlaps = []
    for one, other in zip(half.tracks, exact.tracks, strict=True):
        masks = [(one.mask(t), other.mask(t)) for t in range(len(clip))]
        overlaps += [(a & b).sum() / (a | b).sum() for a, b in masks if a.any() or b.any()]
    assert len(overlaps) >= 5 and np.mean(overlaps) >= 0.99


def test_the_precision_of_products_holds_in_its_context_alone() -> None:
    before = torch.get_float32_matmul_precision()
    with precision.matmul_precision("medium"):
        assert torch.get_float32_matmul_precision() == "medium"
        with precision.matmul_precision(None):
            assert torch.get_float32_matmul_precision() == "medium"
    assert torch.get_float32_matmul_precision() == before


def test_an_unknown_precision_of_products_is_refused(tiny_model: ACVIS) -> None:
    with pytest.raises(ConfigError, match=r"matmul_precision='tf32' is unknown: choose one of highest, high, medium"):
        Predictor(tiny_model, matmul_precision="tf32")
