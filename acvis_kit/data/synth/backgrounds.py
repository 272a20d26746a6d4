"""Backgrounds without objects: gradients, stripes, noise, blurred shapes, tiles, landscapes, rooms."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from acvis_kit.data.synth.colours import Colour, hsv

MARGIN = 1.3  # side of a background relative to the frame's: room for camera motion


def draw_background(rng: np.random.Generator, height: int, width: int) -> Image.Image:
    """A random background of one of seven kinds in neighbouring hues: RGB, (height, width) times MARGIN."""
    h, w = round(height * MARGIN), round(width * MARGIN)
    hue, spread = rng.random(), rng.uniform(0.03, 0.25)
    pale, bright = rng.uniform(0.08, 0.55), rng.uniform(0.35, 0.95)
    scheme = [
        hsv(hue + rng.uniform(-spread, spread), pale + rng.uniform(-0.08, 0.08), bright + rng.uniform(-0.2, 0.2))
        for _ in range(5)
    ]
    kind = KINDS[rng.integers(len(KINDS))]
    picture = kind(rng, h, w, scheme)
    if rng.random() < 0.6:  # noise, so that few areas are flat
        picture = Image.blend(picture, _clouds(rng, h, w, scheme), rng.uniform(0.08, 0.25))
    return picture


def _mix(ratio: np.ndarray, one: Colour, two: Colour) -> Image.Image:
    """From colour `one` where the ratio (h, w) is 0 or less, to `two` where it is 1 or more."""
    ratio = np.clip(ratio, 0, 1).astype(np.float32)[..., None]  # (h, w, 1)
    first, second = np.asarray(one, np.float32), np.asarray(two, np.float32)
    return Image.fromarray((first * (1 - ratio) + second * ratio).astype(np.uint8))


def _grid(rng: np.random.Generator, h: int, w: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a random direction, float32 (h, w), about 0..1."""
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) / np.float32(max(h, w))
    angle = np.float32(rng.uniform(0, 2 * np.pi))
    x, y = x - 0.5, y - 0.5
    return x * np.cos(angle) + y * np.sin(angle) + 0.5, y * np.cos(angle) - x * np.sin(angle) + 0.5


def _gradient(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    along, across = _grid(rng, h, w)
    if rng.random() < 0.4:
        along = np.hypot(along - np.float32(rng.uniform(0.2, 0.8)), across - np.float32(rng.uniform(0.2, 0.8))) * 1.4
    return _mix(along, scheme[0], scheme[1])


def _stripes(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    along, across = _grid(rng, h, w)
    period, wave = np.float32(rng.uniform(2, 9)), np.float32(rng.uniform(0, 0.05))
    along = along + wave * np.sin(across * 12)
    sharp = rng.uniform(0.6, 8)
    return _mix(np.sin(along * period * 6.2832) * sharp * 0.5 + 0.5, scheme[0], scheme[1])


def _clouds(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    total, weight = np.zeros((h, w), np.float32), 0.0
    cells = int(rng.integers(2, 6))
    for octave in range(4):
        small = rng.random((cells + 1, cells + 1)).astype(np.float32)
        total += np.asarray(Image.fromarray(small).resize((w, h), Image.Resampling.BICUBIC)) * np.float32(0.6**octave)
        weight += 0.6**octave
        cells *= 2
    return _mix((total / np.float32(weight) - 0.5) * 2 + 0.5, scheme[0], scheme[1])


def _blurred(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    picture = _gradient(rng, h, w, scheme)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(6, 22))):
        x, y, r = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.04, 0.2) * w
        colour = scheme[int(rng.integers(2, 5))]
        if rng.random() < 0.6:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)
        else:
            turn = rng.uniform(0, 6.3) + np.arange(int(rng.integers(3, 6))) * 1.4
            draw.polygon([(x + r * np.cos(a), y + r * np.sin(a)) for a in turn], fill=colour)
    return picture.filter(ImageFilter.BoxBlur(float(rng.uniform(0.0, 0.05)) * w))


def _tiles(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    along, across = _grid(rng, h, w)
    period = np.float32(rng.uniform(4, 10))
    u, v = along * period, across * period * np.float32(rng.uniform(0.6, 1.0))
    if rng.random() < 0.5:  # bricks: every other row is shifted
        u = u + np.float32(0.5) * (np.floor(v) % 2)
    tone = rng.random((64, 64)).astype(np.float32)[np.floor(v).astype(int) % 64, np.floor(u).astype(int) % 64]
    joint = ((u % 1 < 0.07) | (v % 1 < 0.07)).astype(np.float32)
    checks = (np.floor(u) + np.floor(v)) % 2 * np.float32(rng.uniform(0, 0.6))
    picture = _mix(tone * np.float32(0.35) + checks, scheme[0], scheme[1])
    return Image.composite(
        Image.new("RGB", (w, h), scheme[2]), picture, Image.fromarray((joint * 160).astype(np.uint8))
    )


def _landscape(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None].repeat(w, 1)
    picture = _mix(y * 1.5, scheme[0], scheme[1])
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        x, top, r = rng.uniform(0, w), rng.uniform(0.1, 0.35) * h, rng.uniform(0.05, 0.12) * w
        draw.ellipse([x - r, top - r, x + r, top + r], fill=hsv(rng.uniform(0.08, 0.16), 0.3, 1.0))
    level, xs = rng.uniform(0.4, 0.6), np.linspace(0, w, 24)
    for n in range(3):
        waves = np.sin(xs / w * rng.uniform(3, 12) + rng.uniform(0, 6)) + 0.5 * np.sin(xs / w * rng.uniform(12, 24))
        ridge = (level + 0.16 * n + 0.05 * waves) * h
        points = [(0, h), *zip(xs.tolist(), ridge.tolist(), strict=True), (w, h)]
        draw.polygon(points, fill=scheme[2 + n])
    return picture


def _room(rng: np.random.Generator, h: int, w: int, scheme: list[Colour]) -> Image.Image:
    picture = _gradient(rng, h, w, scheme)
    draw = ImageDraw.Draw(picture)
    floor = rng.uniform(0.55, 0.75) * h
    for _ in range(int(rng.integers(0, 4))):  # pictures and windows on the wall
        x, y, a, b = (
            rng.uniform(0, w),
            rng.uniform(0.1, 0.4) * h,
            rng.uniform(0.05, 0.14) * w,
            rng.uniform(0.05, 0.14) * h,
        )
        draw.rectangle([x - a, y - b, x + a, y + b], fill=scheme[3], outline=scheme[4], width=3)
    draw.rectangle([0, floor, w, h], fill=scheme[2])
    vanish = rng.uniform(0.2, 0.8) * w
    for x in np.linspace(-2 * w, 3 * w, int(rng.integers(12, 30))):  # boards that run to a vanishing point
        draw.line([(vanish + (x - vanish) * 0.35, floor), (x, h)], fill=scheme[4], width=1)
    draw.rectangle([0, floor - 0.03 * h, w, floor], fill=scheme[4])
    return picture


KINDS = (_gradient, _stripes, _clouds, _blurred, _tiles, _landscape, _room)
