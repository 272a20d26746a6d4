import numpy as np
import pytest

from acvis_kit.data.synth.sprites import Sprite, draw_sprite


def drawn(class_name: str) -> list[Sprite]:
    return [draw_sprite(class_name, np.random.default_rng([9, k]), 64) for k in range(10)]


def proportion(sprite: Sprite) -> float:
    """Width by height."""
    left, top, right, bottom = sprite.box
    return (right - left) / (bottom - top)


@pytest.mark.parametrize(
    ("class_name", "least", "most"),
    [("flute", 3.0, 8.0), ("trumpet", 1.3, 3.0), ("accordion", 1.2, 2.6), ("guitar", 0.35, 0.8), ("violin", 0.7, 1.2)],
)
def test_instruments_have_their_proportions(class_name: str, least: float, most: float) -> None:
    for sprite in drawn(class_name):
        assert least < proportion(sprite) < most


@pytest.mark.parametrize("class_name", ["violin", "guitar", "flute", "piano", "accordion", "saxophone", "trumpet"])
def test_instruments_are_one_piece_of_more_than_one_colour(class_name: str) -> None:
    from scipy.ndimage import label

    for sprite in drawn(class_name):
        pieces, count = label(sprite.opaque, np.ones((3, 3)))
        largest = np.bincount(pieces.ravel())[1:].max()
        assert count <= 3 and largest > 0.97 * sprite.area
        colours = np.asarray(sprite.picture.convert("RGB"), float)[sprite.opaque]
        assert colours.std(0).max() > 12
