"""The page as a visitor meets it: a clip goes in, the overlay comes back, and nothing is asked of another host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import torch

from acvis_kit import media
from acvis_kit.config import PRESETS
from acvis_kit.models.acvis import ACVIS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SECONDS = 3
PATIENCE = 120_000  # ms; a run takes one or two seconds


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a page with random weights is served; they mark three things whatever they see and hear."""
    from acvis_kit import app

    torch.manual_seed(0)
    model = ACVIS(replace(PRESETS["acvis-synth-tiny"], score_threshold=0.0, top_k=3))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        served = app.launch(model, "random", port=port, block=False)
        yield served.local_url
        served.close()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc that wanders over grey while a tone sounds, H.264 and AAC."""
    rows, columns = np.mgrid[:120, :160]
    pictures = []
    for i in range(SECONDS * 10):
        disc = (rows - 60) ** 2 + (columns - 40 - 3 * i) ** 2 < 30**2
        pictures.append(np.where(disc[..., None], (200, 60, 40), (110, 110, 110)).astype(np.uint8))
    tone = 0.3 * torch.sin(torch.arange(SECONDS * 16000) * 2 * torch.pi * 440 / 16000)
    return media.write_video(tmp_path_factory.mktemp("clip") / "disc.mp4", pictures, 10, tone)


@pytest.fixture
def hosts() -> set[str]:
    """The hosts that the visit asked for something, of whatever scheme but inline data."""
    return set()


@pytest.fixture
def visit(browser: Browser, address: str, hosts: set[str]) -> Iterator[Page]:
    """The page, just opened."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    for event in ("request", "websocket"):
        page.on(event, lambda asked: hosts.add(urlsplit(asked.url.removeprefix("blob:")).netloc))
    page.goto(address)
    page.locator("#run").wait_for()
    yield page
    page.close()


def upload(page: Page, file: Path) -> None:
    clear = page.locator("#clip button[aria-label=Clear]")
    if clear.count():
        clear.click()
    with page.expect_response("**/upload*"):
        page.locator("#clip input[type=file]").set_input_files(file)
    page.locator("#clip video").wait_for(state="attached")


def run(page: Page, says: str) -> None:
    """Press the button and wait for the summary to say so."""
    page.locator("#run").click()
    page.locator("#summary", has_text=says).wait_for()
    page.locator("#overlay video").wait_for()


def download(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=name).click()
    assert started.value.suggested_filename == name
    path = folder / name
    started.value.save_as(path)
    return path


def rms(path: Path) -> float:
    """Root mean square of a file's sound."""
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def test_a_clip_comes_back_marked_and_a_muted_take_is_silent(visit, clip, hosts, tmp_path):
    assert "the masks mean nothing" in visit.get_by_role("alert").inner_text()
    upload(visit, clip)

    run(visit, "with its own sound")
    video = visit.locator("#overlay video")
    visit.wait_for_function("video => video.readyState >= 1", arg=video.element_handle())
    assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [160, 120]
    assert video.evaluate("video => video.duration") == pytest.approx(SECONDS, abs=0.1)
    visit.locator("#counts-plot .main-svg").first.wait_for()
    for second in range(SECONDS):
        assert visit.locator("#counts").get_by_text(f"{second} s", exact=True).count()
    assert visit.locator("#tracks").get_by_text("#0").count()
    own = download(visit, "overlay.mp4", tmp_path)
    assert rms(own) > 0.1

    visit.locator("#sound").get_by_text("mute", exact=True).click()
    run(visit, "muted")
    muted = download(visit, "overlay.mp4", tmp_path)
    assert rms(muted) == 0
    assert download(visit, "result.json", tmp_path).stat().st_size > 0
    assert download(visit, "counts.csv", tmp_path).read_text().startswith("start,end,count")

    assert hosts == {urlsplit(visit.url).netloc}


def test_a_file_that_is_no_video_gets_a_sentence_and_the_page_goes_on(visit, clip, tmp_path):
    liar = tmp_path / "liar.mp4"
    liar.write_text("I am no video.\n" * 20)
    upload(visit, liar)
    visit.locator("#run").click()
    sentence = visit.get_by_text("liar.mp4 is not readable as video or sound")
    sentence.wait_for()
    assert "Traceback" not in visit.content()

    upload(visit, clip)
    run(visit, "disc.mp4")


def test_another_sound_is_asked_for_and_then_heard(visit, clip, tmp_path):
    silent = media.write_video(
        tmp_path / "silent.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 10, 10, torch.zeros(16000)
    )
    upload(visit, silent)
    visit.locator("#sound").get_by_text("another sound", exact=True).click()
    visit.locator("#run").click()
    visit.get_by_text("There is no other sound yet").wait_for()

    with visit.expect_response("**/upload*"):
        visit.locator("#other input[type=file]").set_input_files(clip)
    run(visit, "with another sound")
    assert rms(download(visit, "overlay.mp4", tmp_path)) > 0.1


def test_a_narrow_screen_needs_no_sideways_scrolling(visit, clip):
    visit.set_viewport_size({"width": 390, "height": 844})
    upload(visit, clip)
    run(visit, "disc.mp4")
    assert visit.evaluate("document.documentElement.scrollWidth") == 390
