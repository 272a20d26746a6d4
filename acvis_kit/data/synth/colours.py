"""Colours and textures of objects: one broad distribution, so that colour does not reveal the class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]  # RGB, 0..255
NATURAL = ((0.07, 0.55), (0.09, 0.35), (0.05, 0.7), (0.6, 0.06), (0.11, 0.25))  # hue and saturation of wood, fur, skin


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB of a hue (0..1, wraps round), saturation and value (both 0..1)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def scaled(colour: Colour, factor: float) -> Colour:
    """The colour times a factor, cut at 255."""
    return tuple(min(round(c * factor), 255) for c in colour)  # type: ignore[return-value]


@dataclass(frozen=True)
class Palette:
    """Colours of one instance; `texture` covers its main part in place of `body`, None for a plain colour."""

    body: Colour
    second: Colour
    accent: Colour
    light: Colour
    dark: Colour
    texture: Image.Image | None


def draw_palette(rng: np.random.Generator, pixels: int) -> Palette:
    """A random palette for any class; two in three have a texture, RGB of (pixels, pixels)."""
    body, second, accent = (_colour(rng) for _ in range(3))
    light = hsv(rng.random(), rng.uniform(0.02, 0.3), rng.uniform(0.8, 1.0))
    dark = hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.12, 0.32))
    partner = scaled(body, rng.choice([0.72, 1.3])) if rng.random() < 0.6 else second
    textured = rng.random() < 0.66
    return Palette(body, second, accent, light, dark, _texture(body, partner, rng, pixels) if textured else None)


def _colour(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.35:
        hue, saturation = NATURAL[rng.integers(len(NATURAL))]
        return hsv(hue + rng.normal(0, 0.02), saturation + rng.normal(0, 0.08), rng.uniform(0.35, 0.95))
    return hsv(rng.random(), rng.uniform(0.35, 0.9), rng.uniform(0.45, 0.98))


def _texture(one: Colour, two: Colour, rng: np.random.Generator, pixels: int) -> Image.Image:
    """Stripes, spots, checks, a gradient or noise in two colours, at a random angle and scale."""
    y, x = np.mgrid[0:pixels, 0:pixels].astype(np.float32) / np.float32(pixels)
    angle = rng.uniform(0, np.pi)
    along = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    across = y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))
    kind, period = rng.integers(5), np.float32(rng.uniform(6, 14))
    if kind == 0:
        ratio = np.clip(np.sin(along * period * 6.2832) * 4 + 0.5, 0, 1)
    elif kind == 1:
        ratio = np.clip((np.sin(along * period * 6.2832) * np.sin(across * period * 6.2832) - 0.25) * 8, 0, 1)
    elif kind == 2:
        ratio = np.clip(np.sin(along * period * 6.2832) * np.sin(across * period * 6.2832) * 9 + 0.5, 0, 1)
    elif kind == 3:
        ratio = np.clip(along * 1.4 - 0.2, 0, 1)
    else:
        small = rng.random((6, int(rng.integers(8, 40)))).astype(np.float32)
        ratio = np.asarray(Image.fromarray(small).resize((pixels, pixels), Image.Resampling.BICUBIC))
        ratio = np.clip(ratio * 1.6 - 0.3, 0, 1)
    ratio = ratio[..., None].astype(np.float32)  # (pixels, pixels, 1)
    mixed = np.asarray(one, np.float32) * (1 - ratio) + np.asarray(two, np.float32) * ratio
    return Image.fromarray(mixed.astype(np.uint8))
