"""Random numbers as functions of seed, step and clip, so that a resumed run needs no stored generator state."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

STEP, POINTS = 0, 1  # independent streams of one seed


def seed_step(seed: int, step: int, process: int) -> None:
    """Seed the global generators of Python, numpy and torch (stochastic depth uses torch's) for one step."""
    number = _number(seed, STEP, step, process)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 (third-party code uses the global generator)
    torch.manual_seed(number)


def point_generators(seed: int, draws: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """A generator per clip, for the points where its masks are compared; it depends on the clip's draw number.

    It draws on `device`: 31 million numbers a step are not copied there. A CPU and a GPU draw different points.
    """
    return [torch.Generator(device).manual_seed(_number(seed, POINTS, draw)) for draw in draws]


def _number(*what: int) -> int:
    """A seed below 2^63."""
    return int(np.random.SeedSequence(what).generate_state(1, np.uint64)[0] >> np.uint64(1))
