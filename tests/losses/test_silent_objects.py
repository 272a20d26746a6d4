"""The silent-object-aware loss: zero away from the sounding region, one inside it, and its signs."""

import numpy as np
import torch

from acvis_kit.losses.silent_objects import silent_object_loss
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def region() -> torch.Tensor:
    union = torch.zeros(1, 4, 4)
    union[0, :2, :2] = 1
    return union


def loss(masks: torch.Tensor, union: torch.Tensor | None = None, **options) -> torch.Tensor:
    everyone = torch.ones(masks.shape[:2], dtype=torch.bool)
    return silent_object_loss(masks, region() if union is None else union, everyone, **options)


def test_it_is_the_sum_of_soft_ious() -> None:
    masks, union = torch.from_numpy(GOLDENS["own/soas/nonobj_prob"]), torch.from_numpy(GOLDENS["own/soas/gt_union"])
    np.testing.assert_allclose(loss(masks[None], union[None]), GOLDENS["own/soas/sum"], atol=1e-12)
    for mask, iou in zip(masks, GOLDENS["own/soas/iou_each"], strict=True):
        np.testing.assert_allclose(loss(mask[None, None], union[None]), iou, atol=1e-12)
    np.testing.assert_allclose(
        loss(masks[None], union[None], reduction="mean"), GOLDENS["own/soas/iou_each"].mean(), atol=1e-12
    )


def test_masks_outside_cost_nothing_and_equal_masks_cost_one_each() -> None:
    outside = (1 - region()).expand(1, 3, 4, 4)
    assert loss(outside) == 0 and loss(region().expand(1, 3, 4, 4)) == 3
    assert loss(torch.rand(1, 3, 4, 4), torch.zeros(1, 4, 4)) == 0  # nothing sounds


def test_a_mask_is_pushed_off_the_region_only() -> None:
    masks = torch.full((1, 2, 4, 4), 0.3, requires_grad=True)
    loss(masks).backward()
    inside = region().bool().expand(2, 4, 4)
    assert (masks.grad[0][inside] > 0).all() and (masks.grad[0][~inside] < 0).all()


def test_more_overlap_costs_more() -> None:
    costs = []
    for size in (1, 2, 3):
        mask = torch.zeros(1, 1, 4, 4)
        mask[0, 0, 0, : min(size, 2)], mask[0, 0, 3, size:] = 1, 1  # 4 pixels each, ever more inside
        costs.append(float(loss(mask)))
    assert costs[0] < costs[1]


def test_only_queries_without_an_object_are_pushed() -> None:
    masks = torch.rand(2, 3, 4, 4, requires_grad=True)
    free = torch.tensor([[True, False, False], [False, False, True]])
    silent_object_loss(masks, region().expand(2, 4, 4), free).backward()
    moved = masks.grad.flatten(2).abs().sum(-1) > 0
    assert torch.equal(moved, free)
