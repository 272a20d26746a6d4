"""The assignment on small tables, and the reference's."""

from __future__ import annotations

from fractions import Fraction
from math import log

import numpy as np
import pytest
import torch

from acvis_kit.losses.masks import mask_loss
from acvis_kit.losses.matcher import Matches, assign, mask_costs, set_costs
from acvis_kit.losses.points import draw
from acvis_kit.losses.truth import Sets, Truth
from tests.losses.samples import Golden, generators, random_targets
from tests.parity import FULL, SMALL


def sets_of(*sizes: int, repeats: int = 1) -> Sets:
    """Sets of the given sizes, their objects numbered consecutively."""
    table = torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
    numbers = iter(range(sum(sizes)))
    for row, size in zip(table, sizes, strict=True):
        row[:size] = torch.tensor([next(numbers) for _ in range(size)], dtype=torch.int64)
    where = torch.arange(len(sizes))
    return Sets(table, torch.tensor(sizes), where[:, None], where, repeats)


def pairs(matches: Matches, layer: int = 0) -> list[tuple[int, int, int]]:
    columns = matches.answers, matches.queries[layer], matches.objects[layer]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_the_least_total_is_chosen_not_the_least_pair() -> None:
    """Query 0 has the lower cost with both objects; 0-0 and 1-1 cost 1 + 9, 0-1 and 1-0 cost 2 + 3."""
    costs = torch.tensor([[[[1.0, 2.0], [3.0, 9.0]]]])
    assert pairs(assign(costs, sets_of(2))) == [(0, 0, 1), (0, 1, 0)]


def test_places_beyond_a_set_s_size_are_never_matched() -> None:
    costs = torch.tensor([[[[5.0, -9.0], [4.0, -9.0]], [[1.0, 2.0], [2.0, 1.0]]]])
    assert pairs(assign(costs, sets_of(1, 2))) == [(0, 1, 0), (1, 0, 1), (1, 1, 2)]


def test_an_empty_set_has_no_pairs() -> None:
    assert pairs(assign(torch.zeros(1, 2, 3, 1), sets_of(0, 1))) == [(1, 0, 0)]
    none = assign(torch.zeros(2, 2, 3, 0), sets_of(0, 0))
    assert none.queries.shape == (2, 0) and none.finite


def test_repeated_answers_are_matched_separately_with_the_same_objects() -> None:
    costs = torch.tensor([[[[1.0], [2.0]], [[2.0], [1.0]]]])  # two answers to one set
    assert pairs(assign(costs, sets_of(1, repeats=2))) == [(0, 0, 0), (1, 1, 0)]


def test_with_fewer_queries_than_objects_every_query_is_matched() -> None:
    assert pairs(assign(torch.tensor([[[[3.0, 1.0, 2.0]]]]), sets_of(3))) == [(0, 0, 1)]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_costs_that_are_not_finite_are_reported_and_do_not_stop_the_matching(value: float) -> None:
    costs = torch.tensor([[[[value, 1.0], [2.0, value]]]])
    matches = assign(costs, sets_of(2))
    assert not matches.finite
    assert pairs(matches) == [(0, 0, 1), (0, 1, 0)]


@pytest.mark.parametrize(("broken", "finite"), [(0, True), (1, False)])
def test_costs_beyond_a_set_s_size_may_be_anything(broken: int, finite: bool) -> None:
    """Two sets, of one and of two objects: in the first the second column is undefined."""
    costs = torch.zeros(1, 2, 2, 2)
    costs[0, broken, :, 1] = torch.nan
    assert assign(costs, sets_of(1, 2)).finite is finite


def test_mask_costs_by_hand() -> None:
    """p = 3/4, 1/4 against (1, 0) and (1, 1): entropies log(4/3) and log(16/3) / 2, dice 2/12 and 1 - 3/4."""
    logits = torch.tensor([[log(3), -log(3)]], dtype=torch.float64)
    entropy, dice = mask_costs(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64))
    assert entropy[0].tolist() == pytest.approx([log(Fraction(4, 3)), log(Fraction(16, 3)) / 2])
    assert dice[0].tolist() == pytest.approx([float(Fraction(1, 6)), float(Fraction(1, 4))])


def test_the_cost_of_a_pair_equals_its_loss() -> None:
    g = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 20, generator=g, dtype=torch.float64)
    truth = (torch.rand(3, 20, generator=g) < 0.5).double()
    entropy, dice = mask_costs(logits, truth)
    for q in range(2):
        for m in range(3):
            want = mask_loss(logits[q : q + 1], truth[m : m + 1])
            torch.testing.assert_close((entropy[q, m], dice[q, m]), want)


def test_the_class_is_part_of_the_cost() -> None:
    truth = Truth([random_targets(1, 1, seed=4)], 1, 1, 3, (6, 8), "cpu")
    sets = truth.of_frames()
    classes = torch.zeros(1, 1, 1, 4, dtype=torch.float64)
    masks = torch.zeros(1, 1, 1, 1, 6, 8, dtype=torch.float64)
    costs = set_costs(classes, masks, truth, sets, draw(sets.clips, (8,), generators(1), "cpu"), (2.0, 0.0, 0.0))
    assert costs.flatten().tolist() == [-2 / 4]


@pytest.mark.parametrize("folder", [SMALL, FULL])
def test_frame_matches_equal_the_reference_s(folder: object) -> None:
    if not folder.is_dir():
        pytest.skip("the shared golden data is not beside the checkout")
    golden = Golden(folder)
    output = golden.output
    truth = Truth(golden.targets, 2, 5, 26, output.frame_mask_logits.shape[-2:], "cpu")
    sets = truth.of_frames()
    points = draw(sets.clips, (golden.config.num_points,), generators(2), torch.device("cpu"))
    classes, masks = output.frame_class_logits.flatten(1, 2), output.frame_mask_logits.flatten(1, 2).unsqueeze(3)
    matches = assign(set_costs(classes, masks, truth, sets, points, (2.0, 5.0, 5.0)), sets)
    for layer in range(3):  # of aux1, aux2, out
        for number in range(10):
            row = matches.answers == number
            place = [sets.objects[number].tolist().index(g) for g in matches.objects[layer + 1, row].tolist()]
            got = np.stack([matches.queries[layer + 1, row].numpy(), np.array(place, dtype=np.int64)])
            want = golden.file[f"frame.match{layer}.{number}"]
            assert got.tolist() == want[:, want[0].argsort()].tolist(), (layer, number)
