"""Frames of a scene: background, shadows, objects, the twins' cue, light, noise.

Twins are two objects of one class of which at most one sounds at a time; the cue is drawn around the one that sounds.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageFilter

from acvis_kit.data.synth.backgrounds import draw_background
from acvis_kit.data.synth.placing import Patch
from acvis_kit.data.synth.scenes import Scene

SHADOW = 0.35  # largest fraction by which a shadow darkens
CUE_RADII = (0.56, 0.68)  # of the arcs around the object's centre, relative to its extent
CUE_ANGLE = 0.42  # radians to either side of the horizontal
CUE_WIDTH = 0.045  # of an arc, relative to the object's extent


def render_frames(rng: np.random.Generator, scene: Scene) -> Iterator[np.ndarray]:
    """Paint the frames of a scene in order, uint8 (H, W, 3)."""
    size = scene.size
    background = draw_background(rng, size, size)
    grain = rng.uniform(1, 7) if rng.random() < 0.7 else 0.0
    far_first = sorted(range(len(scene.things)), key=lambda n: scene.things[n].path.depth)
    for t in range(scene.length):
        frame = np.array(_background_at(background, scene, t), np.float32)  # (H, W, 3)
        for n in far_first:
            patch = scene.patches[n][t]
            if patch is not None:
                _paste(frame, patch)
        for n in far_first:
            patch = scene.patches[n][t]
            if scene.cue[n, t] and patch is not None:
                _draw_cue(frame, patch)
        frame *= scene.camera.light[t].astype(np.float32)
        if grain:
            frame += rng.standard_normal(frame.shape, np.float32) * np.float32(grain)
        yield np.clip(frame, 0, 255).astype(np.uint8)


def _background_at(background: Image.Image, scene: Scene, t: int) -> Image.Image:
    """The part of the background in the frame of second t."""
    size, zoom = scene.size, float(scene.camera.zoom[t])
    shift_x, shift_y = (float(v) for v in scene.camera.shift[t])
    c = background.width / 2 - (size / 2 + shift_x) / zoom
    f = background.height / 2 - (size / 2 + shift_y) / zoom
    return background.transform(
        (size, size), Image.Transform.AFFINE, (1 / zoom, 0, c, 0, 1 / zoom, f), resample=Image.Resampling.BILINEAR
    )


def _paste(frame: np.ndarray, patch: Patch) -> None:
    """Paint the object over its own soft shadow, in place."""
    size = frame.shape[0]
    alpha = patch.rgba[..., 3]
    soft = np.asarray(Image.fromarray(alpha).filter(ImageFilter.BoxBlur(1.5 * size / 128)), np.float32)
    drop = max(round(2 * size / 128), 1)
    below = frame[patch.top + drop : patch.top + drop + soft.shape[0], patch.window[1]]
    below *= 1 - soft[: below.shape[0], :, None] * np.float32(SHADOW / 255)
    window = frame[patch.window]
    cover = alpha[..., None].astype(np.float32) / 255
    window += (patch.rgba[..., :3] - window) * cover


def _draw_cue(frame: np.ndarray, patch: Patch) -> None:
    """Paint two arcs on either side, as of vibration: white with a dark rim, over everything, in no mask."""
    size, extent = frame.shape[0], patch.extent
    x, y = patch.middle
    reach = extent * (CUE_RADII[-1] + CUE_WIDTH) + 2
    left, right = max(int(x - reach), 0), min(int(x + reach) + 1, size)
    top, bottom = max(int(y - reach * 0.6), 0), min(int(y + reach * 0.6) + 1, size)
    if right <= left or bottom <= top:
        return
    dy, dx = np.mgrid[top:bottom, left:right].astype(np.float32) + 0.5
    dx, dy = dx - np.float32(x), dy - np.float32(y)
    radius = np.hypot(dx, dy)
    inside = np.clip((CUE_ANGLE - np.abs(np.arctan2(dy, np.abs(dx)))) * radius + 0.5, 0, 1)  # soft ends
    away = np.min([np.abs(radius - extent * r) for r in CUE_RADII], axis=0)
    half = max(extent * CUE_WIDTH / 2, 0.7)
    window = frame[top:bottom, left:right]
    for colour, width in ((25.0, half + 0.9 * size / 128), (250.0, half)):
        cover = (np.clip(width - away + 0.5, 0, 1) * inside)[..., None].astype(np.float32)
        window += (np.float32(colour) - window) * cover
