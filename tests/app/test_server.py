"""Serving: ports, the endpoint, which files can be fetched, and deletion of old files."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from acvis_kit.app import launch, server
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import TakeView
from acvis_kit.errors import ConfigError
from acvis_kit.media.load import load_clip
from tests.app.conftest import quiet

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def page(loaded, examples, cache):
    served = launch(loaded, port=free_port(), block=False, examples=examples)
    yield served
    served.close()


def test_a_taken_port_raises_a_config_error(loaded):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="is taken"):
            launch(loaded, port=taken.getsockname()[1], block=False)


def test_a_program_can_call_the_endpoint(page, clip, tmp_path):
    from gradio_client import Client, handle_file

    client = Client(page.local_url, verbose=False, download_files=tmp_path)
    overlay, summary, tracks, _, counts, masks = client.predict(
        handle_file(clip), "mute", None, threshold=0, api_name="/predict"
    )
    assert "silence" in summary and len(tracks) == 3
    assert load_clip(overlay).waveform.abs().max() == 0
    assert len(Path(counts).read_text(encoding="utf-8").splitlines()) == 3  # a header and two seconds
    assert Path(masks).suffix == ".zip"


def test_only_uploads_examples_and_results_can_be_fetched(page, clip, examples, tmp_path):
    import httpx

    secret = tmp_path / "secret.txt"
    secret.write_text("secret")

    def status(path: str | Path) -> int:
        return httpx.get(f"{page.local_url}gradio_api/file={path}").status_code

    assert status(examples / "one.mp4") == 200
    for path in (secret, "/etc/passwd", server.__file__, "pyproject.toml", f"{examples}/../secret.txt"):
        assert status(path) in (403, 404), path

    names = {"files": ("../../../evil.mp4", b"x")}
    (stored,) = httpx.post(f"{page.local_url}gradio_api/upload", files=names).json()
    assert Path(stored).resolve().is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve())
    assert not (tmp_path.parent / "evil.mp4").exists()

    from gradio_client import Client

    with pytest.raises(Exception, match=r"(?i)invalid|not allowed|cannot|error"):
        Client(page.local_url, verbose=False).predict(
            {"path": str(secret), "meta": {"_type": "gradio.FileData"}}, api_name="/predict"
        )


def test_old_files_are_deleted_and_new_ones_stay(tmp_path):
    old, new = tmp_path / "a" / "old.mp4", tmp_path / "b" / "new.mp4"
    old.parent.mkdir()
    old.write_text("x")
    time.sleep(0.02)
    before = time.time()
    time.sleep(0.02)
    new.parent.mkdir()
    new.write_text("x")
    assert server.sweep(tmp_path, before) == 1
    assert not old.exists() and new.exists()
    assert server.SWEEP_EVERY + server.KEEP_SECONDS < 3600


def test_a_new_copy_of_an_old_file_is_not_old(tmp_path):
    """gradio copies a chosen example with its time of modification."""
    copy = tmp_path / "example.mp4"
    copy.write_bytes(b"x")
    os.utime(copy, (0, 0))
    assert server.sweep(tmp_path, time.time() - 10) == 0


def test_the_page_deletes_files_in_a_folder_of_its_own_alone(page, cache, clip, monkeypatch):
    others = cache / "others.mp4"
    others.touch()
    own = Path(os.environ["GRADIO_TEMP_DIR"])
    assert own.parent == cache
    page.studio.run("s", Path(clip), SoundSettings("mute"), TakeView(0.0), quiet)
    assert list(own.rglob("overlay.mp4"))
    server.sweep(own, time.time() + 10)
    assert not list(own.rglob("*.mp4")) and others.exists()


def test_old_takes_and_files_go_while_the_page_is_served_and_the_sweeper_ends_with_it(
    loaded, examples, clip, monkeypatch
):
    monkeypatch.setattr(server, "SWEEP_EVERY", 0.05)
    monkeypatch.setattr(server, "KEEP_SECONDS", 0.0)
    threads = set(threading.enumerate())
    served = launch(loaded, port=free_port(), block=False, examples=examples)
    (sweeper,) = [t for t in set(threading.enumerate()) - threads if "_sweep_while_served" in t.name]
    served.studio.session("s").takes[1] = served.studio._take(Path(clip), SoundSettings(), quiet)
    file = Path(os.environ["GRADIO_TEMP_DIR"]) / "x"
    file.touch()
    assert soon(lambda: not file.exists() and not served.studio.session("s").takes)
    served.close()
    sweeper.join(30)
    assert not sweeper.is_alive()


def soon(condition) -> bool:
    """Whether this becomes true within half a minute."""
    limit = time.monotonic() + 30
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    return condition()


def test_predict_is_the_one_public_endpoint(page):
    endpoints = page.get_api_info()["named_endpoints"]
    assert list(endpoints) == ["/predict"]
    names = [p["parameter_name"] for p in endpoints["/predict"]["parameters"]]
    assert names == ["clip", "sound", "other_sound", "level", "seconds", "start", "end", "threshold", "count_gate"]


def test_gradio_sends_no_usage_reports():
    from gradio import analytics

    assert not analytics.analytics_enabled()
