"""Scores during training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import acvis_kit as ak
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import predict_split
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.scoring import Validation
from tests.conftest import TINY, make_model


def test_the_scores_are_those_of_acvis_evaluate(aviseg_folder: Path, tiny_model: ACVIS) -> None:
    split = AVISegSplit(aviseg_folder, "test")
    found = Validation(split, 10, tiny_model.config.class_names).score(tiny_model)
    wanted = ak.metrics.evaluate(split.truth_file, predict_split(ak.Predictor(tiny_model), split))
    assert {key: found[key] for key in ("AP_all", "HOTA", "FA")} == {k: wanted[k] for k in ("AP_all", "HOTA", "FA")}
    assert found["mean"] == pytest.approx((found["AP_all"] + found["HOTA"] + found["FA"]) / 3)


def test_only_the_first_videos_are_scored(aviseg_folder: Path, tiny_model: ACVIS) -> None:
    split = AVISegSplit(aviseg_folder, "test")
    validation = Validation(split, 1, tiny_model.config.class_names)
    assert [video.id for video in validation.split.videos] == [1] and len(split) == 2
    assert {entry["video_id"] for entry in validation.split.truth["annotations"]} == {1}
    assert math.isfinite(validation.score(tiny_model)["mean"])


def test_an_empty_split_is_refused(aviseg_folder: Path) -> None:
    (aviseg_folder / "none.json").write_text('{"videos": [], "categories": [], "annotations": []}')
    with pytest.raises(DataError, match="videos"):
        Validation(AVISegSplit(aviseg_folder, "none"), 10, ("person",))


def test_classes_that_the_split_lacks_are_refused_before_training(aviseg_folder: Path) -> None:
    with pytest.raises(DataError, match="unicorn"):
        Validation(AVISegSplit(aviseg_folder, "test"), 10, ("person", "unicorn"))


def test_scoring_does_not_change_the_model(aviseg_folder: Path) -> None:
    """Another memory layout would round the next step differently, and a resumed run would not reproduce it."""
    model = make_model(TINY).train()
    Validation(AVISegSplit(aviseg_folder, "test"), 1, TINY.class_names).score(model)
    assert all(module.training for module in model.modules())
    assert all(parameter.is_contiguous() and parameter.requires_grad for parameter in model.parameters())
