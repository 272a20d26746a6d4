"""Pixels of frames and masks: their order, their size, and files of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor


def upright(frame: Tensor) -> np.ndarray:
    """A frame (3, H, W) as Pillow reads it, (H, W, 3)."""
    return frame.permute(1, 2, 0).contiguous().numpy()


def shrunk(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """(H, W) with at most `short_side` pixels on the short side; even if it was reduced, as H.264 requires."""
    short = min(size)
    if short_side is None or short <= short_side:
        return size
    height, width = (max(2, 2 * round(side * short_side / short / 2)) for side in size)
    return height, width


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture, uint8 (H, W, 3), at another size (H, W), for example smaller, by the fastest filter."""
    if picture.shape[:2] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.BOX))


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask, bool (H, W), at another size."""
    if mask.shape == size:
        return mask
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(grey) > 127


def image_file(image: Image.Image | np.ndarray, kind: str, **options: Any) -> bytes:
    """A picture as the content of a file: "PNG" or "JPEG", with Pillow's options of that format."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()
