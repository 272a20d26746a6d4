"""One pretraining stage: some parts of the network are trained alone; see `pretrain_audio` and `pretrain_visual`."""

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
DECAY = 0.98  # of the running average of the loss that is shown


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where the checkpoints of a stage are written, when, and when the stage stops early.

    Attributes:
        checkpoints: of this stage alone.
        every_minutes: between checkpoints.
        writes: whether this process writes them.
        should_stop: asked after every step; True stops the stage with a checkpoint.
    """

    checkpoints: Checkpoints
    every_minutes: float = 10.0
    writes: bool = True
    should_stop: Callable[[], bool] = lambda: False


def run_stage(
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
    policy: CheckpointPolicy | None = None,
) -> float | None:
    """Minimise `loss_of` batches of a numbered stream of samples; the gradients are cleared afterwards.

    The result is a function of the weights and the stream: a stage that was stopped or killed and resumed ends in the
    same weights.

    Args:
        model: its `parts`, those that it has, are trained; frozen parameters among them stay.
        sample: the stream, asked for its items 0 to batch * steps - 1.
        batch: samples per step.
        loss_of: the loss of what `collate` made of a batch (torch's own collation if None).
        name: of the stage, on the progress bar and in messages.
        workers: processes that prepare samples.
        policy: None: no checkpoints, and no early stop.

    Returns:
        The loss at the end, averaged over about the last 50 steps; None if the stage was stopped before its end.

    Raises:
        NotFiniteError: the loss became NaN or infinite.
    """
    trained = [getattr(model, part) for part in parts if getattr(model, part) is not None]
    parameters = [parameter for part in trained for parameter in part.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, LR, weight_decay=WEIGHT_DECAY)
    done, average = (0, math.nan) if policy is None else _resume(policy.checkpoints, model, optimizer)
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
                raise NotFiniteError(f"{name}, step {done}: the loss is {value}; look for NaN in the data")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            done += 1
            average = value if math.isnan(average) else DECAY * average + (1 - DECAY) * value
            bar.set_postfix_str(f"loss {average:.3f}")
            stop = policy is not None and policy.should_stop()
            late = policy is not None and time.monotonic() - saved > 60 * policy.every_minutes
            if policy is not None and policy.writes and (stop or late or done == steps):
                _save(policy.checkpoints, done, average, model, parts, optimizer)
                saved = time.monotonic()
            if stop:
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
    """Write the weights of the parts that are trained, and their optimizer state."""
    weights = {name: value for name, value in model.state_dict().items() if name.partition(".")[0] in parts}
    checkpoints.write(done, {"model": weights, "optimizer": optimizer_tensors(optimizer, model)}, {"loss": average})


def _resume(checkpoints: Checkpoints, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the newest checkpoint: steps done, and the loss; (0, NaN) if there is none."""
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
