from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from acvis_kit.training.lesson import WARMUP, _rate, teach

STEPS, BATCH = 600, 8


class Sums(Dataset):
    """Item `draw` is (three numbers, their sum)."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitem__(self, draw: int) -> tuple[Tensor, Tensor]:
        self.asked.append(draw)
        numbers = torch.randn(3, generator=torch.Generator().manual_seed(draw))
        return numbers, numbers.sum(0, keepdim=True)


def lesson(workers: int = 0) -> tuple[nn.Linear, float, Sums]:
    torch.manual_seed(0)
    student, samples = nn.Linear(3, 1), Sums()

    def loss_of(given: list[Tensor]) -> Tensor:
        numbers, total = given
        return F.mse_loss(student(numbers), total)

    said = teach(list(student.parameters()), samples.__getitem__, BATCH, STEPS, loss_of, name="sums", workers=workers)
    return student, said, samples


def test_the_loss_falls_and_gradients_are_gone() -> None:
    student, said, _ = lesson()
    with torch.no_grad():
        numbers = torch.randn(100, 3, generator=torch.Generator().manual_seed(-1))
        after = F.mse_loss(student(numbers), numbers.sum(1, keepdim=True))
        torch.manual_seed(0)
        before = F.mse_loss(nn.Linear(3, 1)(numbers), numbers.sum(1, keepdim=True))
    assert after < 0.5 * before and said < before
    assert all(p.grad is None for p in student.parameters())


def test_every_sample_of_the_stream_is_seen_once_and_workers_change_nothing() -> None:
    student, _, samples = lesson()
    assert samples.asked == list(range(STEPS * BATCH))
    assert torch.equal(student.weight, lesson(workers=1)[0].weight)


def test_the_rate_warms_up_and_ends_at_nothing() -> None:
    rates = [_rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / WARMUP) and max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] < 1e-4 and rates.index(max(rates)) == pytest.approx(WARMUP, abs=1)
