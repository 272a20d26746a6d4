"""Predictions of a data set and their scores, in Python and as a command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import acvis_kit as ak
from acvis_kit.cli import main
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError
from acvis_kit.evaluation.dataset import count_score, predict_split, published_predictor
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import save_model
from tests.conftest import TINY, make_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, tiny_model: ACVIS) -> Path:
    return save_model(tiny_model, tmp_path_factory.mktemp("weights"))


def test_results_have_the_category_ids_of_the_data_set(aviseg_folder: Path, tiny_model: ACVIS) -> None:
    truth = json.loads((aviseg_folder / "test.json").read_text())
    for category in truth["categories"]:
        category["id"] += 100
    for annotation in truth["annotations"]:
        annotation["category_id"] += 100
    (aviseg_folder / "test.json").write_text(json.dumps(truth))
    results = predict_split(Predictor(tiny_model), AVISegSplit(aviseg_folder))["results"]
    assert {r["video_id"] for r in results} == {1, 2} and {r["category_id"] for r in results} <= set(range(101, 127))
    assert set(ak.metrics.evaluate(truth, results)) >= {"AP_all", "HOTA", "FA"}


def test_the_data_need_not_have_the_voiceless_classes(aviseg_folder: Path) -> None:
    """The weights for filmed video have "other" besides AVISeg's names; it is never part of a prediction."""
    names = ("dog", "cat", "other")
    config = replace(TINY, targets="visible", class_names=names, voiceless=("other",))
    split = AVISegSplit(aviseg_folder)
    results = predict_split(Predictor(make_model(config), score_threshold=0.0), split)["results"]
    category_ids = {split.categories[result["category_id"]] for result in results}
    assert results and category_ids <= {"dog", "cat"}
    with pytest.raises(DataError, match="lacks the model's classes other"):
        predict_split(Predictor(make_model(replace(config, voiceless=()))), split)


def test_counts_are_scored_against_the_annotated_objects(aviseg_folder: Path, tiny_model: ACVIS) -> None:
    """One object sounds in second 1 of video 1 and in seconds 1 and 3 of video 2: 3 of 7 seconds."""
    split = AVISegSplit(aviseg_folder)
    predicted = predict_split(Predictor(tiny_model), split)
    score = count_score(ak.metrics.evaluate_in_full(split.truth_file, predicted), predicted, split.truth)
    assert score.confusion.sum(1).tolist() == [4, 3, 0]
    counts = [count for video in predicted["videos"] for count in video["counts"]]
    assert score.confusion.sum(0).tolist() == [counts.count(k) for k in range(3)]
    uncounted = predict_split(Predictor(make_model(replace(TINY, count_head="none"))), split)
    assert count_score(ak.metrics.evaluate_in_full(split.truth_file, uncounted), uncounted, split.truth) is None


def test_evaluate_reads_frames_outside_the_folder_only_with_its_option(
    aviseg_folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = json.loads((aviseg_folder / "test.json").read_text())
    frames = aviseg_folder / "test" / "JPEGImages"
    for video in truth["videos"]:
        video["file_names"] = [str((frames / name).absolute()) for name in video["file_names"]]
    (aviseg_folder / "test.json").write_text(json.dumps(truth))
    command = ["evaluate", "--weights", str(weights), "--data", str(aviseg_folder), "--bootstrap", "0"]
    assert main(command) == 1
    assert "--allow-outside" in capsys.readouterr().err
    assert main([*command, "--allow-outside"]) == 0
    assert "HOTA" in capsys.readouterr().out


def test_the_published_settings_are_half_precision_and_a_threshold(tiny_model: ACVIS) -> None:
    predictor = published_predictor(tiny_model)
    assert (predictor.score_threshold, predictor.autocast_dtype) == (0.3, torch.float16)
    assert not predictor.count_gate and predictor.short_side == tiny_model.config.short_side


def test_as_published_predicts_and_scores_in_one_command(
    aviseg_folder: Path, weights: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "report.json"
    run = ["evaluate", "--weights", str(weights), "--data", str(aviseg_folder), "--as-published", "--out", str(out)]
    assert main([*run, "--save-results", str(tmp_path / "results.json")]) == 0
    printed = capsys.readouterr()
    assert 'protocol "official": 2 videos, 7 frames' in printed.out and "HOTA" in printed.out
    assert "[2/2] video002" in printed.err and "counting, 7 frames" in printed.out
    report = json.loads(out.read_text())
    assert report["protocol"] == "official" and report["scores"]["FAn_all"] == 4
    again = ak.metrics.evaluate(aviseg_folder / "test.json", tmp_path / "results.json", protocol="official")
    for key, value in report["scores"].items():
        assert value is None or again[key] == pytest.approx(value)


def test_what_cannot_be_scored_is_refused_before_the_model_is_loaded(aviseg_folder: Path, capsys) -> None:
    """The kit's own data have run-length codes, which the published evaluator does not read."""
    path = aviseg_folder / "test.json"
    truth = json.loads(path.read_text())
    command = ["evaluate", "--weights", "nowhere", "--data", str(aviseg_folder)]
    truth["annotations"][0]["segmentations"][1] = {"size": [72, 128], "counts": [72 * 128 - 9, 9]}
    path.write_text(json.dumps(truth))
    assert main([*command, "--as-published"]) == 1
    assert f"{path}: annotations[0] (id 1), frame 1: an RLE" in capsys.readouterr().err
    assert main(command) == 1 and "an RLE" not in capsys.readouterr().err
    del truth["annotations"]
    path.write_text(json.dumps(truth))
    assert main(command) == 1 and f"{path}: the ground truth has no annotations" in capsys.readouterr().err
    assert main([*command, "--save-results", str(aviseg_folder / "r.json")]) == 1, "results are wanted, not scores"
    assert "no annotations" not in capsys.readouterr().err


def test_a_model_of_other_classes_is_refused(aviseg_folder: Path) -> None:
    model = make_model(replace(TINY, class_names=("unicorn", "dog")))
    with pytest.raises(DataError, match="unicorn"):
        predict_split(Predictor(model), AVISegSplit(aviseg_folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--gt and --results, or --weights and --data"),
        (["--weights", "random", "--preset", "acvis-synth-tiny"], "--weights needs --data"),
        (["--weights", "random", "--gt", "a.json"], "either --gt and --results, or --weights and --data"),
        (["--gt", "a.json", "--results", "b.json", "--as-published"], "--as-published"),
        (["--gt", "nowhere.json", "--results", "nowhere.json"], "nowhere.json"),
        (["--gt", "a.json", "--results", "b.json", "--count-gate"], "--count-gate: only with --weights"),
        (["--gt", "a.json", "--results", "b.json", "--baseline", "largest", "--data", "x"], "--data, --baseline: only"),
        (["--gt", "a.json", "--results", "b.json", "--split", "val", "--seed", "7"], "--split, --seed: only"),
        (
            ["--weights", "random", "--data", "x", "--pictures", "y"],
            "--pictures shows what --listen",
        ),
    ],
)
def test_a_wrong_combination_of_options_is_reported(arguments: list[str], message: str, capsys) -> None:
    assert main(["evaluate", *arguments]) == 1
    assert message in capsys.readouterr().err
