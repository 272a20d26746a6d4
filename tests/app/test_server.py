"""Serving: ports, the endpoint, which files can be fetched, and deletion of old files."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from acvis_kit.app import guard, launch, quota, server, storage
from acvis_kit.app.guard import BODY_BYTES
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.storage import sweep
from acvis_kit.app.studio import TakeView
from acvis_kit.errors import ConfigError
from acvis_kit.media.load import load_clip
from tests.app.conftest import quiet
from tests.app.pages import free_port, page_process, soon

NO_EXAMPLES = "import os; os.environ['ACVIS_EXAMPLES'] = 'none'"  # to run a model on, when the page starts
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


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
    overlay, summary, tracks, result, counts, masks = client.predict(
        clip=handle_file(clip), sound="mute", api_name="/predict"
    )
    assert "silence" in summary and len(tracks) == 3
    assert load_clip(overlay).waveform.abs().max() == 0
    assert len(Path(counts).read_text(encoding="utf-8").splitlines()) == 3  # a header and two seconds
    assert Path(masks).suffix == ".zip"
    assert len(json.loads(Path(result).read_text(encoding="utf-8"))["results"]) == 3


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


def test_the_page_deletes_files_in_a_folder_of_its_own_alone(page, cache, clip, monkeypatch):
    others = cache / "others.mp4"
    others.touch()
    own = Path(os.environ["GRADIO_TEMP_DIR"])
    assert own.parent.parent == cache
    page.studio.run("s", Path(clip), SoundSettings("mute"), TakeView(0.0), quiet)
    assert list(own.rglob("overlay.mp4"))
    sweep(own, time.time() + 10)
    assert not list(own.rglob("*.mp4")) and others.exists()


def test_old_takes_and_files_go_while_the_page_is_served_and_the_sweeper_ends_with_it(
    loaded, examples, clip, monkeypatch
):
    monkeypatch.setattr(server, "SWEEP_EVERY", 0.05)
    monkeypatch.setattr(server, "KEEP_SECONDS", 0.0)
    threads = set(threading.enumerate())
    failing = iter([OSError("once")])
    swept = server.sweep
    monkeypatch.setattr(server, "sweep", lambda *given: _raise(next(failing, None)) or swept(*given))
    served = launch(loaded, port=free_port(), block=False, examples=examples)
    (sweeper,) = [t for t in set(threading.enumerate()) - threads if "_sweep_while_served" in t.name]
    served.studio.session("s").takes[1] = served.studio._take(Path(clip), SoundSettings(), quiet)
    file = Path(os.environ["GRADIO_TEMP_DIR"]) / "x"
    file.touch()
    assert soon(lambda: not file.exists() and not served.studio.session("s").takes)
    served.close()
    sweeper.join(30)
    assert not sweeper.is_alive()


def test_predict_is_the_one_public_endpoint(page):
    endpoints = page.get_api_info()["named_endpoints"]
    assert list(endpoints) == ["/predict"]
    names = [p["parameter_name"] for p in endpoints["/predict"]["parameters"]]
    assert names == ["clip", "sound", "other_sound", "level", "seconds", "start", "end", "threshold", "count_gate"]
    returned = [value["label"] for value in endpoints["/predict"]["returns"]]
    assert returned == ["overlay", "summary", "tracks", "result", "counts", "masks"]
    assert "0.3" not in endpoints["/predict"]["description"]
    assert endpoints["/predict"]["parameters"][7]["parameter_default"] == page.studio.view.threshold


def test_faulty_requests_get_an_answer_and_no_server_error(page, clip):
    import httpx

    def ask(method: str, path: str, **options: Any) -> httpx.Response:
        return httpx.request(method, f"{page.local_url}gradio_api/{path}", **options)

    for index in (999, -1):
        body = {"fn_index": index, "data": [], "session_hash": "s"}
        assert ask("POST", "queue/join", json=body).status_code == 404
        assert ask("POST", "run/predict", json=body).status_code < 500
    for index, function in page.fns.items():  # some are the browser's alone, or another event's
        answer = ask("POST", "run/predict", json={"fn_index": index, "data": [None] * 9, "session_hash": "s"})
        refusal = answer.json().get("error") or answer.json().get("detail") if answer.status_code != 200 else "-"
        assert refusal, f"{index}: {function}"
    for path in ("call/nothing", "call/v2/nothing"):
        answer = ask("POST", path, json={"data": []})
        assert answer.status_code == 404 and "Traceback" not in answer.text
    assert ask("GET", "dev/reload").status_code == 404
    assert ask("POST", "call/predict", content=b"{" + b" " * (BODY_BYTES + 1)).status_code == 413
    long = {"data": [{"path": "x" * 10**5, "meta": {"_type": "gradio.FileData"}}, "mute", None, 0, 0, 0, 0, 0, False]}
    event = ask("POST", "call/predict", json=long).json()["event_id"]
    assert len(ask("GET", f"call/predict/{event}").text) < 1000


def test_a_session_gets_nothing_of_another(page, clip, cache):
    """B knows A's session hash, event and file name, but none of the secret paths."""
    import httpx

    url = f"{page.local_url}gradio_api/"
    with open(clip, "rb") as file:
        (upload,) = httpx.post(f"{url}upload", files={"files": ("private.mp4", file)}).json()
    body = {"data": [{"path": upload, "meta": {"_type": "gradio.FileData"}}, "mute", None, 0, 0, 0, 0, 0, False]}
    event = httpx.post(f"{url}call/predict", json=body).json()["event_id"]
    with httpx.stream("GET", f"{url}call/predict/{event}") as stream:
        done = stream.read().decode()
    assert "event: complete" in done
    (overlay,) = Path(os.environ["GRADIO_TEMP_DIR"]).rglob("overlay.mp4")

    def file_status(path: str | Path) -> int:
        return httpx.get(f"{url}file={path}").status_code

    assert file_status(overlay) == 200  # who was given the path
    visitors = Path(os.environ["GRADIO_TEMP_DIR"])
    guesses = ["private.mp4", "overlay.mp4", visitors / "private.mp4", visitors, overlay.parent, visitors / "*"]
    guesses += [f"{visitors}/{'0' * 64}/private.mp4", f"{overlay.parent}/../../../../in-use", page.studio._home]
    for guess in guesses:
        assert file_status(guess) in (403, 404), guess
    assert all(len(part) >= 32 for part in Path(upload).relative_to(visitors).parts[:-1])  # 128 bits
    assert all(len(part) == 32 for part in overlay.relative_to(visitors).parts[:-1])

    with suppress(httpx.ReadTimeout), httpx.stream("GET", f"{url}call/predict/{event}", timeout=2) as stream:
        assert "overlay" not in "".join(stream.iter_text())  # the result is given once
    shown = {fn.fn.__name__: index for index, fn in page.fns.items() if fn.fn is not None}["video"]
    for session in ("b", event):
        body = {"fn_index": shown, "data": [1, 0, False, 0.5], "session_hash": session}
        answer = httpx.post(f"{url}run/predict", json=body, timeout=10).text
        assert "overlay" not in answer


def test_uploads_are_refused_when_they_are_too_large_or_the_disk_is_full(page, monkeypatch):
    import httpx

    def upload(size: int) -> httpx.Response:
        return httpx.post(f"{page.local_url}gradio_api/upload", files={"files": ("x.mp4", b"x" * size)})

    assert upload(1000).status_code == 200
    with monkeypatch.context() as small:
        small.setattr(guard, "UPLOAD_BYTES", 1000)
        assert "shorten it" in (refused := upload(200_000)).text and refused.status_code == 413
    monkeypatch.setattr(storage, "DISK_BYTES", 1500)
    assert upload(1000).status_code == 507


def test_requests_that_gradio_cannot_read_get_a_short_answer_and_none_passes_the_queue_by(page):
    import httpx

    def ask(path: str, content: bytes, kind: str = "application/json") -> httpx.Response:
        return httpx.post(f"{page.local_url}gradio_api/{path}", content=content, headers={"content-type": kind})

    form = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\ntext\r\n--b--\r\n'
    refused = [
        ask("call/predict", b'{"data": "' + b"x" * 10**5 + b'"}'),  # gradio repeats it
        ask("call/predict", b'{"data": NaN}'),
        ask("call/v2/predict", b'{"nothing": 1}'),
        ask("queue/join", b"[1]"),
        ask("upload", form, "multipart/form-data; boundary=b"),
    ]
    for answer in refused:
        assert answer.status_code == 422 and len(answer.text) < 200, answer.text[:300]
    values = json.dumps({"data": [None, "mute", None, 0, 0, 0, 0, 0, False]}).encode()
    for path in ("run/predict", "api/predict"):
        assert ask(path, values).status_code == 404


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def test_uploads_have_a_limit_per_visitor(loaded, examples, monkeypatch):
    import httpx

    monkeypatch.setattr(quota, "VISITOR_BYTES", 2 * quota.LEAST)
    monkeypatch.delenv(server.FORWARDED, raising=False)
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.mp4"\r\n\r\n'

    def upload(page: Any, visitor: str, *parts: bytes) -> httpx.Response:
        headers = {"x-forwarded-for": visitor, "content-type": "multipart/form-data; boundary=b"}
        parts = (head, *parts, b"\r\n--b--\r\n")
        return httpx.post(f"{page.local_url}gradio_api/upload", headers=headers, content=iter(parts))

    large = [b"x" * quota.LEAST] * 3
    page = launch(loaded, port=free_port(), block=False, examples=examples, proxies=1)
    try:
        assert [upload(page, "192.0.2.1", b"x").status_code for _ in range(3)] == [200, 200, 429]
        assert upload(page, "192.0.2.2", b"x").status_code == 200
        assert (refused := upload(page, "192.0.2.3", *large)).status_code == 429 and "try again" in refused.text
    finally:
        page.close()
    page = launch(loaded, port=free_port(), block=False, examples=examples)
    try:  # a program on this machine has none, whatever it writes
        assert [upload(page, "192.0.2.1", b"x").status_code for _ in range(3)] == [200, 200, 200]
    finally:
        page.close()
    assert server.FORWARDED not in os.environ
    with pytest.raises(ConfigError, match="proxies=-1 must"):
        launch(loaded, block=False, proxies=-1)


def test_a_request_with_unusable_values_gets_a_sentence_and_nothing_is_fetched(page):
    import httpx

    def answer(*values: Any) -> str:
        inputs = [*values, *[None, "mute", None, 0, 0, 0, 0, 0, False][len(values) :]]
        event = httpx.post(f"{page.local_url}gradio_api/call/predict", json={"data": inputs}).json()["event_id"]
        return httpx.get(f"{page.local_url}gradio_api/call/predict/{event}").text

    meta = {"_type": "gradio.FileData"}
    assert "upload it" in answer({"path": "http://192.0.2.1/x.mp4", "meta": meta})
    assert "upload it" in answer({"path": "/etc/passwd", "meta": meta})
    assert "right kind" in answer(3) and "right kind" in answer(None, "mute", "x")


@pytest.mark.slow
def test_a_page_that_ends_leaves_no_files_and_those_of_a_killed_one_go_when_the_next_starts(tmp_path):
    ends = [signal.SIGTERM, signal.SIGINT, signal.SIGKILL]
    with ThreadPoolExecutor() as pool:
        left = [*pool.map(lambda end: served_alone(tmp_path / end.name, end), ends)]
    assert [bool(files) for files in left] == [False, False, True]
    assert storage.remove_stale(tmp_path / "SIGKILL") == 1
    assert not [path for path in tmp_path.glob("*/**/*") if path.is_file()]


def served_alone(around: Path, end: signal.Signals) -> list[Path]:
    """Serve the page in another process, upload a file, end it; the files that it leaves."""
    import httpx

    with page_process(around, "--weights", "random", before=NO_EXAMPLES) as page:
        upload = httpx.post(f"{page.url}gradio_api/upload", files={"files": ("x.mp4", b"x")})
        assert upload.status_code == 200 and page.files()
        return page.end(end)


def test_gradio_sends_no_usage_reports():
    from gradio import analytics

    assert not analytics.analytics_enabled()


def test_the_command_passes_on_the_hosts_that_it_allows_and_the_proxies_before_it(monkeypatch):
    from acvis_kit import app
    from acvis_kit.cli import main

    given = []
    monkeypatch.setattr(
        app, "launch", lambda loaded, **options: given.append((options["allow_hosts"], options["proxies"]))
    )
    main(["demo", "--weights", "random", "--allow-host", "lab.example", "--allow-host", "proxy", "--proxies", "2"])
    main(["demo", "--weights", "random"])
    assert given == [(["lab.example", "proxy"], 2), ([], 0)]
