"""Padding that does not depend on the process."""

from __future__ import annotations

import pytest
import torch

from acvis_kit.clip import Targets
from acvis_kit.config import ACVISConfig
from acvis_kit.data.collate import collate
from acvis_kit.data.training_clips import TrainingSample
from acvis_kit.training.batches import widen

MEAN, DIVISOR = ACVISConfig.pixel_mean, ACVISConfig.size_divisor


def sample(height: int, width: int) -> TrainingSample:
    generator = torch.Generator().manual_seed(height)
    frames = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8, generator=generator)
    masks = torch.rand(1, 2, height, width, generator=generator) > 0.5
    one = torch.ones(1, 2, dtype=torch.bool)
    targets = Targets(torch.tensor([0]), masks, one, torch.tensor([1, 1]))
    return TrainingSample(frames, torch.zeros(2, 96, 64), None, targets)


@pytest.mark.parametrize("other", [(40, 100), (70, 33), (64, 64), (32, 32)])
def test_a_widened_batch_equals_the_one_collated_with_the_larger_clip(other: tuple[int, int]) -> None:
    own, remote = sample(40, 50), sample(*other)
    together = collate([own, remote], MEAN, DIVISOR)
    alone = collate([own], MEAN, DIVISOR)
    widened = widen(alone, tuple(together.frames.shape[-2:]), MEAN, DIVISOR)
    assert torch.equal(widened.frames[0], together.frames[0])
    assert torch.equal(widened.targets[0].masks, together.targets[0].masks)
    assert widened.targets[0].masks.dtype == torch.bool


def test_a_batch_of_the_right_size_does_not_change() -> None:
    batch = collate([sample(40, 50)], MEAN, DIVISOR)
    assert widen(batch, (40, 50), MEAN, DIVISOR) is batch
