"""A lesson that a part of the network takes alone before the whole is trained: see `ears` and `eyes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from acvis_kit.training.processes import quiet_worker

LR, WEIGHT_DECAY, WARMUP = 1.5e-3, 0.02, 50  # AdamW; a cosine to 0 after the warm-up
CLIP_NORM = 2.0
REMEMBERED = 0.98  # of the loss that is shown, a running average


def teach(
    parameters: Sequence[nn.Parameter],
    sample: Callable[[int], Any],
    batch: int,
    steps: int,
    loss_of: Callable[[Any], Tensor],
    *,
    name: str,
    collate: Callable[[list[Any]], Any] | None = None,
    workers: int = 1,
) -> float:
    """Minimise `loss_of` batches of a numbered stream of samples; the gradients are gone afterwards.

    The result is a function of the weights and the stream: a run that is killed here begins here again, and comes to
    the same.

    Args:
        parameters: those that are frozen learn nothing.
        sample: the stream, asked for its items 0 to batch * steps - 1. batch: samples per step.
        loss_of: of what `collate` made of a batch (torch's own collation if None).
        name: on the progress bar. workers: processes that prepare samples.

    Returns:
        The loss at the end, averaged over about the last 50 steps.
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LR, weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps=steps))
    loader = DataLoader(
        _Stream(sample),
        batch_sampler=[range(step * batch, (step + 1) * batch) for step in range(steps)],
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
    )
    average = math.nan
    with tqdm(loader, desc=name, unit="step") as bar:
        for given in bar:
            loss = loss_of(given)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            rate.step()
            value = float(loss.detach())
            average = value if math.isnan(average) else REMEMBERED * average + (1 - REMEMBERED) * value
            bar.set_postfix_str(f"loss {average:.3f}")
    optimizer.zero_grad()
    return average


class _Stream(Dataset):
    """A function of the draw as the data set that a DataLoader wants."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self._sample = sample

    def __getitem__(self, draw: int) -> Any:
        return self._sample(draw)


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
