"""Still pictures of Plotly figures, drawn by a local Chromium: kaleido would install another browser."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

# Chromium makes no requests of its own, and runs as root and without a graphics card.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
USUAL_SIZE = (760, 380)  # (width, height) in pixels of a figure without a size
DRAW = """async ([figure, width, height]) => {
    const node = document.createElement('div');
    document.body.append(node);
    await Plotly.newPlot(node, figure.data, {...figure.layout, width, height});
    const url = await Plotly.toImage(node, {format: 'png', width, height, scale: 1});
    node.remove();
    return url;
}"""


def chromium_path() -> str | None:
    """Path of a Chromium on this machine; None if PATH has none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def launch_chromium(playwright: Playwright, *more: str) -> Browser:
    """Launch Chromium with `CHROMIUM_FLAGS` and `more` flags; Playwright's own if PATH has none.

    Raises:
        playwright.sync_api.Error: there is no Chromium, or it does not start.
    """
    return playwright.chromium.launch(executable_path=chromium_path(), args=[*CHROMIUM_FLAGS, *more])


@contextmanager
def drawing() -> Iterator[Callable[[dict[str, Any]], bytes]]:
    """Yield a function from a figure (data and layout, as in JSON) to its PNG, of the size that the layout gives.

    Raises:
        ImportError: playwright is not installed.
        playwright.sync_api.Error: see `launch_chromium`.
    """
    from playwright.sync_api import sync_playwright
    from plotly.offline import get_plotlyjs

    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_page()
        page.set_content("<html><body></body></html>")
        page.add_script_tag(content=get_plotlyjs())

        def draw(figure: dict[str, Any]) -> bytes:
            layout = figure["layout"]
            url = page.evaluate(DRAW, [figure, layout.get("width", USUAL_SIZE[0]), layout.get("height", USUAL_SIZE[1])])
            return base64.b64decode(url.split(",", 1)[1])

        yield draw
        browser.close()
