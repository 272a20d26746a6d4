"""A configuration is checked when it is made, and goes to JSON and back unchanged."""

import json
from dataclasses import replace

import pytest

from acvis_kit.config import AVISEG_CLASSES, CHOICES, PRESETS, ACVISConfig
from acvis_kit.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = PRESETS[name]
    assert ACVISConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_the_classes_are_avisegs_26_in_order() -> None:
    assert len(AVISEG_CLASSES) == 26
    assert (AVISEG_CLASSES[0], AVISEG_CLASSES[13], AVISEG_CLASSES[25]) == ("person", "dog", "horse")


@pytest.mark.parametrize("field", CHOICES)
def test_an_unknown_choice_is_refused_with_the_possible_ones(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}='nonsense'.*{CHOICES[field][0]}"):
        ACVISConfig(**{field: "nonsense"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_dim": 100}, "hidden_dim=100 .* num_heads=8"),
        ({"hidden_dim": 80}, "hidden_dim=80 .* 32"),
        ({"window_size": 0}, "window_size=0 must be a whole number, at least 1"),
        ({"hidden_dim": "x"}, "hidden_dim='x' must be a whole number"),
        ({"score_threshold": 1.0}, r"score_threshold=1\.0"),
        ({"sounding_threshold": -0.1}, r"sounding_threshold=-0\.1"),
        ({"class_names": ()}, "class_names"),
        ({"class_names": ("dog", "dog")}, "class_names"),
        ({"audio_tokens": "patch", "audio_encoder": "precomputed"}, "audio_tokens='patch' .* precomputed"),
        ({"audio_tokens": "patch", "query_generator": "additive"}, "additive"),
    ],
)
def test_values_outside_their_range_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(ACVISConfig(), **changes)


def test_an_unknown_field_is_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown .* windowsize"):
        ACVISConfig.from_dict({"windowsize": 3})


def test_vita_uses_no_audio_and_avism_adds_it() -> None:
    assert not PRESETS["vita-r50"].uses_audio
    assert PRESETS["avism-r50"].uses_audio_in_frames and PRESETS["avism-r50"].query_generator == "additive"
    assert not replace(PRESETS["acvis-r50"], frame_fusion=False).uses_audio_in_frames
