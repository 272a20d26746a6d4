"""Scores of predictions whose values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from acvis_kit.ablation.scores import DRAWS, MEASURED, Measured, measure
from acvis_kit.data.aviseg import AVISegSplit, VideoEntry
from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.evaluation import listening
from acvis_kit.evaluation.listening import Soundtracks
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import empty
from acvis_kit.models.acvis.model import ACVIS
from tests.ablation.micro import BASE, write_data


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> AVISegSplit:
    return AVISegSplit(write_data(tmp_path_factory.mktemp("scores")), "val")


def names(split: AVISegSplit) -> tuple[str, ...]:
    return tuple(name for _, name in sorted(split.categories.items()))


def prediction_of(scene: SceneRecord, split: AVISegSplit, shown: np.ndarray, counts: np.ndarray | None) -> Prediction:
    """Exact masks of the objects of a scene where `shown`, bool (N, T), and certain counts (T,)."""
    nothing = {"size": list(scene.size), "counts": empty(scene.size)["counts"].encode()}
    tracks = []
    for thing, sounding in zip(scene.objects, shown, strict=True):
        masks = [
            {"size": m["size"], "counts": m["counts"].encode()} if m is not None and s else nothing
            for m, s in zip(thing.segmentations, sounding, strict=True)
        ]
        if sounding.any():
            label = names(split).index(thing.class_name)
            tracks.append(Track(len(tracks), label, 0.9, tuple(masks), torch.from_numpy(sounding).float()))
    probabilities = None if counts is None else torch.eye(3, dtype=torch.float64)[np.minimum(counts, 2)]
    certain = shown.sum(0) if counts is None else counts
    return Prediction(tuple(tracks), torch.from_numpy(certain), probabilities, names(split), scene.size)


def measured(
    split: AVISegSplit, monkeypatch: pytest.MonkeyPatch, answer: Callable[..., dict[str, Prediction]], **config: object
) -> dict[str, Measured]:
    from dataclasses import replace

    scenes = load_scenes(split.scenes_file)

    def predictions(
        predictor: object, split: AVISegSplit, video: VideoEntry, clip: object, tracks: Soundtracks
    ) -> Iterator[tuple[str, Prediction]]:
        yield from answer(scenes[video.id], tracks).items()

    monkeypatch.setattr(listening, "_predictions", predictions)
    return measure(ACVIS(replace(BASE, class_names=names(split), **config)), split)


def visible(scene: SceneRecord) -> np.ndarray:
    """Where objects have masks, bool (N, T)."""
    return np.array([[m is not None for m in thing.segmentations] for thing in scene.objects])


def test_perfect_predictions_have_all_scores_100(split: AVISegSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(scene: SceneRecord, tracks: object) -> dict[str, Prediction]:
        none, sounding = np.zeros_like(visible(scene)), visible(scene) & scene.sounding
        out = {name: prediction_of(scene, split, none, None) for name in ("muted", "foreign")}
        if tracks.swap is not None:
            _, new, seconds = tracks.swap
            swapped = none.copy()
            swapped[new.id] = seconds
            out["swapped"] = prediction_of(scene, split, swapped, None)
        return out | {"original": prediction_of(scene, split, sounding, sounding.sum(0))}

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


def test_predictions_that_ignore_the_sound_fail_the_control(
    split: AVISegSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(scene: SceneRecord, tracks: object) -> dict[str, Prediction]:
        always = prediction_of(scene, split, visible(scene), None)
        return dict.fromkeys(("original", "muted", "foreign", "swapped"), always)

    found = measured(split, monkeypatch, answer, count_head="none")
    assert set(found) == {"gate_off"}  # without a count head there is no gate
    values = found["gate_off"].values
    assert (values["muted"], values["foreign"]) == (0, 0) and np.isnan(values["counted"])
    assert values["FSLA"] < 100 and values["HOTA"] < 100


def test_the_gate_removes_masks_in_seconds_counted_as_silent(
    split: AVISegSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(scene: SceneRecord, tracks: object) -> dict[str, Prediction]:
        always = prediction_of(scene, split, visible(scene), np.zeros(scene.length, int))
        return dict.fromkeys(("original", "muted", "foreign", "swapped"), always)

    found = measured(split, monkeypatch, answer)
    assert (found["gate_off"].values["muted"], found["gate_on"].values["muted"]) == (0, 100)
    assert found["gate_on"].values["foreign"] == 100


def test_counts_are_compared_as_0_1_and_more(split: AVISegSplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Always "1": right in the seconds in which one object sounds."""

    def answer(scene: SceneRecord, tracks: object) -> dict[str, Prediction]:
        return {"original": prediction_of(scene, split, visible(scene) & scene.sounding, np.ones(scene.length, int))}

    values = measured(split, monkeypatch, answer)["gate_off"].values
    scenes = load_scenes(split.scenes_file).values()
    ones = np.concatenate([(visible(scene) & scene.sounding).sum(0) == 1 for scene in scenes])
    assert values["counted"] == pytest.approx(100 * ones.mean()) and values["counted_by_masks"] == 100


def test_a_network_without_audio_input_can_be_measured(split: AVISegSplit) -> None:
    from dataclasses import replace

    config = replace(BASE, class_names=names(split), frame_fusion=False, video_fusion=False, count_head="none")
    torch.manual_seed(0)
    values = measure(ACVIS(config), split)["gate_off"].values
    assert values["muted"] == values["foreign"] and 0 <= values["muted"] <= 100
