"""A lesson that a part of the network takes alone before the whole is trained: see `ears` and `eyes`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder
from acvis_kit.training.optimizer import load_optimizer_tensors, optimizer_tensors
from acvis_kit.training.processes import quiet_worker

LR, WEIGHT_DECAY, WARMUP = 1.5e-3, 0.02, 50  # AdamW; a cosine to 0 after the warm-up
CLIP_NORM = 2.0
REMEMBERED = 0.98  # of the loss that is shown, a running average


@dataclass(frozen=True)
class Pauses:
    """Where a lesson is kept, and when it pauses, so that it goes on another time.

    Attributes:
        checkpoints: of this lesson alone. every: minutes between them. writes: whether this process writes them.
        wanted: whether to pause now; asked after every step.
    """

    checkpoints: Checkpoints
    every: float = 10.0
    writes: bool = True
    wanted: Callable[[], bool] = lambda: False


def teach(
    model: nn.Module,
    parts: Sequence[str],
    sample: Callable[[int], Any],
    batch: int,
    steps: int,
    loss_of: Callable[[Any], Tensor],
    *,
    name: str,
    collate: Callable[[list[Any]], Any] | None = None,
    workers: int = 1,
    pauses: Pauses | None = None,
) -> float | None:
    """Minimise `loss_of` batches of a numbered stream of samples; the gradients are gone afterwards.

    The result is a function of the weights and the stream: a lesson that pauses, or is killed, comes to the same.

    Args:
        model: of which `parts` learn, those that it has; what is frozen in them learns nothing.
        sample: the stream, asked for its items 0 to batch * steps - 1. batch: samples per step.
        loss_of: of what `collate` made of a batch (torch's own collation if None).
        name: on the progress bar. workers: processes that prepare samples.
        pauses: None: from beginning to end.

    Returns:
        The loss at the end, averaged over about the last 50 steps; None if the lesson has paused before its end.

    Raises:
        NotFiniteError: the loss became NaN or infinite.
    """
    taught = [getattr(model, part) for part in parts if getattr(model, part) is not None]
    parameters = [parameter for part in taught for parameter in part.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LR, weight_decay=WEIGHT_DECAY)
    done, average = (0, math.nan) if pauses is None else _resume(pauses.checkpoints, model, optimizer)
    loader = DataLoader(
        _Stream(sample),
        batch_sampler=[range(step * batch, (step + 1) * batch) for step in range(done, steps)],
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
    )
    saved = time.monotonic()
    with tqdm(loader, desc=name, unit="step", initial=done, total=steps) as bar:
        for given in bar:
            torch.manual_seed(done)  # which stochastic depth reads
            for group in optimizer.param_groups:
                group["lr"] = LR * _rate(done, steps)
            loss = loss_of(given)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise NotFiniteError(f"in step {done} of the {name} the loss is {value}: is there a NaN in the data?")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            done += 1
            average = value if math.isnan(average) else REMEMBERED * average + (1 - REMEMBERED) * value
            bar.set_postfix_str(f"loss {average:.3f}")
            wanted = pauses is not None and pauses.wanted()
            late = pauses is not None and time.monotonic() - saved > 60 * pauses.every
            if pauses is not None and pauses.writes and (wanted or late or done == steps):
                _save(pauses.checkpoints, done, average, model, parts, optimizer)
                saved = time.monotonic()
            if wanted:
                break
    optimizer.zero_grad()
    return average if done == steps else None


def _save(
    checkpoints: Checkpoints,
    done: int,
    average: float,
    model: nn.Module,
    parts: Sequence[str],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Keep what the parts have learned so far, and nothing of the others."""
    weights = {name: value for name, value in model.state_dict().items() if name.partition(".")[0] in parts}
    checkpoints.write(done, {"model": weights, "optimizer": optimizer_tensors(optimizer, model)}, {"loss": average})


def _resume(checkpoints: Checkpoints, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Take up the newest checkpoint: steps done, and the loss; (0, NaN) if there is none."""
    newest = checkpoints.newest()
    if newest is None:
        return 0, math.nan
    tensors, state = read_checkpoint_folder(newest)
    model.load_state_dict({**model.state_dict(), **tensors["model"]})
    load_optimizer_tensors(optimizer, model, tensors["optimizer"])
    return state["step"], state["loss"]


class _Stream(Dataset):
    """A function of the draw as the data set that a DataLoader wants."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self._sample = sample

    def __getitem__(self, draw: int) -> Any:
        return self._sample(draw)


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
