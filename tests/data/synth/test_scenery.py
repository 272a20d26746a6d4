"""What stands before the camera: layers hide what lies behind them, and objects keep their colours below masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from acvis_kit.data.synth.photographs import Photographs
from acvis_kit.data.synth.scenery import Scenery, draw_scenery
from tests.data.synth.photo_material import COLOURS

SIZE, MARGIN, LENGTH = 96, 1.3, 3


@pytest.fixture(scope="module")
def source(photographs: tuple[Path, Path]) -> Photographs:
    return Photographs(*photographs, (0, 1), ("person", "guitar", "dog"))


@pytest.fixture(scope="module")
def places(source: Photographs) -> dict[tuple[str, int], Scenery]:
    """Some places about each class."""
    return {
        (subject, seed): draw_scenery(np.random.default_rng(seed), source, subject, SIZE, MARGIN, LENGTH)
        for subject in ("person", "guitar", "dog", "other")
        for seed in range(24)
    }


def shown(scenery: Scenery, number: int, t: int) -> np.ndarray:
    return scenery.ids(t) == number + 1


def hue(pixels: np.ndarray) -> np.ndarray:
    """Colours without brightness."""
    return pixels / np.maximum(pixels.sum(-1, keepdims=True), 1)


def test_objects_look_like_their_class_under_their_masks(places: dict[tuple[str, int], Scenery]) -> None:
    checked = 0
    for scenery in places.values():
        pixels = np.asarray(scenery.picture(1), float)
        for number, name in enumerate(scenery.names):
            mask = shown(scenery, number, 1)
            if mask.sum() > 150:
                colour = np.array(COLOURS["chair" if name == "other" else name], float)
                near = np.abs(hue(pixels[mask]) - hue(colour)).max(1) < 0.15
                assert near.mean() > 0.7, name
                checked += 1
    assert checked > 120


def test_the_subject_is_there_and_large(places: dict[tuple[str, int], Scenery]) -> None:
    extents = []
    for (subject, _), scenery in places.items():
        assert subject in scenery.names
        largest = max(
            (np.ptp(np.argwhere(mask), axis=0).max() + 1 if mask.any() else 0)
            for mask in (shown(scenery, n, 0) for n, name in enumerate(scenery.names) if name == subject)
        )
        extents.append(largest * MARGIN / scenery.side)
    assert np.quantile(extents, 0.1) > 0.25 and np.median(extents) > 0.5


def test_cut_outs_move_a_little_and_cast_shadows(places: dict[tuple[str, int], Scenery]) -> None:
    moved, darker = [], []
    for scenery in places.values():
        if len(scenery.layers) == 1 and (patch := scenery.patches[0][0]) is not None:
            moved.append(not np.array_equal(scenery.ids(0), scenery.ids(2)))
            around = np.ones((scenery.side, scenery.side), bool)
            around[patch.window][patch.rgba[..., 3] > 0] = False
            bare, pasted = (np.asarray(p, float)[around] for p in (scenery.view.picture, scenery.picture(0)))
            darker.append((bare - pasted).max() > 8 and (pasted - bare).max() < 2)
    assert len(moved) > 12 and np.mean(moved) > 0.8 and np.mean(darker) > 0.9


def test_instruments_are_held_by_people(places: dict[tuple[str, int], Scenery]) -> None:
    """The middle of a pasted guitar lies before a person in most of the places that show one."""
    held = []
    for (subject, _), scenery in places.items():
        if subject == "guitar" and "person" in scenery.names and (patch := scenery.patches[0][0]) is not None:
            x, y = (int(np.clip(v, 0, scenery.side - 1)) for v in patch.middle)
            held.append(scenery.view.ids[y, x] - 1 in [n for n, name in enumerate(scenery.names) if name == "person"])
    assert len(held) > 8 and np.mean(held) > 0.5


def test_the_whole_area_of_an_object_includes_what_is_hidden(places: dict[tuple[str, int], Scenery]) -> None:
    for scenery in places.values():
        areas = scenery.areas(0)
        for number in range(len(scenery.names)):
            assert shown(scenery, number, 0).sum() <= 1.06 * areas[number] + 30


def test_the_same_generator_gives_the_same_place(source: Photographs) -> None:
    one, two = (draw_scenery(np.random.default_rng(7), source, "guitar", SIZE, MARGIN, LENGTH) for _ in range(2))
    assert np.array_equal(one.ids(2), two.ids(2))
    assert np.array_equal(np.asarray(one.picture(2)), np.asarray(two.picture(2)))
