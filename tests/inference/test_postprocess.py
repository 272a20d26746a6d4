"""Masks without specks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from acvis_kit.clip import Clip
from acvis_kit.config import inference_of
from acvis_kit.inference.postprocess import _large_parts, _without_specks
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS

# Three parts, of 4, 2 and 1 places; places that touch at a corner alone are apart.
PARTS = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 1, 1], [0, 0, 1, 0, 0]], bool)


@pytest.mark.parametrize(("share", "kept"), [(0.1, 7), (0.25, 7), (0.3, 6), (0.5, 6), (0.6, 4), (1.0, 4)])
def test_parts_below_a_share_of_the_largest_are_left_out(share: float, kept: int) -> None:
    large = _large_parts(PARTS, share)
    assert large.sum() == kept and not (large & ~PARTS).any()
    assert large[:2, :2].all()


def test_logits_of_specks_become_negative_and_no_others_change() -> None:
    logits = torch.from_numpy(np.where(PARTS, 3.0, -2.0)).expand(2, 1, -1, -1).clone()
    logits[1] = -1.0  # an empty mask
    cleaned = _without_specks(logits, 0.5)
    expected = logits[0, 0].clone()
    expected[2, 2] = -3.0  # the part of one place
    assert torch.equal(cleaned[0, 0], expected)
    assert torch.equal(cleaned[1], logits[1])


def test_a_prediction_has_no_specks(tiny_model: ACVIS) -> None:
    torch.manual_seed(0)
    clip = Clip.from_arrays(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8), torch.randn(32_000) * 0.1)
    settings = replace(
        inference_of(tiny_model.config), score_threshold=0.0, sounding_threshold=0.0, sounding_bias=20.0, short_side=64
    )

    def parts(share: float) -> int:
        masks = Predictor(tiny_model, inference=replace(settings, part_share=share))(clip).masks()
        return sum(ndimage.label(mask.numpy())[1] for mask in masks.flatten(0, 1))

    assert 3 * parts(1.0) < parts(0.0)  # a thin part may break where it is enlarged
