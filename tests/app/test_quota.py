"""Uploads by one visitor: what counts, for how long, and who is a visitor."""

from __future__ import annotations

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

from starlette.requests import Request

from acvis_kit.app import quota
from acvis_kit.app.quota import LEAST, QuotaError, UploadQuota, Visitors


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def books(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> UploadQuota:
    """A quota of ten small uploads in an hour."""
    monkeypatch.setattr(quota, "VISITOR_BYTES", 10 * LEAST)
    return UploadQuota(3600, clock)


def test_uploads_count_while_they_are_kept(books: UploadQuota, clock: Clock) -> None:
    books.begin("a", 4 * LEAST)
    clock.now += 1800
    books.begin("a", 6 * LEAST)
    with pytest.raises(QuotaError, match="in 30 minutes"):
        books.begin("a", 4 * LEAST)
    with pytest.raises(QuotaError, match="in 60 minutes"):
        books.begin("a", 5 * LEAST)
    books.begin("b", 10 * LEAST)
    clock.now += 1800
    books.begin("a", 4 * LEAST)
    clock.now += 3600
    books.begin("c", 1)
    assert set(books._uploads) == {"c"}  # the books hold no visitor for longer


def test_an_upload_counts_what_arrived_of_it_at_last(books: UploadQuota) -> None:
    upload = books.begin("a", 10 * LEAST)
    with pytest.raises(QuotaError):
        books.begin("a", 1)  # what is announced is reserved
    books.end(upload, 2 * LEAST)
    second = books.begin("a", 0)
    books.grow("a", second, 8 * LEAST)
    with pytest.raises(QuotaError):
        books.grow("a", second, 8 * LEAST + 1)
    books.end(second, 0)
    assert second.size == LEAST


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "visitor"),
    [
        ("192.0.2.1", [], 0, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 0, "192.0.2.1"),
        ("127.0.0.1", ["198.51.100.7"], 0, None),
        ("::ffff:127.0.0.1", [], 0, None),
        ("127.0.0.1", [], 1, "127.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], 1, "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1, 198.51.100.7:443"], 1, "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1", "198.51.100.7, 10.0.0.2"], 2, "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7"], 2, "10.0.0.1"),
        ("10.0.0.1", ["nobody"], 1, "10.0.0.1"),
        ("10.0.0.1", ["", "x" * 10_000], 1, "10.0.0.1"),
        ("10.0.0.1", ["::ffff:198.51.100.7"], 1, "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8:1:2:3::4]:443"], 1, "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", [], 0, "2001:db8:1:2::/64"),
        ("a socket", [], 0, "a socket"),
    ],
)
def test_a_visitor_is_an_address(peer: str, forwarded: list[str], proxies: int, visitor: str | None) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in forwarded]
    request = Request({"type": "http", "headers": headers, "client": (peer, 1)})
    assert Visitors(proxies).of(request) == visitor
