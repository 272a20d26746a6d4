"""`predict`, and the predictor that suits a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import acvis_kit as ak
from acvis_kit.clip import Clip
from acvis_kit.config import inference_of
from acvis_kit.errors import ConfigError
from acvis_kit.inference.predict import predictor_for
from acvis_kit.models.acvis.model import ACVIS
from tests.semantic_models import marking_avsc, marking_ravs


def test_the_kind_of_prediction_is_that_of_the_weights(noise_clip: Clip, tiny_model: ACVIS, tmp_path: Path) -> None:
    assert isinstance(ak.predict(noise_clip, weights=tiny_model), ak.Prediction)
    for model in (marking_avsc(), marking_ravs()):
        by_model = ak.predict(noise_clip, weights=model)
        by_path = ak.predict(noise_clip, weights=ak.save_model(model, tmp_path / type(model).__name__))
        assert isinstance(by_model, ak.SemanticPrediction) and by_model.class_maps.any()
        assert torch.equal(by_model.class_maps, by_path.class_maps)


def test_settings_are_those_of_the_predictor(noise_clip: Clip, tiny_model: ACVIS) -> None:
    strict = predictor_for(marking_ravs(), threshold=0.9)
    assert isinstance(strict, ak.SemanticPredictor) and strict.inference.threshold == strict.threshold == 0.9
    with pytest.raises(ConfigError, match=r"score_threshold: no setting of a SemanticPredictor, which runs the AVSC"):
        ak.predict(noise_clip, weights=marking_avsc(), score_threshold=0.5)
    with pytest.raises(ConfigError, match=r"threshold: no setting of a Predictor, which runs the ACVIS: .*top_k"):
        ak.predict(noise_clip, weights=tiny_model, threshold=0.5)
    with pytest.raises(ConfigError, match=r"tresh, devise: no setting .*: did you mean threshold, device\? Choose"):
        ak.predict(noise_clip, weights=marking_avsc(), tresh=0.5, devise="cpu")
    with pytest.raises(ConfigError, match=r"model is an AVSC, which marks pixels of classes: use SemanticPredictor"):
        ak.Predictor(marking_avsc())


def test_a_sound_may_be_the_text_of_an_edit_and_is_checked_first(noise_clip: Clip, tiny_model: ACVIS) -> None:
    for model in (tiny_model, marking_avsc()):
        muted = ak.predict(noise_clip, audio="mute", weights=model)
        assert muted.clip is not None and not muted.clip.waveform.any()
        with pytest.raises(ConfigError, match='the edit "loud" is unknown'):
            predictor_for(model)("missing.mp4", "loud")
    with pytest.raises(ConfigError, match='the edit "loud" is unknown'):
        ak.predict(noise_clip, "loud", weights="no-such-weights")


def test_every_field_of_the_inference_is_a_setting(noise_clip: Clip, tiny_model: ACVIS) -> None:
    predictor = predictor_for(tiny_model, sounding_bias=1.5, top_k=7)
    assert predictor.inference == replace(inference_of(tiny_model.config), sounding_bias=1.5, top_k=7)
    given = replace(inference_of(tiny_model.config), score_threshold=0.9)
    assert predictor_for(tiny_model, inference=given, duplicate_iou=0.5).inference == replace(given, duplicate_iou=0.5)
    with pytest.raises(ConfigError, match=r"inference='low' must be an InferenceConfig"):
        ak.predict(noise_clip, weights=tiny_model, inference="low", duplicate_iou=0.5)
    with pytest.raises(ConfigError, match=r"duplicate_iou=2"):
        ak.predict(noise_clip, weights=tiny_model, duplicate_iou=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"end": 5}, r"^end: .* ak\.predict\(ak\.load_clip\('clip\.mp4', end=5\)\)$"),
        ({"fps": 2, "top_k": 5, "start": 1}, r"^fps, start: .*load_clip\('clip\.mp4', fps=2, start=1\)\)$"),
    ],
)
def test_options_of_load_clip_are_sent_there(options: dict, message: str) -> None:
    """Before the weights are loaded, and the file is looked for."""
    for clip in ("clip.mp4", Path("clip.mp4")):
        with pytest.raises(ConfigError, match=message):
            ak.predict(clip, weights="nowhere", **options)


@pytest.mark.parametrize("kind", [ak.Predictor, ak.SemanticPredictor])
def test_python_names_the_call_that_does_not_know_a_keyword(kind: type, tiny_model: ACVIS) -> None:
    with pytest.raises(TypeError, match=rf"{kind.__name__}\.__init__\(\) .* unexpected keyword argument 'tresh'"):
        kind(tiny_model, tresh=0.5)
