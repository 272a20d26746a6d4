"""Random numbers that need no stored state."""

from __future__ import annotations

import random

import numpy as np
import torch

from acvis_kit.training.randomness import point_generators, seed_step


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), torch.rand(()).item()  # noqa: NPY002


def test_a_step_draws_the_same_numbers_after_any_other_draws() -> None:
    with torch.random.fork_rng():
        seed_step(3, 17, 0)
        first = drawn()
        drawn()
        seed_step(3, 17, 0)
        assert drawn() == first


def test_seeds_steps_and_processes_draw_differently() -> None:
    with torch.random.fork_rng():
        found = set()
        for where in ((3, 17, 0), (4, 17, 0), (3, 18, 0), (3, 17, 1)):
            seed_step(*where)
            found |= set(drawn())
    assert len(found) == 12


def test_points_belong_to_the_clip_and_not_to_its_place_in_the_batch() -> None:
    together = [torch.rand(4, generator=g) for g in point_generators(0, [5, 6])]
    alone = [torch.rand(4, generator=point_generators(0, [draw])[0]) for draw in (6, 5)]
    assert torch.equal(together[0], alone[1]) and torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])
