"""The Predictor: sizes, chunks, soundtracks, thresholds, and errors for wrong input."""

from __future__ import annotations

import copy
import gc
import math
import pickle
import re
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import acvis_kit.inference.postprocess
import acvis_kit.inference.predictor
from acvis_kit.clip import Clip
from acvis_kit.config import InferenceConfig, inference_of
from acvis_kit.errors import ConfigError, DataError, MediaError, WeightsError
from acvis_kit.inference.predict import predict
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.load import load_clip
from acvis_kit.media.mel import frame_seconds, log_mel
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import load_model
from acvis_kit.weights.published import ASSETS
from tests.conftest import SEEING, TINY, make_model


def same(a: Prediction, b: Prediction) -> bool:
    codes = [[t.masks for t in p.tracks] for p in (a, b)]
    return codes[0] == codes[1] and torch.equal(a.scores, b.scores) and torch.equal(a.count_probs, b.count_probs)


def test_a_clip_gives_masks_of_its_own_size_scores_in_order_and_counts(tiny_model: ACVIS, noise_clip: Clip) -> None:
    prediction = Predictor(tiny_model)(noise_clip)
    assert 0 < len(prediction.tracks) <= TINY.top_k
    assert prediction.masks().shape == (len(prediction.tracks), 8, 70, 100)
    assert prediction.scores.tolist() == sorted(prediction.scores.tolist(), reverse=True)
    assert prediction.scores.min() > TINY.score_threshold
    assert prediction.counts.shape == (8,) and prediction.count_probs.shape == (8, 3)
    torch.testing.assert_close(prediction.count_probs.sum(1), torch.ones(8))
    assert prediction.counts.tolist() == prediction.count_probs.argmax(1).tolist()


def test_a_predictor_is_displayed_in_a_line(tiny_model: ACVIS) -> None:
    shown = repr(Predictor(tiny_model, "keep", score_threshold=0.25, dtype="bfloat16"))
    assert shown.startswith("Predictor(") and "bfloat16 on cpu, short side keep, scores above 0.25" in shown


def test_frames_are_encoded_once_and_every_sound_gives_its_own_prediction(
    tiny_model: ACVIS, noise_clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(tiny_model)
    features = predictor.encode(noise_clip)
    monkeypatch.setattr(predictor.model, "encode", None)  # encoding again would fail
    own = predictor.decode(features)
    muted = predictor.decode(features, AudioEdit.mute())
    assert same(own, predictor.decode(features, noise_clip))
    assert same(own, predictor.decode(features, noise_clip.waveform))
    assert same(muted, predictor.decode(features, torch.zeros(8 * 16000)))
    assert not same(own, muted)
    assert muted.clip.waveform.abs().max() == 0  # the prediction holds the sound that the model was given
    assert torch.equal(own.clip.waveform, noise_clip.waveform)


def test_log_mel_and_waveform_give_the_same_prediction(tiny_model: ACVIS, noise_clip: Clip) -> None:
    predictor = Predictor(tiny_model)
    features = predictor.encode(noise_clip)
    mel = log_mel(frame_seconds(noise_clip.waveform, 8, 1.0))
    assert same(predictor.decode(features, log_mel=mel), predictor.decode(features))


def test_a_silenced_second_changes_the_counts_of_that_second_only(tiny_model: ACVIS) -> None:
    frames = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clip = Clip.from_arrays(frames, torch.randn(64000, generator=torch.Generator().manual_seed(1)) * 0.3)
    predictor = Predictor(tiny_model)
    features = predictor.encode(clip)
    change = predictor.decode(features).count_probs - predictor.decode(features, AudioEdit.keep(2, 4)).count_probs
    assert change[:2].abs().min() > 1e-4 and change[2:].abs().max() < 1e-6


@pytest.mark.parametrize("budget", [0.0, 0.4, 2048.0])
@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_chunks_memory_and_disk_give_the_same_logits_and_masks(
    tiny_model: ACVIS, noise_clip: Clip, at_once: int, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = []
    track = ACVIS.track
    monkeypatch.setattr(ACVIS, "track", lambda *a: outputs.append(track(*a)) or outputs[-1])
    whole = Predictor(tiny_model, frames_at_once=8)
    want = whole.decode(whole.encode(noise_clip))
    predictor = Predictor(tiny_model, feature_budget_mb=budget, frames_at_once=at_once)
    features = predictor.encode(noise_clip)
    assert (features.bytes_on_disk > 0) == (budget < 2048)
    got = predictor.decode(features)
    for name in ("class_logits", "mask_embeds"):
        difference = getattr(outputs[1], name) - getattr(outputs[0], name)
        assert difference.abs().max() < 1e-5
    differing = (got.masks() != want.masks()).sum(dim=(2, 3))
    assert differing.max() <= 4


def test_audio_encoded_in_parts_equals_audio_encoded_at_once(tiny_model: ACVIS, noise_clip: Clip, monkeypatch) -> None:
    want = Predictor(tiny_model)(noise_clip)
    monkeypatch.setattr(acvis_kit.inference.predictor, "AUDIO_FRAMES_AT_ONCE", 3)
    torch.testing.assert_close(Predictor(tiny_model)(noise_clip).scores, want.scores)


def test_masks_do_not_depend_on_how_many_are_computed_at_once(tiny_model: ACVIS, noise_clip: Clip, monkeypatch) -> None:
    want = Predictor(tiny_model)(noise_clip)
    monkeypatch.setattr(acvis_kit.inference.postprocess, "MASK_BYTES_AT_ONCE", 1)
    assert same(Predictor(tiny_model)(noise_clip), want)


def test_arguments_override_the_configuration(tiny_model: ACVIS, noise_clip: Clip) -> None:
    own = Predictor(tiny_model)(noise_clip)
    middle = float(own.scores.median())
    assert (Predictor(tiny_model, score_threshold=middle)(noise_clip).scores > middle).all()
    assert len(Predictor(tiny_model, top_k=2)(noise_clip).tracks) <= 2
    gated = Predictor(tiny_model, count_gate=True)(noise_clip)
    assert [t.masks for t in gated.tracks] == [t.masks for t in own.gated().tracks]


@pytest.mark.parametrize(
    ("short_side", "source", "want"),
    [
        (360, (720, 1280), (360, 640)),
        (448, (1280, 720), (796, 448)),
        ("keep", (90, 130), (90, 130)),
        (360, (100, 2000), (67, 1333)),
    ],
)
def test_the_input_has_the_given_short_side_and_a_bounded_long_side(short_side, source, want, tiny_model) -> None:
    assert Predictor(tiny_model, short_side=short_side).input_size(*source) == want


def test_output_size_is_the_size_of_the_masks(tiny_model: ACVIS, noise_clip: Clip) -> None:
    predictor = Predictor(tiny_model)
    assert predictor.decode(predictor.encode(noise_clip), output_size=(35, 50)).masks().shape[2:] == (35, 50)


def test_a_clip_without_sound_is_noted_and_decoded_with_silence(tiny_model: ACVIS, noise_clip: Clip) -> None:
    silent = Clip.from_arrays(noise_clip.frames)
    predictor = Predictor(tiny_model)
    prediction = predictor(silent)
    assert any("has no sound" in note for note in prediction.notes)
    assert same(prediction, predictor(noise_clip, audio=AudioEdit.mute()))
    swapped = predictor(silent, audio=AudioEdit.swap(noise_clip))
    assert not swapped.notes and same(swapped, predictor(noise_clip))


def test_the_note_on_a_missing_sound_track_is_dropped_with_another_sound(
    tiny_model: ACVIS, noise_clip: Clip, tmp_path: Path
) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "still.png")
    note = "The file has no sound track: silence."
    with pytest.warns(UserWarning, match=note):
        silent = load_clip(tmp_path / "still.png")
    predictor = Predictor(tiny_model)
    features = predictor.encode(silent)
    assert note in silent.notes and note in predictor.decode(features).notes
    assert note in predictor.decode(features, AudioEdit.gain(6)).notes
    for sound in (noise_clip.waveform[16000:32000], AudioEdit.swap(noise_clip, offset=1)):
        notes = predictor.decode(features, sound).notes
        assert note not in notes and set(notes) == set(silent.notes) - {note}


def test_at_a_higher_frame_rate_every_frame_has_a_prediction(tiny_model: ACVIS, noise_clip: Clip) -> None:
    fast = Clip.from_arrays(noise_clip.frames, noise_clip.waveform[: 4 * 16000], fps=2.0)
    prediction = Predictor(tiny_model)(fast)
    assert len(prediction) == 8 and prediction.fps == 2.0


def test_progress_is_reported_step_by_step(tiny_model: ACVIS, noise_clip: Clip) -> None:
    calls: list[tuple[str, int, int]] = []
    Predictor(tiny_model, frames_at_once=3)(noise_clip, progress=lambda *step: calls.append(step))
    assert [done for what, done, _ in calls if what == "encode"] == [0, 3, 6, 8]
    assert calls[-1] == ("masks", 8, 8) and {total for *_, total in calls} == {8}


def test_an_exception_in_the_callback_stops_the_run(tiny_model: ACVIS, noise_clip: Clip) -> None:
    def stop(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Predictor(tiny_model)(noise_clip, progress=stop)


def test_bfloat16_stays_near_float32_and_leaves_the_model_unchanged(noise_clip: Clip) -> None:
    model = make_model(TINY)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    want = Predictor(model)(noise_clip).count_probs
    got = Predictor(model, dtype=torch.bfloat16)(noise_clip).count_probs
    assert 0 < (got - want).abs().max() < 0.05
    assert Predictor(model, dtype=torch.float64)(noise_clip).count_probs.dtype == torch.float64
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


@pytest.mark.parametrize("within", [False, True])
def test_what_leaves_the_predictor_can_be_changed_and_used_in_a_loss(
    tiny_model: ACVIS, noise_clip: Clip, within: bool
) -> None:
    """Tensors made in inference mode cannot, even if the caller is in that mode."""
    predictor = Predictor(tiny_model, feature_budget_mb=1, frames_at_once=2)  # some features are on disk
    with torch.inference_mode(within):
        features = predictor.encode(noise_clip)
        prediction = predictor.decode(features, AudioEdit.gain(-3))
    assert features.bytes_in_memory and features.bytes_on_disk
    tensors = [prediction.counts, prediction.count_probs, prediction.scores, prediction.labels]
    tensors += [prediction.clip.waveform, *(track.frame_scores for track in prediction.tracks)]
    for pixels in features.chunks("cpu"):
        tensors += [*pixels.scales, pixels.fine]
    for tensor in tensors:
        assert not tensor.is_inference() and not tensor.requires_grad
        tensor[0] = 1
        (tensor * torch.ones((), requires_grad=True)).sum().backward()


def test_no_float64_enters_the_inference_path(noise_clip: Clip, tiny_model: ACVIS) -> None:
    """MPS does not support float64."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                assert not (isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64), func
            return out

    predictor = Predictor(tiny_model)
    seconds = frame_seconds(noise_clip.waveform, 8, 1.0)
    with Watch():
        predictor.decode(predictor.encode(noise_clip.frames), log_mel=log_mel(seconds))


@pytest.mark.parametrize("generator", ["none", "additive", "acqg"])
@pytest.mark.parametrize("count", ["none", "ce", "ordinal"])
def test_every_variant_runs(generator: str, count: str, noise_clip: Clip) -> None:
    config = replace(TINY, query_generator=generator, count_head=count, audio_tokens="clip", k_max=3)
    prediction = Predictor(make_model(config))(noise_clip)
    assert prediction.counts.shape == (8,)
    assert (prediction.count_probs is None) == (count == "none")


def test_without_a_count_head_the_count_is_the_number_of_masks(noise_clip: Clip) -> None:
    prediction = Predictor(make_model(replace(TINY, count_head="none")))(noise_clip)
    shown = sum((track.areas() > 0).long() for track in prediction.tracks)
    assert prediction.counts.tolist() == shown.tolist()


@pytest.fixture
def visible_model() -> ACVIS:
    """A model whose queries represent all visible objects, with large class and sounding logits."""
    model = make_model(SEEING)
    with torch.no_grad():
        model.tracker.class_head.weight.mul_(5)
        model.tracker.sounding.head.from_state[2].weight.mul_(50)
    return model


def test_masks_are_shown_in_the_frames_in_which_their_track_sounds(visible_model: ACVIS, noise_clip: Clip) -> None:
    queries = visible_model.config.num_video_queries
    pattern = torch.randn(len(noise_clip), queries, generator=torch.Generator().manual_seed(0))  # (T, Q_v) logits
    visible_model.tracker.sounding.register_forward_hook(lambda module, given, logits: 0 * logits + pattern)
    prediction = Predictor(visible_model, score_threshold=0)(noise_clip)
    sounding = (pattern > 0).T
    shown = torch.stack([track.areas() > 0 for track in prediction.tracks])
    assert 0 < shown.float().mean() < 1
    assert all(any((row <= s).all() for s in sounding) for row in shown)
    assert prediction.count_probs.sum(1).allclose(torch.ones(len(prediction), dtype=prediction.count_probs.dtype))


def test_if_no_track_sounds_no_mask_is_shown_and_the_queries_count_zero(noise_clip: Clip) -> None:
    model = make_model(replace(SEEING, count_from="queries"))
    with torch.no_grad():
        model.tracker.sounding.head.from_state[2].bias.fill_(-1e4)
    prediction = Predictor(model)(noise_clip)
    assert not prediction.tracks and prediction.counts.tolist() == [0] * len(noise_clip)


def test_both_counts_are_averaged(noise_clip: Clip) -> None:
    from_token, from_queries, both = (
        Predictor(make_model(replace(SEEING, count_from=source)))(noise_clip).count_probs
        for source in ("token", "queries", "both")
    )
    torch.testing.assert_close(both, (from_token + from_queries) / 2)


@pytest.mark.parametrize("source", ["token", "queries", "both"])
def test_counts_above_a_threshold_are_those_of_a_prediction_with_it(source: str, noise_clip: Clip) -> None:
    """The page decodes once with the lowest threshold; it showed that one's counts whatever its own."""
    model = make_model(replace(SEEING, count_from=source))
    settings = {"inference": replace(inference_of(SEEING), sounding_threshold=0.0, top_k=1000)}
    everything = Predictor(model, score_threshold=0.0, **settings)(noise_clip)
    high = everything.tracks[3].score
    direct = Predictor(model, score_threshold=high, **settings)(noise_clip)
    raised = everything.above(high)
    assert 0 < len(raised.tracks) == len(direct.tracks) < len(everything.tracks)
    assert torch.equal(raised.count_probs, direct.count_probs) and torch.equal(raised.counts, direct.counts)
    assert torch.equal(raised.counts, raised.count_probs.argmax(-1))
    if source != "token":
        assert not torch.equal(raised.count_probs, everything.count_probs)
    assert torch.equal(everything.gated().above(high).count_probs, direct.count_probs)
    assert torch.equal(pickle.loads(pickle.dumps(everything)).above(high).count_probs, direct.count_probs)


def test_a_model_without_audio_input_gives_the_same_for_every_sound(noise_clip: Clip) -> None:
    predictor = Predictor(make_model(replace(TINY, query_generator="none", video_fusion=False)))
    assert same(predictor(noise_clip), predictor(noise_clip, audio=AudioEdit.mute()))


def test_a_name_and_a_path_are_taken_for_the_model_and_the_clip() -> None:
    path = ASSETS / "clips" / "twins.mp4"
    by_name = Predictor("acvis-synth-tiny")
    loaded = Predictor(load_model("acvis-synth-tiny"))(load_clip(path))
    assert same(by_name(path), loaded) and same(by_name(str(path)), loaded)
    assert same(by_name.decode(by_name.encode(str(path))), loaded)
    assert same(predict(path, weights="acvis-synth-tiny"), loaded) and loaded.tracks
    assert same(predict(path), Predictor(load_model())(load_clip(path)))
    muted = predict(str(path), AudioEdit.mute(), weights=by_name.model, score_threshold=0.6)
    assert same(muted, Predictor(by_name.model, score_threshold=0.6)(load_clip(path), AudioEdit.mute()))
    assert {track.class_name for track in loaded.tracks} <= set(loaded.class_names)


def test_a_loaded_model_is_not_kept_beside_its_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has a model that was given by name."""
    loaded: list[weakref.ref[ACVIS]] = []

    def load(name: str) -> ACVIS:
        model = load_model(name)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr("acvis_kit.inference.predictor.load_model", load)
    predictor = Predictor("acvis-synth-tiny")
    gc.collect()
    assert predictor.model is not None and loaded[0]() is None


class TestWrongInput:
    """Each error names the given value, the expected one, and the remedy."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"short_side": "large"}, "short_side='large' .* 'keep'"),
            ({"short_side": 0}, "short_side=0"),
            ({"score_threshold": 1.5}, r"score_threshold=1\.5"),
            ({"top_k": 0}, "top_k=0"),
        ],
    )
    def test_arguments(self, tiny_model: ACVIS, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            Predictor(tiny_model, **arguments)

    def test_a_gate_without_a_count_head(self) -> None:
        with pytest.raises(ConfigError, match="count_head='none'"):
            Predictor(make_model(replace(TINY, count_head="none")), count_gate=True)

    @pytest.mark.parametrize("device", ["foo", "cuda:99", 3, []])
    def test_an_unavailable_device(self, tiny_model: ACVIS, device) -> None:
        with pytest.raises(ConfigError, match=f"device={re.escape(repr(device))} cannot be used here, choose cpu"):
            Predictor(tiny_model, device=device)

    @pytest.mark.parametrize("own", [torch.float16, torch.bfloat16])
    def test_weights_in_half_precision(self, own: torch.dtype, noise_clip: Clip) -> None:
        for dtype in (None, own):
            with pytest.raises(ConfigError, match=rf"weights are {own}.*model\.float\(\) and dtype={own}"):
                Predictor(make_model(TINY).to(own), dtype=dtype)
        assert Predictor(make_model(TINY).to(own), dtype=torch.float32)(noise_clip).tracks

    @pytest.mark.parametrize(
        "frames", [torch.zeros(2, 3, 8, 8), torch.zeros(0, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8)]
    )
    def test_frames(self, tiny_model: ACVIS, frames: torch.Tensor) -> None:
        with pytest.raises(DataError, match="expected uint8"):
            Predictor(tiny_model).encode(frames)

    def test_something_else_than_frames_or_features(self, tiny_model: ACVIS, noise_clip: Clip) -> None:
        predictor = Predictor(tiny_model)
        with pytest.raises(DataError, match="frames are an ndarray: give a Clip, a path, or a tensor"):
            predictor.encode(noise_clip.frames.numpy())
        with pytest.raises(DataError, match=r"not a Clip: write .*encode\(clip\)\), or predictor\(clip\)"):
            predictor.decode(noise_clip)

    def test_names_of_nothing(self, tiny_model: ACVIS) -> None:
        with pytest.raises(WeightsError, match="no-such-weights"):
            Predictor("no-such-weights")
        with pytest.raises(MediaError, match=r"nowhere\.mp4 does not exist"):
            Predictor(tiny_model)("nowhere.mp4")

    def test_sound(self, tiny_model: ACVIS, noise_clip: Clip) -> None:
        predictor = Predictor(tiny_model)
        features = predictor.encode(noise_clip)
        with pytest.raises(DataError, match="expected about 128000 samples"):
            predictor.decode(features, torch.zeros(16000))
        with pytest.raises(DataError, match=r"log_mel is \(3, 96, 64\): expected \(8, 96, 64\)"):
            predictor.decode(features, log_mel=torch.zeros(3, 96, 64))
        with pytest.raises(DataError, match="not several"):
            predictor.decode(features, noise_clip, log_mel=torch.zeros(8, 96, 64))
        with pytest.raises(DataError, match="patches"):
            predictor.decode(features, audio_features=torch.zeros(8, 128))
        bare = predictor.encode(noise_clip.frames)
        with pytest.raises(DataError, match="bare frames have no sound"):
            predictor.decode(bare)
        assert same(predictor.decode(bare, noise_clip.waveform), predictor.decode(features))

    @pytest.mark.parametrize("sound", [Path("dog.wav"), [0.0] * 8, 3])
    def test_a_sound_of_another_type_is_refused(self, tiny_model: ACVIS, noise_clip: Clip, sound) -> None:
        with pytest.raises(DataError, match=r"AudioEdit\.swap"):
            Predictor(tiny_model)(noise_clip, audio=sound)

    def test_a_waveform_may_be_an_array_but_must_be_finite_floats(self, tiny_model: ACVIS, noise_clip: Clip) -> None:
        predictor = Predictor(tiny_model)
        features = predictor.encode(noise_clip)
        assert same(predictor.decode(features, noise_clip.waveform.numpy()), predictor.decode(features))
        for wrong in (torch.zeros(128000, dtype=torch.int16), torch.full((128000,), torch.nan)):
            with pytest.raises(DataError, match="finite floats"):
                predictor.decode(features, wrong)

    def test_features_of_another_model(self, tiny_model: ACVIS, noise_clip: Clip) -> None:
        with pytest.raises(DataError, match="another model"):
            Predictor(make_model(TINY, seed=1)).decode(Predictor(tiny_model).encode(noise_clip))

    def test_features_of_another_precision_of_the_same_model(self, tiny_model: ACVIS, noise_clip: Clip) -> None:
        half, full = Predictor(tiny_model, dtype=torch.bfloat16), Predictor(tiny_model)
        for one, other in ((half, full), (full, half)):
            with pytest.raises(DataError, match="another model or precision"):
                other.decode(one.encode(noise_clip))
        assert same(Predictor(tiny_model).decode(full.encode(noise_clip)), full(noise_clip))

    @pytest.mark.parametrize("size", [(0, 30), (20.0, 30.0), (5,)])
    def test_output_size(self, tiny_model: ACVIS, noise_clip: Clip, size) -> None:
        predictor = Predictor(tiny_model)
        with pytest.raises(DataError, match="output_size"):
            predictor.decode(predictor.encode(noise_clip), None, size)

    def test_a_waveform_for_a_model_of_precomputed_features(self, noise_clip: Clip) -> None:
        predictor = Predictor(make_model(replace(TINY, audio_encoder="precomputed", audio_tokens="clip")))
        features = predictor.encode(noise_clip)
        with pytest.raises(WeightsError, match="an encoder, audio_weights=VGGISH"):
            predictor.decode(features)
        assert len(predictor.decode(features, audio_features=torch.rand(8, 128))) == 8

    def test_a_full_disk(self, tiny_model: ACVIS, noise_clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
        from acvis_kit.errors import AcvisError

        monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5_000_000}))
        with pytest.raises(AcvisError, match="feature_budget_mb"):
            Predictor(tiny_model, feature_budget_mb=0).encode(noise_clip)


def test_masks_are_shown_where_the_sounding_probability_exceeds_the_threshold(noise_clip: Clip) -> None:
    def shown(threshold: float) -> int:
        model = make_model(replace(SEEING, sounding_threshold=threshold, score_threshold=0.0))
        return sum(int((track.areas() > 0).sum()) for track in Predictor(model)(noise_clip).tracks)

    found = [shown(threshold) for threshold in (0.0, 0.45, 0.5, 0.55, 0.99)]
    assert found == sorted(found, reverse=True) and found[0] > found[1] > found[-1] == 0


def test_a_bias_shifts_the_logit_that_a_track_sounds(noise_clip: Clip) -> None:
    """A threshold shifted likewise keeps the masks; the counts follow the higher probabilities."""
    settings = replace(SEEING, score_threshold=0.0, count_from="queries")
    plain = Predictor(make_model(replace(settings, sounding_threshold=0.45)))(noise_clip)
    shifted = replace(settings, sounding_bias=2.0, sounding_threshold=1 / (1 + 0.55 / 0.45 * math.exp(-2.0)))
    biased = Predictor(make_model(shifted))(noise_clip)

    def masks(prediction: Prediction) -> set[tuple[bytes, ...]]:
        return {tuple(mask["counts"] for mask in track.masks) for track in prediction.tracks}

    assert masks(biased) == masks(plain) != set()
    assert plain.count_source is not None and biased.count_source is not None
    assert (biased.count_source.presence.sum(0) >= plain.count_source.presence.sum(0)).all()
    assert biased.count_source.presence.sum() > 1.2 * plain.count_source.presence.sum()


def test_thresholds_and_sizes_are_the_inference_part_and_arguments_override_it(tiny_model: ACVIS) -> None:
    own = Predictor(tiny_model)
    assert own.inference == inference_of(tiny_model.config) and own.score_threshold == TINY.score_threshold
    given = InferenceConfig(short_side=48, top_k=7, score_threshold=0.25)
    predictor = Predictor(tiny_model, top_k=3, inference=given)
    assert (predictor.short_side, predictor.top_k, predictor.score_threshold) == (48, 3, 0.25)
    with pytest.raises(ConfigError, match="top_k=0"):
        Predictor(tiny_model, top_k=0)


@pytest.mark.parametrize(("name", "value"), [("score_threshold", 0.99), ("top_k", 1), ("count_gate", True)])
def test_a_setting_that_would_change_nothing_cannot_be_set(tiny_model: ACVIS, name: str, value: object) -> None:
    predictor = Predictor(tiny_model)
    with pytest.raises(AttributeError, match=f"{name}.*no setter"):
        setattr(predictor, name, value)
    predictor.inference = replace(predictor.inference, **{name: value})
    assert getattr(predictor, name) == value


COPIES = [copy.deepcopy, lambda predictor: pickle.loads(pickle.dumps(predictor))]


@pytest.mark.parametrize("copied", [copy.copy, *COPIES], ids=["shallow", "copy", "pickle"])
def test_a_copy_of_a_predictor_decodes_its_features(noise_clip: Clip, copied) -> None:
    model = make_model(TINY)
    predictor = Predictor(model)
    other = copied(predictor)
    assert same(predictor.decode(other.encode(noise_clip)), other.decode(predictor.encode(noise_clip)))
    features = predictor.encode(noise_clip)
    with torch.no_grad():
        model.tracker.requires_grad_(False)
        next(model.tracker.parameters()).add_(1)
    with pytest.raises(WeightsError, match="changed"):
        copied(predictor)
    with pytest.raises(DataError, match="another model"):
        Predictor(model).decode(features)


@pytest.mark.parametrize("copied", COPIES, ids=["copy", "pickle"])
def test_a_copy_of_a_predictor_predicts_the_same(tiny_model: ACVIS, noise_clip: Clip, copied) -> None:
    predictor = Predictor(tiny_model, score_threshold=0.0)
    other = copied(predictor)
    expected, found = predictor(noise_clip), other(noise_clip)
    assert expected.tracks and torch.equal(expected.scores, found.scores)
    assert torch.equal(expected.masks(), found.masks())
    with torch.no_grad():
        other.model.pixel_decoder.input_proj[0][0].weight.add_(1)
    with pytest.raises(WeightsError, match="changed"):
        other(noise_clip)
    predictor(noise_clip)  # the original's weights are its own
