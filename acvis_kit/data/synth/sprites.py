"""Sprites: one instance of a class as a picture with alpha, at several resolutions, so that it shrinks cleanly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageFilter

from acvis_kit.data.synth import creatures, instruments
from acvis_kit.data.synth.colours import Palette, draw_palette
from acvis_kit.data.synth.pen import Pen

BASE = 112  # side of a sprite in pixels for frames of 128 x 128: about twice the size at which most are shown
BRIGHTNESS = (75.0, 150.0)  # mean of R, G and B over an object, 0..255
GAINS = (0.7, 1.6)  # range of the factor that brings an object to its brightness

FAMILIES: dict[str, Callable[[Pen, np.random.Generator, Palette], None]] = {
    "person": creatures.person, "violin": instruments.violin, "guitar": instruments.guitar, "flute": instruments.flute,
    "piano": instruments.piano, "accordion": instruments.accordion, "cat": creatures.cat, "car": creatures.car,
    "saxophone": instruments.saxophone, "dog": creatures.dog, "trumpet": instruments.trumpet, "horse": creatures.horse,
}  # fmt: skip


@dataclass(frozen=True)
class Sprite:
    """A picture of one object, cut out.

    Attributes:
        picture: RGBA, square or not.
    """

    picture: Image.Image

    @cached_property
    def levels(self) -> list[Image.Image]:
        """The picture, halved again and again, while its shorter side keeps 16 pixels or more."""
        out = [self.picture]
        while min(out[-1].size) >= 32:
            out.append(out[-1].reduce(2))
        return out

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the opaque pixels of `picture`."""
        alpha = self.opaque
        rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)

    @cached_property
    def opaque(self) -> np.ndarray:
        """Pixels of `picture` with an alpha of at least 128, bool (h, w)."""
        return np.asarray(self.picture.getchannel("A")) >= 128

    @property
    def extent(self) -> float:
        """Longer side of `box`, pixels."""
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @cached_property
    def area(self) -> float:
        """Number of opaque pixels of `picture`."""
        return float(self.opaque.sum())

    def mean_colour(self) -> np.ndarray:
        """Mean RGB of the opaque pixels, float (3,), 0..255."""
        return np.asarray(self.picture.convert("RGB"), np.float64)[self.opaque].mean(0)


def draw_sprite(class_name: str, rng: np.random.Generator, pixels: int = BASE) -> Sprite:
    """A new instance of a class, drawn at twice `pixels` and reduced; no two are alike."""
    palette = draw_palette(rng, pixels * 2)
    pen = Pen(pixels * 2, ink=rng.uniform(0.3, 0.6), background=palette.body)
    FAMILIES[class_name](pen, rng, palette)
    drawn = pen.picture.copy()
    drawn.putalpha(pen.alpha)
    drawn = drawn.reduce(2)
    return Sprite(_shaded(drawn, rng))


def _shaded(drawn: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light from one side and soft dark edges, so that the flat parts look like one body."""
    alpha = drawn.getchannel("A")
    h, w = alpha.height, alpha.width
    soft = np.asarray(alpha.filter(ImageFilter.BoxBlur(w * 0.04)), np.float32) / 255  # (h, w), low near the edge
    angle, strength = rng.uniform(-2.6, -0.5), rng.uniform(0.06, 0.2)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    light = 1.02 + strength * (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)))
    light *= 0.8 + 0.22 * soft
    rgb = np.asarray(drawn.convert("RGB"), np.float32) * light[..., None]
    # Slim shapes have more outline and would be darker than others: all classes get the same spread of brightness.
    brightness = rgb[np.asarray(alpha) >= 128].mean()
    rgb *= np.float32(np.clip(rng.uniform(*BRIGHTNESS) / brightness, *GAINS))
    out = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    out.putalpha(alpha)
    return out
