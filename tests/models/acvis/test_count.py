"""Counts as ordinal regression, computed by hand."""

import math

import pytest
import torch

from acvis_kit.models.acvis.count import CountHead, count_of_independent, count_probabilities, ordinal_probabilities


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_probabilities_are_differences_of_the_cumulative_product() -> None:
    """p_0 = 4/5, p_1 = 1/4: P(N > 0) = 4/5, P(N > 1) = 1/5; so 0: 1/5, 1: 3/5, 2+: 1/5."""
    got = ordinal_probabilities(torch.tensor([logit(4 / 5), logit(1 / 4)], dtype=torch.float64))
    assert got.tolist() == pytest.approx([1 / 5, 3 / 5, 1 / 5])


def test_the_probability_of_more_than_k_never_rises_with_k() -> None:
    logits = torch.randn(1000, 4, generator=torch.Generator().manual_seed(0)) * 4
    probabilities = ordinal_probabilities(logits)
    assert probabilities.min() >= 0
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(1000))


@pytest.mark.parametrize(("kind", "logits"), [("ordinal", 2), ("ce", 3)])
def test_both_heads_give_k_max_plus_one_probabilities(kind: str, logits: int) -> None:
    head = CountHead(8, 2, kind)
    out = head(torch.randn(5, 8))
    assert out.shape == (5, logits) and head.probabilities(out).shape == (5, 3)


def test_the_count_of_independent_objects_by_hand() -> None:
    got = count_of_independent(torch.tensor([[1 / 2, 1 / 3], [1.0, 1.0], [0.0, 0.0]]), k_max=2)
    want = torch.tensor([[2 / 6, 3 / 6, 1 / 6], [0, 0, 1], [1, 0, 0]])
    torch.testing.assert_close(got, want)


def test_counts_above_k_max_are_pooled_and_no_objects_give_count_0() -> None:
    three = count_of_independent(torch.full((1, 3), 1 / 2), k_max=2)
    torch.testing.assert_close(three, torch.tensor([[1 / 8, 3 / 8, 4 / 8]]))
    assert count_of_independent(torch.zeros(2, 0), k_max=2).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_the_distribution_is_from_the_token_the_queries_or_the_mean_of_both() -> None:
    token, presence = torch.tensor([[1 / 4, 1 / 4, 1 / 2]]), torch.tensor([[1 / 2]])
    found = {name: count_probabilities(token, presence, name) for name in ("token", "queries", "both")}
    assert torch.equal(found["token"], token) and found["queries"].tolist() == [[1 / 2, 1 / 2, 0]]
    assert found["both"].tolist() == [[3 / 8, 3 / 8, 1 / 4]]
