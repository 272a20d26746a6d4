"""What model_type and format in a config.json lead to."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import acvis_kit as ak
from acvis_kit.errors import WeightsError
from acvis_kit.models.registry import MODEL_TYPES, build_model
from tests.conftest import TINY, make_model
from tests.models.avsc.test_model import TINY as AVSC_TINY
from tests.models.ravs.test_model import TINY as RAVS_TINY

SMALL: dict[str, Any] = {"acvis": TINY, "avsc": AVSC_TINY, "ravs": RAVS_TINY}


def test_every_model_type_builds_its_class_from_its_own_json() -> None:
    assert set(SMALL) == set(MODEL_TYPES)
    for name, kind in MODEL_TYPES.items():
        written = json.loads(json.dumps(SMALL[name].to_dict()))
        assert written["model_type"] == name and set(written) == {
            "model_type",
            "format",
            "network",
            "loss",
            "inference",
        }
        model = build_model(written)
        assert type(model) is kind.model and model.config == SMALL[name]


@pytest.mark.parametrize("name", SMALL)
def test_weights_of_every_model_type_survive_the_kits_files_and_the_hubs(tmp_path: Path, name: str) -> None:
    model = build_model(SMALL[name].to_dict()).eval()
    model.save_pretrained(tmp_path / "hub")
    for again in (
        ak.load_model(ak.save_model(model, tmp_path / "kit")),
        ak.load_model(tmp_path / "hub"),
        type(model).from_pretrained(tmp_path / "hub"),
    ):
        assert type(again) is type(model) and again.config == model.config and not again.training
        assert all(torch.equal(t, again.state_dict()[key]) for key, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [({"model_type": "avsc2"}, "model_type 'avsc2'.*acvis.*update"), ({"format": 3}, "format 3.*up to 2.*update")],
)
def test_weights_of_an_unknown_type_or_a_newer_format_name_both_and_the_remedy(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = ak.save_model(make_model(TINY), tmp_path / "weights")
    (folder / "config.json").write_text(json.dumps(TINY.to_dict() | change))
    with pytest.raises(WeightsError, match=message):
        ak.load_model(folder)


def test_weights_with_the_flat_configuration_of_earlier_versions_load(tmp_path: Path) -> None:
    model = make_model(TINY)
    folder = ak.save_model(model, tmp_path / "weights")
    flat = asdict(TINY) | {"counterfactual_audio": 0.4}
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"acvis_config": json.dumps(flat)})
    (folder / "config.json").write_text(json.dumps(flat))
    assert ak.load_model(folder).config == ak.load_model(folder / "model.safetensors").config == model.config
