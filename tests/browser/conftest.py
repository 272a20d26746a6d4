"""A real Chromium for the tests in this folder. Without one they are skipped; on CI they fail."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from acvis_kit.viz.stills import chromium_path, launch_chromium
from tests.conftest import unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, driven by Playwright."""
    for package, extra in (("playwright", "test"), ("gradio", "demo")):
        if find_spec(package) is None:
            unavailable(f"{package} is not installed: pip install acvis-kit[{extra}]")
    if chromium_path() is None:
        unavailable("there is no Chromium on the path: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = launch_chromium(playwright, *CAMERA)
        yield running
        running.close()
