"""Recipes: the papers' numbers, JSON, and invalid values."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.models.ravs.config import RAVS_PRESETS
from acvis_kit.training.recipe import FILMED, PAPER, RECIPES, RENAMED, SYNTH, Recipe, RuntimeConfig, recipe_of


def test_the_paper_is_the_default() -> None:
    assert Recipe() == PAPER
    assert (PAPER.lr, PAPER.lr * PAPER.backbone_lr, PAPER.weight_decay) == (1e-4, pytest.approx(1e-5), 0.05)
    assert (PAPER.steps, PAPER.batch, PAPER.clip_frames, PAPER.clip_norm) == (48_000, 2, 5, 0.01)
    assert (PAPER.betas, PAPER.eps, PAPER.ema, PAPER.precision) == ((0.9, 0.999), 1e-8, 0, "float32")


def test_small_networks_get_the_recipe_for_synthetic_data() -> None:
    assert recipe_of(PRESETS["acvis-synth-tiny"]) == SYNTH
    assert recipe_of(PRESETS["acvis-filmed-small"]) == FILMED
    small = ("acvis-synth-tiny", "acvis-filmed-small")
    assert all(recipe_of(config) == PAPER for name, config in PRESETS.items() if name not in small)


def test_a_recipe_survives_json() -> None:
    assert Recipe.from_dict(json.loads(json.dumps(SYNTH.to_dict()))) == SYNTH
    frozen = replace(SYNTH, frozen=("backbone",))
    assert Recipe.from_dict(json.loads(json.dumps(frozen.to_dict()))) == frozen
    with pytest.raises(ConfigError, match="momentum"):
        Recipe.from_dict({"momentum": 0.9})


@pytest.mark.parametrize(
    "values",
    [
        {"steps": 0}, {"batch": 1.5}, {"lr": 0.0}, {"lr": float("nan")}, {"clip_norm": -1.0}, {"ema": 1.0},
        {"ema": -0.1}, {"warmup": -1}, {"schedule": "linear"}, {"precision": "int8"}, {"augmentation": "colourful"},
        {"weight_decay": -0.1}, {"drop": 2.0}, {"frozen_fraction": 1.5},
        {"betas": (0.9,)}, {"betas": (0.9, 1.0)}, {"counterfactual_audio": 1.1},
    ],
)  # fmt: skip
def test_a_value_outside_its_range_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(values))}="):
        Recipe(**values)


@pytest.mark.parametrize("values", [{"workers": -1}, {"max_minutes": 0.0}, {"shard_mb": -1.0}, {"log_every": 0}])
def test_a_runtime_setting_outside_its_range_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        RuntimeConfig(**values)


def test_fields_of_earlier_versions_are_refused_with_their_new_names() -> None:
    for old, new in {"audio_steps": 1, "picture_steps": 1, "rest": 0.1}.items():
        with pytest.raises(ConfigError, match=f"{old} is now called {RENAMED[old]}"):
            Recipe.from_dict({old: new})
    assert set(RENAMED.values()) <= set(Recipe().to_dict())


def test_every_preset_names_its_recipe() -> None:
    assert set(RECIPES) == {*PRESETS, *AVSC_PRESETS, *RAVS_PRESETS}
    assert RECIPES["acvis-synth-tiny"] == SYNTH and RECIPES["acvis-r50"] == PAPER
    assert recipe_of(replace(PRESETS["acvis-r50"], backbone="compact"), "acvis-r50") == PAPER
    assert recipe_of(PRESETS["acvis-synth-tiny"]).counterfactual_audio == 0.4


def test_a_batch_per_process_makes_the_whole_batch() -> None:
    eight = replace(PAPER, batch_per_process=1).for_processes(8)
    assert (eight.batch, eight.batch_per_process) == (8, None)
    assert replace(PAPER, batch_per_process=2, accumulation=3).for_processes(4).batch == 24
    assert PAPER.for_processes(2) == PAPER


@pytest.mark.parametrize(
    ("recipe", "processes", "message"),
    [
        (PAPER, 8, "batch=2 cannot be divided among 8 processes: set it to a multiple of 8, or give batch_per_process"),
        (replace(PAPER, accumulation=2), 2, "batch=2 .* 2 processes x accumulation=2: set it to a multiple of 4"),
        (SYNTH, 8, "audio_pretraining_batch=4 .* multiple of 8"),
        (replace(SYNTH, audio_pretraining_steps=0, visual_pretraining_batch=31), 2, "visual_pretraining_batch=31"),
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused(recipe: Recipe, processes: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe.for_processes(processes)
    assert replace(SYNTH, audio_pretraining_batch=8).for_processes(8).batch == 8
