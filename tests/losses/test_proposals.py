"""Matching and losses of proposals against MaskFormer's, and on sets small enough to work out by hand."""

import numpy as np
import pytest
import torch

from acvis_kit.losses.focal import focal_costs, focal_loss
from acvis_kit.losses.matcher import mask_costs
from acvis_kit.losses.proposals import (
    PresentClasses,
    match_proposals,
    present_classes,
    proposal_costs,
    proposal_losses,
    sets_of,
    union_of,
    unmatched,
)
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")
WEIGHTS = (1.0, 20.0, 1.0)


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDENS[f"mf/{name}"])


@pytest.fixture(scope="module")
def truth() -> PresentClasses:
    """Two masks of the first frame, one of the second; they overlap, unlike classes of a map."""
    labels = torch.cat([golden("gt_labels_0"), golden("gt_labels_1")])
    masks = torch.cat([golden("gt_masks_0"), golden("gt_masks_1")]).bool()
    return PresentClasses(labels, masks, sets_of(torch.tensor([2, 1])))


def test_costs_are_maskformers() -> None:
    for frame in (0, 1):
        logits, masks = golden("pred_masks")[frame].flatten(1), golden(f"gt_masks_{frame}").float().flatten(1)
        np.testing.assert_allclose(focal_costs(logits, masks), GOLDENS[f"mf/cost_focal_{frame}"], atol=1e-6)
        np.testing.assert_allclose(mask_costs(logits, masks)[1], GOLDENS[f"mf/cost_dice_{frame}"], atol=1e-6)


def test_the_matching_is_maskformers(truth: PresentClasses) -> None:
    matches = match_proposals(golden("pred_logits")[None], golden("pred_masks")[None], truth, WEIGHTS)
    assert matches.queries[0].tolist() == [*GOLDENS["mf/src_0"], *GOLDENS["mf/src_1"]]
    assert matches.objects[0].tolist() == [*GOLDENS["mf/tgt_0"], *(GOLDENS["mf/tgt_1"] + 2)]
    labels = golden("target_classes")  # 5 is "no object"
    assert torch.equal(unmatched(matches, 2, 12), labels == 5)


def test_losses_are_maskformers(truth: PresentClasses) -> None:
    logits, masks = golden("pred_logits")[None], golden("pred_masks")[None]
    matches = match_proposals(logits, masks, truth, WEIGHTS)
    losses = {name: total / n for name, (total, n) in proposal_losses(logits, masks, truth, matches, 0.1).items()}
    np.testing.assert_allclose(losses["class"], GOLDENS["mf/loss_ce_eos0.1"], atol=1e-6)
    np.testing.assert_allclose(losses["focal"], GOLDENS["mf/loss_mask"], atol=1e-6)
    np.testing.assert_allclose(losses["dice"], GOLDENS["mf/loss_dice"], atol=1e-6)


def test_two_equal_layers_give_twice_the_loss(truth: PresentClasses) -> None:
    logits, masks = golden("pred_logits")[None], golden("pred_masks")[None]
    one, two = (
        proposal_losses(c, m, truth, match_proposals(c, m, truth, WEIGHTS), 0.1)
        for c, m in ((logits, masks), (logits.repeat(2, 1, 1, 1), masks.repeat(2, 1, 1, 1, 1)))
    )
    for name, (total, terms) in one.items():
        torch.testing.assert_close(two[name][0], 2 * total)
        assert float(two[name][1]) == pytest.approx(float(terms))


def test_focal_cost_of_a_pair_is_its_focal_loss() -> None:
    logits, masks = torch.randn(4, 20), torch.randint(0, 2, (3, 20)).float()
    costs = focal_costs(logits, masks)
    for m in range(3):
        torch.testing.assert_close(costs[:, m], focal_loss(logits, masks[m].expand(4, -1)))


def test_a_class_map_becomes_one_mask_for_each_class() -> None:
    maps = torch.tensor([[[0, 3], [255, 1]], [[0, 0], [0, 255]], [[2, 2], [2, 0]]])
    truth = present_classes(maps)
    assert truth.labels.tolist() == [0, 2, 1] and truth.sets.sizes.tolist() == [2, 0, 1]
    assert truth.masks.int().tolist() == [[[0, 0], [0, 1]], [[0, 1], [0, 0]], [[1, 1], [1, 0]]]
    assert truth.sets.objects[truth.sets.valid].tolist() == [0, 1, 2]
    assert union_of(maps, (2, 2)).tolist() == [[[0, 1], [0, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 0]]]


def test_frames_without_a_class_match_nothing() -> None:
    truth = present_classes(torch.zeros(2, 8, 8, dtype=torch.int64))
    logits, masks = torch.randn(1, 2, 3, 5), torch.randn(1, 2, 3, 4, 4)
    matches = match_proposals(logits, masks, truth, WEIGHTS)
    losses = proposal_losses(logits, masks, truth, matches, 0.1)
    assert unmatched(matches, 2, 3).all() and losses["focal"] == (0, 0) and losses["dice"] == (0, 0)
    assert losses["class"][0] > 0  # all queries are "no object"


def test_costs_compare_masks_at_the_size_of_the_logits() -> None:
    """The truth is resized by its nearest pixels: it stays 0 or 1."""
    maps = torch.zeros(1, 4, 4, dtype=torch.int64)
    maps[0, 0, 0] = 1
    logits = torch.randn(1, 1, 3, 2, 2)
    costs = proposal_costs(torch.zeros(1, 1, 3, 2), logits, present_classes(maps), (0.0, 1.0, 0.0))
    small = torch.tensor([[1.0, 0, 0, 0]])
    torch.testing.assert_close(costs[0, 0], focal_costs(logits[0, 0].flatten(1), small))
