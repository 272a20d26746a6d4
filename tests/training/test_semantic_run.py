"""AVSC and RAVS on the training loop: what each stage changes, resuming, classes, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.errors import ConfigError, DataError, WeightsError
from acvis_kit.models.avsc.config import AVSC_PRESETS, AVSCConfig
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.config import RAVS_PRESETS, RAVSConfig
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.training.recipe import AVSC_SYNTH, RAVS_SYNTH, RECIPES, Recipe, RuntimeConfig, semantic_recipe_of
from acvis_kit.training.semantic_run import train_semantic
from acvis_kit.training.semantic_stages import semantic_stages
from acvis_kit.weights.load import load_model

AVSC_TINY = replace(
    AVSC_PRESETS["avsc-synth-tiny"], hidden_dim=32, num_queries=4, decoder_layers=1, feedforward_dim=32,
    audio_hidden=16, input_size=64, pixel_layers=1, pixel_feedforward_dim=32, audio_frozen=False,
)  # fmt: skip
RAVS_TINY = replace(
    RAVS_PRESETS["ravs-synth-tiny"],
    decoder_dim=16,
    temporal_dim=16,
    groups=(4, 3, 2),
    input_size=64,
    audio_frozen=False,
)
AVSC_RECIPE = replace(AVSC_SYNTH, steps=2, batch=2, proposal_steps=2, proposal_batch=2)
RAVS_RECIPE = replace(RAVS_SYNTH, steps=2, batch=2, clip_frames=2)
QUIET: dict[str, Any] = {"runtime": RuntimeConfig(workers=0, device="cpu"), "say": lambda _: None}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("avsbench")
    write_dataset(root, {"train": 4}, seed=4, size=64, seconds=(4, 4), layout="avsbench", progress=False)
    return root


def changed(model: AVSC | RAVS, other: AVSC | RAVS) -> set[str]:
    """Parts of which a parameter differs."""
    pairs = zip(model.named_parameters(), other.parameters(), strict=True)
    return {name.partition(".")[0] for (name, one), two in pairs if not torch.equal(one, two)}


def initial(config: AVSCConfig | RAVSConfig) -> AVSC | RAVS:
    torch.manual_seed(0)
    return AVSC(config) if isinstance(config, AVSCConfig) else RAVS(config)


def test_avsc_learns_proposals_and_then_the_correlation(data: Path, tmp_path: Path) -> None:
    """After the first stage only its parts have changed; the second leaves them as they are."""
    proposals = replace(AVSC_RECIPE, steps=1, lr=1e-12)  # the second stage does next to nothing
    said: list[str] = []
    assert train_semantic(AVSC_TINY, proposals, data, tmp_path / "a", runtime=QUIET["runtime"], say=said.append)
    first = load_model(tmp_path / "a" / "last")
    assert any("proposals finished: 4 frames" in line for line in said)
    start = initial(first.config)
    moved = {
        name.partition(".")[0]
        for (name, one), two in zip(first.named_parameters(), start.parameters(), strict=True)
        if not torch.allclose(one, two, atol=1e-9)
    }
    assert moved == {"backbone", "proposal_head"}

    assert train_semantic(AVSC_TINY, AVSC_RECIPE, data, tmp_path / "b", **QUIET)
    assert changed(load_model(tmp_path / "b" / "last"), first) == {"sound_encoder", "sound_classifier"}


def test_avsc_hears_sounds_without_a_source_in_its_second_stage_alone(data: Path) -> None:
    """`neg_audio_prob`: with silence or a foreign sound the truth is an empty map."""
    split = open_split(data, "train")
    model = initial(replace(AVSC_TINY, class_names=split.class_names, neg_audio_prob=1.0))
    assert isinstance(model, AVSC)
    proposals, correlation = semantic_stages(model, split, AVSC_RECIPE)
    first, second = ([stage.sample(draw) for draw in range(8)] for stage in (proposals, correlation))
    assert {sample.sound for sample in first} == {"original"} and any(s.targets.class_maps.any() for s in first)
    assert {sample.sound for sample in second} == {"mute", "foreign"}
    assert all(s.targets.supervised.all() and not s.targets.class_maps.any() for s in second)


def test_ravs_learns_as_a_whole(data: Path, tmp_path: Path) -> None:
    assert train_semantic(RAVS_TINY, RAVS_RECIPE, data, tmp_path / "run", **QUIET)
    model = load_model(tmp_path / "run" / "last")
    assert isinstance(model, RAVS) and model.config.class_names == ("sounding object",)
    parts = {name for name, module in model.named_children() if list(module.parameters())}
    assert changed(model, initial(model.config)) == parts


@pytest.mark.parametrize(("tiny", "recipe"), [(AVSC_TINY, AVSC_RECIPE), (RAVS_TINY, RAVS_RECIPE)])
def test_a_frozen_part_is_not_trained(
    data: Path, tmp_path: Path, tiny: AVSCConfig | RAVSConfig, recipe: Recipe
) -> None:
    frozen = replace(recipe, frozen=("backbone",))
    assert train_semantic(tiny, frozen, data, tmp_path, **QUIET)
    trained = load_model(tmp_path / "last")
    parts = changed(trained, initial(trained.config))
    assert parts and "backbone" not in parts
    with pytest.raises(ConfigError, match="no part of the network"):
        train_semantic(tiny, replace(recipe, frozen=("tracker",)), data, tmp_path / "other", **QUIET)


def test_the_classes_are_those_of_the_data(data: Path, tmp_path: Path) -> None:
    train_semantic(AVSC_TINY, replace(AVSC_RECIPE, proposal_steps=0, steps=1), data, tmp_path / "run", **QUIET)
    assert "dog" in load_model(tmp_path / "run" / "last").config.class_names


def test_a_stopped_run_ends_like_one_that_was_not(data: Path, tmp_path: Path) -> None:
    """It stops between the stages, and within the second."""
    whole = tmp_path / "whole"
    train_semantic(AVSC_TINY, AVSC_RECIPE, data, whole, **QUIET)
    parts, runs = tmp_path / "parts", 0
    runtime = RuntimeConfig(workers=0, device="cpu", max_minutes=1e-6)
    while not train_semantic(AVSC_TINY, AVSC_RECIPE, data, parts, runtime=runtime, say=lambda _: None):
        runs += 1
    assert runs >= 2
    assert not changed(load_model(whole / "last"), load_model(parts / "last"))


def test_a_file_that_is_missing_is_one_error_before_a_model_is_built(data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(data, tmp_path / "data"))
    lost = open_split(root, "train").videos[2].labels[1]
    (root / lost).unlink()
    with pytest.raises(DataError, match=f"1 of the 36 frames, labels and sounds of split 'train' .* first is {lost}"):
        train_semantic(AVSC_TINY, AVSC_RECIPE, root, tmp_path / "run", init_from="nowhere", **QUIET)


def test_another_run_is_not_mixed_in(data: Path, tmp_path: Path) -> None:
    recipe = replace(RAVS_RECIPE, steps=1)
    train_semantic(RAVS_TINY, recipe, data, tmp_path, **QUIET)
    with pytest.raises(ConfigError, match="holds another run"):
        train_semantic(RAVS_TINY, replace(recipe, lr=0.5), data, tmp_path, **QUIET)


def test_weights_of_another_system_are_refused(data: Path, tmp_path: Path) -> None:
    train_semantic(RAVS_TINY, replace(RAVS_RECIPE, steps=1), data, tmp_path / "ravs", **QUIET)
    with pytest.raises(WeightsError, match=r"holds a RAVS for 1 classes: going on needs an AVSC"):
        train_semantic(AVSC_TINY, AVSC_RECIPE, data, tmp_path / "avsc", init_from=tmp_path / "ravs" / "last", **QUIET)


def test_encoders_come_from_an_acvis_and_the_frozen_one_stays(data: Path, tmp_path: Path) -> None:
    """Untrained encoders of sound that stay frozen are named."""
    said: list[str] = []
    frozen = replace(RAVS_TINY, audio_frozen=True, input_size=32)
    runtime = QUIET["runtime"]
    train_semantic(
        frozen, RAVS_RECIPE, data, tmp_path / "run", runtime=runtime, init_from="acvis-synth-tiny", say=said.append
    )
    given, trained = load_model("acvis-synth-tiny"), load_model(tmp_path / "run" / "last")
    theirs, own = given.audio_encoder.state_dict(), trained.sound_encoder.network.state_dict()
    assert "copied: backbone, audio encoder" in said and all(torch.equal(theirs[name], own[name]) for name in theirs)
    start, end = given.backbone.state_dict(), trained.backbone.state_dict()
    moved = [float((start[name] - end[name]).abs().max()) for name in start]
    assert 0 < max(moved) < 0.02  # trained on from there

    train_semantic(frozen, replace(RAVS_RECIPE, steps=1), data, tmp_path / "b", runtime=runtime, say=said.append)
    assert "compact has random weights and stays untrained: pass --audio-weights, or set audio_frozen=false" in said


def test_audio_weights_need_an_encoder_that_has_some(data: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"audio_encoder='compact' has no published weights"):
        train_semantic(RAVS_TINY, RAVS_RECIPE, data, tmp_path, audio_weights=tmp_path / "x.pt", **QUIET)
    picture = replace(AVSC_TINY, audio_use=False)
    with pytest.raises(WeightsError, match=r"with audio_use=False there is no audio encoder"):
        train_semantic(picture, AVSC_RECIPE, data, tmp_path, audio_weights=tmp_path / "x.pt", **QUIET)


@pytest.mark.parametrize(
    ("tiny", "changes", "message"),
    [
        (AVSC_TINY, {"counterfactual_audio": 0.9}, r"counterfactual_audio=0\.9: leave it out; .* is neg_audio_prob"),
        (AVSC_TINY, {"audio_pretraining_steps": 5}, "training AVSC does not use audio_pretraining_steps=5"),
        (
            RAVS_TINY,
            {"proposal_steps": 3, "proposal_lr": 0.1},
            "training RAVS does not use proposal_steps=3, proposal_lr",
        ),
        (RAVS_TINY, {"frozen_after_pretraining": ("nonsense",)}, "frozen_after_pretraining"),
    ],
)
def test_fields_of_the_recipe_that_the_system_does_not_read_are_refused(
    data: Path, tmp_path: Path, tiny: AVSCConfig | RAVSConfig, changes: dict[str, Any], message: str
) -> None:
    recipe = AVSC_RECIPE if isinstance(tiny, AVSCConfig) else RAVS_RECIPE
    with pytest.raises(ConfigError, match=message):
        train_semantic(tiny, replace(recipe, **changes), data, tmp_path, **QUIET)


def test_small_weights_are_trained_on_with_the_recipe_of_small_networks() -> None:
    assert semantic_recipe_of(AVSC_TINY) == AVSC_SYNTH and semantic_recipe_of(RAVS_TINY) == RAVS_SYNTH
    for name in ("avsc-r50", "ravs-pvt-b5"):
        assert semantic_recipe_of({**AVSC_PRESETS, **RAVS_PRESETS}[name]) == RECIPES[name]


def test_the_command_scales_the_proposals_and_names_what_it_does_not_use(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ["train", "--preset", "avsc-synth-tiny", "--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    assert main([*command, "--val-split", "nosuch"]) == 1
    assert "AVSC and RAVS are trained without --val-split" in capsys.readouterr().err
    assert main([*command, "--steps", "4", "--max-minutes", "1e-9", "--workers", "0"]) == 0
    assert "earlier stages in proportion, proposal_steps=6" in capsys.readouterr().err


def test_the_command_trains_a_preset(data: Path, tmp_path: Path) -> None:
    command = ["train", "--preset", "ravs-synth-tiny", "--data", str(data), "--out", str(tmp_path / "run")]
    small = [f"{name}={value}" for name, value in (("decoder_dim", 16), ("temporal_dim", 16), ("input_size", 64))]
    settings = [word for text in small for word in ("--set", text)]
    assert main([*command, *settings, "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"]) == 0
    assert isinstance(load_model(tmp_path / "run" / "last"), RAVS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "avsc-r50", "--audio-teacher", "x"], "AVSC and RAVS are trained without --audio-teacher"),
        (["--preset", "acvis-r50", "--subset", "v2"], "--subset chooses videos of AVSBench or VPO"),
    ],
)
def test_options_of_other_systems_are_refused(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path), *options]) != 0
    assert message in capsys.readouterr().err


def test_every_preset_has_a_recipe() -> None:
    for name in (*AVSC_PRESETS, *RAVS_PRESETS):
        recipe = RECIPES[name]
        assert isinstance(recipe, Recipe) and bool(recipe.proposal_steps) == name.startswith("avsc")
        assert recipe.augmentation == ("none" if name == "ravs-synth-tiny" else "colour")
