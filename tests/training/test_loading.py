"""Batches from worker processes, and what is said when they fail."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from acvis_kit.errors import AcvisError, DataError
from acvis_kit.training import loading
from acvis_kit.training.loading import batches

DRAWS = [[0, 1], [2, 3], [4, 5]]


@dataclass(frozen=True)
class Numbers:
    values: Tensor
    by_name: dict[str, list[Tensor]]


def sample(draw: int) -> Tensor:
    return torch.tensor([float(draw)])


def collate(samples: list[Tensor]) -> Numbers:
    values = torch.cat(samples)
    return Numbers(values, {"twice": [2 * values]})


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_their_numbers(workers: int) -> None:
    made = list(batches(sample, collate, DRAWS, workers=workers))
    assert [batch.values.tolist() for batch in made] == DRAWS
    assert made[1].by_name["twice"][0].tolist() == [4, 6]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_sample_has_its_own_words(workers: int) -> None:
    def broken(draw: int) -> Tensor:
        if draw == 3:
            raise DataError("clip7.wav: it is empty: give a sound")
        return sample(draw)

    stream = batches(broken, collate, DRAWS, workers=workers)
    next(stream)
    with pytest.raises(DataError) as error:
        next(stream)
    assert str(error.value) == "clip7.wav: it is empty: give a sound"


def test_shared_memory_without_room_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is a fork, so it has the patched method."""

    def no_room(tensor: Tensor) -> None:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: no room")

    monkeypatch.setattr(Tensor, "share_memory_", no_room)
    with pytest.raises(AcvisError, match=r"shared memory is too small.*--workers 0"):
        next(batches(sample, collate, DRAWS, workers=1))
    monkeypatch.undo()
    assert len(list(batches(sample, collate, DRAWS, workers=1))) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGBUS])
def test_a_worker_that_dies_is_named_with_the_remedy(number: int) -> None:
    def deadly(draw: int) -> Tensor:
        if draw == 2:
            os.kill(os.getpid(), number)
        return sample(draw)

    began = time.monotonic()
    with pytest.raises(AcvisError, match="--workers 0"):
        list(batches(deadly, collate, DRAWS, workers=1))
    assert time.monotonic() - began < 60


def test_should_stop_acts_while_a_batch_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "POLL", 0.1)

    def slow(draw: int) -> Tensor:
        if draw == 2:
            time.sleep(30)
        return sample(draw)

    asked: list[bool] = []
    began = time.monotonic()
    made = list(batches(slow, collate, DRAWS, workers=1, should_stop=lambda: asked.append(True) or len(asked) > 2))
    assert [None if batch is None else batch.values.tolist() for batch in made] == [[0, 1], None]
    assert time.monotonic() - began < 25


def test_a_batch_that_never_comes_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "POLL", 0.1)
    monkeypatch.setattr(loading, "PATIENCE", 0.5)
    with pytest.raises(AcvisError, match=r"no batch was ready.*--workers 0"):
        next(batches(lambda draw: time.sleep(30), collate, DRAWS, workers=1))
