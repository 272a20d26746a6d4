"""The initial weights of a run, and its description."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import WeightsError
from acvis_kit.models.encoders.resnet import ResNet
from acvis_kit.training.start import about, class_names_of, initial_model
from acvis_kit.weights.download import sha256_of
from acvis_kit.weights.load import WEIGHTS_FILE, load_model, save_model
from acvis_kit.weights.published import DRAWN_WEIGHTS, WEIGHTS
from tests.conftest import make_model
from tests.training.tiny import CONFIG, write_data

CATS = replace(CONFIG, class_names=("cat", "dog", "violin"))
BIRDS = replace(CONFIG, class_names=("violin", "bird", "cat"))


def test_the_random_weights_depend_on_the_seed() -> None:
    first, same, other = (initial_model(CATS, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["tracker.query_features"], other["tracker.query_features"])


def test_fine_tuning_copies_the_common_classes_and_all_other_weights(tmp_path: Path) -> None:
    source = make_model(CATS, seed=5)
    said: list[str] = []
    model = initial_model(BIRDS, init_from=save_model(source, tmp_path), say=said.append)
    fresh = initial_model(BIRDS)
    for head in ("frame_decoder.class_head", "tracker.class_head"):
        for part in ("weight", "bias"):
            key = f"{head}.{part}"
            rows = model.state_dict()[key]
            assert torch.equal(rows[[0, 2, 3]], source.state_dict()[key][[2, 0, 3]]), "violin, cat, none"
            assert torch.equal(rows[1], fresh.state_dict()[key][1]), "bird"
    same = [key for key in source.state_dict() if "class_head" not in key]
    assert all(torch.equal(model.state_dict()[key], source.state_dict()[key]) for key in same)
    assert model.config.class_names == BIRDS.class_names
    assert "2 of 3 classes" in said[0] and "new classes: bird" in said[0]


def test_imagenet_weights_go_to_the_backbone(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        weights = ResNet(blocks=(3, 4, 6, 3)).state_dict()
    torch.save(weights, tmp_path / "resnet50.pth")
    model = initial_model(replace(CATS, backbone="resnet50"), backbone_weights=tmp_path / "resnet50.pth")
    assert torch.equal(model.backbone.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])


def test_an_untrained_vggish_causes_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("acvis_kit.training.start.ACVIS", lambda config: None)  # 72 M parameters would take long
    initial_model(replace(CATS, audio_encoder="vggish", audio_tokens="clip"), say=said.append)
    assert "rounded" in said[0] and "--audio-weights" in said[0]


def test_runs_are_distinguished_by_the_contents_of_files_and_not_by_their_paths(tmp_path: Path) -> None:
    first, second = (AVISegSplit(write_data(tmp_path / name), "train") for name in "ab")
    weights = [save_model(make_model(CATS, seed), tmp_path / str(seed)) for seed in (1, 2)]
    copied = shutil.copytree(weights[0], tmp_path / "copied")
    here = about(CATS, {}, first, {"init_from": weights[0], "audio_weights": None})
    moved = about(CATS, {}, second, {"init_from": copied, "audio_weights": None})
    other = about(CATS, {}, first, {"init_from": weights[1], "audio_weights": None})
    assert here["same"] == moved["same"] and here["data"] != moved["data"]
    assert here["same"] != other["same"]
    with pytest.raises(WeightsError, match="nowhere"):
        sha256_of(tmp_path / "nowhere")


def test_published_weights_can_be_named_by_their_id(tmp_path: Path) -> None:
    shipped = load_model(DRAWN_WEIGHTS)
    split = AVISegSplit(write_data(tmp_path), "train")
    what = about(shipped.config, {}, split, {"init_from": DRAWN_WEIGHTS})["same"]["weights"]
    assert what == {"init_from": sha256_of(WEIGHTS[DRAWN_WEIGHTS].bundled / WEIGHTS_FILE)}
    initial, expected = initial_model(shipped.config, init_from=DRAWN_WEIGHTS).state_dict(), shipped.state_dict()
    assert all(torch.equal(initial[name], expected[name]) for name in expected)


def test_class_names_follow_the_ids(tmp_path: Path) -> None:
    split = AVISegSplit(write_data(tmp_path), "train")
    split.categories = {7: "cat", 2: "dog"}
    assert class_names_of(split) == ("dog", "cat")


def test_weights_that_timm_has_are_known_by_their_name(tmp_path: Path) -> None:
    split = AVISegSplit(write_data(tmp_path), "train")
    what = about(CATS, {}, split, {"backbone_weights": "timm:tf_efficientnet_lite0"})["same"]["weights"]
    assert what == {"backbone_weights": "timm:tf_efficientnet_lite0"}
