"""The similarity loss by hand: which queries are compared, and with which labels."""

from __future__ import annotations

from math import exp, log

import pytest
import torch

from acvis_kit.losses.matcher import Matches
from acvis_kit.losses.similarity import similarity_loss


def matches(answers: list[int], queries: list[list[int]], objects: list[list[int]]) -> Matches:
    shape = (len(queries), len(answers))
    table = [torch.tensor(rows, dtype=torch.int64).view(shape) for rows in (queries, objects)]
    return Matches(torch.tensor(answers, dtype=torch.int64), *table, True)


def same(x: float) -> float:
    return log(1 + exp(-x))


def different(x: float) -> float:
    return log(1 + exp(x))


def test_all_pairs_of_a_clip_are_compared_each_query_with_itself_included() -> None:
    """One frame with queries 1 -> object 0 and 0 -> object 1, one video query 2 -> object 0: nine pairs."""
    frame = torch.tensor([[[[1.0, 0.0], [0.0, 2.0]]]], dtype=torch.float64)  # (A, T, Q_f, C)
    video = torch.tensor([[[9.0, 9.0], [9.0, 9.0], [3.0, 1.0]]], dtype=torch.float64)
    total, pairs = similarity_loss(frame, video, matches([0], [[1]], [[0]]), matches([0], [[2]], [[0]]))
    assert pairs == 4
    assert total.item() == pytest.approx(same(4) + 2 * same(2) + same(10))
    total, pairs = similarity_loss(frame, video, matches([0, 0], [[0, 1]], [[1, 0]]), matches([0], [[2]], [[0]]))
    want = same(1) + same(4) + same(10) + 2 * same(2) + 2 * different(0) + 2 * different(3)
    assert pairs == 9
    assert total.item() == pytest.approx(want)


def test_clips_and_frame_layers_are_not_compared_with_each_other() -> None:
    """Two layers, two clips, one frame: four answers of one frame query and one video query, 4 x 4 pairs."""
    g = torch.Generator().manual_seed(0)
    frame = torch.randn(4, 1, 1, 3, generator=g, dtype=torch.float64)
    video = torch.randn(4, 1, 3, generator=g, dtype=torch.float64)
    found = matches([0, 1], [[0, 0], [0, 0]], [[0, 1], [0, 1]])
    total, pairs = similarity_loss(frame, video, found, matches([0, 1, 2, 3], [[0] * 4], [[0, 1, 0, 1]]))
    want = 0.0
    for answer in range(4):
        f, v = frame[answer, 0, 0], video[answer, 0]
        want += same((f @ f).item()) + same((v @ v).item()) + 2 * same((f @ v).item())
    assert pairs == 16
    assert total.item() == pytest.approx(want)


def test_queries_of_one_object_in_two_frames_have_the_label_same() -> None:
    frame = torch.tensor([[[[1.0]], [[2.0]]]], dtype=torch.float64)
    nothing = matches([], [[]], [[]])
    video = torch.zeros(1, 1, 1, dtype=torch.float64)
    total, pairs = similarity_loss(frame, video, matches([0, 1], [[0, 0]], [[0, 0]]), nothing)
    assert pairs == 4 and total.item() == pytest.approx(same(1) + same(4) + 2 * same(2))
    total, _ = similarity_loss(frame, video, matches([0, 1], [[0, 0]], [[0, 1]]), nothing)
    assert total.item() == pytest.approx(same(1) + same(4) + 2 * different(2))


def test_without_matches_the_loss_and_its_gradient_are_zero() -> None:
    frame = torch.randn(1, 2, 3, 4, requires_grad=True)
    video = torch.randn(1, 3, 4, requires_grad=True)
    nothing = matches([], [[]], [[]])
    total, pairs = similarity_loss(frame, video, nothing, nothing)
    total.backward()
    assert (total.item(), pairs) == (0, 0)
    assert (frame.grad == 0).all() and (video.grad == 0).all()
