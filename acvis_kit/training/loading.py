"""Batches in the order of their draw numbers, made by worker processes whose failures become errors with a remedy."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from acvis_kit.errors import AcvisError

POLL = 1.0  # seconds between looks at `should_stop` while waiting for a batch
PATIENCE = 600.0  # seconds for one batch
REMEDY = (
    "give the machine more shared memory (/dev/shm; docker run --shm-size=2g), take smaller batches, or prepare the "
    "samples in the training process (--workers 0)"
)


def batches(
    sample: Callable[[int], Any],
    collate: Callable[[list[Any]], Any],
    draws: Sequence[list[int]],
    *,
    workers: int = 0,
    pin_memory: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Generator[Any, None, None]:
    """Yield the batch of each list of draw numbers; None, and no further one, if `should_stop` while waiting.

    Args:
        sample: the numbered stream of samples.
        collate: makes a batch of a list of samples.
        draws: of each batch.
        workers: processes that prepare samples; 0: this process does.
        pin_memory: whether batches are copied to page-locked memory.
        should_stop: asked about once a second while a batch is not ready.

    Raises:
        AcvisError: a sample cannot be made; or a worker ended, has no shared memory left, or takes over ten minutes.
    """
    loader = DataLoader(
        _Stream(sample),
        batch_sampler=draws,
        collate_fn=_Shared(collate),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
        pin_memory=pin_memory,
        timeout=POLL if workers else 0,
    )
    loaded = iter(loader)
    for _ in draws:
        began = time.monotonic()
        while True:
            try:
                batch = next(loaded)
                break
            except AcvisError as error:
                raise type(error)(_own_words(error)) from None
            except RuntimeError as error:
                if problem := _of_worker(str(error)):
                    raise AcvisError(problem) from error
                if not str(error).startswith("DataLoader timed out"):
                    raise
            pinning = getattr(loaded, "_pin_memory_thread", None)  # DataLoader itself does not look whether it lives
            if pinning is not None and not pinning.is_alive():
                raise AcvisError(f"the thread that copies batches to pinned memory ended: {REMEDY}")
            if should_stop():
                yield None
                return
            if time.monotonic() - began > PATIENCE:
                raise AcvisError(
                    f"no batch was ready within {PATIENCE:.0f} seconds: look at the data's disk, or {REMEDY}"
                )
        yield batch


class _Stream(Dataset):
    """A function of the draw number as a data set for DataLoader."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self._sample = sample

    def __getitem__(self, draw: int) -> Any:
        return self._sample(draw)


class _Shared:
    """A collate function whose batches lie in shared memory where a worker makes them.

    Without this the worker's queue would move them there, and lose a batch without a word if there is no room.
    """

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        batch = self._collate(samples)
        if get_worker_info() is not None:
            _share(batch)
        return batch


def _share(value: Any) -> None:
    """Move all tensors of a batch to shared memory, in place."""
    if isinstance(value, Tensor):
        value.share_memory_()
    elif isinstance(value, dict):
        for one in value.values():
            _share(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _share(one)
    elif is_dataclass(value):
        for field in fields(value):
            _share(getattr(value, field.name))


def _of_worker(text: str) -> str | None:
    """The failure of a worker process and the remedy, in words; None for any other error with the message `text`."""
    if "shared memory" in text or "memory(shm)" in text or "Bus error" in text:
        return f"the shared memory is too small for the batches of the worker processes: {REMEDY}"
    if "DataLoader worker" in text and ("exited unexpectedly" in text or "killed by signal" in text):
        return f"a process that prepares samples ended ({text.splitlines()[0]}): {REMEDY}"
    return None


def _own_words(error: AcvisError) -> str:
    """The message of an error, without the traceback of a worker that DataLoader puts before it."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()


def quiet_worker(_: int) -> None:
    """Leave signals, which often go to the whole process group, to the trainer, which ends its workers itself."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # instead of the trainer's handler, which a fork inherits
