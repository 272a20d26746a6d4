"""The page without a browser: its handlers' results and errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from acvis_kit.app import handlers as module
from acvis_kit.app import studio as studio_module
from acvis_kit.app.handlers import DOING, ORIGINAL, Handlers, spoken_errors
from acvis_kit.app.studio import Studio
from acvis_kit.errors import MediaError
from acvis_kit.media.load import load_clip
from tests.app.conftest import make_clip

pytestmark = pytest.mark.filterwarnings("ignore:.*(trimmed|no sound track).*:UserWarning")
VIEW = (0.0, False, 0.5)


@pytest.fixture
def page(studio) -> Handlers:
    return Handlers(studio)


def visitor(name: str = "s") -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


def run(page: Handlers, clip: str | None, sound: str = "original", other: str | None = None, **kwargs) -> list:
    kwargs.setdefault("request", visitor())
    return page.run(clip, sound, "", other, 0, 0, 0, 0, *VIEW, **kwargs)


def test_a_run_shows_the_original_beside_the_take(page, clip):
    left, right, original, overlay, summary, figure, second, *_ = run(page, clip)
    assert left["value"] == ORIGINAL and right["value"] == 1
    assert original == clip and overlay.endswith("overlay.mp4")
    assert [title for title, _ in right["choices"]] == ["The original", "Take 1: a clip.mp4 with its original sound"]
    assert "a clip.mp4" in summary and second["maximum"] == 1 and len(figure.data) == 8


def test_takes_can_be_compared(page, clip):
    run(page, clip)
    right = run(page, clip, "mute")[1]
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
    assert right == saved and right != run(page, clip)[3]


def test_an_example_runs_with_one_click(loaded, examples):
    page = Handlers(Studio(loaded, examples=examples))
    path = page.studio.examples["two"]
    assert page.choose(path)() == [str(path), "original"]
    assert "two.mp4" in page.run_example(path)(*VIEW, request=visitor())[4]


def test_the_sound_of_another_example_is_chosen_by_name(loaded, examples, clip):
    page = Handlers(Studio(loaded, examples=examples))
    summary = page.run(clip, "swap", "one", None, 0, 0, 0, 0, *VIEW, request=visitor())[4]
    assert "the sound of one.mp4" in summary


def test_progress_names_each_step(page, clip):
    steps = []
    run(page, clip, progress=lambda at, desc, **_: steps.append(desc))
    assert steps[0] == DOING["read"]
    assert list(dict.fromkeys(steps[1:])) == [DOING[k] for k in ("wait", "read", "encode", "decode", "masks", "write")]


def test_the_summary_says_that_a_long_clip_was_trimmed(loaded, clip):
    summary = run(Handlers(Studio(loaded, max_seconds=1)), clip)[4]
    assert "trimmed to the first 1 s" in summary and ", 1 s." in summary


@pytest.mark.parametrize(
    ("sound", "other", "message"),
    [
        ("swap", None, "There is no other sound yet"),
        ("swap", "fake.mp4", r"fake\.mp4 is not readable"),
        ("louder", None, "not known"),
    ],
)
def test_a_wrong_sound_gets_a_message(page, clip, tmp_path, sound, other, message):
    (tmp_path / "fake.mp4").write_text("no sound\n" * 20)
    with pytest.raises(gr.Error, match=message):
        run(page, clip, sound, other and str(tmp_path / other))


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
    with pytest.raises(gr.Error) as caught:
        run(page, str(fake))
    assert caught.value.message.startswith("fake.mp4") and str(tmp_path) not in caught.value.message
    assert "3 objects" in run(page, clip)[4]  # the page still works


def test_a_file_without_a_picture_gets_a_message(page, tmp_path):
    from scipy.io import wavfile

    wavfile.write(tmp_path / "beep.wav", 16000, (1e4 * __import__("numpy").ones(16000)).astype("int16"))
    with pytest.raises(gr.Error, match="no picture"):
        run(page, str(tmp_path / "beep.wav"))


def test_a_missing_clip_gets_a_message(page, tmp_path):
    with pytest.raises(gr.Error, match="There is no clip yet"):
        run(page, None)
    with pytest.raises(gr.Error, match="no longer here"):
        run(page, str(tmp_path / "deleted.mp4"))


def test_a_deleted_original_gets_a_message(page, clip):
    run(page, clip)
    Path(clip).unlink()
    with pytest.raises(gr.Error, match="no longer here"):
        page.video_alone(ORIGINAL, *VIEW, request=visitor())


def test_the_last_error_of_a_session_stays_on_the_page(page):
    with pytest.raises(gr.Error):
        run(page, None)
    assert "There is no clip yet" in page.failure(visitor()) and "role='alert'" in page.failure(visitor())
    assert "There is no clip yet" not in page.failure(visitor("somebody else"))


def test_faults_of_the_page_are_logged_and_not_shown(page, clip, cache, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(studio_module, "write_overlay", broken)
    with pytest.raises(gr.Error, match="fault of the page") as caught:
        run(page, clip)
    assert "secret" not in caught.value.message and "secret" in caplog.text
    assert not list(cache.rglob("*.mp4"))  # no partial result


def test_cancelling_is_confirmed_and_leaving_deletes_the_takes(page, clip):
    assert "Cancelled" in page.cancel(visitor())
    run(page, clip)
    page.leave(visitor())
    with pytest.raises(gr.Error, match="no longer kept"):
        page.second(1, *VIEW, 0, request=visitor())


def test_the_endpoint_returns_files_and_rows(page, tmp_path):
    clip = make_clip(tmp_path / "x.mp4", seconds=1)
    video, summary, rows, *others = page.predict(clip, "mute", threshold=0.0, request=visitor())
    assert load_clip(video).waveform.abs().max() == 0
    assert "silence" in summary and len(rows) == 3
    assert [Path(other).name for other in others] == ["result.json", "counts.csv", "masks.zip"]
    assert module.session_of(None) is None
