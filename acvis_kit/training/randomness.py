"""Random numbers as functions of seed, step and clip: nothing of them has to be stored to go on with a run."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

STEP, POINTS = 0, 1  # families of one seed


def seed_step(seed: int, step: int, process: int) -> None:
    """Set the global generators of python, numpy and torch (stochastic depth reads torch's) for one step."""
    number = _number(seed, STEP, step, process)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 (the old global generator is what other people's code reads)
    torch.manual_seed(number)


def point_generators(seed: int, draws: Sequence[int]) -> list[torch.Generator]:
    """For each clip the generator of the points where its masks are compared, by the number of its draw."""
    return [torch.Generator().manual_seed(_number(seed, POINTS, draw)) for draw in draws]


def _number(*what: int) -> int:
    return int(np.random.SeedSequence(what).generate_state(1, np.uint64)[0] >> np.uint64(1))
