"""A configuration is checked when it is made, and goes to JSON and back unchanged."""

import json
from dataclasses import asdict, fields, replace

import pytest

from acvis_kit.config import (
    AVISEG_CLASSES,
    CHOICES,
    FORMAT,
    PARTS,
    PRESETS,
    ACVISConfig,
    InferenceConfig,
    LossConfig,
    NetworkConfig,
)
from acvis_kit.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    config = PRESETS[name]
    assert ACVISConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_preset_is_refused_with_the_possible_ones() -> None:
    for name in ("avsc-r50", "nonsense"):
        with pytest.raises(ConfigError, match=f"^'{name}' is no preset of ACVIS: choose from acvis-r50, .*ALL_PRESETS"):
            PRESETS[name]
        with pytest.raises(KeyError):
            PRESETS[name]
        assert PRESETS.get(name) is None and name not in PRESETS


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
        ({"window_size": 0}, r"window_size=0 must lie in \[1, 10000\]"),
        ({"hidden_dim": "x"}, "hidden_dim='x' must be a whole number"),
        ({"k_max": True}, "k_max=True must be a whole number"),
        ({"score_threshold": 1.0}, r"score_threshold=1\.0 must lie in \[0, 1\)"),
        ({"drop_path": 1.5}, r"drop_path=1\.5 must lie in \[0, 1\]"),
        ({"mask_weight": -1}, r"mask_weight=-1 must lie in \[0, 1000000\]"),
        ({"dice_weight": float("nan")}, "dice_weight=nan"),
        ({"oversample_ratio": 0.5}, r"oversample_ratio=0\.5 must lie in \[1, 100\]"),
        ({"pixel_std": (1.0, 0.0, 1.0)}, "pixel_std=.* above 0"),
        ({"sounding_threshold": -0.1}, r"sounding_threshold=-0\.1"),
        ({"class_names": ()}, "class_names"),
        ({"class_names": "dog"}, "class_names='dog' must be a list of texts"),
        ({"class_names": tuple(map(str, range(10_001)))}, "1 to 10000 names"),
        ({"hidden_dim": 32_000_000}, r"hidden_dim=32000000 must lie in \[1, 8192\]"),
        ({"frame_layers": 10**400}, "frame_layers=1000"),
        ({"mask_weight": float("inf")}, "mask_weight=inf"),
        ({"pixel_mean": (1.0, 2.0)}, "pixel_mean=.* must be 3 finite numbers"),
        ({"frame_fusion": 1}, "frame_fusion=1 must be true or false"),
        ({"auxiliary_targets": ("cue",)}, "auxiliary_targets=.* needs targets='visible'"),
        ({"auxiliary_targets": ("a.b",), "targets": "visible"}, "auxiliary_targets=.* different names"),
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


def test_the_parts_have_the_fields_between_them_and_their_own_checks() -> None:
    names = [field.name for part in PARTS.values() for field in fields(part)]
    assert sorted(names) == sorted({field.name for field in fields(ACVISConfig)})
    config = ACVISConfig()
    assert all(isinstance(config, part) for part in (NetworkConfig, LossConfig, InferenceConfig))
    assert {name: getattr(config, name) for name in names} == {
        k: v for part in PARTS.values() for k, v in vars(part()).items()
    }
    with pytest.raises(ConfigError, match="hidden_dim=80"):
        NetworkConfig(hidden_dim=80)
    with pytest.raises(ConfigError, match="class_weight=-1"):
        LossConfig(class_weight=-1)
    with pytest.raises(ConfigError, match="top_k=0"):
        InferenceConfig(top_k=0)


def test_json_has_a_section_per_part_and_says_what_it_is() -> None:
    written = ACVISConfig().to_dict()
    assert list(written) == ["model_type", "format", "network", "loss", "inference"]
    assert (written["model_type"], written["format"]) == ("acvis", FORMAT)
    assert written["inference"]["short_side"] == 360 and written["loss"]["mask_weight"] == 5.0


def test_flat_json_of_earlier_versions_is_read_and_retired_fields_are_ignored() -> None:
    flat = asdict(replace(ACVISConfig(), k_max=4)) | {"counterfactual_audio": 0.4}
    assert ACVISConfig.from_dict(json.loads(json.dumps(flat))) == replace(ACVISConfig(), k_max=4)


@pytest.mark.parametrize("sections", [False, True])
def test_the_drawn_cue_of_earlier_versions_is_an_auxiliary_target(sections: bool) -> None:
    tiny = replace(PRESETS["acvis-synth-tiny"], auxiliary_weight=0.5)
    written = tiny.to_dict() if sections else {"network": asdict(tiny), "loss": asdict(tiny)}
    del written["network"]["auxiliary_targets"], written["loss"]["auxiliary_weight"]
    written["network"]["pixel_signs"], written["loss"]["pixel_sign_weight"] = True, 0.5
    old = written if sections else {**asdict(tiny), **written["network"], **written["loss"]}
    if not sections:
        del old["auxiliary_weight"]
        old["pixel_sign_weight"] = 0.5
    assert ACVISConfig.from_dict(json.loads(json.dumps(old))) == tiny


def test_unknown_fields_are_an_error_in_the_network_and_a_warning_in_the_losses() -> None:
    written = ACVISConfig().to_dict()
    written["loss"]["edge_weight"] = 1.0
    with pytest.warns(UserWarning, match="edge_weight"):
        assert ACVISConfig.from_dict(written) == ACVISConfig()
    for section in ("network", "inference"):
        wrong = ACVISConfig().to_dict()
        wrong[section]["edge"] = 1
        with pytest.raises(ConfigError, match=f"unknown fields of {section}, edge"):
            ACVISConfig.from_dict(wrong)
    with pytest.raises(ConfigError, match="unknown sections training"):
        ACVISConfig.from_dict(ACVISConfig().to_dict() | {"training": {}})
    with pytest.raises(ConfigError, match="format=3"):
        ACVISConfig.from_dict(ACVISConfig().to_dict() | {"format": 3})
