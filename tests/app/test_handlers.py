"""The page without a browser: its handlers' results and errors."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gradio as gr
import pytest

from acvis_kit.app import handlers as module
from acvis_kit.app import studio as studio_module
from acvis_kit.app.handlers import DOING, ORIGINAL, Handlers, spoken_errors
from acvis_kit.app.layout import build_app
from acvis_kit.app.studio import Studio
from acvis_kit.errors import MediaError
from acvis_kit.media.load import load_clip
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import Loaded
from tests.app.conftest import make_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*(trimmed|no sound track).*:UserWarning")
VIEW = (0.0, False, 0.5)
TOKEN = "0123456789abcdef" * 2


@pytest.fixture
def page(studio) -> Handlers:
    return Handlers(studio)


def visitor(name: str = "s") -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


def run(
    page: Handlers, clip: str | None, sound: str = "original", other: str | None = None, left: int = ORIGINAL, **kwargs
) -> Results:
    numbers = [kwargs.pop(name, 0) for name in ("level", "shift", "start", "end")]
    kwargs.setdefault("request", visitor())
    return Results(*page.run(clip, sound, "", other, *numbers, *VIEW, left, **kwargs))


class Results(NamedTuple):
    """What a run returns."""

    status: str
    left: Any
    right: Any
    left_video: Any
    right_video: Any
    summary: Any
    timeline: Any
    second: Any
    frame: Any
    caption: Any
    tracks: Any
    code: Any
    overlay: Any
    result: Any
    counts: Any
    masks: Any

    def changed(self) -> list[str]:
        """The names of the outputs that are not skipped."""
        skip = gr.skip()
        return [name for name, value in self._asdict().items() if type(value) is not type(skip) or value != skip]


def test_a_run_shows_the_original_beside_the_take(page, clip):
    status, left, right, original, overlay, summary, figure, second, *_ = run(page, clip)
    assert status == "" and left["value"] == ORIGINAL and right["value"] == 1
    assert original == clip and overlay.endswith("overlay.mp4")
    assert [title for title, _ in right["choices"]] == ["The original", "Take 1: a clip.mp4 with its original sound"]
    assert "a clip.mp4" in summary and second["maximum"] == 1 and len(figure.data) == 8


def test_takes_can_be_compared(page, clip):
    run(page, clip)
    right = run(page, clip, "mute").right
    assert [value for _, value in right["choices"]] == [0, 1, 2]
    left = page.video_alone(1, *VIEW, request=visitor())
    assert load_clip(left).waveform.abs().max() > 0.1
    shown, saved = page.video(2, *VIEW, request=visitor())
    assert shown == saved and load_clip(shown).waveform.abs().max() == 0
    assert page.video_alone(ORIGINAL, *VIEW, request=visitor()) == clip


def test_the_controls_of_the_view_change_what_is_shown(page, clip):
    run(page, clip)
    _, figure, second, *_, code, _, _, _ = page.show(1, 0.94, False, 0.5, 1, request=visitor())
    assert "no object" in figure.layout.annotations[-1].text and second["value"] == 1
    assert "score_threshold=0.94" in code
    frame, caption = page.second(1, 0.0, False, 0.5, 1, request=visitor())
    assert "Second 1 to 2" in caption and len(frame.color_map) <= 3
    _, right, saved = page.redraw(ORIGINAL, 1, 0.94, False, 0.5, request=visitor())
    assert right == saved and right != run(page, clip).right_video


def test_an_example_runs_with_one_click(loaded, examples):
    page = Handlers(Studio(loaded, examples=examples))
    path = page.studio.examples["two"]
    assert page.choose(path)(visitor()) == [str(path), "original"]
    assert "two.mp4" in Results(*page.run_example(path)(*VIEW, ORIGINAL, request=visitor())).summary


def test_the_sound_of_another_example_is_chosen_by_name(loaded, examples, clip):
    page = Handlers(Studio(loaded, examples=examples))
    results = Results(*page.run(clip, "swap", "one", None, 0, 0, 0, 0, *VIEW, ORIGINAL, request=visitor()))
    assert "the sound of one.mp4" in results.summary


def test_progress_names_each_step(page, clip):
    steps = []
    run(page, clip, progress=lambda at, desc, **_: steps.append(desc))
    assert steps[0] == DOING["read"]
    assert list(dict.fromkeys(steps[1:])) == [DOING[k] for k in ("wait", "read", "encode", "decode", "masks", "write")]


def test_the_summary_says_that_a_long_clip_was_trimmed(loaded, clip):
    summary = run(Handlers(Studio(loaded, max_seconds=1)), clip).summary
    assert "trimmed to the first 1 s" in summary and ", 1 s." in summary


@pytest.mark.parametrize(
    ("sound", "other", "message"),
    [
        ("swap", None, "There is no other sound yet"),
        ("swap", "fake.mp4", "fake.mp4 is not readable"),
        ("louder", None, "not known"),
    ],
)
def test_a_wrong_sound_gets_a_message(page, clip, tmp_path, sound, other, message):
    (tmp_path / "fake.mp4").write_text("no sound\n" * 20)
    assert message in run(page, clip, sound, other and str(tmp_path / other)).status


@pytest.mark.parametrize(
    ("sound", "numbers", "message"),
    [
        ("keep", {"start": 50, "end": 60}, "The part begins at 50 s, but the clip lasts 2 s"),
        ("keep", {"start": 1, "end": 60}, "The part ends at 60 s, but the clip lasts 2 s"),
        ("shift", {"shift": -2}, "Nothing is left of a sound shifted by -2 s: the clip lasts 2 s"),
        ("shift", {"shift": math.nan}, "seconds=nan must be a number from -3600 to 3600"),
        ("noise", {"level": math.inf}, "level=inf must be a number from -100 to 100"),
        ("keep", {"start": -50}, "From second=-50 must be a number from 0 to 3600"),
        ("keep", {"end": 1e9}, "To second=1000000000.0 must be a number from 0 to 3600"),
    ],
)
def test_numbers_outside_the_clip_or_their_range_are_refused_in_words(page, clip, sound, numbers, message):
    assert message in run(page, clip, sound, **numbers).status


def test_an_error_belongs_to_the_run_that_made_it(page, clip):
    assert run(page, None).changed() == ["status"]
    assert "There is no clip yet" in run(page, None).status and "role='alert'" in run(page, None).status
    assert run(page, clip).status == ""


def test_a_stopped_run_leaves_the_finished_take_as_it_is(page, clip):
    run(page, clip)
    pressed: list[str] = []

    def press_cancel(*_: object, **__: object) -> None:
        pressed.append(page.cancel(False, visitor())[0])

    stopped = run(page, clip, "mute", progress=press_cancel)
    assert stopped.changed() == ["status"] and "Stopped" in stopped.status and "role='status'" in stopped.status
    assert stopped.status in pressed


def test_cancel_says_nothing_when_nothing_runs_and_stopped_when_a_run_waits(page, clip):
    """It must not replace what the status says about the last run."""
    nothing = [gr.skip()] * 3
    assert page.cancel(False, visitor()) == nothing
    run(page, clip)
    assert page.cancel(False, visitor()) == nothing
    assert run(page, clip, "mute").status == ""  # nor stop the next run
    stopped, *choices = page.cancel(True, visitor())  # a run that the server has not begun
    assert "Stopped" in stopped and "Finished" not in stopped and choices == nothing[1:]


def test_cancel_between_two_takes_stops_the_others_and_keeps_the_finished_ones(page, clip, monkeypatch):
    run(page, clip)
    pressed: list[Any] = []
    one = page.studio.run

    def run_and_cancel(*arguments: Any) -> Any:
        take = one(*arguments)
        if take.number == 3:  # the second of three
            pressed.extend(page.cancel(True, visitor()))
        return take

    monkeypatch.setattr(page.studio, "run", run_and_cancel)
    results = Results(*page.run_all(clip, "", clip, *VIEW, request=visitor()))
    assert "Stopped" in results.status and results.right["value"] == 3
    assert [*page.studio.session("s").takes] == [1, 2, 3]
    status, left, right = pressed
    assert "kept in the lists of videos: take 2, take 3." in status and left == right
    assert [number for _, number in right["choices"]] == [0, 1, 2, 3]
    monkeypatch.undo()
    assert run(page, clip, "mute").right["value"] == 4  # the next run is not stopped


def test_another_file_or_sound_clears_the_error_of_an_earlier_run_and_keeps_news(page, clip):
    error = run(page, None).status
    assert page.forget_trouble(error) == "" and page.forget_trouble(module.note(module.STOPPED)) == ""
    news = module.note("Take 2, silence: 3 objects are marked.")
    for status in (news, "", None, 5, {"a": 1}):
        assert page.forget_trouble(status) == gr.skip()


def test_no_text_says_left_or_right_as_a_narrow_screen_has_the_videos_above_each_other(loaded):
    config = build_app(Loaded(loaded.model, "random")).get_config_file()
    parts = {part["props"].get("elem_id"): part["props"] for part in config["components"]}
    for props in parts.values():
        shown = " ".join(str(props.get(name) or "") for name in ("label", "value", "info", "placeholder"))
        assert not re.search(r"(?i)\b(left|right)\b", shown)
    labels = [parts[f"{side}-{part}"]["label"] for part in ("choice", "video") for side in ("left", "right")]
    assert labels == ["Compare with", "Main video", "Video to compare with", "Main video"]


def test_every_change_of_file_or_sound_clears_the_error(loaded):
    config = build_app(Loaded(loaded.model, "random")).get_config_file()
    names = {part["id"]: part["props"].get("elem_id") for part in config["components"]}
    (event,) = (each for each in config["dependencies"] if each["api_name"].startswith("forget_trouble"))
    assert {(names[part], what) for part, what in event["targets"]} == {
        *(("clip", what) for what in ("upload", "clear", "stop_recording")),
        *(("other", what) for what in ("upload", "clear")),
        *((name, "input") for name in ("sound", "other-example")),
    }
    assert [names[part] for part in event["inputs"] + event["outputs"]] == ["status", "status"]


def test_the_left_viewer_keeps_its_take_of_the_same_clip(page, clip, tmp_path):
    run(page, clip)
    results = run(page, clip, "mute", left=1)
    assert results.left["value"] == 1 and results.right["value"] == 2
    assert load_clip(results.left_video).waveform.abs().max() > 0.1
    other = make_clip(tmp_path / "other.mp4", seconds=1)
    results = run(page, other, left=1)
    assert results.left["value"] == ORIGINAL and results.left_video == other


def test_a_take_that_makes_room_is_named(page, clip):
    for _ in range(studio_module.TAKES_KEPT):
        assert run(page, clip, "mute").status == ""
    results = run(page, clip, "mute", left=1)
    assert "Dropped to make room: take 1. 8 takes are kept." in results.status and results.left["value"] == ORIGINAL
    assert run(page, None).changed() == ["status"]
    assert "take 2." in run(page, clip, "mute").status


def test_the_number_of_kept_takes_is_true_if_they_are_too_large(page, clip, monkeypatch):
    run(page, clip)
    monkeypatch.setattr(studio_module, "SESSION_BYTES", 1)
    assert "Dropped to make room: take 1. 1 take is kept." in run(page, clip, "mute").status


def test_all_sounds_run_with_one_click(loaded, examples, clip):
    page = Handlers(Studio(loaded, examples=examples))
    steps = []
    results = Results(
        *page.run_all(clip, "", None, *VIEW, request=visitor(), progress=lambda at, desc, **_: steps.append(desc))
    )
    titles = [title for title, _ in results.right["choices"]]
    assert [title.partition(" with ")[2] for title in titles[1:]] == [
        "its original sound",
        "silence",
        "the sound of one.mp4",
    ]
    assert (results.left["value"], results.right["value"]) == (1, 3)
    assert "Take 2, silence: 3 objects are marked." in results.status
    assert any(step.startswith("Sound 3 of 3: ") for step in steps)
    one = str(page.studio.examples["one"])
    swapped = Results(*page.run_all(one, "", None, *VIEW, request=visitor("b")))
    assert "the sound of two.mp4" in swapped.summary


def test_what_ran_before_an_error_is_shown_with_it(page, clip, tmp_path):
    (tmp_path / "fake.mp4").write_text("no sound\n" * 20)
    results = Results(*page.run_all(clip, "", str(tmp_path / "fake.mp4"), *VIEW, request=visitor()))
    assert "fake.mp4 is not readable" in results.status and results.right["value"] == 2
    assert "silence" in results.summary


def test_a_reload_finds_the_clip_and_the_takes_again_and_nobody_else_does(page, clip):
    page.restore(TOKEN, visitor("before"))
    page.keep_clip(clip, visitor("before"))
    run(page, clip, "mute", request=visitor("before"))
    page.leave(visitor("before"))
    shown, *restored = page.restore(TOKEN, visitor("after"))
    results = Results(*restored)
    assert shown == clip and "silence" in results.summary and results.right["value"] == 1
    assert Path(results.right_video).is_file()
    for token in ("0" * 32, "", None, TOKEN.upper(), {"a": 1}, "before"):
        assert page.restore(token, visitor(f"somebody with {token}"))[2:] == [gr.skip()] * module.OUTPUTS
    with pytest.raises(gr.Error, match="no longer kept"):
        page.second(1, *VIEW, 0, request=visitor("before"))


def test_a_reload_after_the_clip_was_deleted_begins_anew(page, clip):
    page.restore(TOKEN, visitor())
    page.keep_clip(clip, visitor())
    run(page, clip)
    Path(clip).unlink()
    assert page.restore(TOKEN, visitor("after")) == [gr.skip()] * (2 + module.OUTPUTS)


def test_a_file_that_cannot_be_written_is_named_without_the_servers_folders(cache):
    message = f"{cache}/acvis-1_x/overlay.mp4 cannot be written: create the folder {cache}/there first"
    with (
        pytest.raises(gr.Error, match=r"^'overlay\.mp4 cannot be written: create the folder there first'$"),
        spoken_errors(),
    ):
        raise MediaError(message)


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 20, b"\x00" * 1000])
def test_a_bad_file_gets_a_message_without_the_servers_folders(page, clip, tmp_path, content):
    fake = tmp_path / "fake.mp4"
    fake.write_bytes(content)
    status = run(page, str(fake)).status
    assert ">fake.mp4" in status and str(tmp_path) not in status
    assert "3 objects" in run(page, clip).summary  # the page still works


def test_a_file_without_a_picture_gets_a_message(page, tmp_path):
    from scipy.io import wavfile

    wavfile.write(tmp_path / "beep.wav", 16000, (1e4 * __import__("numpy").ones(16000)).astype("int16"))
    status = run(page, str(tmp_path / "beep.wav")).status
    assert "no picture: use it as the sound of another clip." in status and "AudioEdit" not in status


def test_a_message_advises_nothing_that_the_page_does_not_have():
    with pytest.raises(gr.Error) as caught, spoken_errors():
        raise MediaError("the limit is 9437184: scale it down or raise max_pixels=.")
    assert caught.value.message == "the limit is 9437184: scale it down."


def test_a_missing_clip_gets_a_message(page, tmp_path):
    assert "There is no clip yet" in run(page, None).status
    assert "no longer here" in run(page, str(tmp_path / "deleted.mp4")).status


def test_a_deleted_original_gets_a_message(page, clip):
    run(page, clip)
    Path(clip).unlink()
    with pytest.raises(gr.Error, match="no longer here"):
        page.video_alone(ORIGINAL, *VIEW, request=visitor())


def test_faults_of_the_page_are_logged_and_not_shown(page, clip, cache, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(studio_module, "write_overlay", broken)
    status = run(page, clip).status
    assert "fault of the page" in status and "secret" not in status and "secret" in caplog.text
    assert not list(cache.rglob("*.mp4"))  # no partial result


def test_leaving_deletes_the_takes(page, clip):
    video = run(page, clip).right_video
    page.leave(visitor())
    assert not Path(video).exists()
    with pytest.raises(gr.Error, match="no longer kept"):
        page.second(1, *VIEW, 0, request=visitor())


def test_the_endpoint_returns_files_and_rows(page, tmp_path):
    clip = make_clip(tmp_path / "x.mp4", seconds=1)
    video, summary, rows, *others = page.predict(clip, "mute", threshold=0.0, request=visitor())
    assert load_clip(video).waveform.abs().max() == 0
    assert "silence" in summary and len(rows) == 3
    assert [Path(other).name for other in others] == ["result.json", "counts.csv", "masks.zip"]
    settings = json.loads(Path(others[0]).read_text(encoding="utf-8"))["settings"]
    assert settings == {"sound": "mute", "threshold": 0, "count_gate": False, "weights": "random"}
    assert module.session_of(None) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": math.nan}, "threshold=nan must be a number from 0 to 1"),
        ({"threshold": 1e308}, r"threshold=1e\+308 must be"),
        ({"threshold": -math.inf}, "threshold=-inf must be"),
        ({"threshold": 10**400}, "threshold=10000"),
        ({"threshold": 10**5000}, "threshold=a huge number must be"),
        ({"threshold": "high"}, "threshold='high' must be"),
        ({"threshold": [0.5]}, r"threshold=\[0.5\] must be"),
        ({"threshold": True}, "threshold=True must be"),
        ({"sound": "keep", "start": -1}, "start=-1 must be a number from 0 to 3600"),
        ({"sound": "keep", "end": -math.inf}, "end=-inf must be a number from 0 to 3600"),
        ({"sound": "noise", "level": 10**400}, "level=10000"),
        ({"sound": "x" * 10**6}, "sound='xxx"),
    ],
)
def test_the_endpoint_refuses_other_numbers_and_texts_briefly(page, clip, given, message):
    with pytest.raises(gr.Error, match=message) as caught:
        page.predict(clip, request=visitor(), **given)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"start": 2, "end": 4}, "start, end: only with sound='keep', not with 'original'"),
        ({"sound": "mute", "level": -3}, "level: only with sound='noise' or sound='mix', not with 'mute'"),
        ({"sound": "noise", "seconds": 1}, "seconds: only with sound='shift'"),
        ({"sound": "mute", "other_sound": "x.wav"}, "other_sound: only with sound='swap' or sound='mix'"),
    ],
)
def test_the_endpoint_refuses_what_the_sound_does_not_use(page, clip, given, message):
    with pytest.raises(gr.Error, match=message):
        page.predict(clip, request=visitor(), **given)


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({"score_threshold": 0.3}, {"threshold": 0}, "threshold=0 must be a number from 0.1 to 1"),
        ({"score_threshold": 0.05}, {"threshold": 0.04}, "threshold=0.04 must be a number from 0.05 to 1"),
        ({"count_head": "none"}, {"count_gate": True}, "count_gate: only with weights that have a count head"),
    ],
)
def test_the_endpoint_refuses_what_it_cannot_do_with_these_weights(loaded, clip, changes, given, message):
    """Tracks below the lowest threshold are not kept; without a count head there is nothing to limit masks to."""
    model = ACVIS(replace(loaded.model.config, **changes)).eval()
    with pytest.raises(gr.Error, match=message):
        Handlers(Studio(Loaded(model, "random"))).predict(clip, request=visitor(), **given)


def test_the_endpoint_without_a_threshold_uses_that_of_the_weights(page, clip):
    _, _, rows, *_ = page.predict(clip, request=visitor())
    assert page.studio.view.threshold == 0 and len(rows) == 3


@pytest.mark.parametrize("head", ["none", "ordinal"])
def test_the_page_offers_the_count_gate_to_weights_with_a_count_head_alone(loaded, head):
    model = ACVIS(replace(loaded.model.config, count_head=head)).eval()
    config = build_app(Loaded(model, "random")).get_config_file()
    (gate,) = (part["props"] for part in config["components"] if part["props"].get("elem_id") == "gate")
    assert gate["visible"] == (head != "none")


def test_no_message_is_longer_than_a_paragraph(cache):
    with pytest.raises(gr.Error) as caught, spoken_errors():
        raise MediaError("x" * 10**6)
    assert len(caught.value.message) == module.LONGEST_MESSAGE + 3
