"""Sessions and takes: a clip is encoded once, a take has one sound, sessions are separate, runs can be stopped."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from acvis_kit.app import storage, views
from acvis_kit.app import studio as studio_module
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import SESSIONS_KEPT, TAKES_KEPT, VIEWS_KEPT, Cancelled, Studio, TakeView
from acvis_kit.errors import AcvisError, MediaError
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from tests.app.conftest import make_clip, quiet
from tests.app.test_clips import remux

VIEW = TakeView(0.0)


def test_another_take_does_not_encode_again_and_gives_its_durations(studio, clip, encoded_lengths) -> None:
    first = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    second = studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet)
    assert encoded_lengths == [2]
    assert first.encoding > 0 and second.encoding == 0 and second.decoding > 0 and second.drawing > 0
    assert (first.number, second.number) == (1, 2)
    assert list(studio.session("s").takes) == [1, 2]


def test_a_take_says_truly_when_its_clip_was_encoded(loaded, examples, tmp_path) -> None:
    studio, clip = Studio(loaded, examples=examples), make_clip(tmp_path / "three.mp4", seconds=3)

    def words(key: str, path: str | Path, sound: str = "original", view: TakeView = VIEW) -> str:
        take = studio.run(key, Path(path), SoundSettings(sound), view, quiet)
        assert (take.encoding == 0) == (sound == "mute" or key == "later")
        found = re.search(r"encoding (\d+\.\d|0) s( \(.*?\))? · decoding", views.summary(take, view))
        return found[2].strip(" ()")

    assert words("early", examples / "one.mp4") == "once per clip"  # before the examples are prepared
    assert words("early", examples / "one.mp4", "mute") == "done for take 1"
    studio.warm_up()
    for view in (studio.view, TakeView(0.1)):
        assert words("s", examples / "two.mp4", view=view) == "done in advance"
    assert words("t", examples / "two.mp4", "mute") == "done in advance"
    assert words("s", examples / "two.mp4", "mute") == "done in advance"
    assert words("s", clip) == "once per clip"
    assert words("s", clip, "mute") == "done for take 4"
    assert words("later", clip) == "this page has encoded the clip before"
    assert words("later", clip, "mute") == "this page has encoded the clip before"


def test_a_take_of_a_gpu_that_keeps_no_clips_promises_nothing(studio, clip) -> None:
    take = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    result = (take.prediction, take.source, take.stills, take.encoding, take.decoding)
    studio._run_on_gpu = lambda *_: result
    again = studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet)
    assert re.search(r"encoding \d+\.\d s · decoding", views.summary(again, VIEW))


@pytest.mark.parametrize(
    ("settings", "loud"),
    [
        (SoundSettings(), [1, 1]),
        (SoundSettings("mute"), [0, 0]),
        (SoundSettings("keep", start=1), [0, 1]),
        (SoundSettings("shift", seconds=1), [0, 1]),
    ],
)
def test_a_takes_video_has_the_sound_that_the_model_received(studio, clip, settings, loud) -> None:
    take = studio.run("s", Path(clip), settings, VIEW, quiet)
    sound = load_clip(take.videos[VIEW]).waveform[: 2 * 16000].reshape(2, 16000)[:, 2000:-2000]
    assert [int(second.abs().max() > 0.1) for second in sound] == loud
    if not any(loud):
        assert sound.abs().max() == 0


def test_the_sound_of_an_example_can_be_swapped_in(loaded, examples, tmp_path) -> None:
    studio = Studio(loaded, examples=examples)
    silent = write_video(tmp_path / "silent.mp4", [b.numpy() for b in blank(2)], 1, blank(1).float().flatten()[:1])
    take = studio.run("s", silent, SoundSettings("swap", str(studio.examples["two"])), VIEW, quiet)
    assert load_clip(take.videos[VIEW]).waveform.abs().max() > 0.1


def blank(n: int):
    import torch

    return torch.zeros(n, 64, 96, 3, dtype=torch.uint8)


def test_another_view_does_not_run_the_model(studio, clip, monkeypatch) -> None:
    take = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    monkeypatch.setattr(studio, "predictor", None)
    assert len(take.shown(VIEW).tracks) == 3
    best = take.prediction.tracks[0].score
    assert [len(take.shown(TakeView(t)).tracks) for t in (best - 1e-6, best)] == [1, 0]
    gated = take.shown(TakeView(0.0, gate=True))
    for t, count in enumerate(gated.counts.tolist()):
        if count < gated.k_max:
            assert sum(bool(track.areas()[t]) for track in gated.tracks) <= count
    drawn = studio.video(take, TakeView(0.0, opacity=0.1))
    assert drawn.is_file() and drawn != take.videos[VIEW]
    assert studio.video(take, TakeView(0.0, opacity=0.1)) == drawn  # drawn once


def test_a_session_cannot_get_a_take_of_another(studio, clip) -> None:
    studio.run("a", Path(clip), SoundSettings("mute"), VIEW, quiet)
    with pytest.raises(MediaError, match="no longer kept"):
        studio.take("b", 1)


def test_only_the_latest_takes_and_sessions_are_kept(studio, clip) -> None:
    for _ in range(TAKES_KEPT + 1):
        studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet)
    assert list(studio.session("s").takes) == list(range(2, TAKES_KEPT + 2))
    for n in range(SESSIONS_KEPT):
        studio.session(f"other {n}")
    assert not studio.session("s").takes


def test_simultaneous_runs_all_finish_with_their_own_clips(studio, tmp_path) -> None:
    paths = [Path(make_clip(tmp_path / f"{n}.mp4", seconds=n)) for n in (1, 2, 3, 4)]
    takes = {}

    def visit(path: Path) -> None:
        takes[path] = studio.run(path.name, path, SoundSettings(), VIEW, quiet)

    threads = [threading.Thread(target=visit, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(takes[path].prediction) for path in paths] == [1, 2, 3, 4]
    assert [takes[path].prediction.clip.source for path in paths] == paths


@pytest.mark.parametrize("stage", ["read", "encode", "decode", "write"])
def test_cancelling_stops_the_run_in_every_stage(studio, clip, cache, stage) -> None:
    stopped = []

    def report(what: str, done: int, total: int) -> None:
        if what == stage:
            studio.cancel("s")
            stopped.append(time.monotonic())

    with pytest.raises(Cancelled):
        studio.run("s", Path(clip), SoundSettings(), VIEW, report)
    assert time.monotonic() - stopped[0] < 3
    assert not list(cache.rglob("*.mp4"))
    assert studio.run("s", Path(clip), SoundSettings(), VIEW, quiet).number == 1  # and the next run works


def test_a_run_that_is_cancelled_at_its_very_end_adds_no_take(studio, clip, monkeypatch) -> None:
    """Its last report is over: the take would use up a number, though the visitor has been told that it is stopped."""
    draw = studio.video

    def draw_and_cancel(*arguments) -> Path:
        path = draw(*arguments)
        assert studio.cancel("s")
        return path

    with monkeypatch.context() as patch:
        patch.setattr(studio, "video", draw_and_cancel)
        with pytest.raises(Cancelled):
            studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    session = studio.session("s")
    assert not session.takes and not [*session.folder.rglob("overlay.mp4")]
    assert studio.run("s", Path(clip), SoundSettings(), VIEW, quiet).number == 1


def test_examples_are_ready_after_warm_up(loaded, examples, tmp_path, encoded_lengths) -> None:
    studio = Studio(loaded, examples=examples)
    studio.warm_up()
    assert encoded_lengths == [1, 2]
    copy = tmp_path / "copied by gradio.mp4"
    copy.write_bytes((examples / "two.mp4").read_bytes())
    take = studio.run("s", copy, SoundSettings(), studio.view, quiet)
    assert encoded_lengths == [1, 2] and take.clip_name == "two.mp4"
    assert take.videos[studio.view].is_file()


def test_a_broken_example_does_not_stop_the_page(loaded, examples, caplog) -> None:
    (examples / "bad.mp4").write_text("no video")
    studio = Studio(loaded, examples=examples)
    studio.warm_up()
    assert "bad.mp4" in caplog.text
    assert len(studio.run("s", examples / "one.mp4", SoundSettings(), studio.view, quiet).prediction) == 1


def test_expired_takes_and_clips_are_dropped(loaded, examples, tmp_path, encoded_lengths) -> None:
    clip = make_clip(tmp_path / "three.mp4", seconds=3)
    studio = Studio(loaded, examples=examples)
    studio.warm_up()
    studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    studio.expire(0.0)
    assert not studio.session("s").takes
    studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    studio.run("s", examples / "two.mp4", SoundSettings("mute"), VIEW, quiet)
    assert encoded_lengths == [1, 2, 3, 3]  # the examples, the clip, the clip again


def test_the_original_keeps_its_sound_when_the_first_take_is_muted(studio, clip, tmp_path) -> None:
    foreign = tmp_path / "a clip.mkv"
    remux(Path(clip), foreign)
    studio.run("s", foreign, SoundSettings("mute"), VIEW, quiet)
    original = studio.session("s").original
    assert original.suffix == ".mp4" and load_clip(original).waveform.abs().max() > 0.1


def test_a_session_that_holds_too_much_drops_its_oldest_takes_with_their_files(studio, clip, monkeypatch) -> None:
    first = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    monkeypatch.setattr(studio_module, "SESSION_BYTES", 1)
    second = studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet)
    session = studio.session("s")
    assert list(session.takes) == [2] and session.dropped == [1]
    assert not first.videos[VIEW].exists() and second.videos[VIEW].is_file()


def test_only_the_latest_views_of_a_take_stay_on_the_disk_and_the_others_are_drawn_again(studio, clip) -> None:
    take = studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    for n in range(VIEWS_KEPT):
        studio.video(take, TakeView(0.0, opacity=n / 10))
    assert len(list(take.folder.rglob("overlay.mp4"))) == VIEWS_KEPT and not take.videos[VIEW].exists()
    assert studio.video(take, VIEW).is_file()


def test_nothing_is_written_when_the_disk_is_full(studio, clip, cache, monkeypatch) -> None:
    monkeypatch.setattr(storage, "SPARE_BYTES", 10**18)
    with pytest.raises(AcvisError, match="disk is full"):
        studio.run("s", Path(clip), SoundSettings(), VIEW, quiet)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_files_of_expired_takes_and_of_visitors_who_left_are_deleted(studio, clip) -> None:
    old = studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet).videos[VIEW]
    studio.expire(0.0)
    assert not old.exists()
    video = studio.run("s", Path(clip), SoundSettings("mute"), VIEW, quiet).videos[VIEW]
    studio.forget("s")
    assert not video.exists()


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "webp", "avif"])
def test_a_still_picture_is_answered_with_what_the_page_takes(studio, tmp_path, suffix) -> None:
    picture = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(picture)
    with pytest.raises(
        MediaError, match=rf"photo\.{suffix} is a still picture, .* such as MP4, MOV or WebM, or an anima"
    ):
        studio.run("s", picture, SoundSettings(), VIEW, quiet)


def test_a_gif_that_moves_is_a_clip_and_is_shown_as_a_video(studio, tmp_path) -> None:
    pictures = [Image.new("RGB", (64, 48), (20 * n, 0, 0)) for n in range(10)]
    pictures[0].save(tmp_path / "moves.gif", save_all=True, append_images=pictures[1:], duration=200)
    take = studio.run("s", tmp_path / "moves.gif", SoundSettings(), VIEW, quiet)
    assert len(take.prediction) == 2 and studio.session("s").original.suffix == ".mp4"
