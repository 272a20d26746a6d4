"""Helpers of the notebooks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from acvis_kit.data.synth.records import load_scenes
from acvis_kit.errors import ConfigError
from acvis_kit.media.mel import log_mel
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.viz import tutorial
from acvis_kit.weights.load import load_model


def test_the_scale_reduces_and_increases_work_but_not_below_the_least(monkeypatch) -> None:
    monkeypatch.delenv(tutorial.SCALE, raising=False)
    assert tutorial.scaled(40) == 40
    monkeypatch.setenv(tutorial.SCALE, "0.25")
    assert (tutorial.scaled(40), tutorial.scaled(2), tutorial.scaled(40, least=15)) == (10, 1, 15)
    monkeypatch.setenv(tutorial.SCALE, "4")
    assert tutorial.scaled(40) == 160


@pytest.mark.parametrize("text", ["0", "-1", "big", "nan", "inf"])
def test_a_scale_that_is_not_a_number_above_0_is_refused(monkeypatch, text: str) -> None:
    monkeypatch.setenv(tutorial.SCALE, text)
    with pytest.raises(ConfigError, match="ACVIS_TUTORIAL_SCALE"):
        tutorial.scaled(1)


def test_begin_seeds_the_random_generators() -> None:
    draws = []
    for _ in range(2):
        tutorial.begin(3)
        draws.append((torch.rand(2).tolist(), np.random.rand(2).tolist()))  # noqa: NPY002
    assert draws[0] == draws[1]


def test_clips_are_made_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tutorial, "FOLDER", tmp_path)
    split = tutorial.synth_split(1, seconds=(1, 1), size=64)
    written = split.truth_file.stat().st_mtime_ns
    again = tutorial.synth_split(1, seconds=(1, 1), size=64)
    assert again.truth_file.stat().st_mtime_ns == written
    assert len(load_scenes(again.scenes_file)) == len(again) == 1


def test_pictures_and_maps_are_side_by_side() -> None:
    picture = torch.zeros(3, 8, 12, dtype=torch.uint8)
    figure = tutorial.pictures([picture, np.arange(6.0).reshape(2, 3)], ["one", "two"])
    assert [trace.type for trace in figure.data] == ["image", "heatmap"]
    assert figure.data[0].source.startswith("data:image/png") and figure.data[0].z is None
    assert [note.text for note in figure.layout.annotations] == ["one", "two"]
    (trace,) = tutorial.pictures([np.zeros((2, 2))], limits=(0, 3)).data
    assert (trace.zmin, trace.zmax) == (0, 3)
    with pytest.raises(ConfigError, match="float"):
        tutorial.pictures([np.zeros((4, 4, 3))])


def test_a_large_map_is_drawn_as_a_picture_from_its_least_to_its_greatest_value() -> None:
    values = np.linspace(-3, 5, 64 * 64).reshape(64, 64)
    (trace,) = tutorial.pictures([values]).data
    assert trace.type == "image" and len(trace.source) < 8000
    coloured = tutorial._coloured(values)
    assert coloured[0, 0].tolist() == [68, 1, 84] and coloured[-1, -1].tolist() == [253, 231, 37]  # Viridis' ends
    assert len(np.unique(tutorial._coloured(np.ones((4, 4))).reshape(-1, 3), axis=0)) == 1


def test_a_spectrogram_has_seconds_to_the_right_and_bands_upwards() -> None:
    figure = tutorial.spectrogram(log_mel(torch.zeros(3, 16_000)))
    (trace,) = figure.data
    assert np.shape(trace.z) == (64, 3 * 96 // 2) and min(trace.x) > 0 and max(trace.x) < 3
    assert np.allclose(trace.z, np.log(0.01), atol=0.01)


@pytest.mark.slow
def test_visual_parts_are_copied_and_audio_parts_are_random(tmp_path) -> None:
    shipped = load_model("acvis-synth-tiny")
    own = shipped.state_dict()
    for audio in (False, True):
        initial = load_model(tutorial.initial_weights(shipped.config, tmp_path / str(audio), audio)).state_dict()
        changed = {".".join(name.split(".")[:2]) for name in own if not torch.equal(own[name], initial[name])}
        assert {"query_generator.layers", "tracker.sounding", "count_head.weight"} <= changed
        assert not {"query_generator.query_features", "frame_decoder.class_head", "tracker.class_head"} & changed
        assert ("audio_encoder.features" in changed) is not audio
        assert not any(name.startswith(("backbone", "pixel_decoder")) for name in changed)
    silent = replace(
        shipped.config, query_generator="none", frame_fusion=False, video_fusion=False, audio_classes=False
    )
    audio_names = {name for name in own if name not in ACVIS(silent).state_dict()}
    assert audio_names and all(name.startswith(tutorial.AUDIO_PATH) for name in audio_names)  # none is copied
    initial = load_model(tutorial.initial_weights(silent, tmp_path / "silent"))
    assert initial.config == silent and torch.equal(initial.backbone.stem[0].weight, shipped.backbone.stem[0].weight)
