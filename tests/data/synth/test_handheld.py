"""The camera stays over the scenery, and sees where it looks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from acvis_kit.data.synth.handheld import Move, draw_margin, draw_move

CORNERS = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])


@pytest.mark.parametrize("length", [1, 3, 12])
def test_the_frame_never_leaves_the_scenery(length: int) -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        margin = draw_margin(rng)
        side = round(128 * margin)
        move = draw_move(rng, length, side, margin, 128)
        for t in range(length):
            cos, sin = np.cos(move.roll[t]), np.sin(move.roll[t])
            corners = CORNERS @ np.array([[cos, sin], [-sin, cos]]) * move.side[t] / 2 + move.middle[t]
            assert corners.min() >= -1e-6 and corners.max() <= side + 1e-6


def test_cameras_stand_move_zoom_and_shake() -> None:
    still, zooms, way = 0, [], []
    for seed in range(200):
        move = draw_move(np.random.default_rng(seed), 10, 180, 1.4, 128)
        steps = np.hypot(*np.diff(move.middle, axis=0).T)
        still += steps.max() < 1
        zooms.append(move.side.max() / move.side.min())
        way.append(np.hypot(*np.ptp(move.middle, axis=0)))
    assert 10 < still < 80 and max(zooms) > 1.6 and np.median(way) > 4


def test_a_frame_shows_what_the_camera_looks_at() -> None:
    scenery = Image.new("L", (200, 200))
    scenery.putpixel((120, 60), 255)
    move = Move(np.array([[120.5, 60.5]]), np.array([51.0]), np.array([0.0]), np.zeros((1, 2)))
    seen = np.asarray(move.see(scenery, 0, 51, Image.Resampling.NEAREST))
    assert np.argwhere(seen).tolist() == [[25, 25]]


def test_a_rolled_camera_turns_the_picture_about_its_middle() -> None:
    scenery = Image.new("L", (200, 200))
    scenery.paste(255, (118, 98, 123, 103))  # 20 pixels to the right of the middle
    move = Move(np.full((1, 2), 100.0), np.array([100.0]), np.array([np.pi / 2]), np.zeros((1, 2)))
    rows, columns = np.nonzero(np.asarray(move.see(scenery, 0, 100, Image.Resampling.NEAREST)))
    assert (rows.mean(), columns.mean()) == (pytest.approx(29.5, abs=1), pytest.approx(49.5, abs=1))
