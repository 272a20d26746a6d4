"""Class, mask and dice losses on small tables, computed by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import log

import pytest
import torch

from acvis_kit.clip import Targets
from acvis_kit.losses.masks import class_loss, mask_loss, set_losses
from acvis_kit.losses.matcher import Matches
from acvis_kit.losses.truth import Truth
from tests.losses.samples import CONFIG, SIZE, box


def test_classes_are_a_mean_weighted_by_class() -> None:
    """Probabilities 1/4 and 3/4; "none" weighs 1/10: (log 4 + 1/10 log(4/3)) / (11/10)."""
    logits = torch.tensor([[1.0, 3.0], [1.0, 3.0]], dtype=torch.float64).log()
    total, weight = class_loss(logits, torch.tensor([0, 1]), 0.1)
    assert total.item() == pytest.approx(log(4) + log(Fraction(4, 3)) / 10, rel=1e-12)
    assert weight.item() == pytest.approx(1.1)


def test_dice_and_entropy_of_a_table() -> None:
    """p = 1/2, 3/4, 1/4, 1/5 against 1, 1, 0, 0: s = 5/4, d = 17/10 + 2, dice = 1 - (7/2) / (47/10) = 12/47."""
    p = torch.tensor([[1 / 2, 3 / 4, 1 / 4, 1 / 5]], dtype=torch.float64)
    entropy, dice = mask_loss(p.logit(), torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64))
    assert dice.item() == pytest.approx(float(Fraction(12, 47)), rel=1e-12)
    want = log(2) + log(Fraction(4, 3)) + log(Fraction(4, 3)) + log(Fraction(5, 4))
    assert entropy.item() == pytest.approx(want / 4, rel=1e-12)


def test_the_losses_of_masks_are_means_over_points_and_summed_over_masks() -> None:
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    truth = (torch.rand(3, 8, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    apart = [mask_loss(logits[i : i + 1], truth[i : i + 1]) for i in range(3)]
    for got, parts in zip(mask_loss(logits, truth), zip(*apart, strict=True), strict=True):
        torch.testing.assert_close(got, sum(parts))


def test_dice_is_near_0_for_a_perfect_mask_and_near_1_for_its_inverse() -> None:
    truth = Truth([targets()], 1, 2, 3, SIZE, "cpu")
    sets = truth.of_frames()
    matches = Matches(torch.tensor([0, 1]), torch.tensor([[1, 1]]), torch.tensor([[0, 0]]), True)
    coarse = truth.masks.view(2, SIZE[0], 4, SIZE[1], 4)[:, :, 0, :, 0]  # the boxes lie on the coarse grid
    classes = torch.zeros(1, 2, 2, 4)
    for sign, low, high in ((1, 0.0, 0.25), (-1, 0.9, 1.0)):
        # At a box's edge bilinear logits change over four pixels, the truth over one: hence not exactly 0.
        masks = sign * 200 * (coarse.float() - 0.5)[None, :, None, None].expand(1, 2, 2, 1, *SIZE)
        found = set_losses(classes, masks, truth, sets, matches, replace(CONFIG, importance_ratio=0.0), None)
        dice, terms = found["dice"]
        assert terms == 2
        assert low <= dice.item() / 2 < high


def test_frames_without_the_object_count_at_the_video_level() -> None:
    """An object that is present in one of two frames: a mask in the other frame raises the losses."""
    truth = Truth([targets(absent=True)], 1, 2, 3, SIZE, "cpu")
    sets = truth.of_videos(1)
    matches = Matches(torch.tensor([0]), torch.tensor([[0]]), torch.tensor([[0]]), True)
    logits = -9 * torch.ones(1, 1, 1, 2, *SIZE)
    logits[..., 0, 2:4, 2:6] = 9
    empty = set_losses(torch.zeros(1, 1, 1, 4), logits, truth, sets, matches, CONFIG, None)
    logits[..., 1, 2:4, 2:6] = 9
    filled = set_losses(torch.zeros(1, 1, 1, 4), logits, truth, sets, matches, CONFIG, None)
    assert filled["mask"][0] > empty["mask"][0] + 0.2
    assert filled["dice"][0] > empty["dice"][0] + 0.05


def test_mask_losses_have_one_term_per_object_and_at_the_video_level_per_frame_layer() -> None:
    truth = Truth([targets(), targets(absent=True)], 2, 2, 3, SIZE, "cpu")
    assert truth.of_frames().num_objects == 3
    assert truth.of_videos(3).num_objects == 6


def targets(absent: bool = False) -> Targets:
    where = (8, 8, 16, 24)
    masks = box(2, where, None if absent else where)[None]
    return Targets(torch.tensor([1]), masks, masks.flatten(2).any(-1), torch.ones(2, dtype=torch.int64))
