"""Values of requests: nothing is fetched for a visitor, and what cannot be used is answered with a sentence."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

import gradio as gr
from gradio import processing_utils
from gradio.context import LocalContext
from gradio.state_holder import SessionState

from acvis_kit.app.inputs import LONGEST, NO_ADDRESSES, NOT_UPLOADED, UNUSABLE
from acvis_kit.app.layout import build_app


@pytest.fixture(scope="module")
def page(loaded: Any) -> gr.Blocks:
    return build_app(loaded, examples=Path("none"))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that gradio fetches."""
    addresses: list[str] = []

    async def fetch(url: str) -> None:
        addresses.append(url)
        raise OSError("no network")

    monkeypatch.setattr(processing_utils, "async_ssrf_protected_get", fetch)
    return addresses


def error_of(page: gr.Blocks, *values: Any) -> str:
    """The message with which `/predict` refuses these values for its first parameters."""
    predict = next(fn for fn in page.fns.values() if fn.api_name == "predict")
    inputs = [*values, *[None, "mute", None, 0, 0, 0, 0, 0, False][len(values) :]]
    with pytest.raises(gr.Error) as caught:
        asyncio.run(page.preprocess_data(predict, inputs, SessionState(page)))
    assert not caught.value.print_exception
    return str(caught.value.message)


def file(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.mark.parametrize(
    "clip",
    [
        file("http://example.com/clip.mp4"),
        file("https://example.com/clip.mp4", url="x"),
        {"video": file("http://example.com/clip.mp4"), "subtitles": None},
        {"path": "x", "more": [file("http://example.com/clip.mp4")]},
    ],
)
def test_addresses_are_refused_and_not_fetched(page: gr.Blocks, fetched: list[str], clip: Any) -> None:
    assert error_of(page, clip) == NO_ADDRESSES
    assert error_of(page, None, "swap", clip) == NO_ADDRESSES
    assert not fetched


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([file("/etc/passwd")], NOT_UPLOADED),
        ([file("clip.mp4")], NOT_UPLOADED),
        ([file("../clip.mp4")], NOT_UPLOADED),
        ([{"path": "clip.mp4"}], UNUSABLE),
        ([3], UNUSABLE),
        ([[[[]]]], UNUSABLE),
        ([None, "mute", "clip.mp4"], UNUSABLE),
        ([None, "mute", {"path": 3, "meta": {"_type": "gradio.FileData"}}], UNUSABLE),
    ],
)
def test_unusable_values_are_answered_with_a_sentence(
    page: gr.Blocks, values: list[Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "has_launched", True)  # gradio checks paths of a served page alone
    token = LocalContext.blocks.set(page)
    try:
        assert error_of(page, *values) == message
    finally:
        LocalContext.blocks.reset(token)


def taken(page: gr.Blocks, handler: str, box: str, sent: Any, state: SessionState) -> Any:
    """What a handler gets of a number that a box of the page sends."""
    event = next(fn for fn in page.fns.values() if fn.name == handler)
    place = next(n for n, block in enumerate(event.inputs) if block.elem_id == box)
    inputs = [block.value if n != place else sent for n, block in enumerate(event.inputs)]
    return asyncio.run(page.preprocess_data(event, inputs, state))[place]


@pytest.mark.parametrize(
    ("sent", "second"), [(999, 2), (2, 2), (1, 1), (-5, 0), (None, 0), (1e308, 2), (math.inf, 2), (math.nan, 0)]
)
def test_a_slider_takes_the_nearest_of_its_values(page: gr.Blocks, sent: float | None, second: int) -> None:
    """While a number is being written, the box beside it sends what it holds."""
    state = SessionState(page)
    slider = next(block for block in page.blocks.values() if block.elem_id == "second")
    state[slider._id] = gr.Slider(0, 2, value=0, step=1, render=False)  # as a take of three seconds changes it
    state[slider._id]._id = slider._id
    assert taken(page, "second", "second", sent, state) == second


@pytest.mark.parametrize("box", ["level", "shift", "keep-from", "keep-to", "threshold", "opacity"])
def test_every_box_of_the_page_takes_any_number(page: gr.Blocks, box: str) -> None:
    """What a component refuses itself covers results with the word Error; handlers refuse in words."""
    for sent in (-1e9, 1e9, None):
        taken(page, "run", box, sent, SessionState(page))


def test_too_few_values_and_very_long_ones_have_a_short_answer(page: gr.Blocks) -> None:
    predict = next(fn for fn in page.fns.values() if fn.api_name == "predict")
    with pytest.raises(gr.Error, match="cannot use these values"):
        asyncio.run(page.preprocess_data(predict, [], SessionState(page)))
    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    assert error_of(page, deep) == UNUSABLE
    assert len(error_of(page, file("x" * 10**6))) <= LONGEST
