"""A page for each of several weights: the bar at the top leads to them, and they keep their takes apart."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import Loaded
from tests.browser.test_page import TIMEOUT, make_disc

if TYPE_CHECKING:
    from gradio import Blocks
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = ("first-weights", "second-weights")


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blocks]:
    """Two pages with one example each; their models mark three and one objects in every clip."""
    from acvis_kit import app

    examples = tmp_path_factory.mktemp("examples")
    make_disc(examples / "blue-disc.mp4", (30, 60, 220))
    loaded = []
    for name, tracks in zip(NAMES, (3, 1), strict=True):
        torch.manual_seed(0)
        config = replace(PRESETS["acvis-synth-tiny"], score_threshold=0.0, sounding_threshold=0.0, top_k=tracks)
        loaded.append(Loaded(ACVIS(config).eval(), name))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        served = app.launch(loaded[0], port=port, block=False, examples=examples, others=loaded[1:])
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


def tracks_of_the_example(page: Page, number: int) -> int:
    page.locator(f"#example-{number}").click()
    page.locator("#tracks tbody tr").first.wait_for()
    return page.locator("#tracks tbody tr").count()


def test_each_page_runs_its_own_weights(visit: Page) -> None:
    assert NAMES[0] in visit.locator("#banner").inner_text()
    assert tracks_of_the_example(visit, 1) == 3
    assert visit.get_by_role("link", name=NAMES[0]).count() == 1
    visit.get_by_role("link", name=NAMES[1]).click()
    visit.locator("#banner", has_text=NAMES[1]).wait_for()
    assert visit.locator("#example-1").count() == 0, "pictures of examples are numbered over all pages"
    assert tracks_of_the_example(visit, 2) == 1


def test_the_address_of_a_page_is_its_name(served: Blocks, visit: Page) -> None:
    visit.goto(f"{served.local_url}{NAMES[1]}")
    visit.locator("#banner", has_text=NAMES[1]).wait_for()
    assert visit.locator("nav a").all_inner_texts() == list(NAMES), "the bar has the same names on every page"


def test_a_program_calls_the_first_page(served: Blocks, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    clip = make_disc(tmp_path / "disc.mp4", (200, 60, 40))
    client = Client(served.local_url, verbose=False, download_files=tmp_path)
    _, summary, tracks, *_ = client.predict(handle_file(clip), api_name="/predict")
    assert len(tracks) == 3, summary
