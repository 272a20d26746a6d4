"""Losses of every pixel's class and cue."""

from __future__ import annotations

import math

import torch

from acvis_kit.clip import Targets
from acvis_kit.losses.pixels import auxiliary_loss, pixel_class_loss
from acvis_kit.losses.truth import Truth

K, NONE = 2, 0.1


def truth_of(*masks: torch.Tensor, cue_labels: list[bool] | None = None) -> Truth:
    """One clip of one frame of 8x8 pixels, maps of 2x2 cells; object n is of class n."""
    stack = torch.stack(masks)[:, None]
    n = len(masks)
    cues = {} if cue_labels is None else {"cue": torch.tensor(cue_labels)[:, None]}
    target = Targets(torch.arange(n), stack, torch.ones(n, 1, dtype=torch.bool), torch.tensor([n]), None, cues)
    return Truth([target], 1, 1, K, (2, 2), "cpu")


def corner(row: int, column: int) -> torch.Tensor:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = True
    return mask


def test_equal_logits_give_the_logarithm_of_the_number_of_classes_at_every_cell() -> None:
    total, terms = pixel_class_loss(torch.zeros(1, 1, K + 1, 2, 2), truth_of(corner(0, 0), corner(1, 1)), NONE)
    assert math.isclose(terms.item(), 2 + 2 * NONE, rel_tol=1e-6)  # two cells with an object, two without
    assert math.isclose((total / terms).item(), math.log(3), rel_tol=1e-6)


def test_the_loss_is_0_for_the_right_classes_and_large_for_swapped_ones() -> None:
    right = torch.full((1, 1, K + 1, 2, 2), -50.0)
    right[0, 0, K] = 0
    right[0, 0, :, 0, 0] = torch.tensor([50.0, -50.0, -50.0])
    right[0, 0, :, 1, 1] = torch.tensor([-50.0, 50.0, -50.0])
    truth = truth_of(corner(0, 0), corner(1, 1))
    assert pixel_class_loss(right, truth, NONE)[0].item() < 1e-6
    swapped = right.flip(3).flip(4)
    assert math.isclose(pixel_class_loss(swapped, truth, NONE)[0].item(), 2 * 100, rel_tol=1e-3)


def test_a_cell_inside_two_masks_is_left_out() -> None:
    logits = torch.randn(1, 1, K + 1, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    total, terms = pixel_class_loss(logits, truth_of(corner(0, 0), corner(0, 0) | corner(0, 1)), NONE)
    total.backward()
    assert math.isclose(terms.item(), 1 + 2 * NONE, rel_tol=1e-6)
    assert logits.grad[0, 0, :, 0, 0].abs().max() == 0 and logits.grad[0, 0, :, 0, 1].abs().max() > 0


def test_without_objects_every_cell_is_of_class_none() -> None:
    target = Targets(
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 1, 8, 8, dtype=torch.bool),
        torch.zeros(0, 1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.int64),
    )
    logits = torch.zeros(1, 1, K + 1, 2, 2, requires_grad=True)
    total, terms = pixel_class_loss(logits, Truth([target], 1, 1, K, (2, 2), "cpu"), NONE)
    total.backward()
    assert math.isclose(terms.item(), 4 * NONE, rel_tol=1e-6) and logits.grad.abs().sum() > 0


def test_the_cue_loss_covers_the_cells_of_objects() -> None:
    truth = truth_of(corner(0, 0), corner(1, 1), cue_labels=[True, False])
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    total, terms = auxiliary_loss("cue", logits, truth, NONE)
    total.backward()
    assert math.isclose(terms.item(), 1 + NONE, rel_tol=1e-6)
    assert math.isclose((total / terms).item(), math.log(2), rel_tol=1e-6)
    expected = torch.tensor([[-0.5, 0.0], [0.0, 0.5 * NONE]])  # up where there is a cue, down where there is none
    torch.testing.assert_close(logits.grad[0, 0], expected)


def test_without_cue_labels_there_is_no_cue_loss_and_no_gradient() -> None:
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    total, terms = auxiliary_loss("cue", logits, truth_of(corner(0, 0)), NONE)
    total.backward()
    assert terms.item() == 0 and total.item() == 0 and logits.grad.abs().sum() == 0


def test_the_cue_loss_covers_only_clips_with_cue_labels() -> None:
    """The clip without labels comes first and has more objects: rows of objects are not rows of clips."""
    unlabelled, labelled = (
        Targets(
            torch.zeros(len(masks), dtype=torch.int64),
            torch.stack(masks)[:, None],
            torch.ones(len(masks), 1, dtype=torch.bool),
            torch.tensor([len(masks)]),
            auxiliary={} if cue_labels is None else {"cue": cue_labels},
        )
        for masks, cue_labels in (
            ([corner(0, 0), corner(0, 1), corner(1, 0)], None),
            ([corner(1, 1)], torch.tensor([[True]])),
        )
    )
    logits = torch.zeros(2, 1, 2, 2, requires_grad=True)
    total, terms = auxiliary_loss("cue", logits, Truth([unlabelled, labelled], 2, 1, K, (2, 2), "cpu"), NONE)
    total.backward()
    assert terms.item() == 1
    expected = torch.zeros(2, 1, 2, 2)
    expected[1, 0, 1, 1] = -0.5
    torch.testing.assert_close(logits.grad, expected)
