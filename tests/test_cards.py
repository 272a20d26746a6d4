"""The model's card and the Space's, read by the Hub's own tools: they hold, and agree with what they describe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, SpaceCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index

from acvis_kit.evaluation.listening import rows_table
from acvis_kit.evaluation.semantic_report import comparison_table
from acvis_kit.weights.download import sha256_of
from acvis_kit.weights.published import CLASS_WEIGHTS, DRAWN_WEIGHTS, FILMED_WEIGHTS, SPACE, WEIGHTS

ROOT = Path(__file__).parents[1]
CARD, SPACE_CARD = ROOT / "weights_card" / DRAWN_WEIGHTS / "README.md", ROOT / "space/README.md"
MEASURED = CARD.parent / "listening.json"
SHIPPED = WEIGHTS[DRAWN_WEIGHTS]

# https://huggingface.co/docs/hub/spaces-config-reference, those that a Gradio Space may use
SPACE_KEYS = {
    *("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file"),
    *("suggested_hardware", "suggested_storage", "fullWidth", "header", "short_description", "thumbnail"),
    *("models", "datasets", "tags", "license", "pinned", "disable_embedding", "startup_duration_timeout"),
}


def test_the_models_card_is_read_as_it_is_meant() -> None:
    data = ModelCard.load(CARD).data
    assert data.license == SHIPPED.licence and data.language == "en" and data.library_name == "acvis-kit"
    assert data.pipeline_tag == "image-segmentation"  # the Hub knows no segmentation of videos
    assert "audio-visual-instance-segmentation" in data.tags
    assert data.model_name == SHIPPED.id == SHIPPED.repository.partition("/")[2]


def test_the_results_in_the_metadata_are_those_that_were_measured() -> None:
    """When this fails, weights have changed and the head of its card has not."""
    results = ModelCard.load(CARD).data.eval_results
    measured = {row["name"]: row["value"] for row in json.loads(MEASURED.read_text())["no_gate"]["rows"]}
    assert [result.metric_name for result in results] == ["mAP", "HOTA", "FSLA"]
    for result in results:
        assert result.metric_value == pytest.approx(measured[result.metric_name], abs=0.0501)
        assert (result.dataset_type, result.dataset_split) == ("avis-synth", "test")
    assert eval_results_to_model_index(DRAWN_WEIGHTS, results) == metadata_load(CARD)["model-index"]


def test_the_cards_table_is_what_was_measured_of_the_weights_that_ship() -> None:
    """When this fails: measure as the card says, and put table and listening.json into its folder."""
    measured = json.loads(MEASURED.read_text())
    table = rows_table(measured["no_gate"]["rows"], measured["count_gate"]["rows"])
    assert table in ModelCard.load(CARD).text
    assert measured["weights"]["sha256"] == sha256_of(SHIPPED.bundled / "model.safetensors")


def test_the_card_names_as_many_rows_as_are_met() -> None:
    rows = json.loads(MEASURED.read_text())["no_gate"]["rows"]
    met = sum(row["value"] >= row["target"] if row["sense"] == ">=" else row["value"] <= row["target"] for row in rows)
    words = ("None", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    said = re.search(r"\*\*(\w+) of ten rows are met", ModelCard.load(CARD).text)
    assert len(rows) == 10 and (said.group(1) if said else "Ten") == words[met]


def test_the_card_says_what_a_card_must() -> None:
    text = ModelCard.load(CARD).text
    headings = set(re.findall(r"^## (.+)$", text, re.M))
    assert headings >= {"What they are", "How they were made", "What was measured", "Limits", "Licence and citation"}
    assert "drawn scenes only" in text
    for command in ("acvis synth", "acvis train", "acvis evaluate"):
        assert command in text


def test_the_cards_configuration_is_that_of_the_weights() -> None:
    assert json.loads((CARD.parent / "config.json").read_text()) == json.loads(
        (SHIPPED.bundled / "config.json").read_text()
    )


def test_the_spaces_card_has_no_key_that_the_hub_does_not_know() -> None:
    card = SpaceCard.load(SPACE_CARD)
    assert set(metadata_load(SPACE_CARD)) <= SPACE_KEYS
    assert card.data.sdk == "gradio" and card.data.license == "mit"
    assert card.data.models == [
        entry.repository for entry in (WEIGHTS[FILMED_WEIGHTS], SHIPPED, WEIGHTS[CLASS_WEIGHTS])
    ]
    assert SPACE.partition("/")[0] == SHIPPED.repository.partition("/")[0]


FILMED_CARD = ROOT / "weights_card" / FILMED_WEIGHTS / "README.md"


def test_the_filmed_card_has_the_numbers_that_were_measured_of_the_weights_that_ship() -> None:
    """When this fails: measure as the card says, and put table, clips.json and listening.json into its folder."""
    card, measured = ModelCard.load(FILMED_CARD), json.loads((FILMED_CARD.parent / "listening.json").read_text())
    rows = measured["no_gate"]["rows"]
    assert rows_table(rows, measured["count_gate"]["rows"]) in card.text
    assert measured["weights"]["sha256"] == sha256_of(WEIGHTS[FILMED_WEIGHTS].bundled / "model.safetensors")
    values = {row["name"]: row["value"] for row in rows}
    for result in card.data.eval_results:
        assert result.metric_value == pytest.approx(values[result.metric_name], abs=0.0501)
    assert card.data.license == WEIGHTS[FILMED_WEIGHTS].licence and card.data.model_name == FILMED_WEIGHTS
    wanted = [row for row in rows if row["target"] is not None]
    met = sum(row["value"] >= row["target"] for row in wanted)
    said = re.search(r"\*\*(\d) of (\d) targets are met", card.text)
    assert said is not None and (int(said[1]), int(said[2])) == (met, len(wanted))


def test_the_filmed_card_has_what_was_seen_in_photographs() -> None:
    measured = json.loads((FILMED_CARD.parent / "photographs.json").read_text())["classes"]
    for name, words in (("all", "all objects"), ("person", "persons")):
        row = measured[name]
        shares = " | ".join(f"{100 * row[key]:.0f} %" for key in ("on", "close", "named"))
        line = f"| held out, {words} | {row['objects']} | {row['iou']:.2f} | {shares} |"
        assert line in FILMED_CARD.read_text(encoding="utf-8")


def test_the_filmed_card_names_every_source() -> None:
    lines = (FILMED_CARD.parent / "ATTRIBUTION.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split("\t") == ["kind", "file", "licence", "author", "source", "recording"]
    rows = [line.split("\t") for line in lines[1:]]
    assert len(rows) > 2_000 and all(len(row) == 6 and row[2] and (row[3] or row[4]) for row in rows)
    assert {row[0] for row in rows} == {"photograph", "recording"}
    assert "ImageNet's weights are those of EfficientNet-Lite0" in ModelCard.load(FILMED_CARD).text


@pytest.mark.parametrize("name", ["avsc-synth-tiny", "ravs-synth-tiny"])
def test_the_cards_of_the_semantic_systems_have_the_numbers_that_were_measured(name: str) -> None:
    """When this fails: measure as the card says, and put table and scores.json into its folder."""
    folder = ROOT / "weights_card" / name
    card, scores = ModelCard.load(folder / "README.md"), json.loads((folder / "scores.json").read_text())
    assert comparison_table(scores) in card.text
    assert card.data.license == "mit" and card.data.library_name == "acvis-kit"
    assert set(re.findall(r"^## (.+)$", card.text, re.M)) >= {"How they were made", "What was measured", "Limits"}


def test_the_weights_of_avsc_that_ship_are_measured_and_meet_their_targets() -> None:
    scores = json.loads((ROOT / "weights_card" / CLASS_WEIGHTS / "scores.json").read_text())
    shipped = scores["as shipped (seed 0, float16)"]
    assert shipped["weights"]["sha256"] == sha256_of(WEIGHTS[CLASS_WEIGHTS].bundled / "model.safetensors")
    for report in (shipped, *(value for key, value in scores.items() if key.startswith("seed"))):
        assert report["control"]["follows_swap"] >= 0.85
        assert report["robustness"]["silent"]["ra"] >= 0.95 and report["robustness"]["unmatched"]["ra"] >= 0.85
