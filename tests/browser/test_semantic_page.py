"""The page with weights of AVSC and of RAVS in a browser: class maps with a legend, under several sounds."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acvis_kit.weights.load import Loaded
from tests.browser.test_page import SECONDS, TIMEOUT, choose_sound, download, make_disc, rms, run, upload
from tests.semantic_models import marking_avsc, marking_ravs

if TYPE_CHECKING:
    from gradio import Blocks
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MODELS = {"avsc": marking_avsc, "ravs": marking_ravs}


@pytest.fixture(scope="module", params=[*MODELS])
def system(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disc(tmp_path_factory.mktemp("clip") / "disc.mp4", (200, 60, 40))


@pytest.fixture(scope="module")
def served(browser: Browser, system: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blocks]:
    """A page with one example."""
    from acvis_kit import app

    examples = tmp_path_factory.mktemp("examples")
    make_disc(examples / "blue-disc.mp4", (30, 60, 220))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        served = app.launch(Loaded(MODELS[system](), system), port=port, block=False, examples=examples)
        yield served
        served.close()


@pytest.fixture
def visit(browser: Browser, served: Blocks) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(TIMEOUT)
    page.goto(served.local_url)
    page.locator("#run").wait_for()
    yield page
    page.close()


def test_the_sound_laboratory_shows_class_maps_with_a_legend(
    visit: Page, system: str, clip: Path, tmp_path: Path
) -> None:
    names = MODELS[system]().config.class_names
    assert "pixels of which class" in visit.locator("#banner").inner_text().lower()
    upload(visit, clip)
    run(visit, "marked.")
    summary = visit.locator("#summary").inner_text()
    assert "disc.mp4 with its original sound" in summary
    assert "class is marked" in summary or "classes are marked" in summary
    rows = visit.get_by_role("table", name="Classes").get_by_role("row")
    rows.nth(1).wait_for()  # the table comes after the summary
    assert rows.nth(1).inner_text().split()[0] in names
    legend = visit.locator("#frame .legend-item")
    legend.first.wait_for()
    assert all(text.split()[0] in names and text.endswith("%") for text in legend.all_inner_texts())
    assert visit.locator("#gate").count() == 0 and visit.get_by_text("Pixel score above").count() == 1
    visit.locator("#timeline .main-svg").first.wait_for()
    caption = visit.locator("#caption").inner_text()
    assert ("sounding" in caption) == (system == "avsc")  # RAVS does not count

    result = json.loads(download(visit, "result.json", tmp_path).read_text())
    assert (result["counts"] is None) == (system == "ravs") and result["length"] == SECONDS
    assert download(visit, "counts.csv", tmp_path).read_text().count("\n") == 1 + SECONDS
    assert rms(download(visit, "overlay.mp4", tmp_path)) > 0.1

    choose_sound(visit, "mute")
    run(visit, "with silence")
    assert "encoding 0 s" in visit.locator("#summary").inner_text()
    assert rms(download(visit, "overlay.mp4", tmp_path)) == 0


def test_the_threshold_takes_pixels_without_another_run(visit: Page, clip: Path) -> None:
    upload(visit, clip)
    run(visit, "marked.")
    before = visit.locator("#tracks").inner_text()
    number = visit.locator("#threshold input[type=number]")
    number.fill("0.9")
    number.press("Enter")
    visit.wait_for_function("before => document.querySelector('#tracks').innerText !== before", arg=before)
    assert visit.get_by_label("Main video", exact=True).input_value().startswith("Take ")
    assert "encoding" in visit.locator("#summary").inner_text()


def test_all_sounds_run_with_one_click(visit: Page, clip: Path) -> None:
    upload(visit, clip)
    visit.get_by_role("button", name="Run all sounds").click()
    visit.locator("#status", has_text="Take 3, the sound of blue-disc.mp4: ").wait_for()
    assert visit.get_by_label("Compare with", exact=True).input_value() == "Take 1: disc.mp4 with its original sound"
