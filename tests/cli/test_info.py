"""`acvis info`: parameters, GFLOPs and the environment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.evaluation.cost import Cost
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import load_model, save_model
from tests.semantic_models import marking_avsc, marking_ravs


def test_info_counts_every_parameter(weights: Path, tiny_model: ACVIS, capsys) -> None:
    assert main(["info", str(weights), "--json"]) == 0
    rows = {row["part"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["whole"]["parameters"] == sum(p.numel() for p in tiny_model.parameters())
    parts = ("backbone", "pixel decoder", "audio encoder", "query generator", "frame decoder", "count head", "tracker")
    assert sum(rows[part]["parameters"] for part in parts) == rows["whole"]["parameters"]
    assert sum(rows[part]["gflops"] for part in parts) == pytest.approx(rows["whole"]["gflops"])
    assert any(part.startswith("query generator: additive") for part in rows)


def test_gflops_of_a_layer_are_those_computed_by_hand(tiny_model: ACVIS) -> None:
    from acvis_kit.evaluation.cost import costs

    rows = {row.part: row.gflops for row in costs(tiny_model)}
    dim, k_max = tiny_model.config.hidden_dim, tiny_model.config.k_max
    assert rows["count head"] == pytest.approx(2 * dim * k_max / 1e9)


def test_the_environment_names_versions(capsys) -> None:
    assert main(["info", "--env"]) == 0
    assert torch.__version__.split("+")[0] in capsys.readouterr().out


def parts_of(source: str, capsys) -> dict[str, dict]:
    """The rows by part; all but the last must add up to it."""
    assert main(["info", source, "--json"]) == 0
    rows = {row["part"]: row for row in json.loads(capsys.readouterr().out)}
    whole = rows.pop("whole")
    assert sum(row["parameters"] for row in rows.values()) == whole["parameters"]
    assert sum(row["gflops"] for row in rows.values()) == pytest.approx(whole["gflops"])
    return rows | {"whole": whole}


@pytest.mark.parametrize("pixel_decoder", ["fpn", "deformable"])
def test_info_counts_every_parameter_of_avsc(tmp_path: Path, capsys, pixel_decoder: str) -> None:
    model = marking_avsc(pixel_decoder=pixel_decoder)
    rows = parts_of(str(save_model(model, tmp_path)), capsys)
    assert rows["whole"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert [*rows] == [
        "backbone", "pixel decoder", "query decoder", "audio encoder", "sound classifier", "correlation", "whole",
    ]  # fmt: skip
    layers = model.sound_classifier.layers
    by_hand = 2 * (layers[0].weight.numel() + layers[2].weight.numel())
    assert rows["sound classifier"]["gflops"] == pytest.approx(by_hand / 1e9)


def test_info_counts_every_parameter_of_ravs(tmp_path: Path, capsys) -> None:
    model = marking_ravs()
    rows = parts_of(str(save_model(model, tmp_path)), capsys)
    assert rows["whole"]["parameters"] == sum(p.numel() for p in model.parameters())
    assert {"alignment, map 1", "DPC-KNN, map 1", "DPC-KNN, map 3", "temporal attention", "decoder"} < rows.keys()
    tokens, dim = (32 // 4) ** 2, model.backbone.channels[0]
    assert rows["DPC-KNN, map 1"]["gflops"] == pytest.approx(2 * tokens**2 * dim / 1e9)  # the distances
    classes, pixels = 3, (32 // 4) ** 2
    assert rows["mask head"]["gflops"] == pytest.approx(2 * 32 * classes * pixels / 1e9)
    bare = marking_ravs(ama=False, ue=False, temporal=False, audio_encoder="precomputed")
    rows = parts_of(str(save_model(bare, tmp_path)), capsys)
    assert not {"DPC-KNN, map 1", "temporal attention", "uncertainty head", "audio encoder"} & rows.keys()


@pytest.mark.parametrize(
    "given",
    [["--weights", "acvis-filmed-small"], ["--weights", "acvis-synth-tiny"], ["--preset", "acvis-filmed-small"]],
    ids=" ".join,
)
def test_info_adds_up_for_the_small_models(given: list[str], capsys) -> None:
    assert main(["info", *given, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    end = [row["part"] for row in rows].index("whole")
    parts, whole = rows[:end], rows[end]
    assert sum(row["parameters"] for row in parts) == whole["parameters"]
    if given[0] == "--weights":
        assert whole["parameters"] == sum(p.numel() for p in load_model(given[1]).parameters())
    assert sum(row["gflops"] for row in parts) == pytest.approx(whole["gflops"])


def test_a_pyramid_samples_nothing(tiny_model: ACVIS) -> None:
    from acvis_kit.evaluation.cost import costs

    config = replace(tiny_model.config, pixel_decoder="pyramid", pixel_layers=1)
    few, many = (costs(ACVIS(replace(config, pixel_layers=layers))) for layers in (1, 50))
    assert few == many


@pytest.mark.parametrize("preset", ["avsc-synth-tiny", "ravs-synth-tiny"])
def test_info_knows_the_presets_of_all_systems(preset: str, capsys) -> None:
    assert parts_of(preset, capsys)["whole"]["gflops"] > 0
    assert main(["info", preset]) == 0
    assert "backbone = compact" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["acvis-synth-tiny", "avsc-synth-tiny", "ravs-synth-tiny"])
def test_parts_are_timed_on_request(preset: str, capsys) -> None:
    assert main(["info", preset, "--times", "1", "--json"]) == 0
    rows = {row["part"]: row["milliseconds"] for row in json.loads(capsys.readouterr().out)}
    names = list(rows)
    parts = [name for name in names[: names.index("whole")] if "in training" not in name]
    assert all(rows[name] >= 0 for name in parts) and rows["whole"] == pytest.approx(sum(rows[n] for n in parts))
    assert main(["info", preset]) == 0
    assert "ms a frame" not in capsys.readouterr().out


def test_a_part_without_another_loses_its_share() -> None:
    rest = Cost("all", 10, 3.0, 5.0).without("rest", Cost("one", 4, 1.0, 2.0))
    assert rest == Cost("rest", 6, 2.0, 3.0)
    assert Cost("all", 10, 3.0, 1.5).without("rest", Cost("one", 4, 1.0, 2.0)).milliseconds == 0


def test_a_negative_number_of_runs_is_refused(capsys) -> None:
    assert main(["info", "acvis-r50", "--times", "-1"]) == 1
    assert "--times -1 must be 0 or more" in capsys.readouterr().err


def test_weights_and_the_preset_of_the_same_name_are_told_apart(capsys) -> None:
    assert main(["info", "acvis-synth-tiny"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("the preset acvis-synth-tiny with random weights, 26 classes; of the weights of this name:")
    assert first.endswith("acvis info --weights acvis-synth-tiny")
    assert main(["info", "--preset", "acvis-synth-tiny"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "the preset acvis-synth-tiny with random weights, 26 classes"
    assert main(["info", "--weights", "acvis-synth-tiny"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("the weights acvis-synth-tiny, 12 classes\n") and "class_names = ('person', 'violin'" in out
    assert main(["info", "--weights", "acvis-synth-tiny", "--json"]) == 0
    said = capsys.readouterr()
    assert "the weights acvis-synth-tiny, 12 classes" in said.err and json.loads(said.out)


def test_one_model_is_described(capsys) -> None:
    assert main(["info", "acvis-r50", "--weights", "acvis-synth-tiny"]) == 1
    assert "give one of a model, --preset and --weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["acvis-r50", "--env"], "--env describes this machine and takes no model"),
        (["--weights", "nowhere", "--env"], "--env describes this machine and takes no model"),
        (["--times", "3"], "--times measures a model: name one"),
        (["--env", "--times", "3"], "--times measures a model: name one"),
    ],
)
def test_the_machine_and_a_model_are_not_described_together(words: list[str], message: str, capsys) -> None:
    assert main(["info", *words]) == 1
    assert message in capsys.readouterr().err
