"""How much each visitor may upload.

An upload names no session, so a visitor is an address on the network: of the peer, or of whom the proxies in front of
the page say that they answer.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

VISITOR_BYTES = 10**9  # uploaded by one visitor while the first of it is still kept
LEAST = 10**6  # bytes that an upload counts at least: small files have a limit in number
IPV6_PREFIX = 64  # bits; a household or a machine has all addresses behind them

logger = logging.getLogger(__name__)


class QuotaError(Exception):
    """A visitor has uploaded too much."""


@dataclass
class Upload:
    """An upload in the books, with the bytes that it counts."""

    size: int
    at: float


@dataclass
class UploadQuota:
    """The uploads of the last `seconds` seconds, by visitor.

    Attributes:
        seconds: that an upload counts; as long as its file may be kept.
        clock: gives the time in seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _uploads: dict[str, deque[Upload]] = field(default_factory=dict)

    def begin(self, visitor: str, size: int) -> Upload:
        """Enter an upload that announces `size` bytes; 0 if it does not say.

        Raises:
            QuotaError: says when there is room.
        """
        now = self.clock()
        for other in [*self._uploads]:
            uploads = self._uploads[other]
            while uploads and uploads[0].at <= now - self.seconds:
                uploads.popleft()
            if not uploads:
                del self._uploads[other]
        upload = Upload(max(size, LEAST), now)
        self._check(visitor, upload.size)
        self._uploads.setdefault(visitor, deque()).append(upload)
        return upload

    def grow(self, visitor: str, upload: Upload, received: int) -> None:
        """Count the bytes received so far, which an upload need not announce.

        Raises:
            QuotaError: says when there is room.
        """
        if received > upload.size:
            self._check(visitor, received - upload.size)
            upload.size = received

    def end(self, upload: Upload, received: int) -> None:
        """Count what was received alone: an upload may end before all that it announced."""
        upload.size = max(received, LEAST)

    def _check(self, visitor: str, more: int) -> None:
        uploads = self._uploads.get(visitor, deque())
        excess = sum(upload.size for upload in uploads) + more - VISITOR_BYTES
        if excess <= 0:
            return
        for upload in uploads:  # the oldest first: when enough of them count no longer
            excess -= upload.size
            if excess <= 0:
                minutes = max(1, round((upload.at + self.seconds - self.clock()) / 60))
                break
        else:
            minutes = max(1, round(self.seconds / 60))
        raise QuotaError(
            f"{VISITOR_BYTES // 10**6} MB within {self.seconds / 60:.0f} minutes is the limit of uploads from one "
            f"network address, and it is reached: upload a shorter clip, or try again in {minutes} minutes."
        )


class Visitors:
    """Tells by which address a visitor is known.

    Args:
        proxies: how many proxies stand in front of the page. Each appends to X-Forwarded-For the address of whom it
            answers, so that as many of its last entries can be believed, and none that a visitor writes.
    """

    def __init__(self, proxies: int = 0) -> None:
        self.proxies = proxies
        self._noted = False

    def of(self, request: Request) -> str | None:
        """The visitor's address; of IPv6, the network. None for a program on the machine itself, which has no quota."""
        peer = request.client.host if request.client else ""
        forwarded = [part for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]
        if forwarded and not self.proxies and not self._noted:
            self._noted = True
            logger.warning(
                "Requests come through a proxy (X-Forwarded-For), and the page was not told how many there are. Start "
                "it with --proxies 1 (or more): until then it does not tell their visitors apart, and they share one "
                "quota of uploads, or none if the proxy is on this machine."
            )
        if self.proxies and len(forwarded) >= self.proxies:
            address = _address(forwarded[-self.proxies])
            if address is not None:
                return _network(address)
        address = _address(peer)
        if address is None:
            return peer
        return None if address.is_loopback and not self.proxies else _network(address)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address as proxies write it, some with a port: "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80"."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _network(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if address.version == 6:
        return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))
    return str(address)
