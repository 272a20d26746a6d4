"""Objects in frames: every sprite warped to its pose, and its visible pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from acvis_kit.data.synth.motion import Camera, Path
from acvis_kit.data.synth.sprites import Sprite

PAD = 4  # pixels that a patch has around its object, for the shadow
FEWEST_PIXELS = 12  # visible pixels at 128 x 128: an object with fewer counts as out of view


@dataclass
class Region:
    """The visible pixels of an object in one frame.

    Attributes:
        left: first column of the region in the frame.
        top: first row of the region in the frame.
        visible: bool (h, w), opaque and not behind another object.
    """

    left: int
    top: int
    visible: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that the region covers."""
        height, width = self.visible.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    @property
    def area(self) -> int:
        """Number of visible pixels."""
        return int(self.visible.sum())

    def mask(self, size: int) -> np.ndarray:
        """The visible pixels in the frame, bool (size, size)."""
        out = np.zeros((size, size), bool)
        out[self.window] = self.visible
        return out


@dataclass
class Patch(Region):
    """A sprite in one frame.

    Attributes:
        rgba: uint8 (h, w, 4), not premultiplied, cut at the frame's edges.
        middle: (x, y) of the object's centre in the frame, pixels.
        extent: longer side of the object, pixels.
        share: fraction of the object's area that is in view, 0..1.
    """

    rgba: np.ndarray
    middle: tuple[float, float]
    extent: float
    share: float = 0.0


def place(sprites: Sequence[Sprite], paths: Sequence[Path], camera: Camera, size: int) -> list[list[Patch | None]]:
    """All objects in all frames.

    Returns:
        [N][T] patches; None where the object is outside the frame. If fewer than `FEWEST_PIXELS` are visible,
        `visible` is False everywhere and `share` is 0.
    """
    length = len(camera.zoom)
    patches = [[_warp(s, p, camera, t, size) for t in range(length)] for s, p in zip(sprites, paths, strict=True)]
    nearest_first = sorted(range(len(paths)), key=lambda n: -paths[n].depth)
    fewest = FEWEST_PIXELS * (size / 128) ** 2
    for t in range(length):
        taken = np.zeros((size, size), bool)
        for n in nearest_first:
            patch = patches[n][t]
            if patch is None:
                continue
            whole = patch.share  # set by `_warp` to the area of the whole object, pixels
            opaque = patch.visible
            patch.visible = opaque & ~taken[patch.window]
            taken[patch.window] |= opaque
            patch.share = min(patch.area / whole, 1.0)
            if patch.area < fewest:
                patch.visible = np.zeros_like(opaque)
                patch.share = 0.0
    return patches


def _warp(sprite: Sprite, path: Path, camera: Camera, t: int, size: int) -> Patch | None:
    """The sprite in its pose in frame t; None if it is outside the frame."""
    middle, zoom = size / 2, float(camera.zoom[t])
    x = (float(path.x[t]) - middle) * zoom + middle + float(camera.shift[t, 0])
    y = (float(path.y[t]) - middle) * zoom + middle + float(camera.shift[t, 1])
    extent = float(path.size[t]) * zoom
    scale = extent / sprite.extent  # of the sprite's pixels
    box_left, box_top, box_right, box_bottom = sprite.box
    level = min(max(math.floor(math.log2(1 / scale) + 0.25), 0), len(sprite.levels) - 1)
    picture = sprite.levels[level]
    to_level_x, to_level_y = picture.width / sprite.picture.width, picture.height / sprite.picture.height

    wide, tall = scale * math.sqrt(path.stretch), scale / math.sqrt(path.stretch)
    cos, sin = math.cos(float(path.turn[t])), math.sin(float(path.turn[t]))
    half_w, half_h = (box_right - box_left) / 2 * wide, (box_bottom - box_top) / 2 * tall
    reach_x = abs(half_w * cos) + abs(half_h * sin) + PAD
    reach_y = abs(half_w * sin) + abs(half_h * cos) + PAD
    left, right = max(math.floor(x - reach_x), 0), min(math.ceil(x + reach_x), size)
    top, bottom = max(math.floor(y - reach_y), 0), min(math.ceil(y + reach_y), size)
    if right - left < 1 or bottom - top < 1:
        return None

    # From a pixel of the patch to one of the picture: shift, turn back, scale back, shift.
    mirror = -1.0 if path.flip[t] else 1.0
    a, b = mirror * cos / wide, mirror * sin / wide
    d, e = -sin / tall, cos / tall
    shift_x, shift_y = left - x, top - y
    c = a * shift_x + b * shift_y + (box_left + box_right) / 2
    f = d * shift_x + e * shift_y + (box_top + box_bottom) / 2
    data = (a * to_level_x, b * to_level_x, c * to_level_x, d * to_level_y, e * to_level_y, f * to_level_y)
    warped = picture.transform(
        (right - left, bottom - top), Image.Transform.AFFINE, data, resample=Image.Resampling.BILINEAR
    )
    rgba = np.asarray(warped)
    opaque = rgba[..., 3] >= 128
    if not opaque.any():
        return None
    return Patch(left, top, opaque, rgba, (x, y), extent, share=sprite.area * scale * scale)
