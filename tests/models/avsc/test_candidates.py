"""The candidate filter: at most one mask of each class, never "no object", whatever the order of the queries."""

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from acvis_kit.models.avsc.candidates import filter_candidates
from acvis_kit.models.avsc.proposals import Proposals

CLASSES = 4


def proposals(labels: list[int], scores: list[float], masks: torch.Tensor) -> Proposals:
    """One frame; each query has the given class with the given probability, and one of the masks (Q, h, w)."""
    probability = torch.tensor(scores)[:, None]
    one_hot = F.one_hot(torch.tensor(labels), CLASSES + 1)
    spread = torch.where(one_hot == 1, probability, (1 - probability) / CLASSES)
    return Proposals(spread.log()[None, None], masks[None, None])


def test_the_best_query_of_each_class_is_kept() -> None:
    masks = torch.full((4, 2, 2), -9.0)
    masks[0, 0, 0] = masks[1, 0, 1] = masks[2, 1, 0] = masks[3, 1, 1] = 9.0
    found = filter_candidates(proposals([1, 1, 3, 0], [0.6, 0.9, 0.7, 0.8], masks), (2, 2))
    assert found.counts.tolist() == [3]
    torch.testing.assert_close(found.scores, torch.tensor([[0.8, 0.9, 0, 0.7]]))
    assert found.masks[0, 1].tolist() == [[False, True], [False, False]]
    assert found.masks[0, 0, 1, 1] and found.masks[0, 3, 1, 0] and found.masks.sum() == 3


def test_no_object_and_empty_masks_are_dropped() -> None:
    masks = torch.full((3, 2, 2), 9.0)
    masks[1] = -9.0
    found = filter_candidates(proposals([CLASSES, 0, 2], [0.99, 0.9, 0.8], masks), (4, 4))
    assert found.counts.tolist() == [1] and found.scores[0].nonzero()[:, 0].tolist() == [2]
    assert not filter_candidates(proposals([CLASSES] * 3, [0.9] * 3, masks), (4, 4)).masks.any()


@settings(deadline=None)
@given(st.permutations(range(6)), st.integers(0, 100))
def test_the_order_of_the_queries_has_no_effect(order: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 2, 6, CLASSES + 1, generator=generator)
    masks = torch.randn(1, 2, 6, 4, 4, generator=generator)
    one = filter_candidates(Proposals(logits, masks), (8, 8))
    other = filter_candidates(Proposals(logits[:, :, order], masks[:, :, order]), (8, 8))
    assert torch.equal(one.masks, other.masks) and torch.equal(one.scores, other.scores)
    assert int(one.counts.max()) <= CLASSES
    assert torch.equal(one.masks.flatten(2).any(-1), one.scores > 0)


def test_no_gradient_passes_the_filter() -> None:
    logits, masks = torch.randn(1, 1, 3, 5, requires_grad=True), torch.randn(1, 1, 3, 4, 4, requires_grad=True)
    assert not filter_candidates(Proposals(logits, masks), (4, 4)).scores.requires_grad
