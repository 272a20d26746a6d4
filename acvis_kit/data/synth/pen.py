"""The pen that draws objects: closed shapes with fill and outline, coordinates mostly from -1 to 1, y down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from acvis_kit.data.synth.colours import Colour, scaled

Points = Sequence[tuple[float, float]]
REACH = 0.74  # one unit, relative to half the canvas: tails and bows reach beyond the square from -1 to 1


class Pen:
    """A canvas of (pixels, pixels) with its alpha.

    Args:
        pixels: side of the canvas.
        ink: brightness of outlines relative to the colour of the shape.
        background: colour outside the shapes.
    """

    def __init__(self, pixels: int, ink: float = 0.45, background: Colour = (0, 0, 0)) -> None:
        self.pixels, self.ink = pixels, ink
        self.picture = Image.new("RGB", (pixels, pixels), background)
        self.alpha = Image.new("L", (pixels, pixels), 0)
        self._draw, self._stencil = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.alpha)
        self.outline = max(round(pixels * 0.013), 1)

    def shape(self, points: Points, fill: Colour, texture: Image.Image | None = None, outline: bool = True) -> None:
        """A closed polygon, with a texture of the canvas's size in place of its colour if one is given."""
        corners = self._place(points)
        if texture is None:
            self._draw.polygon(corners, fill=fill)
        else:
            inside = Image.new("L", (self.pixels, self.pixels), 0)
            ImageDraw.Draw(inside).polygon(corners, fill=255)
            self.picture.paste(texture, mask=inside)
        self._stencil.polygon(corners, fill=255)
        if outline:
            closed = [*corners, *corners[:2]]
            self._draw.line(closed, fill=scaled(fill, self.ink), width=self.outline, joint="curve")
            self._stencil.line(closed, fill=255, width=self.outline, joint="curve")

    def blob(self, points: Points, fill: Colour, texture: Image.Image | None = None, outline: bool = True) -> None:
        """A closed smooth curve through the points."""
        self.shape(smooth(points), fill, texture, outline)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, texture: Image.Image | None = None,
        angle: float = 0.0, outline: bool = True,
    ) -> None:  # fmt: skip
        turn = np.linspace(0, 2 * np.pi, 22, endpoint=False)
        u, v, cos, sin = rx * np.cos(turn), ry * np.sin(turn), np.cos(angle), np.sin(angle)
        self.shape(list(zip(x + u * cos - v * sin, y + u * sin + v * cos, strict=True)), fill, texture, outline)

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Colour,
        texture: Image.Image | None = None, outline: bool = True,
    ) -> None:  # fmt: skip
        self.shape([(left, top), (right, top), (right, bottom), (left, bottom)], fill, texture, outline)

    def limb(
        self, path: Points, widths: Sequence[float], fill: Colour, texture: Image.Image | None = None,
        curved: bool = True, flat_end: bool = False, outline: bool = True,
    ) -> None:  # fmt: skip
        """A tube along a path, its half-width interpolated in `widths`; round ends, the last one flat if `flat_end`."""
        line = np.asarray(open_curve(path) if curved and len(path) > 2 else path, np.float64)
        steps = np.diff(line, axis=0)
        distance = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
        half = np.interp(distance / distance[-1], np.linspace(0, 1, len(widths)), widths)[:, None]
        tangent = np.gradient(line, axis=0)
        tangent /= np.maximum(np.hypot(tangent[:, :1], tangent[:, 1:]), 1e-9)
        normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
        turn = np.linspace(-np.pi / 2, np.pi / 2, 7)[1:-1, None]

        def cap(end: int, sign: float) -> np.ndarray:
            return line[end] + half[end] * (sign * np.cos(turn) * tangent[end] - sign * np.sin(turn) * normal[end])

        last = np.zeros((0, 2)) if flat_end else cap(-1, 1.0)
        ring = np.concatenate([line + half * normal, last, (line - half * normal)[::-1], cap(0, -1.0)])
        self.shape([tuple(p) for p in ring], fill, texture, outline)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """A stroke on what is already drawn: it does not change the alpha."""
        self._draw.line(
            self._place(points), fill=colour, width=max(round(width * self.pixels / 2 * REACH), 1), joint="curve"
        )

    def stick(self, points: Points, colour: Colour, width: float) -> None:
        """A stroke that is part of the object: it is added to the alpha."""
        pixels = max(round(width * self.pixels / 2 * REACH), 1)
        self._draw.line(self._place(points), fill=colour, width=pixels, joint="curve")
        self._stencil.line(self._place(points), fill=255, width=pixels, joint="curve")

    def _place(self, points: Points) -> list[tuple[float, float]]:
        half, reach = self.pixels / 2, self.pixels / 2 * REACH
        return [(half + x * reach, half + y * reach) for x, y in points]


def mirrored(right: Points) -> list[tuple[float, float]]:
    """The closed symmetric outline of a right half that is given from top to bottom."""
    return [*right, *((-x, y) for x, y in reversed(right))]


def smooth(points: Points, steps: int = 5) -> list[tuple[float, float]]:
    """A closed Catmull-Rom curve through the points."""
    p = np.asarray(points, np.float64)
    return _curve(np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0), steps)


def open_curve(points: Points, steps: int = 6) -> list[tuple[float, float]]:
    """A Catmull-Rom curve from the first point to the last."""
    p = np.asarray(points, np.float64)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    return [*_curve(p[:-3], p[1:-2], p[2:-1], p[3:], steps), tuple(p[-2])]


def _curve(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, steps: int) -> list[tuple[float, float]]:
    t = (np.arange(steps) / steps)[None, :, None]
    a, b, c, d = (m[:, None, :] for m in (a, b, c, d))
    out = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return [tuple(q) for q in out.reshape(-1, 2)]  # (N, steps, 2) -> (N * steps, 2)
