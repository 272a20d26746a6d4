import numpy as np
import pytest

from acvis_kit.data.synth.sprites import Sprite, draw_sprite


def drawn(class_name: str) -> list[Sprite]:
    return [draw_sprite(class_name, np.random.default_rng([11, k]), 64) for k in range(10)]


@pytest.mark.parametrize(
    ("class_name", "least", "most"),
    [("person", 0.3, 1.1), ("cat", 0.5, 1.0), ("dog", 0.9, 1.8), ("horse", 0.75, 1.3), ("car", 1.5, 2.6)],
)
def test_creatures_have_their_proportions(class_name: str, least: float, most: float) -> None:
    for sprite in drawn(class_name):
        left, top, right, bottom = sprite.box
        assert least < (right - left) / (bottom - top) < most


@pytest.mark.parametrize("class_name", ["dog", "horse"])
def test_four_legged_animals_stand_on_legs_with_air_between(class_name: str) -> None:
    for sprite in drawn(class_name):
        bottom = int(sprite.box[3])
        row = sprite.opaque[bottom - int(sprite.extent * 0.12)]
        assert np.count_nonzero(np.diff(row.astype(int)) == 1) >= 2
