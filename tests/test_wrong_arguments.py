"""What a user gives by mistake: every public call takes it, or refuses it with an AcvisError of one sentence."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import acvis_kit as ak
from acvis_kit import viz
from acvis_kit.inference.clip_prediction import ClipPrediction
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.masks import encode_masks
from acvis_kit.viz.explorer import Explorer, ExplorerState, explore
from acvis_kit.viz.sheet import soundtrack_sheet
from tests.conftest import TINY, make_model
from tests.semantic_models import dog_and_car, marking_avsc

WRONG: tuple[Any, ...] = (
    None, "x", "2", -1, 2, 0.5, 1e9, float("nan"), float("inf"), 10**400, True, [], [1], ["x"], {}, {"a": 1}, b"x",
    (1, 2), object(), torch.tensor([1.0]), torch.tensor(1), np.zeros((4, 5)), "a\0b",
)  # fmt: skip
LONGEST_MESSAGE = 600  # characters


@cache
def two_tracks() -> Prediction:
    """Four frames of 4x5 pixels with a clip."""
    masks = torch.zeros(2, 4, 4, 5, dtype=torch.bool)
    masks[0, :, :2] = masks[1, 1:, 2:] = True
    tracks = tuple(
        Track(n, n, 0.9 - n / 2, tuple(encode_masks(masks[n])), masks[n].flatten(1).any(1).float(), ("dog", "cat")[n])
        for n in range(2)
    )
    clip = ak.Clip.from_arrays(torch.full((4, 3, 4, 5), 90, dtype=torch.uint8), torch.ones(32000), fps=2)
    probabilities = torch.full((4, 3), 1 / 3)
    return Prediction(tracks, probabilities.argmax(1), probabilities, ("dog", "cat"), (4, 5), fps=2.0, clip=clip)


Call = tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]


def calls_of(given: ClipPrediction, folder: Path) -> dict[str, Call]:
    """Calls with a prediction that work, by name."""
    mark, picture = given.marks[0], np.zeros((*given.size, 3), np.uint8)
    explorer = explore(given)
    state = ExplorerState("original")
    return {
        "above": (given.above, (0.5,), {}),
        "without": (given.without, ([0],), {}),
        "frame": (given.frame, (0.5,), {}),
        "plot": (given.plot, (0.5,), {}),
        "to_csv": (given.to_csv, (folder / "a.csv",), {}),
        "to_json": (given.to_json, (folder / "a.json", 1), {}),
        "to_dict": (given.to_dict, (1,), {}),
        "to_video": (given.to_video, (folder / "a.mp4",), {"opacity": 0.5, "max_short_side": 4}),
        "interval": (given.interval, (1,), {}),
        "count_text": (given.count_text, (1,), {}),
        "name_of": (given.name_of, (mark,), {}),
        "[]": (given.__getitem__, (1,), {}),
        "[:]": (lambda first, last, step: given[first:last:step], (0, 2, 1), {}),
        "mask": (mark.mask, (1,), {}),
        "paint": (viz.paint, (picture, given, 1, 0.5), {}),
        "Painter": (viz.Painter, (given, given.size, 0.5), {}),
        "painter": (viz.Painter(given, given.size), (picture, 1), {}),
        "timeline_figure": (viz.timeline_figure, (given, 3), {}),
        "sounding_spans": (viz.sounding_spans, (mark, 2.0), {}),
        "track_name": (viz.track_name, (given, mark), {}),
        "write_overlay": (viz.write_overlay, (given, folder / "b.mp4"), {"opacity": 0.5, "progress": None}),
        "explore": (explore, (given,), {"other": given}),
        "Explorer": (Explorer, ({"a": given},), {}),
        "picture": (lambda **view: explorer.picture(replace(state, **view)), (), {"soundtrack": "original", "t": 1}),
        "shown": (lambda **view: explorer.shown(replace(state, **view)), (), {"score_threshold": 0, "hidden": {0}}),
        "sound": (explorer.sound, ("original",), {}),
        "soundtrack_sheet": (soundtrack_sheet, ({"a": given}, {"a": [0, 1, 2, 1]}, 2, 20), {}),
    }


def calls_of_the_rest(folder: Path) -> dict[str, Call]:
    """Calls of models, clips and sounds that work, by name."""
    frames, sound = torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(32000)
    clip = ak.Clip.from_arrays(frames, sound)
    model, semantic = make_model(TINY), marking_avsc()
    one, other = ak.Predictor(model), ak.SemanticPredictor(semantic)
    features, their_features = one.encode(clip), other.encode(clip)
    given, maps, edit = two_tracks(), dog_and_car(), ak.AudioEdit
    video = Path(ak.__file__).parent / "assets" / "clips" / "twins.mp4"
    loading = {"fps": 1.0, "start": 0.0, "end": 2.0, "max_seconds": 3, "too_long": "trim", "position": 0.5}
    return {
        "SemanticPrediction.mask": (maps.mask, (1, 0), {}),
        "sounding": (maps.sounding, (1,), {}),
        "count_figure": (viz.count_figure, (given,), {}),
        "palette": (viz.palette, (3,), {}),
        "track_colour": (viz.track_colour, (3,), {}),
        "from_arrays": (ak.Clip.from_arrays, (frames, sound), {"fps": 1.0}),
        "with_audio": (clip.with_audio, (sound,), {}),
        "Predictor": (ak.Predictor, (model,), {
            "short_side": 64, "score_threshold": 0.5, "top_k": 5, "count_gate": False, "feature_budget_mb": 100,
            "device": "cpu", "dtype": "float32", "frames_at_once": 2, "inference": None, "matmul_precision": None,
            "device_budget_mb": 100,
        }),
        "SemanticPredictor": (ak.SemanticPredictor, (semantic,), {
            "threshold": 0.5, "device": "cpu", "dtype": "float32", "inference": None,
        }),
        "encode": (one.encode, (clip,), {"progress": None}),
        "decode": (one.decode, (features, sound, (8, 8)), {"progress": None}),
        "decode log_mel": (one.decode, (features,), {"log_mel": torch.zeros(2, 96, 64)}),
        "decode audio_features": (one.decode, (features,), {"audio_features": torch.zeros(2, 128)}),
        "encode semantic": (other.encode, (clip,), {"progress": None}),
        "decode semantic": (other.decode, (their_features, sound, (8, 8)), {"progress": None}),
        "decode semantic audio_features": (other.decode, (their_features,), {"audio_features": torch.zeros(2, 128)}),
        "input_size": (one.input_size, (64, 64), {}),
        "predict": (ak.predict, (clip, sound), {"weights": model}),
        "load_clip": (ak.load_clip, (video,), {
            **loading, "max_pixels": 10**7, "max_bytes": 10**9, "max_memory": 10**9, "progress": None,
        }),
        "load_model": (ak.load_model, ("acvis-synth-tiny",), {"audio_weights": None}),
        "save_model": (ak.save_model, (model, folder / "model"), {}),
        "from_reference": (ak.convert.from_reference, ({},), {"count_head": "ce"}),
        "AudioEdit": (edit, ((),), {}),
        "swap": (edit.swap, (clip, 0.0, False), {}),
        "mix": (edit.mix, (clip, 0.0, 0.0, False), {}),
        "noise": (edit.noise, (3.0, 0), {}),
        "gain": (edit.gain, (3.0,), {}),
        "shift": (edit.shift, (1.0,), {}),
        "keep": (edit.keep, (0.0, 1.0), {}),
        "parse": (edit.parse, ("mute",), {}),
        "apply": (edit.mute().apply, (clip,), {}),
    }  # fmt: skip


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own: "x" is a valid name of a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def refused(call: Call) -> list[str]:
    """The messages with which a call refuses each wrong value of each argument."""
    function, arguments, named = call
    messages = []
    for place in [*range(len(arguments)), *named]:
        for value in WRONG:
            positional = [value if number == place else one for number, one in enumerate(arguments)]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    function(*positional, **named | ({place: value} if place in named else {}))
            except ak.AcvisError as error:
                messages.append(str(error))
            except Exception as error:
                pytest.fail(f"argument {place} = {str(value)[:40]!r}: {error!r}")
    return messages


NAMES = list(calls_of(two_tracks(), Path()))


@pytest.mark.parametrize("kind", [two_tracks, dog_and_car])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_argument_of_a_prediction_is_named(kind: Callable[[], ClipPrediction], name: str, apart: Path) -> None:
    call = calls_of(kind(), apart)[name]
    call[0](*call[1], **call[2])
    messages = refused(call)
    assert messages and max(map(len, messages)) < LONGEST_MESSAGE
    assert not [message for message in messages if re.search(r"'\w+' object|attribute|ambiguous|unsupported", message)]


@pytest.mark.slow
def test_a_wrong_argument_of_any_other_call_is_named(apart: Path) -> None:
    for name, call in calls_of_the_rest(apart).items():
        messages = refused(call)
        assert messages and max(map(len, messages)) < 3 * LONGEST_MESSAGE, name


def takes_a_truth_value(call: Call) -> list[Any]:
    """The places of numbers, or of lists of them, where a call takes True or False for 1 or 0."""
    function, arguments, named = call
    taken = []
    for place, usual in [*enumerate(arguments), *named.items()]:
        listed = isinstance(usual, list | tuple | set) and any(type(one) is int for one in usual)
        if type(usual) not in (int, float) and not listed:
            continue
        for value in (True, False, np.True_, torch.tensor(True)):
            value = type(usual)([value] * len(usual)) if listed else value
            positional = [value if number == place else one for number, one in enumerate(arguments)]
            try:
                function(*positional, **named | ({place: value} if place in named else {}))
            except ak.AcvisError:
                continue
            taken.append((place, value))
    return taken


@pytest.mark.parametrize("kind", [two_tracks, dog_and_car])
@pytest.mark.parametrize("name", NAMES)
def test_true_and_false_are_no_numbers_of_a_prediction(
    kind: Callable[[], ClipPrediction], name: str, apart: Path
) -> None:
    assert takes_a_truth_value(calls_of(kind(), apart)[name]) == []


@pytest.mark.slow
def test_true_and_false_are_no_numbers_of_any_other_call(apart: Path) -> None:
    for name, call in calls_of_the_rest(apart).items():
        assert takes_a_truth_value(call) == [], name


@pytest.mark.parametrize("kind", [two_tracks, dog_and_car])
def test_an_option_that_a_video_does_not_have_is_named(kind: Callable[[], ClipPrediction], apart: Path) -> None:
    with pytest.raises(ak.ConfigError, match="alpha: no option of to_video, choose from opacity, max_short_side, prog"):
        kind().to_video(apart / "a.mp4", alpha=0.5)
    with pytest.raises(ak.ConfigError, match=r"opacity=2 must lie between 0 and 1"):
        kind().to_video(apart / "a.mp4", opacity=2)


def test_a_list_of_predictions_has_no_names_for_its_soundtracks() -> None:
    with pytest.raises(ak.DataError, match=r'by the name of their soundtrack, \{"as filmed": own, "muted": muted\}'):
        explore([two_tracks()])  # type: ignore[arg-type]


def test_what_an_edit_is_made_of_is_checked() -> None:
    with pytest.raises(ak.ConfigError, match=r"AudioEdit\('mute'\): write AudioEdit\.mute\(\)"):
        ak.AudioEdit("mute")  # type: ignore[arg-type]


def test_an_override_for_weights_with_a_configuration_is_refused() -> None:
    with pytest.raises(ak.WeightsError, match="count_head: only for checkpoints of the reference code"):
        ak.load_model("acvis-synth-tiny", count_head="ce")


def test_a_wrapped_model_is_not_saved_under_names_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(ak.WeightsError, match=r"DataParallel: .* the one inside"):
        ak.save_model(torch.nn.DataParallel(make_model(TINY)), tmp_path)  # type: ignore[arg-type]
