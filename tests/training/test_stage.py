from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset

from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.training.checkpoint import Checkpoints
from acvis_kit.training.stage import WARMUP, CheckpointPolicy, _rate, run_stage

STEPS, BATCH = 600, 8


class Sums(Dataset):
    """Item `draw` is (three numbers, their sum)."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitem__(self, draw: int) -> tuple[Tensor, Tensor]:
        self.asked.append(draw)
        numbers = torch.randn(3, generator=torch.Generator().manual_seed(draw))
        return numbers, numbers.sum(0, keepdim=True)


def stage(workers: int = 0, policy: CheckpointPolicy | None = None) -> tuple[nn.Linear, float | None, Sums]:
    torch.manual_seed(0)
    model, samples = nn.Module(), Sums()
    model.head = nn.Linear(3, 1)

    def loss_of(batch: list[Tensor]) -> Tensor:
        numbers, total = batch
        kept = (torch.rand(3) > 0.1) / 0.9  # uses the global generator, as stochastic depth does
        return F.mse_loss(model.head(numbers * kept), total)

    loss = run_stage(
        model, ("head",), samples.__getitem__, BATCH, STEPS, loss_of, name="sums", workers=workers, policy=policy
    )
    return model.head, loss, samples


def test_the_loss_falls_and_gradients_are_gone() -> None:
    head, loss, _ = stage()
    with torch.no_grad():
        numbers = torch.randn(100, 3, generator=torch.Generator().manual_seed(-1))
        after = F.mse_loss(head(numbers), numbers.sum(1, keepdim=True))
        torch.manual_seed(0)
        before = F.mse_loss(nn.Linear(3, 1)(numbers), numbers.sum(1, keepdim=True))
    assert after < 0.5 * before and loss < before
    assert all(p.grad is None for p in head.parameters())


def test_every_sample_of_the_stream_is_used_once_and_workers_change_nothing() -> None:
    head, _, samples = stage()
    assert samples.asked == list(range(STEPS * BATCH))
    assert torch.equal(head.weight, stage(workers=1)[0].weight)


def test_the_rate_warms_up_and_ends_at_zero() -> None:
    rates = [_rate(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / WARMUP) and max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] < 1e-4 and rates.index(max(rates)) == pytest.approx(WARMUP, abs=1)


@pytest.mark.slow
@pytest.mark.parametrize("every", [10.0, 0.0])  # minutes: checkpoints only when it stops, or after every step
def test_a_stage_that_is_stopped_and_resumed_ends_with_the_same_weights(tmp_path: Path, every: float) -> None:
    asked = count(1)
    policy = CheckpointPolicy(
        Checkpoints(tmp_path, keep=1), every_minutes=every, should_stop=lambda: next(asked) % 150 == 0
    )
    losses, used = [], []
    while not losses or losses[-1] is None:
        head, loss, samples = stage(policy=policy)
        torch.rand(5)
        losses.append(loss)
        used += samples.asked
    assert losses[:-1] == [None] * 3 and used == list(range(STEPS * BATCH))
    whole, whole_loss, _ = stage()
    assert torch.equal(head.weight, whole.weight) and losses[-1] == whole_loss


def test_a_finished_stage_is_not_repeated(tmp_path: Path) -> None:
    policy = CheckpointPolicy(Checkpoints(tmp_path))
    head, loss, _ = stage(policy=policy)
    again, same, samples = stage(policy=policy)
    assert torch.equal(head.weight, again.weight) and same == loss and samples.asked == []


def test_other_processes_than_the_main_one_write_nothing(tmp_path: Path) -> None:
    stage(policy=CheckpointPolicy(Checkpoints(tmp_path / "none"), every_minutes=0.0, writes=False))
    assert not (tmp_path / "none").exists()


def test_a_loss_that_is_not_finite_ends_the_stage_before_it_changes_the_weights() -> None:
    model = nn.Module()
    model.head = nn.Linear(1, 1)
    before = model.head.weight.clone()
    loss_of = lambda batch: model.head(batch).sum() * float("nan")  # noqa: E731
    with pytest.raises(NotFiniteError, match="sums, step 0"):
        run_stage(model, ("head",), lambda draw: torch.ones(1), 1, 3, loss_of, name="sums", workers=0)
    assert torch.equal(model.head.weight, before)
