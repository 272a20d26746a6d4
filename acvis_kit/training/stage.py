"""A pretraining stage, in which some parts of the network are trained alone: `pretrain_audio`, `pretrain_visual`."""

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
from acvis_kit.training.parallel import quiet_worker

LR, WEIGHT_DECAY, WARMUP = 1.5e-3, 0.02, 50  # AdamW; a cosine to 0 after the warm-up
CLIP_NORM = 2.0
DECAY = 0.98  # of the running average of the loss


@dataclass(frozen=True)
class CheckpointPolicy:
    """Where and when a stage writes checkpoints, and whether it stops early.

    Attributes:
        checkpoints: of this stage alone.
        every_minutes: between checkpoints.
        writes: whether this process writes them.
        should_stop: called after every step; True stops the stage with a checkpoint.
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
    """Minimise a loss over a numbered stream of samples; gradients are cleared at the end.

    The result depends only on the initial weights and the stream: a stage that was stopped or killed and resumed ends
    with the same weights.

    Args:
        model: trained in place, except for frozen parameters.
        parts: attributes of the model that are trained; those that are None are skipped.
        sample: the stream; items 0 to batch * steps - 1 are used.
        batch: samples per step.
        steps: optimizer steps.
        loss_of: the loss of a collated batch.
        name: of the stage, for the progress bar and messages.
        collate: makes a batch of a list of samples; None: torch's default.
        workers: processes that prepare samples.
        policy: None: no checkpoints and no early stop.

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
        batch_sampler=[list(range(step * batch, (step + 1) * batch)) for step in range(done, steps)],
        collate_fn=collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
    )
    saved = time.monotonic()
    with tqdm(loader, desc=name, unit="step", initial=done, total=steps) as bar:
        for collated in bar:
            torch.manual_seed(done)  # stochastic depth uses the global generator
            for group in optimizer.param_groups:
                group["lr"] = LR * _rate(done, steps)
            loss = loss_of(collated)
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
            due = policy is not None and time.monotonic() - saved > 60 * policy.every_minutes
            if policy is not None and policy.writes and (stop or due or done == steps):
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
    """Write the weights of the trained parts and their optimizer state."""
    weights = {name: value for name, value in model.state_dict().items() if name.partition(".")[0] in parts}
    checkpoints.write(done, {"model": weights, "optimizer": optimizer_tensors(optimizer, model)}, {"loss": average})


def _resume(checkpoints: Checkpoints, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Load the newest checkpoint; returns steps done and loss, (0, NaN) if there is none."""
    newest = checkpoints.newest()
    if newest is None:
        return 0, math.nan
    tensors, state = read_checkpoint_folder(newest)
    model.load_state_dict({**model.state_dict(), **tensors["model"]})
    load_optimizer_tensors(optimizer, model, tensors["optimizer"])
    return state["step"], state["loss"]


class _Stream(Dataset):
    """A function of the draw number as a data set for DataLoader."""

    def __init__(self, sample: Callable[[int], Any]) -> None:
        self._sample = sample

    def __getitem__(self, draw: int) -> Any:
        return self._sample(draw)


def _rate(step: int, steps: int) -> float:
    """Factor on LR in step `step`, counted from 0: linear warm-up, cosine to 0."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
