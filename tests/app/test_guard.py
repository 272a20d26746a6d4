"""The local page answers its own host and its own pages alone, and no request of any size."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from acvis_kit.app import guard, quota
from acvis_kit.app.guard import Guard, TooLargeError, allowed_hosts, quota_reached, too_large
from acvis_kit.app.quota import LEAST, QuotaError


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


def client(host: str = "127.0.0.1", *further: str, peer: str = "192.0.2.1", proxies: int = 0) -> TestClient:
    methods = ["GET", "POST"]
    routes = [Route(path, echo, methods=methods) for path in ("/", "/gradio_api/upload")]
    app = Starlette(routes=routes, exception_handlers={TooLargeError: too_large, QuotaError: quota_reached})
    guarded = Guard(app, allowed_hosts(host, further), proxies=proxies)
    return TestClient(guarded, base_url="http://localhost:7860", client=(peer, 50_000))


def status(page: TestClient, headers: dict[str, str]) -> int:
    asked, sent = page.get("/", headers=headers), page.post("/gradio_api/upload", headers=headers)
    assert asked.status_code == sent.status_code
    return asked.status_code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:7860"},
        {"host": "[::1]:7860"},
        {"host": "LOCALHOST"},
        {"host": "localhost:8000", "origin": "http://localhost:8000"},  # a forwarded port
        {"origin": "http://localhost:7860"},
        {"x-forwarded-host": "localhost:9000", "origin": "http://localhost:9000"},
    ],
)
def test_the_local_page_answers_itself(headers: dict[str, str]) -> None:
    assert status(client(), headers) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:7860"},  # a foreign name that resolves to 127.0.0.1
        {"host": "localhost.evil.example"},
        {"host": "evil.example", "x-forwarded-host": "localhost"},
        {"host": ""},
        {"host": "localhost", "x-forwarded-host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "https://localhost.evil.example"},
        {"origin": "http://localhost:3000"},  # another page of this machine
        {"origin": "null"},
        {"host": "[::1"},
    ],
)
def test_the_local_page_answers_no_foreign_host_or_page(headers: dict[str, str]) -> None:
    assert status(client(), headers) == 403


def test_further_hosts_can_be_allowed() -> None:
    proxied = {"host": "127.0.0.1:7860", "x-forwarded-host": "lab.example", "origin": "https://lab.example"}
    assert status(client("127.0.0.1", "lab.example"), proxied) == 200
    assert status(client("127.0.0.1", "lab.example"), {"host": "lab.example", "origin": "https://lab.example"}) == 200
    assert status(client("127.0.0.1", "lab.example"), {"origin": "https://other.example"}) == 403
    assert "--allow-host" in client().get("/", headers=proxied).text


def test_a_public_address_answers_every_host() -> None:
    assert allowed_hosts("0.0.0.0") is None and allowed_hosts("lab.example") is None
    assert "127.0.0.2" in (allowed_hosts("127.0.0.2") or ())
    assert status(client("0.0.0.0"), {"host": "space.example", "origin": "https://hub.example"}) == 200


def test_the_parts_of_gradio_that_the_page_has_no_use_for_are_not_served() -> None:
    for path in ("dev/reload", "dev/reload/", "component_server", "stream/x", "stream/s/1/2/playlist.m3u8"):
        for answer in (client("0.0.0.0").get(f"/gradio_api/{path}"), client("0.0.0.0").post(f"/gradio_api/{path}")):
            assert (answer.status_code, answer.text) == (404, "The page has no such function.")
    assert client("0.0.0.0").get("/gradio_api/file=/tmp/stream/x.mp4").text != "The page has no such function."


def test_addresses_of_files_are_not_sent_to_other_hosts() -> None:
    assert client().get("/").headers["referrer-policy"] == "no-referrer"


def test_bodies_have_a_limit_whether_their_length_is_announced_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_BYTES", 1000)
    page = client()

    def parts(size: int) -> Any:
        return (b"x" * 100 for _ in range(size // 100))

    assert page.post("/", content=b"x" * 1000).text == "1000 bytes"
    assert page.post("/", content=parts(1000)).text == "1000 bytes"
    assert page.post("/", content=b"x" * 1001).status_code == 413
    assert page.post("/", content=parts(1100)).status_code == 413


def upload(page: TestClient, content: Any, *forwarded: str) -> int:
    headers = [("x-forwarded-for", line) for line in forwarded]
    return page.post("/gradio_api/upload", content=content, headers=headers).status_code


def half() -> Any:
    """A body of half a quota, in parts, without an announced length."""
    return (b"x" * (LEAST // 2) for _ in range(2))


@pytest.fixture
def two_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let visitors upload two files each."""
    monkeypatch.setattr(quota, "VISITOR_BYTES", 2 * LEAST)


@pytest.mark.usefixtures("two_uploads")
def test_a_visitor_uploads_so_much_and_is_told_when_there_is_room_again() -> None:
    page = client()
    assert [upload(page, b"x" * LEAST) for _ in range(3)] == [200, 200, 429]
    refused = page.post("/gradio_api/upload", content=b"x")
    assert "2 MB within 60 minutes" in refused.text and "try again in 60 minutes" in refused.text
    assert page.get("/").status_code == 200  # other requests are answered


@pytest.mark.usefixtures("two_uploads")
def test_what_an_upload_does_not_announce_counts_as_it_arrives() -> None:
    page = client()
    assert [upload(page, half()), upload(page, half()), upload(page, half())] == [200, 200, 429]
    page = client()
    assert upload(page, (b"x" * LEAST for _ in range(3))) == 429
    assert upload(page, b"x") == 429  # what has arrived of it was counted


@pytest.mark.usefixtures("two_uploads")
def test_small_files_count_too() -> None:
    page = client()
    assert [upload(page, b"x") for _ in range(3)] == [200, 200, 429]


@pytest.mark.usefixtures("two_uploads")
def test_visitors_behind_a_known_proxy_have_a_quota_each_that_no_forged_address_widens() -> None:
    page = client(peer="127.0.0.1", proxies=1)
    assert [upload(page, b"x", "198.51.100.1") for _ in range(3)] == [200, 200, 429]
    assert upload(page, b"x", "203.0.113.9, 198.51.100.1") == 429  # the visitor wrote the first
    assert upload(page, b"x", "203.0.113.9", "198.51.100.1:8080") == 429
    assert upload(page, b"x", "198.51.100.2") == 200


@pytest.mark.usefixtures("two_uploads")
def test_an_address_that_no_known_proxy_has_written_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    page = client()
    assert [upload(page, b"x", f"198.51.100.{n}") for n in range(3)] == [200, 200, 429]
    assert "--proxies" in caplog.text and len(caplog.records) == 1
    page = client(proxies=2)
    assert [upload(page, b"x", f"198.51.100.{n}") for n in range(3)] == [200, 200, 429]  # it came past a proxy


@pytest.mark.usefixtures("two_uploads")
def test_programs_on_the_machine_itself_have_no_quota() -> None:
    for peer in ("127.0.0.1", "::1"):
        page = client(peer=peer)
        assert [upload(page, b"x") for _ in range(3)] == [200] * 3


def test_the_page_fetches_no_file_of_another_host() -> None:
    for address in ("http://example.com/", "https://example.com/", "HTTPS://example.com", "https%3A//example.com/"):
        assert client().get(f"/gradio_api/file={address}").status_code == 403
