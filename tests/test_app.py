"""The page without a browser: what its functions return, keep, refuse and say."""

from __future__ import annotations

import csv
import json
import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from acvis_kit import media
from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis import ACVIS
from acvis_kit.predict import Predictor

gr = pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")
app = pytest.importorskip("acvis_kit.app")

pytestmark = pytest.mark.filterwarnings("ignore:.*(trimmed|no sound track).*:UserWarning")


@pytest.fixture(scope="module")
def model() -> ACVIS:
    """Random weights that mark three things whatever they see."""
    torch.manual_seed(0)
    return ACVIS(replace(PRESETS["acvis-synth-tiny"], score_threshold=0.0, top_k=3, short_side=64))


@pytest.fixture
def page(model: ACVIS) -> app.Page:
    return app.Page(model)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a clip's picture is encoded."""
    made: list[int] = []
    encode = Predictor.encode
    monkeypatch.setattr(
        Predictor, "encode", lambda self, clip, **kw: made.append(len(clip)) or encode(self, clip, **kw)
    )
    return made


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return make_clip(tmp_path / "a clip.mp4")


def make_clip(path: Path, seconds: int = 2) -> str:
    frames = torch.randint(0, 256, (seconds * 5, 64, 96, 3), generator=torch.Generator().manual_seed(0))
    tone = 0.3 * torch.sin(torch.arange(seconds * 16000) * 2 * torch.pi * 440 / 16000)
    return str(media.write_video(path, frames.to(torch.uint8).numpy(), 5, tone))


def session(name: str) -> SimpleNamespace:
    return SimpleNamespace(session_hash=name)


def test_a_run_returns_overlay_summary_figure_tables_and_files(page, clip, cache):
    overlay, summary, figure, counts, tracks, *downloads = page.predict(clip, request=session("s"))
    assert "a clip.mp4" in summary and "3 objects are marked" in summary
    assert [row[0] for row in counts] == ["0 s", "1 s"]
    assert len(tracks) == 3 and re.fullmatch(r"\w+ #0", tracks[0][0])
    assert len(figure.data) == 4  # steps and three probabilities
    files = [Path(file) for file in downloads]
    assert [file.name for file in files] == ["overlay.mp4", "result.json", "counts.csv"]
    assert str(files[0]) == overlay
    assert all(file.is_relative_to(cache) for file in files)
    assert len(media.load_clip(overlay)) == 2


def test_files_name_the_clip_but_not_the_servers_folders(page, clip, cache):
    page.predict(clip, request=session("s"))
    (written,) = cache.glob("*/result.json")
    assert json.loads(written.read_text())["video"] == "a clip.mp4"
    (table,) = cache.glob("*/counts.csv")
    assert [row["start"] for row in csv.DictReader(table.open())] == ["0", "1"]


def test_muting_afterwards_does_not_look_again(page, clip, looks):
    page.predict(clip, "original", request=session("s"))
    summary = page.predict(clip, "mute", request=session("s"))[1]
    assert looks == [2]
    assert "muted" in summary


def test_a_muted_take_is_silent(page, clip):
    overlay = page.predict(clip, "mute", request=session("s"))[0]
    assert media.load_clip(overlay).waveform.abs().max() == 0


def test_a_swapped_take_has_the_other_sound(page, clip, tmp_path):
    silent = str(
        media.write_video(tmp_path / "silent.mp4", [torch.zeros(64, 96, 3).byte().numpy()] * 2, 1, torch.zeros(1))
    )
    overlay = page.predict(silent, "swap", clip, request=session("s"))[0]
    assert media.load_clip(overlay).waveform.abs().max() > 0.1


def test_a_file_that_changed_is_looked_at_again(page, clip, looks):
    page.predict(clip, request=session("s"))
    time.sleep(0.01)
    make_clip(Path(clip), seconds=1)
    page.predict(clip, request=session("s"))
    assert looks == [2, 1]


def test_sessions_do_not_share_and_only_the_latest_are_kept(page, clip, looks):
    names = [f"s{i}" for i in range(app.SESSIONS_KEPT + 1)]
    for name in [*names, names[-1], names[0]]:
        page.predict(clip, request=session(name))
    assert len(looks) == len(names) + 1  # the last one was kept, the first was let go


def test_a_session_that_ends_is_forgotten(page, clip, looks):
    page.predict(clip, request=session("s"))
    page.forget(session("s"))
    page.predict(clip, request=session("s"))
    assert len(looks) == 2


def test_progress_tells_what_is_being_done(page, clip):
    told = []
    page.predict(clip, request=session("s"), progress=lambda at, desc, **_: told.append((desc, at)))
    assert told[0] == ("Reading the clip", 0)
    assert list(dict.fromkeys(desc for desc, _ in told[1:])) == list(app.DOING.values())
    assert told[-1] == ("Writing the video", (10, 10))


def test_a_long_clip_is_trimmed_and_the_page_says_so(model, clip):
    summary = app.Page(model, max_seconds=1).predict(clip, request=session("s"))[1]
    assert "trimmed to the first 1 s" in summary and ", 1 s." in summary


@pytest.mark.parametrize(
    ("sound", "other", "sentence"),
    [
        ("swap", None, "There is no other sound yet"),
        ("swap", "liar.mp4", "liar.mp4"),
        ("louder", None, "not known"),
    ],
)
def test_a_wrong_sound_gets_a_sentence(page, clip, tmp_path, sound, other, sentence):
    (tmp_path / "liar.mp4").write_text("no sound\n" * 20)
    with pytest.raises(gr.Error, match=sentence):
        page.predict(clip, sound, other and str(tmp_path / other), request=session("s"))


def test_a_missing_clip_gets_a_sentence(page, tmp_path):
    with pytest.raises(gr.Error, match="There is no clip yet"):
        page.predict(None, request=session("s"))
    with pytest.raises(gr.Error, match="no longer here"):
        page.predict(str(tmp_path / "deleted.mp4"), request=session("s"))


def test_a_text_file_gets_a_sentence_without_the_servers_folders(page, tmp_path, cache):
    liar = tmp_path / "liar.mp4"
    liar.write_text("I am no video\n" * 20)
    with pytest.raises(gr.Error) as caught:
        page.predict(str(liar), request=session("s"))
    assert caught.value.message.startswith("liar.mp4") and str(tmp_path) not in caught.value.message
    assert not list(cache.glob("*"))


def test_our_own_faults_are_logged_and_not_shown(page, clip, cache, monkeypatch, caplog):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(app, "write_overlay", broken)
    with pytest.raises(gr.Error, match="fault of the page") as caught:
        page.predict(clip, request=session("s"))
    assert "secret" not in caught.value.message and "secret" in caplog.text
    assert not list(cache.glob("*"))  # half a result is no result


def test_random_weights_are_announced_loudly():
    assert "role='alert'" in app.banner("random") and "mean nothing" in app.banner("random")
    assert "alert" not in app.banner("acvis-synth-tiny") and "acvis-synth-tiny" in app.banner("acvis-synth-tiny")
    assert "<b>" not in app.banner("<b>")


def test_names_of_files_cannot_write_html(page, tmp_path):
    summary = page.predict(make_clip(tmp_path / "<img src=x>.mp4"), request=session("s"))[1]
    assert "<img" not in summary


def test_predict_is_the_one_public_endpoint_and_files_do_not_stay(model):
    blocks = app.build_app(model, weights_name="random")
    endpoints = blocks.get_api_info()["named_endpoints"]
    assert list(endpoints) == ["/predict"]
    assert [p["parameter_name"] for p in endpoints["/predict"]["parameters"]] == ["clip", "sound", "other_sound"]
    assert blocks.delete_cache == (3600, 3600)


def test_gradio_reports_nothing_to_its_makers():
    from gradio import analytics

    assert not analytics.analytics_enabled()


def test_a_taken_port_is_named(model):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="is taken"):
            app.launch(model, "random", port=taken.getsockname()[1], block=False)


def test_a_program_can_use_the_page(model, clip, tmp_path):
    from gradio_client import Client, handle_file

    blocks = app.launch(model, "random", port=free_port(), block=False)
    try:
        client = Client(blocks.local_url, verbose=False, download_files=tmp_path)
        overlay, summary, *_, table = client.predict(handle_file(clip), "mute", None, api_name="/predict")
    finally:
        blocks.close()
    assert "muted" in summary
    assert media.load_clip(overlay).waveform.abs().max() == 0
    assert len(Path(table).read_text().splitlines()) == 3  # a header and two seconds


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
