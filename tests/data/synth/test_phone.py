"""What phones and codecs do to a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from acvis_kit.data.synth.phone import Phone, draw_phone

NEUTRAL = Phone(
    light=np.ones(2), gains=np.ones(3), gamma=1.0, contrast=1.0, saturation=1.0, tint=np.zeros(3), vignette=0.0,
    detail=1.0, sharpen=0.0, grain=0.0, blotches=0.0, quality=None, bars=0, upright=False,
)  # fmt: skip
STILL = np.zeros(2)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def picture() -> Image.Image:
    """A grid of colours, 60 x 80 pixels."""
    tiles = np.random.default_rng(3).integers(40, 216, (6, 8, 3), np.uint8)
    return Image.fromarray(tiles.repeat(10, 0).repeat(10, 1))


def film(smear: np.ndarray = STILL, **changes: object) -> np.ndarray:
    return replace(NEUTRAL, **changes).film(rng(), picture(), 0, smear).astype(float)


def edges(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels, axis=1)).max(2).mean(0)[[9, 19, 29]].mean())


def test_a_neutral_phone_changes_nothing() -> None:
    assert np.abs(film() - np.asarray(picture())).max() <= 1


def test_light_and_white_balance_are_factors() -> None:
    assert film(light=np.array([0.5, 1.0])).mean() == pytest.approx(film().mean() / 2, rel=0.02)
    warm = film(gains=np.array([1.1, 1.0, 0.8])).mean((0, 1)) / film().mean((0, 1))
    assert warm == pytest.approx([1.1, 1.0, 0.8], abs=0.03)


def test_without_saturation_a_frame_is_grey() -> None:
    assert np.ptp(film(saturation=0.0, gains=np.array([1.05, 1, 1])), axis=2).max() <= 1


@pytest.mark.parametrize("changes", [{"detail": 0.4}, {"smear": np.array([3.0, 0.0])}])
def test_low_detail_and_motion_blur_soften_edges(changes: dict) -> None:
    assert edges(film(**changes)) < 0.7 * edges(film())


def test_motion_blur_acts_along_the_motion_only() -> None:
    up_and_down = film(np.array([0.0, 4.0]))
    assert edges(up_and_down) > 0.95 * edges(film())
    assert edges(up_and_down.swapaxes(0, 1)) < 0.8 * edges(film().swapaxes(0, 1))


def test_grain_and_compression_add_errors() -> None:
    assert np.abs(film(grain=5.0) - film()).mean() == pytest.approx(5 * 0.61, rel=0.35)
    assert np.abs(film(quality=20) - film()).mean() > np.abs(film(quality=90) - film()).mean() > 0.2


@pytest.mark.parametrize("upright", [True, False])
def test_bars_hide_picture_and_objects_alike(upright: bool) -> None:
    phone = replace(NEUTRAL, bars=7, upright=upright)
    shown = phone.film(rng(), picture(), 0, STILL).max(2) > 0
    assert np.array_equal(shown, phone.cut(np.ones((60, 80), np.uint8)) > 0)
    assert shown.mean() == pytest.approx(1 - 14 / (80 if upright else 60))


def test_random_phones_keep_pictures_recognisable() -> None:
    original = np.asarray(picture(), float).mean(2)
    alike = []
    for seed in range(60):
        phone = replace(draw_phone(np.random.default_rng(seed), 2, 60, False), bars=0)
        alike.append(np.corrcoef(phone.film(rng(), picture(), 1, STILL).mean(2).ravel(), original.ravel())[0, 1])
    assert np.median(alike) > 0.9 and min(alike) > 0.6


def test_grey_photographs_make_grey_or_tinted_clips() -> None:
    phones = [draw_phone(np.random.default_rng(seed), 2, 60, True) for seed in range(60)]
    grey = [phone.saturation == 0 for phone in phones]
    assert 15 < sum(grey) < 45 and all(bool(p.tint.any()) != g for p, g in zip(phones, grey, strict=True))
