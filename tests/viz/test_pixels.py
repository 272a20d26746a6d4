"""Pixels of frames and masks."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from acvis_kit.viz.pixels import image_file, resized, resized_mask, shrunk, upright


def test_a_frame_is_laid_out_as_pillow_reads_it() -> None:
    frame = torch.arange(24, dtype=torch.uint8).view(3, 2, 4)
    assert upright(frame).shape == (2, 4, 3) and upright(frame)[1, 2].tolist() == frame[:, 1, 2].tolist()


def test_large_sizes_shrink_to_even_sides_and_small_ones_stay() -> None:
    assert shrunk((1920, 1080), 720) == (1280, 720)
    assert shrunk((1081, 1999), 720) == (720, 1332)
    assert shrunk((63, 97), 720) == (63, 97) == shrunk((63, 97), None)


def test_a_picture_and_a_mask_keep_their_content_at_another_size() -> None:
    left = np.zeros((8, 16), bool)
    left[:, :8] = True
    assert (resized_mask(left, (4, 8)) == (np.arange(8) < 4)).all() and resized_mask(left, (8, 16)) is left
    picture = np.repeat(left[..., None] * np.uint8(200), 3, axis=2)
    assert (resized(picture, (4, 8)) == resized_mask(left, (4, 8))[..., None] * 200).all()


def test_a_mask_is_written_with_one_bit_a_pixel() -> None:
    written = Image.open(io.BytesIO(image_file(np.eye(4, dtype=bool), "PNG")))
    assert written.mode == "1" and (np.asarray(written) == np.eye(4)).all()
