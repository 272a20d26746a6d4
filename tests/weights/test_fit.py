"""Whether tensors fit a network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acvis_kit.errors import WeightsError
from acvis_kit.weights.fit import LONGEST, SHOWN, build_and_load, listed, load_exactly, reason


def layer() -> nn.Module:
    return nn.Linear(2, 3)


def state(**changes: Tensor) -> dict[str, Tensor]:
    return {"weight": torch.ones(3, 2), "bias": torch.ones(3), **changes}


def test_a_state_dict_that_fits_is_loaded() -> None:
    model = build_and_load(layer, state(), "c.json")
    assert torch.equal(model.weight, torch.ones(3, 2)) and model.weight.device.type == "cpu"


def test_nothing_is_loaded_where_one_tensor_does_not_fit() -> None:
    model = layer()
    before = model.weight.clone()
    with pytest.raises(WeightsError, match=r"2 places:\n  unexpected: more\n  shape of bias: \(4,\) given, \(3,\) exp"):
        load_exactly(model, state(bias=torch.ones(4), more=torch.ones(1)))
    with pytest.raises(WeightsError, match=r"missing: weight"):
        load_exactly(model, {"bias": torch.ones(3)})
    assert torch.equal(model.weight, before)


def test_a_sparse_tensor_is_of_another_kind() -> None:
    with pytest.raises(WeightsError, match="dtype of bias: sparse float32 given, float32 expected"):
        load_exactly(layer(), state(bias=torch.ones(3).to_sparse()))


def test_tables_that_a_module_computes_are_not_taken() -> None:
    """An index table of others could point outside."""
    model = layer()
    model.register_buffer("relative_position_index", torch.tensor([0, 1]))
    load_exactly(model, state())
    load_exactly(model, state(relative_position_index=torch.tensor([0, 10**9])))
    assert model.relative_position_index.tolist() == [0, 1]


def test_what_cannot_be_built_is_named_with_its_file() -> None:
    def impossible() -> nn.Module:
        raise KeyError("resnet7")

    with pytest.raises(WeightsError, match=r"from the configuration in c\.json: 'resnet7'"):
        build_and_load(impossible, state(), "c.json")


def test_messages_name_five_and_are_short() -> None:
    assert listed(["a", "b"], "things") == "2 things: a; b"
    many = listed(["x" * 10**6] * 10**4, "things")
    assert many.startswith("10000 things: x") and many.endswith("; ...") and len(many) < (SHOWN + 1) * (LONGEST + 10)
    assert reason(ValueError("first\nsecond")) == "first" and reason(MemoryError()) == "MemoryError"
