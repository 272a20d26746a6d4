"""Semantic predictions: what they say, count and write; and how clips become predictions."""

import copy
import csv
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import acvis_kit as ak
from acvis_kit.clip import Clip
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticFeatures, SemanticPredictor, count_instances
from acvis_kit.masks import decode
from acvis_kit.media.edit import AudioEdit
from acvis_kit.models.avsc.candidates import Candidates
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from tests.models.avsc.test_model import TINY as AVSC_TINY
from tests.models.ravs.test_model import SEMANTIC
from tests.models.ravs.test_model import TINY as RAVS_TINY
from tests.semantic_models import marking_avsc, marking_ravs


def small() -> SemanticPrediction:
    maps = torch.tensor([[[0, 1, 1], [0, 0, 3]], [[0, 0, 0], [0, 0, 0]]], dtype=torch.int16)
    return SemanticPrediction(
        maps,
        (maps > 0).half() * 0.75,
        ("dog", "cat", "car"),
        counts=torch.tensor([2, 0]),
        class_scores=torch.tensor([[0.9, 0.1, 0.75], [0.0, 0.2, 0.1]]),
        uncertainty=torch.full((2, 2, 3), 0.5).half(),
        fps=2.0,
    )


def test_a_prediction_names_what_sounds() -> None:
    p = small()
    assert len(p) == 2 and p.size == (2, 3)
    assert p.areas().tolist() == [[2, 0, 1], [0, 0, 0]]
    assert p.sounding(0) == ("dog", "car") and p.sounding(1) == ()
    assert p.mask(0).sum() == 3 and p.mask(0, 2).tolist() == [[False] * 3, [False, False, True]]
    assert repr(p) == f"SemanticPrediction({p.summary()})"
    assert p.summary() == "2 frames; sounding: dog in 1, car in 1 frames"
    assert replace(p, class_maps=p.class_maps * 0).summary() == "2 frames; sounding: nothing"


def test_json_restores_the_maps(tmp_path: Path) -> None:
    written = json.loads(small().to_json(tmp_path / "result.json").read_text())
    maps = np.zeros((2, 2, 3), dtype=np.int16)
    for entry in written["results"]:
        code = entry["segmentation"]
        share = (small().class_maps[entry["frame"]] == entry["category_id"]).float().mean()
        assert entry["share"] == pytest.approx(float(share), abs=1e-6)
        maps[entry["frame"]][decode({"size": code["size"], "counts": code["counts"].encode()})] = entry["category_id"]
    assert np.array_equal(maps, small().class_maps.numpy())
    assert (
        written["counts"] == [2, 0] and written["uncertainty"] == [0.5, 0.5] and written["class_scores"][0][2] == 0.75
    )


def test_csv_has_a_row_for_each_frame_and_only_the_columns_that_exist(tmp_path: Path) -> None:
    rows = list(csv.reader(small().to_csv(tmp_path / "a.csv").open()))
    assert rows == [
        ["start", "end", "count", "uncertainty", "area", "sounding", "shares"],
        ["0", "0.5", "2", "0.5000", "0.5000", "dog; car", "0.3333; 0.1667"],
        ["0.5", "1", "0", "0.5000", "0.0000", "", ""],
    ]
    bare = replace(small(), counts=None, uncertainty=None)
    assert next(csv.reader(bare.to_csv(tmp_path / "b.csv").open())) == ["start", "end", "area", "sounding", "shares"]


def test_instances_are_connected_parts_of_each_class() -> None:
    masks = np.zeros((2, 2, 8, 8), dtype=bool)
    masks[0, 0, 0, 0] = masks[0, 0, 1, 1] = True  # touch at a corner: one
    masks[0, 0, 5:, 5:] = True
    masks[0, 1, 0, 0] = True  # of another class: its own
    assert count_instances(masks).tolist() == [[2, 1], [0, 0]]
    assert count_instances(masks, least_area=4 / 64).tolist() == [[1, 0], [0, 0]]


def make(kind: type, config, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(replace(config, **changes))


COMPACT = {"audio_encoder": "compact"}


@pytest.mark.parametrize(
    "model",
    [make(AVSC, AVSC_TINY), make(RAVS, RAVS_TINY, **COMPACT), make(RAVS, RAVS_TINY, **COMPACT, **SEMANTIC)],
    ids=["avsc", "ravs-binary", "ravs-semantic"],
)
def test_a_clip_is_encoded_once_and_decoded_for_each_soundtrack(model, noise_clip: Clip) -> None:
    predictor, seen = SemanticPredictor(model), []
    features = predictor.encode(noise_clip, progress=lambda *step: seen.append(step))
    own = predictor.decode(features)
    assert re.fullmatch(r"SemanticFeatures\(8 frames of 70x100, \d+\.\d MB in memory\)", repr(features))
    assert seen[-1] == ("encode", 8, 8) and len(features) == len(own) == 8
    assert own.size == (70, 100) and own.class_maps.dtype == torch.int16 and own.probabilities.dtype == torch.float16
    assert torch.equal(own.class_maps > 0, own.probabilities.float() > predictor.threshold) or isinstance(model, RAVS)
    assert int(own.class_maps.max()) <= len(own.class_names)
    assert (own.counts is None) == isinstance(model, RAVS) == (own.uncertainty is not None)
    again = predictor(noise_clip)
    assert torch.equal(own.class_maps, again.class_maps)
    if isinstance(model, RAVS):  # AVSC with random weights has no candidates
        muted = predictor.decode(features, AudioEdit.mute())
        assert not torch.equal(muted.probabilities, own.probabilities)
    assert predictor.decode(features, output_size=(10, 20)).size == (10, 20)
    assert not own.clip.source and own.to_dict()["length"] == 8


def test_parts_of_a_long_clip_are_decoded_as_clips_of_their_own(noise_clip: Clip) -> None:
    """RAVS mixes at most `max_frames` frames; here 6, then 2."""
    model = make(RAVS, RAVS_TINY, **COMPACT).eval()
    predictor = SemanticPredictor(model)
    features = predictor.encode(noise_clip)
    assert features.lengths == [6, 2]
    whole = predictor.decode(features)
    with torch.no_grad():
        spectrogram = model.sound_encoder.front_end.compute(noise_clip.waveform.view(8, -1)[6:])
        last = model.decode(list(features.chunks())[1], model.hear(spectrogram[None])).scores
    last = torch.nn.functional.interpolate(last, (70, 100), mode="bilinear")[0]
    torch.testing.assert_close(whole.probabilities[6:].float(), last, atol=1e-3, rtol=0)


def test_candidates_that_are_heard_are_counted_and_drawn(noise_clip: Clip) -> None:
    model = make(AVSC, AVSC_TINY, audio_encoder="precomputed", precomputed_dim=3)
    for parameter in model.sound_classifier.parameters():
        parameter.data.zero_()
    model.sound_classifier.layers[2].bias.data = torch.tensor([9.0, -9.0, 9.0])  # square and ring sound
    predictor = SemanticPredictor(model)
    features = predictor.encode(noise_clip)
    masks = torch.zeros(8, 3, 64, 64, dtype=torch.bool)
    masks[:, 0, 4:20, 4:20] = masks[:, 1, 30:40] = True
    masks[:, 2, 44:60, 4:20] = masks[:, 2, 44:60, 30:50] = True
    given = Candidates(masks, masks.flatten(2).any(-1) * torch.tensor([0.9, 0.8, 0.7]))
    features = SemanticFeatures(noise_clip, features.encoder_key)
    features.append(given, 8)
    assert all(torch.equal(a, b) for a, b in zip(next(features.chunks()), given, strict=True))
    found = predictor.decode(features, audio_features=torch.zeros(8, 3))
    assert found.counts.tolist() == [3] * 8 and found.sounding(0) == ("square", "ring")
    with pytest.raises(DataError, match="takes precomputed audio features"):
        predictor.decode(features)
    with pytest.raises(DataError, match=r"audio_features are \(7, 3\): expected \(8, C\)"):
        predictor.decode(features, audio_features=torch.zeros(7, 3))
    with pytest.raises(DataError, match="not both"):
        predictor.decode(features, noise_clip, audio_features=torch.zeros(8, 3))


def test_a_pixel_that_sounds_has_the_class_of_a_candidate_that_is_heard(noise_clip: Clip) -> None:
    """Resized scores exceed the threshold a little beside a mask, where another candidate may be silent."""
    model = marking_avsc()
    masks = torch.zeros(8, 3, 64, 64, dtype=torch.bool)
    masks[:, 0, 3:50, 5:33] = True
    masks[:, 1] = ~masks[:, 0]  # the bar, around the square, is not heard
    predictor = SemanticPredictor(model)
    features = SemanticFeatures(noise_clip, predictor.encoder_key)
    features.append(Candidates(masks, masks.flatten(2).any(-1) * 0.9), 8)
    for size in ((63, 101), (64, 96), (200, 150)):
        found = predictor.decode(features, output_size=size)
        assert found.sounding(0) == ("square",) and found.counts.tolist() == [1] * 8
        assert found.instances.tolist() == [[1, 1, 0]] * 8


def test_a_copy_of_a_predictor_decodes_its_features(noise_clip: Clip) -> None:
    predictor = SemanticPredictor(marking_avsc())
    features = predictor.encode(noise_clip)
    for other in (copy.copy(predictor), copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        assert torch.equal(other.decode(features).class_maps, predictor.decode(features).class_maps)
    with pytest.raises(DataError, match="another model"):
        SemanticPredictor(marking_avsc()).decode(features)


def test_a_lower_threshold_can_be_raised_afterwards(noise_clip: Clip) -> None:
    for model in (marking_avsc(), marking_ravs()):
        low, high = (SemanticPredictor(model, threshold=value)(noise_clip) for value in (0.1, 0.8))
        raised = low.above(0.8)
        assert torch.equal(raised.class_maps > 0, high.class_maps > 0) and raised.threshold == high.threshold
        assert high.counts is None or torch.equal(raised.counts, high.counts)
        assert not torch.equal(low.class_maps, high.class_maps)


def test_mistakes_are_named(noise_clip: Clip) -> None:
    model = make(AVSC, AVSC_TINY)
    one, other = SemanticPredictor(model), SemanticPredictor(make(AVSC, AVSC_TINY))
    with pytest.raises(DataError, match="encoded by another model"):
        other.decode(one.encode(noise_clip))
    with pytest.raises(DataError, match=r"decode takes what encode returns, not a Clip"):
        one.decode(noise_clip)
    with pytest.raises(DataError, match=r"the frames are a Tensor: give a Clip"):
        one.encode(noise_clip.frames)
    with pytest.raises(DataError, match="the clip has 0 frames"):
        one.encode(replace(noise_clip, frames=noise_clip.frames[:0]))
    with pytest.raises(ConfigError, match=r"threshold=1\.0 must lie in \[0, 1\)|threshold=1\.0 must be"):
        SemanticPredictor(model, threshold=1.0)
    with pytest.raises(ConfigError, match=r"dtype=torch\.int8 is unknown"):
        SemanticPredictor(model, dtype=torch.int8)
    with pytest.raises(ConfigError, match=r"model is an ACVIS.*use Predictor"):
        SemanticPredictor("acvis-synth-tiny")


def test_the_given_model_is_not_changed_and_weights_are_found_by_path(noise_clip: Clip, tmp_path: Path) -> None:
    model = make(AVSC, AVSC_TINY).train()
    one = SemanticPredictor(model)
    assert model.training and not one.model.training
    other = SemanticPredictor(ak.save_model(model, tmp_path))
    assert torch.equal(one(noise_clip).probabilities, other(noise_clip).probabilities)


def test_lower_precision_gives_nearly_the_same_scores(noise_clip: Clip) -> None:
    model = make(RAVS, RAVS_TINY, **COMPACT, **SEMANTIC)
    exact, *others = (
        SemanticPredictor(model, dtype=dtype)(noise_clip).probabilities.float()
        for dtype in (None, torch.float64, "bfloat16")
    )
    assert all((exact - other).abs().mean() < 0.02 for other in others)
