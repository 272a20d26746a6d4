"""Predictors that do not listen."""

from __future__ import annotations

import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.errors import ConfigError
from acvis_kit.evaluation.baselines import Baseline, is_sound
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from tests.conftest import SEEING, make_model


@pytest.fixture(scope="module")
def seeing() -> ACVIS:
    return make_model(SEEING)


@pytest.fixture(scope="module")
def clip() -> Clip:
    """Three seconds: silence, a tone, silence."""
    frames = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    sound = torch.zeros(48_000)
    sound[16_000:32_000] = 0.1 * torch.sin(torch.arange(16_000) * 0.2)
    return Clip.from_arrays(frames, sound)


def test_sound_is_what_exceeds_50_db_below_full_scale() -> None:
    level = 10 ** (-50 / 20)
    waveform = torch.cat([torch.full((100,), level * factor) for factor in (0.99, 1.01, 0.0)])
    assert is_sound(waveform, 3).tolist() == [False, True, False]


def test_the_largest_object_is_shown_whenever_there_is_sound(seeing: ACVIS, clip: Clip) -> None:
    predictor = Baseline("largest", Predictor(seeing))
    (track,) = predictor(clip).tracks
    everything = Predictor.decode(predictor, predictor.encode(clip), torch.zeros(48_000)).tracks
    assert (track.areas() > 0).tolist() == [False, True, False]
    largest = max(everything, key=lambda one: int(one.areas().sum()))
    assert int(track.areas()[1]) == int(largest.areas()[1]) > 0
    assert predictor(clip).counts.tolist() == [0, 1, 0]
    assert all(isinstance(code["counts"], str) for code in predictor(clip).to_dict(1)["results"][0]["segmentations"])


def test_its_mask_does_not_depend_on_what_sounds(seeing: ACVIS, clip: Clip) -> None:
    predictor = Baseline("largest", Predictor(seeing))
    noise = 0.1 * torch.randn(48_000, generator=torch.Generator().manual_seed(1))
    features = predictor.encode(clip)
    (tone,), (other,) = predictor.decode(features, clip).tracks, predictor.decode(features, noise).tracks
    assert tone.masks[1] == other.masks[1] and (other.areas() > 0).all()


def test_nothing_is_nothing(seeing: ACVIS, clip: Clip) -> None:
    prediction = Baseline("nothing", Predictor(seeing))(clip)
    assert not prediction.tracks and not prediction.counts.any()


def test_it_needs_a_network_that_sees_silent_objects(tiny_model: ACVIS) -> None:
    with pytest.raises(ConfigError, match="targets='visible'"):
        Baseline("largest", Predictor(tiny_model))
