"""Which requests the page answers: of which hosts and origins, how large, how much of one visitor."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acvis_kit.app.inputs import NO_FUNCTION
from acvis_kit.app.quota import QuotaError, UploadQuota, Visitors
from acvis_kit.app.storage import FULL, has_room, upload_folder

UPLOAD_BYTES = 250 * 10**6  # of one file: 120 seconds at 16 Mbit/s
BODY_BYTES = 10**6  # of any other request
FORM_BYTES = 10**5  # that a form may add to its file
UNUSED = ("dev/reload", "component_server", "stream")  # of gradio: for developing pages, custom components, live media
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEADERS = {"referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}

logger = logging.getLogger(__name__)


class TooLargeError(Exception):
    """The body of a request exceeds its limit."""


class Guard:
    """Middleware in front of gradio.

    On a loopback address it answers only requests for a known host that come from its own pages: a foreign page could
    otherwise drive the local one, directly or after it has its own name resolved to 127.0.0.1.

    Args:
        app: the page.
        hosts: names of hosts that the page answers; None: all, as on a public address.
        kept: seconds for which an upload may be kept, and counts towards its visitor's quota.
        proxies: how many proxies stand in front of the page, see `Visitors`.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] | None = None, kept: float = 3600, proxies: int = 0) -> None:
        self.app = app
        self.hosts = None if hosts is None else {host.lower() for host in hosts}
        self.quota, self.visitors = UploadQuota(kept), Visitors(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        request = Request({**scope, "type": "http", "method": scope.get("method", "GET")})
        refusal = self._refusal(request)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        send = _with_headers(send)
        if not _is_upload(request):
            await self.app(scope, _counted(receive, _at_most(BODY_BYTES)), send)
        elif (visitor := self.visitors.of(request)) is None:
            await self.app(scope, _counted(receive, _at_most(UPLOAD_BYTES + FORM_BYTES)), send)
        else:
            await self._take_upload(visitor, _announced(request), scope, receive, send)

    async def _take_upload(self, visitor: str, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an upload through that is within its visitor's quota, which it counts towards."""
        try:
            upload = self.quota.begin(visitor, size)
        except QuotaError as error:
            await PlainTextResponse(str(error), 429)(scope, receive, send)
            return
        received, check = 0, _at_most(UPLOAD_BYTES + FORM_BYTES)

        def count(so_far: int) -> None:
            nonlocal received
            received = so_far
            check(so_far)
            self.quota.grow(visitor, upload, so_far)

        try:
            await self.app(scope, _counted(receive, count), send)
        finally:
            self.quota.end(upload, received)

    def _refusal(self, request: Request) -> PlainTextResponse | None:
        if any(f"/gradio_api/{route}/" in f"{request.url.path}/" for route in UNUSED):
            return PlainTextResponse(NO_FUNCTION, 404)
        if self.hosts is not None and (refused := self._foreign(request)):
            return PlainTextResponse(f"{refused} To allow it, start the page with --allow-host NAME.", 403)
        if "file=http:" in (path := request.url.path.lower()) or "file=https:" in path:  # gradio would fetch it
            return PlainTextResponse("The page fetches nothing from other hosts.", 403)
        size = _announced(request)
        if _is_upload(request):
            if size > UPLOAD_BYTES + FORM_BYTES:
                return PlainTextResponse(f"The file is larger than {UPLOAD_BYTES // 10**6} MB: shorten it.", 413)
            if not has_room(upload_folder(), size):
                return PlainTextResponse(FULL, 507)
        elif size > BODY_BYTES:
            return PlainTextResponse(f"The request is larger than {BODY_BYTES // 10**6} MB.", 413)
        return None

    def _foreign(self, request: Request) -> str:
        """What is foreign about a request, in words; empty if nothing is."""
        assert self.hosts is not None
        named = [request.headers.get("host", ""), *request.headers.getlist("x-forwarded-host")]
        for host in named:  # a proxy adds the second; the first must be known all the same, as anyone can add it
            if _name(host) not in self.hosts:
                return "The page does not answer requests for this host."
        origin = request.headers.get("origin")
        if origin is None:
            return ""
        place = urlsplit(origin).netloc.lower()
        own = place in {host.lower() for host in named} or _name(place) in self.hosts - set(LOOPBACK)
        return "" if own else "The page does not answer requests of other pages."


def allowed_hosts(host: str, further: Iterable[str] = ()) -> set[str] | None:
    """The hosts that a page answers which listens on `host`; None, all of them, unless that is a loopback address.

    Args:
        host: name or address to listen on.
        further: names of hosts besides, for example of a proxy.
    """
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return {*LOOPBACK, host, *further} if local else None


async def unknown_function(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request for a function or event that does not exist."""
    return JSONResponse({"detail": NO_FUNCTION}, 404)


async def unusable_request(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that gradio cannot read; its own would repeat the request, or be a server error."""
    logger.info("unusable request: %s", type(error).__name__)
    return JSONResponse({"detail": "The page cannot read this request: see its API for what it takes."}, 422)


async def too_large(request: Request, error: Exception) -> PlainTextResponse:
    """The answer to a request whose body exceeds its limit."""
    return PlainTextResponse(str(error), 413)


async def quota_reached(request: Request, error: Exception) -> PlainTextResponse:
    """The answer to an upload that exceeds its visitor's quota."""
    return PlainTextResponse(str(error), 429)


def _announced(request: Request) -> int:
    """The length of a request's body as it announces it; 0 if it does not."""
    return int(length) if (length := request.headers.get("content-length", "0")).isdecimal() else 0


def _is_upload(request: Request) -> bool:
    return request.method == "POST" and request.url.path.rstrip("/").endswith("/upload")


def _name(netloc: str) -> str:
    """The name of a host without its port: "[::1]:7860" -> "::1"."""
    try:
        return (urlsplit(f"//{netloc.strip()}").hostname or "").lower()
    except ValueError:
        return ""


def _counted(receive: Receive, check: Callable[[int], None]) -> Receive:
    """`receive` that passes the bytes received so far, which nothing needs to announce, to `check`; it may raise."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        check(received)
        return message

    return counted


def _at_most(limit: int) -> Callable[[int], None]:
    """A check of the bytes of a body, that raises beyond its limit."""

    def check(received: int) -> None:
        if received > limit:
            raise TooLargeError(f"The request is larger than {limit // 10**6} MB.")

    return check


def _with_headers(send: Send) -> Send:
    """`send` that adds `HEADERS` to the response."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return with_headers
