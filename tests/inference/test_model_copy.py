"""The Predictor's copy of the model: the given one is not changed, and memory is shared where nothing must change."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torchvision.ops.misc import FrozenBatchNorm2d

from acvis_kit.clip import Clip
from acvis_kit.errors import ConfigError, DataError, WeightsError
from acvis_kit.inference import model_copy
from acvis_kit.inference.model_copy import evaluation_copy, weights_of
from acvis_kit.inference.predict import predictor_for
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.resnet import ResNet
from acvis_kit.models.ravs.model import RAVS
from tests.conftest import TINY, make_model
from tests.semantic_models import marking_avsc, marking_ravs

CPU = torch.device("cpu")


def places(model: ACVIS) -> list[int]:
    return [tensor.data_ptr() for tensor in weights_of(model)]


@pytest.mark.parametrize("arguments", [{}, {"dtype": torch.float64}, {"dtype": torch.bfloat16}, {"device": "meta"}])
def test_the_given_model_keeps_its_mode_device_precision_and_layout(arguments: dict[str, object]) -> None:
    model = make_model(TINY).train()
    before = places(model)
    predictor = Predictor(model, **arguments)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in predictor.model.modules())
    assert all(p.requires_grad and p.is_contiguous() and p.dtype == torch.float32 for p in model.parameters())
    assert places(model) == before and {p.device.type for p in model.parameters()} == {"cpu"}


def test_the_copy_shares_the_memory_of_all_weights_but_convolution_kernels(tiny_model: ACVIS) -> None:
    copied = Predictor(tiny_model).model
    for (name, given), held in zip(tiny_model.named_parameters(), copied.parameters(), strict=True):
        assert (held.data_ptr() == given.data_ptr()) == (given.ndim != 4), name
        assert torch.equal(held, given)
    assert places(evaluation_copy(copied, CPU, torch.float32)) == places(copied)  # it is as wanted already


def test_names_of_the_weights_and_shared_parameters_are_kept() -> None:
    model = make_model(TINY)
    model.frame_decoder.class_head.weight = model.tracker.class_head.weight  # one parameter in two places
    copied = evaluation_copy(model, CPU, torch.float64)
    assert list(copied.state_dict()) == list(model.state_dict())
    assert copied.frame_decoder.class_head.weight is copied.tracker.class_head.weight
    assert {t.dtype for t in weights_of(copied) if t.is_floating_point()} == {torch.float64}


def test_two_predictors_of_a_model_decode_each_others_features(tiny_model: ACVIS, noise_clip: Clip) -> None:
    first, second = Predictor(tiny_model), Predictor(tiny_model, score_threshold=0.03, dtype=torch.float32)
    assert torch.equal(
        second.decode(first.encode(noise_clip)).count_probs, first.decode(second.encode(noise_clip)).count_probs
    )
    for other in (
        Predictor(make_model(TINY)),
        Predictor(tiny_model, dtype="bfloat16"),
        Predictor(tiny_model, dtype="float64"),
    ):
        with pytest.raises(DataError, match="another model or precision"):
            other.decode(first.encode(noise_clip))


@pytest.mark.parametrize("make", [lambda: make_model(TINY), marking_avsc, marking_ravs])
def test_after_a_step_of_training_a_new_predictor_is_needed(
    make: Callable[[], ACVIS | AVSC | RAVS], noise_clip: Clip
) -> None:
    """The old one would mix shared weights, which are new, with copied ones."""
    model = make()
    old: Any = predictor_for(model)
    kind = type(old)
    features = old.encode(noise_clip)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    for run in (lambda: old.encode(noise_clip), lambda: old.decode(features), lambda: deepcopy(old)):
        with pytest.raises(WeightsError, match=f"since this {kind.__name__} was made: make a new {kind.__name__} of"):
            run()
    new: Any = kind(model)
    with pytest.raises(DataError, match="before its weights changed"):
        new.decode(features)
    assert len(deepcopy(new).decode(new.encode(noise_clip))) == 8


def test_a_wrapped_model_or_something_else_is_refused_with_what_is_wanted(tiny_model: ACVIS) -> None:
    with pytest.raises(ConfigError, match=r"wrapped in a DataParallel: .*Predictor\(model\.module\)"):
        Predictor(torch.nn.DataParallel(tiny_model))
    with pytest.raises(ConfigError, match="model is a Linear: pass an ACVIS"):
        Predictor(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_norms_are_folded_and_factors_rounded_once_with_equal_results(
    dtype: str | None, noise_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would otherwise be done in every call is done at the start; the given model stays as it is."""
    torch.manual_seed(0)
    model = ACVIS(replace(TINY, backbone="resnet50"))
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for name in ("weight", "bias", "running_mean"):
                getattr(module, name).normal_(1, 0.3)
            module.running_var.uniform_(0.5, 2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    predictor = Predictor(model, "keep", dtype=dtype)
    assert not any(isinstance(module, FrozenBatchNorm2d) for module in predictor.model.modules())
    rounded = {p.dtype for p in predictor.model.frame_decoder.cross_attention.parameters() if p.ndim > 1}
    assert rounded == {torch.float32 if dtype is None else torch.bfloat16}
    with monkeypatch.context() as patch:
        patch.setattr(ResNet, "fold_norms", lambda network: None)
        patch.setattr(model_copy, "_factors", lambda network: [])
        plain = Predictor(model, "keep", dtype=dtype)
    found, expected = predictor(noise_clip), plain(noise_clip)
    assert torch.equal(found.count_probs, expected.count_probs) and torch.equal(found.scores, expected.scores)
    for one, other in zip(
        predictor.encode(noise_clip).chunks("cpu"), plain.encode(noise_clip).chunks("cpu"), strict=True
    ):
        assert torch.equal(one.fine, other.fine)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
