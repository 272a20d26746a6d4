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

from acvis_kit.app import guard
from acvis_kit.app.guard import Guard, TooLargeError, allowed_hosts, too_large


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{len(await request.body())} bytes")


def client(host: str = "127.0.0.1", *further: str) -> TestClient:
    methods = ["GET", "POST"]
    routes = [Route(path, echo, methods=methods) for path in ("/", "/gradio_api/upload", "/gradio_api/dev/reload")]
    app = Starlette(routes=routes, exception_handlers={TooLargeError: too_large})
    return TestClient(Guard(app, allowed_hosts(host, further)), base_url="http://localhost:7860")


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


def test_the_stream_of_development_is_not_served() -> None:
    for path in ("/gradio_api/dev/reload", "/gradio_api/dev/reload/"):
        assert client("0.0.0.0").get(path).status_code == 404


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
