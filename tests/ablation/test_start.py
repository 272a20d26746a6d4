"""What runs begin with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from acvis_kit.ablation.start import Run, audio_weights_file, impossible, make_audio_weights, start_of
from acvis_kit.ablation.tables import DEAF, TABLES, Row
from acvis_kit.errors import DataError, WeightsError
from acvis_kit.training.start import initial_model
from acvis_kit.weights.load import save_model
from tests.ablation.micro import plan, write_data

BASELINE = Row("baseline")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("start"))


def test_all_rows_of_a_seed_begin_with_the_same_ears(data: Path, tmp_path: Path) -> None:
    """One file for every network that listens in the same way; none for one that hears nothing."""
    given = plan(data, tmp_path)
    files = {audio_weights_file(Run(given, row, 0)) for row in TABLES["generator"].rows}
    assert len(files - {None}) == 1 and None in files
    assert audio_weights_file(Run(given, BASELINE, 1)) not in files
    vggish = next(row for row in TABLES["audio_encoder"].rows if "VGGish" in row.name)
    assert audio_weights_file(Run(given, vggish, 0)) not in files


def test_a_network_starts_with_the_ears_that_were_taught(data: Path, tmp_path: Path) -> None:
    run = Run(plan(data, tmp_path), Row("patch", {"audio_tokens": "patch"}), 0)
    make_audio_weights(run)
    pretrained = load_file(audio_weights_file(run))
    model = start_of(run, ("a", "b"))
    assert all((model.audio_encoder.state_dict()[name] == value).all() for name, value in pretrained.items())
    fresh = initial_model(replace(model.config), 0)
    assert any((fresh.audio_encoder.state_dict()[name] != value).any() for name, value in pretrained.items())


def test_what_sees_may_be_lent_by_other_weights(data: Path, tmp_path: Path) -> None:
    given = plan(data, tmp_path, audio_pretraining_steps=0)
    visual = initial_model(given.base, 9)
    save_model(visual, tmp_path / "visual")
    seeing = replace(given, visual_weights=tmp_path / "visual")
    model = start_of(Run(seeing, BASELINE, 0), given.base.class_names)
    own = model.state_dict()
    lent = {name: x for name, x in visual.state_dict().items() if name.startswith(("backbone.", "pixel_decoder."))}
    assert len(lent) > 20 and all(torch.equal(own[name], x) for name, x in lent.items())
    assert (model.query_generator.query_features != visual.query_generator.query_features).all()
    assert Run(seeing, BASELINE, 0).key != Run(given, BASELINE, 0).key
    assert Run(seeing, BASELINE, 3).recipe == replace(given.recipe, seed=3, frozen=("backbone", "pixel_decoder"))
    assert Run(given, BASELINE, 3).recipe == replace(given.recipe, seed=3)
    assert "without --visual-weights" in impossible(seeing, Row("another backbone", {"backbone": "swin_t"}))
    assert impossible(seeing, BASELINE) is None
    with pytest.raises(WeightsError, match="shapes differ"):
        start_of(Run(seeing, Row("wider", {"hidden_dim": 64}), 0), given.base.class_names)


def test_weights_that_hear_nothing_lend_all_that_they_have(data: Path, tmp_path: Path) -> None:
    given = plan(data, tmp_path, audio_pretraining_steps=0)
    deaf = initial_model(replace(given.base, **DEAF, count_head="none"), 9)
    save_model(deaf, tmp_path / "silent")
    own = start_of(
        Run(replace(given, visual_weights=tmp_path / "silent"), BASELINE, 0), given.base.class_names
    ).state_dict()
    assert all(torch.equal(own[name], x) for name, x in deaf.state_dict().items())
    assert len(own) > len(deaf.state_dict())  # what listens is fresh
    names = given.base.class_names[::-1]
    turned = start_of(Run(replace(given, visual_weights=tmp_path / "silent"), BASELINE, 0), names).state_dict()
    head = "tracker.class_head.weight"
    assert torch.equal(turned[head][:-1], own[head][:-1].flip(0)) and torch.equal(turned[head][-1], own[head][-1])


def test_missing_data_name_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="acvis synth"):
        Run(plan(tmp_path, tmp_path), BASELINE, 0).key  # noqa: B018


def test_the_kinds_of_data_have_counts_of_their_kind(tmp_path: Path) -> None:
    """Dense scenes: at least three sound in most seconds, as far as so many can be seen."""
    write_data(tmp_path, "dense")
    truth = json.loads((tmp_path / "train_scenes.json").read_text())
    assert truth["counts"] == "dense"
    sounding = [
        sum(thing["sounding"][t] for thing in s["objects"]) for s in truth["scenes"] for t in range(s["length"])
    ]
    assert sum(n >= 3 for n in sounding) >= 0.8 * len(sounding)
    with pytest.raises(DataError, match="counts='dense'"):
        write_data(tmp_path)
