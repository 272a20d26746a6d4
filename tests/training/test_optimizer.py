"""Weight decay and learning rates of parameters, and the running average."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.optimizer import (
    Average,
    decays,
    freeze,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_groups,
    set_rates,
)
from acvis_kit.training.recipe import AUDIO_PARTS, PAPER, SYNTH, VISUAL_PARTS, Recipe
from tests.conftest import SEEING, make_model


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameter_groups(model, recipe), betas=recipe.betas, eps=recipe.eps)


@pytest.mark.parametrize("preset", ["acvis-r50", "acvis-swin-t", "avism-r50", "acvis-synth-tiny"])
def test_everything_decays_but_norms_embeddings_and_bias_tables(preset: str) -> None:
    with torch.device("meta"):
        model = ACVIS(replace(PRESETS[preset], audio_encoder="compact", audio_tokens="patch")
                      if preset.startswith("acvis") else PRESETS[preset])  # fmt: skip
    found = decays(model)
    assert set(found) == {name for name, _ in model.named_parameters()}
    not_decayed = {name for name, decay in found.items() if not decay}
    last = {name.rpartition(".")[2] for name in not_decayed}
    of_norms = {
        name for name in not_decayed if ".norm" in name or isinstance(owner(model, name), nn.LayerNorm | nn.GroupNorm)
    }
    embeddings = {name.rpartition(".")[2] for name in not_decayed - of_norms}
    expected = {"query_features", "query_positions", "slot_positions", "count_token", "patch_position", "level_embed"}
    if preset == "acvis-swin-t":
        expected |= {"relative_position_bias_table"}
    if preset == "avism-r50":
        expected -= {"count_token", "patch_position"}
    assert embeddings == expected
    assert last - expected == {"weight", "bias"}
    for name, decay in found.items():
        if name.endswith("bias") and not isinstance(owner(model, name), nn.LayerNorm | nn.GroupNorm):
            assert decay, f"{name}: biases do decay"
        if isinstance(owner(model, name), nn.Linear | nn.Conv2d) or "in_proj" in name:
            assert decay


def owner(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name.rpartition(".")[0])


def test_the_backbone_has_a_tenth_of_the_learning_rate(tiny_model: ACVIS) -> None:
    groups = parameter_groups(tiny_model, PAPER)
    rates = {id(p): (g["base_lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    named = dict(tiny_model.named_parameters())
    assert len(rates) == len(named) == sum(len(g["params"]) for g in groups)
    assert rates[id(named["backbone.stem.0.weight"])] == (pytest.approx(1e-5), 0.05)
    assert rates[id(named["backbone.stem.1.weight"])] == (pytest.approx(1e-5), 0)
    assert rates[id(named["tracker.project.weight"])] == (pytest.approx(1e-4), 0.05)
    assert rates[id(named["tracker.query_features"])] == (pytest.approx(1e-4), 0)
    optimizer = build_optimizer(tiny_model, PAPER)
    assert set_rates(optimizer, 0.1) == pytest.approx(1e-5)
    assert {round(g["lr"], 9) for g in optimizer.param_groups} == {1e-5, 1e-6}


def test_pretrained_parts_stay_frozen_while_the_others_are_trained() -> None:
    model = make_model(replace(SEEING, audio_teacher_dim=4))
    absent = {"mask_classifier"}  # classes come from the queries

    def frozen_parts(**steps: int) -> set[str]:
        optimizer = build_optimizer(model, replace(SYNTH, **steps))
        assert set_rates(optimizer, 1.0, 0.0) == SYNTH.lr
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        return {name.partition(".")[0] for name, p in model.named_parameters() if rates[id(p)] == 0}

    parts = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert {*AUDIO_PARTS, *VISUAL_PARTS} - absent <= parts
    assert frozen_parts(audio_pretraining_steps=1, visual_pretraining_steps=0) == set(AUDIO_PARTS)
    assert frozen_parts(audio_pretraining_steps=0, visual_pretraining_steps=1) == set(VISUAL_PARTS) - absent
    assert frozen_parts(audio_pretraining_steps=0, visual_pretraining_steps=0) == set()


def test_frozen_parts_are_in_no_parameter_group(tiny_model: ACVIS) -> None:
    model = freeze(copy.deepcopy(tiny_model), ("backbone", "tracker.query_features"))
    trained = {id(p) for group in parameter_groups(model, PAPER) for p in group["params"]}
    frozen = {name for name, p in model.named_parameters() if id(p) not in trained}
    assert {name for name in frozen if not name.startswith("backbone.")} == {"tracker.query_features"}
    assert len(frozen) == 1 + len(list(model.backbone.parameters()))
    assert all(p.requires_grad for p in freeze(model, ()).parameters())
    with pytest.raises(ConfigError, match=r"frozen='track' .* backbone, pixel_decoder"):
        freeze(model, ("track",))


def small() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last), nn.Flatten(), nn.Linear(16, 1))


def take_steps(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(step))
        model(x).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_an_optimizer_resumed_from_its_tensors_takes_the_same_steps() -> None:
    model = small()
    optimizer = build_optimizer(model, PAPER)
    take_steps(model, optimizer, 0, 3)
    weights, tensors = copy.deepcopy(model.state_dict()), copied(optimizer_tensors(optimizer, model))
    take_steps(model, optimizer, 3, 6)
    other = small()
    resumed = build_optimizer(other, PAPER)
    other.load_state_dict(weights)
    load_optimizer_tensors(resumed, other, tensors)
    take_steps(other, resumed, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert resumed.state[other[0].weight]["exp_avg"].is_contiguous(memory_format=torch.channels_last)


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def test_the_average_forgets_its_start_quickly() -> None:
    """The decay is (1 + n) / (10 + n) at first: 2/11 after step 1."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = Average(model, 0.5)
    model.weight.data.fill_(11.0)
    average.update(model, 1)
    assert average.model.weight.item() == pytest.approx(9)  # 2/11 of 0, 9/11 of 11
    model.weight.data.fill_(1.0)
    average.update(model, 1000)
    assert average.model.weight.item() == pytest.approx(5)  # half of 9, half of 1
    assert not average.model.weight.requires_grad and model.weight.item() == 1


def test_a_fused_optimizer_goes_on_where_it_was_saved() -> None:
    """As on CUDA, where it counts its steps on the device."""

    def stepped(optimizer: torch.optim.Optimizer, layer: nn.Module) -> None:
        optimizer.zero_grad()
        layer(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    one = torch.optim.AdamW(first.parameters(), fused=True)
    stepped(one, first)
    second = copy.deepcopy(first)
    other = torch.optim.AdamW(second.parameters(), fused=True)
    load_optimizer_tensors(other, second, {k: v.clone() for k, v in optimizer_tensors(one, first).items()})
    stepped(one, first)
    stepped(other, second)
    assert torch.equal(first.weight, second.weight)
