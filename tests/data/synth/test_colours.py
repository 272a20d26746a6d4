import numpy as np

from acvis_kit.data.synth.colours import draw_palette, hsv, scaled


def test_hues_wrap_round_and_values_are_cut() -> None:
    assert hsv(0.0, 1.0, 1.0) == hsv(1.0, 1.0, 1.0) == (255, 0, 0)
    assert hsv(1 / 3, 2.0, 1.5) == (0, 255, 0)
    assert scaled((100, 200, 10), 2.0) == (200, 255, 20)


def test_palettes_cover_the_hues_and_two_in_three_have_a_texture() -> None:
    palettes = [draw_palette(np.random.default_rng(k), 32) for k in range(150)]
    bodies = np.array([p.body for p in palettes], float)
    assert bodies.std(0).min() > 50  # of at most 127
    textured = np.mean([p.texture is not None for p in palettes])
    assert 0.5 < textured < 0.8
    assert all(p.texture is None or p.texture.size == (32, 32) for p in palettes)
