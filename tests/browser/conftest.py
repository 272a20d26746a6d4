"""A real Chromium for the tests beside this file. Where there is none they are skipped; on CI they fail instead."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# What keeps Chromium from asking its makers for anything, and lets it run as root, without a graphics card or a camera.
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


def unavailable(reason: str) -> None:
    """Skip, or fail where the tests must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; on CI the browser tests must run")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, driven by Playwright."""
    for package, extra in (("playwright", "test"), ("gradio", "demo")):
        if find_spec(package) is None:
            unavailable(f"{package} is not installed: pip install acvis-kit[{extra}]")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        unavailable("there is no Chromium on the path: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield running
        running.close()
