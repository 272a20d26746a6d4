"""What is measured, on predictions whose scores are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from acvis_kit.ablation import scores as ablation_scores
from acvis_kit.ablation.scores import DRAWS, MEASURED, Measured, measure
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import empty
from acvis_kit.models.acvis.model import ACVIS
from tests.ablation.micro import BASE, write_data


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> AVISegSplit:
    return AVISegSplit(write_data(tmp_path_factory.mktemp("scores")), "val")


def names(split: AVISegSplit) -> tuple[str, ...]:
    return tuple(name for _, name in sorted(split.categories.items()))


def shows(scene: SceneRecord, split: AVISegSplit, who: np.ndarray, counts: np.ndarray | None) -> Prediction:
    """Exact masks of the objects of a scene in the seconds `who` (N, T) says, and a sure count of them."""
    nothing = {"size": list(scene.size), "counts": empty(scene.size)["counts"].encode()}
    tracks = []
    for thing, sounding in zip(scene.objects, who, strict=True):
        masks = [
            {"size": m["size"], "counts": m["counts"].encode()} if m is not None and s else nothing
            for m, s in zip(thing.segmentations, sounding, strict=True)
        ]
        if sounding.any():
            label = names(split).index(thing.class_name)
            tracks.append(Track(len(tracks), label, 0.9, tuple(masks), torch.from_numpy(sounding).float()))
    probabilities = None if counts is None else torch.eye(3, dtype=torch.float64)[np.minimum(counts, 2)]
    sure = who.sum(0) if counts is None else counts
    return Prediction(tuple(tracks), torch.from_numpy(sure), probabilities, names(split), scene.size)


def measured(
    split: AVISegSplit, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., dict[str, Prediction]], **config: object
) -> dict[str, Measured]:
    from dataclasses import replace

    scenes = load_scenes(split.scenes_file)

    def predictions(predictor: object, split: AVISegSplit, video: object, clip: object, heard: object) -> dict:
        return answer(scenes[video.id], heard)

    monkeypatch.setattr(ablation_scores, "_predictions", predictions)
    return measure(ACVIS(replace(BASE, class_names=names(split), **config)), split)


def seen(scene: SceneRecord) -> np.ndarray:
    """bool (N, T), which masks there are."""
    return np.array([[m is not None for m in thing.segmentations] for thing in scene.objects])


def test_a_perfect_listener_has_everything_right(split: AVISegSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(scene: SceneRecord, heard: object) -> dict[str, Prediction]:
        nobody, who = np.zeros_like(seen(scene)), seen(scene) & scene.sounding
        out = {name: shows(scene, split, nobody, None) for name in ("muted", "foreign")}
        if heard.swap is not None:
            _, new, seconds = heard.swap
            swapped = nobody.copy()
            swapped[new.id] = seconds
            out["swapped"] = shows(scene, split, swapped, None)
        return out | {"original": shows(scene, split, who, who.sum(0))}

    found = measured(split, monkeypatch, answer)
    assert set(found) == {"gate_off", "gate_on"}
    for result in found.values():
        assert set(result.values) == set(MEASURED)
        present = {name: value for name, value in result.values.items() if not np.isnan(value)}
        assert {"mAP", "HOTA", "FSLA", "counted", "counted_by_masks", "muted", "foreign"} <= set(present)
        assert list(present.values()) == pytest.approx([100.0] * len(present))
        assert result.draws.shape == (DRAWS, len(MEASURED))
        assert np.allclose(result.draws[~np.isnan(result.draws)], 100)
        assert result.official["HOTA"] < 100  # the published evaluator's defects


def test_one_that_only_looks_is_found_out(split: AVISegSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(scene: SceneRecord, heard: object) -> dict[str, Prediction]:
        always = shows(scene, split, seen(scene), None)
        return dict.fromkeys(("original", "muted", "foreign", "swapped"), always)

    found = measured(split, monkeypatch, answer, count_head="none")
    assert set(found) == {"gate_off"}  # nothing to gate with
    values = found["gate_off"].values
    assert (values["muted"], values["foreign"]) == (0, 0) and np.isnan(values["counted"])
    assert values["FSLA"] < 100 and values["HOTA"] < 100


def test_the_gate_silences_seconds_that_are_counted_as_silent(
    split: AVISegSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(scene: SceneRecord, heard: object) -> dict[str, Prediction]:
        always = shows(scene, split, seen(scene), np.zeros(scene.length, int))
        return dict.fromkeys(("original", "muted", "foreign", "swapped"), always)

    found = measured(split, monkeypatch, answer)
    assert (found["gate_off"].values["muted"], found["gate_on"].values["muted"]) == (0, 100)
    assert found["gate_on"].values["foreign"] == 100


def test_counts_are_compared_as_none_one_and_more(split: AVISegSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Always "1": right in the seconds in which one sounds."""

    def answer(scene: SceneRecord, heard: object) -> dict[str, Prediction]:
        return {"original": shows(scene, split, seen(scene) & scene.sounding, np.ones(scene.length, int))}

    values = measured(split, monkeypatch, answer)["gate_off"].values
    scenes = load_scenes(split.scenes_file).values()
    ones = np.concatenate([(seen(scene) & scene.sounding).sum(0) == 1 for scene in scenes])
    assert values["counted"] == pytest.approx(100 * ones.mean()) and values["counted_by_masks"] == 100


def test_a_network_that_hears_nothing_is_measured_as_it_is(split: AVISegSplit) -> None:
    from dataclasses import replace

    deaf = replace(BASE, class_names=names(split), frame_fusion=False, video_fusion=False, count_head="none")
    torch.manual_seed(0)
    values = measure(ACVIS(deaf), split)["gate_off"].values
    assert values["muted"] == values["foreign"] and 0 <= values["muted"] <= 100
