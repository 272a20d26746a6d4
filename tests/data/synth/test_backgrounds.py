import numpy as np
import pytest

from acvis_kit.data.synth import backgrounds
from acvis_kit.data.synth.colours import hsv


def test_backgrounds_leave_room_for_the_camera() -> None:
    picture = backgrounds.draw_background(np.random.default_rng(0), 100, 50)
    assert picture.size == (65, 130) and picture.mode == "RGB"


def test_backgrounds_vary() -> None:
    drawn = [np.asarray(backgrounds.draw_background(np.random.default_rng(k), 32, 32), float) for k in range(40)]
    assert np.std([d.mean((0, 1)) for d in drawn], axis=0).min() > 25  # in colour
    assert np.std([d.std((0, 1)).mean() for d in drawn]) > 5  # and in contrast


@pytest.mark.parametrize("kind", backgrounds.KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_fills_the_picture(kind) -> None:
    scheme = [hsv(0.1 * n, 0.5, 0.5 + 0.1 * n) for n in range(5)]
    picture = kind(np.random.default_rng(1), 40, 60, scheme)
    assert picture.size == (60, 40)
    assert np.asarray(picture).min() > 0  # no colour of the scheme is black
