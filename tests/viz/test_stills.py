from __future__ import annotations

import io
from importlib.util import find_spec

import pytest
from PIL import Image

from acvis_kit.viz.stills import chromium_path, drawing
from tests.conftest import unavailable


def figure(**layout: int) -> dict[str, object]:
    return {
        "data": [{"type": "bar", "x": ["a", "b"], "y": [1, 2], "marker": {"color": "#ff0000"}}],
        "layout": {"paper_bgcolor": "white", "plot_bgcolor": "white", **layout},
    }


@pytest.mark.slow
@pytest.mark.browser
def test_a_figure_is_drawn_at_its_size_in_its_colours() -> None:
    if chromium_path() is None or find_spec("playwright") is None or find_spec("plotly") is None:
        unavailable("there is no playwright, plotly or Chromium: apt install chromium")
    with drawing() as draw:
        pictures = [Image.open(io.BytesIO(draw(figure(**size)))) for size in ({}, {"width": 300, "height": 200})]
    assert [picture.size for picture in pictures] == [(760, 380), (300, 200)]
    colours = {colour for _, colour in pictures[0].convert("RGB").getcolors(100_000)}
    assert {(255, 0, 0), (255, 255, 255)} <= colours
