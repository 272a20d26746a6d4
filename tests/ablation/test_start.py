"""The initial weights and the data of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from acvis_kit.ablation.start import Run, audio_weights_file, impossible, make_audio_weights, start_of
from acvis_kit.ablation.tables import TABLES, WITHOUT_AUDIO, Row
from acvis_kit.errors import DataError, WeightsError
from acvis_kit.training.start import initial_model
from acvis_kit.weights.load import save_model
from tests.ablation.micro import plan, write_data

BASELINE = Row("baseline")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("start"))


def test_all_rows_of_a_seed_start_from_the_same_audio_encoder(data: Path, tmp_path: Path) -> None:
    """One file for all networks with the same audio encoder; none for a network without audio input."""
    given = plan(data, tmp_path)
    files = {audio_weights_file(Run(given, row, 0)) for row in TABLES["generator"].rows}
    assert len(files - {None}) == 1 and None in files
    assert audio_weights_file(Run(given, BASELINE, 1)) not in files
    vggish = next(row for row in TABLES["audio_encoder"].rows if "VGGish" in row.name)
    assert audio_weights_file(Run(given, vggish, 0)) not in files


def test_a_network_starts_with_the_pretrained_audio_encoder(data: Path, tmp_path: Path) -> None:
    run = Run(plan(data, tmp_path), Row("patch", {"audio_tokens": "patch"}), 0)
    make_audio_weights(run)
    pretrained = load_file(audio_weights_file(run))
    model = start_of(run, ("a", "b"))
    assert all((model.audio_encoder.state_dict()[name] == value).all() for name, value in pretrained.items())
    fresh = initial_model(replace(model.config), 0)
    assert any((fresh.audio_encoder.state_dict()[name] != value).any() for name, value in pretrained.items())


def test_a_damaged_file_of_an_audio_encoder_is_named(data: Path, tmp_path: Path) -> None:
    run = Run(plan(data, tmp_path), BASELINE, 0)
    audio_weights_file(run).parent.mkdir()
    audio_weights_file(run).write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"audio/.*\.safetensors is not a valid safetensors file"):
        start_of(run, ("a", "b"))


def test_visual_weights_have_a_path_or_a_name_and_are_looked_for_at_once(data: Path, tmp_path: Path) -> None:
    assert plan(data, tmp_path, visual_weights="acvis-synth-tiny").setting["eyes"]
    with pytest.raises(WeightsError, match="nowhere"):
        plan(data, tmp_path, visual_weights=tmp_path / "nowhere")


def test_visual_parts_can_be_taken_from_other_weights(data: Path, tmp_path: Path) -> None:
    given = plan(data, tmp_path, audio_pretraining_steps=0)
    visual = initial_model(given.base, 9)
    save_model(visual, tmp_path / "visual")
    with_visual = replace(given, visual_weights=tmp_path / "visual")
    model = start_of(Run(with_visual, BASELINE, 0), given.base.class_names)
    own = model.state_dict()
    taken = {name: x for name, x in visual.state_dict().items() if name.startswith(("backbone.", "pixel_decoder."))}
    assert len(taken) > 20 and all(torch.equal(own[name], x) for name, x in taken.items())
    assert (model.query_generator.query_features != visual.query_generator.query_features).all()
    assert Run(with_visual, BASELINE, 0).key != Run(given, BASELINE, 0).key
    assert Run(with_visual, BASELINE, 3).recipe == replace(given.recipe, seed=3, frozen=("backbone", "pixel_decoder"))
    assert Run(given, BASELINE, 3).recipe == replace(given.recipe, seed=3)
    assert "without --visual-weights" in impossible(with_visual, Row("another backbone", {"backbone": "swin_t"}))
    assert impossible(with_visual, BASELINE) is None
    with pytest.raises(WeightsError, match="shapes differ"):
        start_of(Run(with_visual, Row("wider", {"hidden_dim": 64}), 0), given.base.class_names)


def test_all_parts_of_weights_without_audio_input_are_taken(data: Path, tmp_path: Path) -> None:
    given = plan(data, tmp_path, audio_pretraining_steps=0)
    source = initial_model(replace(given.base, **WITHOUT_AUDIO, count_head="none"), 9)
    save_model(source, tmp_path / "source")
    own = start_of(
        Run(replace(given, visual_weights=tmp_path / "source"), BASELINE, 0), given.base.class_names
    ).state_dict()
    assert all(torch.equal(own[name], x) for name, x in source.state_dict().items())
    assert len(own) > len(source.state_dict())  # parts with audio input start from random weights
    names = given.base.class_names[::-1]
    permuted = start_of(Run(replace(given, visual_weights=tmp_path / "source"), BASELINE, 0), names).state_dict()
    head = "tracker.class_head.weight"
    assert torch.equal(permuted[head][:-1], own[head][:-1].flip(0))
    assert torch.equal(permuted[head][-1], own[head][-1])


def test_for_missing_data_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="acvis synth"):
        Run(plan(tmp_path, tmp_path), BASELINE, 0).key  # noqa: B018


def test_dense_data_have_dense_counts(tmp_path: Path) -> None:
    """At least three objects sound in most seconds; fewer only where fewer are visible."""
    write_data(tmp_path, "dense")
    truth = json.loads((tmp_path / "train_scenes.json").read_text())
    assert truth["counts"] == "dense"
    sounding = [
        sum(thing["sounding"][t] for thing in s["objects"]) for s in truth["scenes"] for t in range(s["length"])
    ]
    assert sum(n >= 3 for n in sounding) >= 0.8 * len(sounding)
    with pytest.raises(DataError, match="counts='dense'"):
        write_data(tmp_path)
