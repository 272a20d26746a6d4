"""The training loop: one class, whose state between two steps is what a checkpoint contains.

Random numbers are a function of seed, step and clip (`randomness`), the learning rate of the step (`schedule`), and a
sample of its number in the stream (`data.training_clips`). Checkpoints therefore contain only the weights, the
optimizer's state, the running average and a few numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from acvis_kit.data.collate import TrainingBatch, collate
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.losses.criterion import Criterion, NotFiniteError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training import optimizer as optimisation
from acvis_kit.training.batches import largest_over, widen
from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder
from acvis_kit.training.log import RunLog
from acvis_kit.training.parallel import Stop, quiet_worker, total_over
from acvis_kit.training.randomness import point_generators, seed_step
from acvis_kit.training.recipe import Recipe, RuntimeConfig
from acvis_kit.training.schedule import lr_factor, pretrained_factor
from acvis_kit.training.scoring import Validation
from acvis_kit.weights.load import save_model

if TYPE_CHECKING:
    from accelerate import Accelerator

CHECKPOINTS, BEST, LAST = "checkpoints", "best", "last"


@dataclass
class TrainingProgress:
    """The progress of a run: the numbers in a checkpoint.

    Attributes:
        step: steps done.
        minutes: training time, evaluations included.
        evaluated: step of the last evaluation.
        best_step: step of the weights in best/.
        best_score: their score, the mean of mAP, HOTA and FSLA, percent.
    """

    step: int = 0
    minutes: float = 0.0
    evaluated: int = 0
    best_step: int | None = None
    best_score: float | None = None


class Trainer:
    """Trains a network, in one process or as one of several.

    Args:
        model: before the first step.
        recipe: see `Recipe`.
        clips: the stream of samples.
        out: folder of the run.
        accelerator: devices, processes and precision; see `parallel.make_accelerator`.
        runtime: see `RuntimeConfig`.
        validation: None: no evaluation during training.
        say: for messages; called only in the main process.

    Raises:
        ConfigError: the batch cannot be divided among the processes.
    """

    def __init__(
        self,
        model: ACVIS,
        recipe: Recipe,
        clips: TrainingClips,
        out: Path,
        accelerator: Accelerator,
        runtime: RuntimeConfig | None = None,
        validation: Validation | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.recipe, self.runtime, self.clips, self.out = recipe, runtime or RuntimeConfig(), clips, out
        self.accelerator, self.validation = accelerator, validation
        self.main = accelerator.is_main_process
        self.say = say if self.main else lambda _: None
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        if recipe.batch % self.world:
            raise ConfigError(f"batch={recipe.batch} clips cannot be divided among {self.world} processes")

        if recipe.precision == "float64":
            model = model.double()
        # Not channels_last: group norms would lose more time than convolutions gain.
        self.model = model = model.to(accelerator.device).train()
        self.average = optimisation.Average(model, recipe.ema) if recipe.ema else None
        self.optimizer = optimisation.build_optimizer(model, recipe)
        self.network, self.stepper = accelerator.prepare(model, self.optimizer)
        self.criterion = Criterion(model.config, self.world)
        self.checkpoints = Checkpoints(out / CHECKPOINTS, self.runtime.shard_mb)
        self.progress = TrainingProgress()

    @property
    def exported(self) -> ACVIS:
        """The network that is evaluated and exported: the running average, if there is one."""
        return self.average.model if self.average is not None else self.model

    def run(self) -> bool:
        """Train from the newest checkpoint or from the start; True if all steps are done, False if stopped before.

        Raises:
            NotFiniteError: a loss or gradient is not finite; the last checkpoint is kept.
        """
        self.resume()
        started, before = time.monotonic(), self.progress.minutes
        saved = started
        with Stop() as stop, self._log() as log:
            batches = self._batches()
            while True:
                if self._evaluation_is_due():
                    self.evaluate(log)
                if self.progress.step == self.recipe.steps:
                    break
                values = self.step(next(batches))
                now = time.monotonic()
                self.progress.minutes = before + (now - started) / 60
                late = self.runtime.max_minutes is not None and now - started > 60 * self.runtime.max_minutes
                save = now - saved > 60 * self.runtime.checkpoint_every
                stopping, saving = self._agree(stop.asked or (self.main and late), self.main and save)
                if log is not None:
                    log.step(self.progress.step, values)
                if stopping:
                    break
                if saving:
                    self.save()
                    saved = time.monotonic()
            del batches  # ends the workers
            self.save()
        if self.main:
            save_model(self.exported, self.out / LAST)
        self.accelerator.wait_for_everyone()
        return self.progress.step == self.recipe.steps

    def step(self, batch: TrainingBatch) -> dict[str, float]:
        """One optimizer step.

        Returns:
            Each loss by name, their sum "loss", and "grad_norm", all means over the processes; "lr".

        Raises:
            NotFiniteError: a loss or gradient is not finite.
        """
        step = self.progress.step
        seed_step(self.recipe.seed, step, self.rank)
        rate = optimisation.set_rates(
            self.optimizer, lr_factor(self.recipe, step), pretrained_factor(self.recipe, step)
        )
        draws = self._draws(step)
        batch = self._widened(batch.to(self.accelerator.device))
        try:
            output = self.network(batch.frames, batch.log_mel, batch.audio_features)
            generators = point_generators(self.recipe.seed, draws)
            losses = self.criterion(output, batch.targets, generators=generators, reduce=self._total)
        except NotFiniteError as error:
            raise NotFiniteError(f"{self._where(step, draws, batch)}: {error}") from None
        self.accelerator.backward(torch.stack(list(losses.values())).sum())
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        parts = torch.stack([*(value.detach() for value in losses.values()), norm.to(losses["frame/class"])])
        *values, norm = (self._total(parts) / self.world).tolist()  # the only transfer to the host in a step
        if not math.isfinite(norm) and self.recipe.precision != "fp16":  # the fp16 scaler skips such a step
            raise NotFiniteError(
                f"{self._where(step, draws, batch)}: the gradient's norm is {norm}, the losses are "
                + ", ".join(f"{name} {value:.4g}" for name, value in zip(losses, values, strict=True))
                + ": lower the learning rate, or train in float32"
            )
        self.stepper.step()
        self.stepper.zero_grad()
        self.progress.step += 1
        if self.average is not None:
            self.average.update(self.model, self.progress.step)
        named = dict(zip(losses, values, strict=True))
        return {"loss": sum(values), **named, "grad_norm": norm, "lr": rate}

    def evaluate(self, log: RunLog | None) -> None:
        """Score the exported weights on the validation split; write them to best/ if they are the best so far."""
        assert self.validation is not None, "run() evaluates only with a validation split"
        started = time.monotonic()
        scores = self.validation.score(self.exported)
        progress = self.progress
        progress.evaluated = progress.step
        if not self.main:
            return
        named = f"mAP {scores['AP_all']:.1f}  HOTA {scores['HOTA']:.1f}  FSLA {scores['FA']:.1f}"
        better = progress.best_score is None or scores["mean"] > progress.best_score
        if better and not math.isnan(scores["mean"]):
            progress.best_score, progress.best_step = scores["mean"], progress.step
            save_model(self.exported, self.out / BEST)
        self.say(f"step {progress.step}: {named}  mean {scores['mean']:.2f} (best: step {progress.best_step})")
        assert log is not None, "the main process has a log"
        log.evaluation(progress.step, scores, time.monotonic() - started)

    def save(self) -> None:
        """Write a checkpoint; called between two steps."""
        if not self.main:
            return
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": optimisation.optimizer_tensors(self.optimizer, self.model),
        }
        if self.average is not None:
            tensors["average"] = self.average.model.state_dict()
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None
        self.checkpoints.write(self.progress.step, tensors, {**asdict(self.progress), "scaler": scaler})

    def resume(self) -> None:
        """Load the newest complete checkpoint, if there is one."""
        if self.main:
            self.checkpoints.clean()
        self.accelerator.wait_for_everyone()
        newest = self.checkpoints.newest()
        if newest is None:
            return
        tensors, state = read_checkpoint_folder(newest)
        self.model.load_state_dict(tensors["model"])
        optimisation.load_optimizer_tensors(self.optimizer, self.model, tensors["optimizer"])
        if self.average is not None:
            self.average.model.load_state_dict(tensors["average"])
        if state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.progress = TrainingProgress(**{name: state[name] for name in asdict(self.progress)})
        self.say(f"resuming from {newest}, {self.recipe.steps - self.progress.step} steps left")

    def _batches(self) -> Iterator[TrainingBatch]:
        """This process' part of every batch, from the current step to the last one."""
        config, workers = self.model.config, self.runtime.workers
        steps = range(self.progress.step, self.recipe.steps)
        loader = DataLoader(
            self.clips,
            batch_sampler=[self._draws(step) for step in steps],
            collate_fn=partial(collate, pixel_mean=config.pixel_mean, size_divisor=config.size_divisor),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=quiet_worker,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        return iter(loader)

    def _widened(self, batch: TrainingBatch) -> TrainingBatch:
        """This process' part, padded to the size of the batch over all processes."""
        if self.world == 1:
            return batch
        size = largest_over(batch.frames.shape[-2:], self.world, self.accelerator.device)
        return widen(batch, size, self.model.config.pixel_mean, self.model.config.size_divisor)

    def _draws(self, step: int) -> list[int]:
        """Draw numbers of this process' samples in a step: every `world`-th of the step's batch."""
        first = step * self.recipe.batch
        return list(range(first + self.rank, first + self.recipe.batch, self.world))

    def _evaluation_is_due(self) -> bool:
        step, every = self.progress.step, self.runtime.eval_every
        if self.validation is None or step == 0 or self.progress.evaluated == step:
            return False
        return step == self.recipe.steps or (every > 0 and step % every == 0)

    def _agree(self, *flags: bool) -> list[bool]:
        """Combine flags over the processes: each is True everywhere if it is True in one."""
        if self.world == 1:
            return list(flags)
        counts = self._total(torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device))
        return [count > 0 for count in counts.tolist()]

    def _total(self, terms: Tensor) -> Tensor:  # the criterion's `reduce`
        return total_over(terms, self.world)

    def _log(self) -> AbstractContextManager[RunLog | None]:
        if not self.main:
            return nullcontext()
        frames = self.recipe.batch * self.recipe.clip_frames
        done = self.progress
        return RunLog(self.out, self.recipe.steps, done.step, done.evaluated, self.runtime.log_every, frames, self.say)

    def _where(self, step: int, draws: list[int], batch: TrainingBatch) -> str:
        shown = ", ".join(
            f"draw {draw}: video {video}, frames {list(frames)}, sound {sound}"
            for draw, (video, frames, sound) in zip(draws, batch.samples, strict=True)
        )
        return f"step {step} ({shown}), training has stopped and the last checkpoint is kept"
