"""The training loop: one class runs all stages; what it keeps between two steps is what a checkpoint contains.

Random numbers are a function of seed, step and clip (`randomness`), the learning rate of the step (`schedule`), and a
sample of its number in the stream (`data.training_clips`). Checkpoints therefore contain only the weights, the
optimizer's state, the running average and a few numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acvis_kit.data.collate import TrainingBatch
from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.inference.precision import matmul_precision
from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.swin import Swin
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.training import optimizer as optimisation
from acvis_kit.training.batches import widen
from acvis_kit.training.checkpoint import Checkpoints, is_whole, read_checkpoint_folder
from acvis_kit.training.loading import batches
from acvis_kit.training.log import RunLog
from acvis_kit.training.parallel import Agreement, Stop, total_over
from acvis_kit.training.recipe import RuntimeConfig
from acvis_kit.training.scoring import Validation
from acvis_kit.training.stages import Stage
from acvis_kit.weights.load import save_model

if TYPE_CHECKING:
    from accelerate import Accelerator

System = ACVIS | AVSC | RAVS
CHECKPOINTS, BEST, LAST = "checkpoints", "best", "last"
DECAY = 0.98  # of the running average of the loss
MOST_SKIPPED = 50  # steps in a row with an infinite gradient in fp16, whose scaler skips them and lowers its scale


@dataclass(frozen=True)
class TrainingProgress:
    """The progress of a run: the numbers in a checkpoint.

    Attributes:
        stage: number of the present stage, from 0.
        step: steps done in it.
        loss: running average of the loss in it; None before the first step.
        evaluated: step of the last evaluation, in the last stage.
        best_step: step of the weights in best/.
        best_score: their score, the mean of mAP, HOTA and FSLA, percent.
    """

    stage: int = 0
    step: int = 0
    loss: float | None = None
    evaluated: int = 0
    best_step: int | None = None
    best_score: float | None = None


@dataclass(frozen=True)
class _Unread:
    """A step whose losses have not been copied to the host: its names, their values there and the rest of its line."""

    step: int
    where: str
    names: tuple[str, ...]
    values: Tensor  # losses, and the norm of the gradient
    rate: float


class Trainer:
    """Trains a network stage by stage, in one process or as one of several.

    Args:
        model: before the first step, on the accelerator's device.
        stages: see `stages.stages_of`; the last one trains the network that is exported.
        out: folder of the run.
        accelerator: devices, processes and precision; see `parallel.make_accelerator`.
        runtime: see `RuntimeConfig`.
        validation: None: no evaluation during training.
        say: for messages; called only in the main process.

    Raises:
        ConfigError: recompute="backbone" of a network without Swin.
    """

    def __init__(
        self,
        model: System,
        stages: Sequence[Stage],
        out: Path,
        accelerator: Accelerator,
        runtime: RuntimeConfig | None = None,
        validation: Validation | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        # Not channels_last: group norms would lose more time than convolutions gain.
        self.model = model.to(accelerator.device).train()
        self.stages, self.runtime, self.out = list(stages), runtime or RuntimeConfig(), out
        if self.runtime.recompute == "backbone":
            _recompute(self.model)
        self.accelerator, self.validation = accelerator, validation
        self.main = accelerator.is_main_process
        self.say = say if self.main else lambda _: None
        self.world, self.rank = accelerator.num_processes, accelerator.process_index
        self.agreement = Agreement(self.world)
        self.checkpoints = Checkpoints(out / CHECKPOINTS, self.runtime.shard_mb)
        # Steps between copies of the losses to the host, each of which waits for the device; a CPU is never behind.
        self.read_every = 1 if accelerator.device.type == "cpu" else self.runtime.log_every
        self.progress = TrainingProgress()
        self._unread: list[_Unread] = []
        self._skipped = 0  # steps in a row whose gradient was not finite

    @property
    def exported(self) -> System:
        """The network that is evaluated and exported: the running average, if there is one."""
        return self.average.model if self.average is not None else self.model

    @property
    def in_last_stage(self) -> bool:
        """Whether the present stage trains the exported network."""
        return self.progress.stage == len(self.stages) - 1

    def run(self, stop: Stop | None = None) -> bool:
        """Train from the newest checkpoint or from the start; True if all steps are done, False if stopped before.

        Args:
            stop: receives the signals while training runs; None: one of its own.

        Raises:
            NotFiniteError: a loss or gradient is not finite; the last checkpoint is kept.
        """
        self.resume()
        precision = matmul_precision(self.runtime.matmul_precision)
        with stop or Stop() as stop, self._log() as log, precision:
            end = math.inf
            if self.runtime.max_minutes is not None:
                end = time.monotonic() + 60 * self.runtime.max_minutes
            finished = self._run_stage(stop, end, log)
            while finished and not self.in_last_stage:
                self.begin(self.progress.stage + 1)
                finished = self._run_stage(stop, end, log)
        if self.main and self.in_last_stage:
            save_model(self.exported, self.out / LAST)
        self.accelerator.wait_for_everyone()
        return finished

    def begin(self, number: int) -> None:
        """Prepare the first step of a stage."""
        self.stage = stage = self.stages[number]
        if number != self.progress.stage:
            self.progress = replace(self.progress, stage=number, step=0, loss=None)
        if stage.prepare is not None:
            stage.prepare()
        self.accelerator.free_memory()  # its lists of what was prepared for the stage before
        if self.accelerator.ddp_handler is not None:
            self.accelerator.ddp_handler.find_unused_parameters = stage.idle_parameters
        self.average = optimisation.Average(self.model, stage.ema) if stage.ema else None
        # One kernel for all parameters; elsewhere the default, whose results stay what they are.
        fused = True if self.accelerator.device.type == "cuda" else None
        self.optimizer = torch.optim.AdamW(stage.groups, betas=stage.betas, eps=stage.eps, fused=fused)
        self.network, self.stepper = self.accelerator.prepare(stage.network, self.optimizer)

    def step(self, parts: Sequence[tuple[list[int], Any]]) -> None:
        """One optimizer step. Its losses stay on the device until `read`.

        Args:
            parts: `accumulation` times the draw numbers and the batch of this process.

        Raises:
            NotFiniteError: the criterion met a value that is not finite.
        """
        stage, step = self.stage, self.progress.step
        stage.seed(step, self.rank)
        rate = optimisation.set_rates(self.optimizer, *stage.rates(step))
        where = _where(stage.name, step, parts)
        values: Tensor | None = None
        for number, (draws, batch) in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self.accelerator.no_sync(self.network):
                try:
                    losses = stage.losses(self.network, self._placed(batch), draws, self._total)
                except NotFiniteError as error:
                    self.read()  # an earlier step may be the cause
                    raise NotFiniteError(f"{where}: {error}") from None
                own = torch.stack(list(losses.values())) / len(parts)
                self.accelerator.backward(own.sum())
            values = own.detach() if values is None else values + own.detach()
        assert values is not None, "a step has at least one part"
        norm = self.accelerator.clip_grad_norm_(self.network.parameters(), stage.clip_norm)
        self._unread.append(_Unread(step, where, tuple(losses), torch.cat([values, norm.to(values)[None]]), rate))
        self.stepper.step()
        self.stepper.zero_grad()
        self.progress = replace(self.progress, step=step + 1)
        if self.average is not None:
            self.average.update(self.model, step + 1)

    def read(self) -> list[tuple[int, dict[str, float]]]:
        """The losses of the steps since the last call, copied from the device at once.

        Returns:
            Steps done, and by name each loss, their sum "loss" and "grad_norm", all means over the processes; "lr".

        Raises:
            NotFiniteError: a loss or gradient is not finite.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return []
        table = (self._total(torch.stack([one.values for one in unread])) / self.world).tolist()
        read = []
        for one, (*values, norm) in zip(unread, table, strict=True):
            named, loss = dict(zip(one.names, values, strict=True)), sum(values)
            self._skipped = 0 if math.isfinite(norm) else self._skipped + 1
            allowed = MOST_SKIPPED if self.accelerator.mixed_precision == "fp16" else 0
            if not math.isfinite(loss) or self._skipped > allowed:
                raise NotFiniteError(
                    f"{one.where}: the gradient's norm is {norm}, the losses are "
                    + ", ".join(f"{name} {value:.4g}" for name, value in named.items())
                    + ": look for NaN in the data, lower the learning rate, or train in float32"
                )
            before = self.progress.loss
            average = loss if before is None else DECAY * before + (1 - DECAY) * loss
            self.progress = replace(self.progress, loss=average)
            read.append((one.step + 1, {"loss": loss, **named, "grad_norm": norm, "lr": one.rate}))
        return read

    def evaluate(self, log: RunLog | None) -> None:
        """Score the exported weights on the validation split; write them to best/ if they are the best so far."""
        assert self.validation is not None, "run() evaluates only with a validation split"
        started = time.monotonic()
        assert isinstance(self.exported, ACVIS), "only ACVIS is evaluated in training"
        scores = self.validation.score(self.exported)
        self.progress = progress = replace(self.progress, evaluated=self.progress.step)
        if not self.main:
            return
        named = f"mAP {scores['AP_all']:.1f}  HOTA {scores['HOTA']:.1f}  FSLA {scores['FA']:.1f}"
        better = progress.best_score is None or scores["mean"] > progress.best_score
        if better and not math.isnan(scores["mean"]):
            self.progress = progress = replace(progress, best_score=scores["mean"], best_step=progress.step)
            save_model(self.exported, self.out / BEST)
        self.say(f"step {progress.step}: {named}  mean {scores['mean']:.2f} (best: step {progress.best_step})")
        assert log is not None, "the main process has a log"
        log.evaluation(progress.step, scores, time.monotonic() - started)

    def save(self) -> None:
        """Write a checkpoint; called between two steps, when all losses are read."""
        if not self.main:
            return
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": optimisation.optimizer_tensors(self.optimizer, self.model),
        }
        if self.average is not None:
            tensors["average"] = self.average.model.state_dict()
        scaler = self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None
        self.checkpoints.write(self._steps_done(), tensors, {"progress": asdict(self.progress), "scaler": scaler})

    def resume(self) -> None:
        """Begin the stage of the newest complete checkpoint and load it; without one begin the first stage."""
        if self.main:
            self.checkpoints.clean()
        self.accelerator.wait_for_everyone()
        newest = self._newest()
        if newest is None:
            self.begin(0)
            return
        tensors, state = read_checkpoint_folder(newest)
        self.model.load_state_dict(tensors["model"])
        self.progress = TrainingProgress(**state["progress"])
        self.begin(self.progress.stage)
        optimisation.load_optimizer_tensors(self.optimizer, self.model, tensors["optimizer"])
        if self.average is not None:
            self.average.model.load_state_dict(tensors["average"])
        if state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.say(f"resuming from {newest}: {self.stage.name}, {self.stage.steps - self.progress.step} steps left")

    def _newest(self) -> Path | None:
        """The newest complete checkpoint as the main process finds it.

        Raises:
            WeightsError: on all processes, if one of them does not have it.
        """
        newest = self.checkpoints.newest() if self.main else None
        if self.main and (damaged := [path.name for path in self.checkpoints.damaged()]):
            if newest is None:
                raise WeightsError(
                    f"no checkpoint in {self.checkpoints.folder} is complete ({', '.join(damaged)}): restore one, or "
                    "pass --overwrite to start again"
                )
            self.say(f"left aside, because files are missing or cut: {', '.join(damaged)}")
        if self.world == 1:
            return newest
        name = [newest.name if newest is not None else None]
        torch.distributed.broadcast_object_list(name)
        found = None if name[0] is None else self.checkpoints.folder / name[0]
        if any(self.agreement.largest(found is not None and not is_whole(found))):
            raise WeightsError(f"{self.out} must be a folder that all machines share: one of them has no {name[0]}")
        return found

    def _run_stage(self, stop: Stop, end: float, log: RunLog | None) -> bool:
        """Train to the end of the stage; False if it was stopped before.

        Args:
            stop: whether a signal asks to stop.
            end: monotonic time after which the run stops.
            log: of the main process.
        """
        stage, saved = self.stage, time.monotonic()
        before = self.progress
        if log is not None:
            log.begin(
                stage.name,
                total=stage.steps,
                done=before.step,
                evaluated=before.evaluated,
                earlier=self._steps_done() - before.step,
                frames_per_step=stage.batch * stage.frames,
            )
        stopping = False
        with closing(self._batches(stop)) as steps:  # ends the workers, after an error too
            while True:
                if self._evaluation_is_due():
                    self.evaluate(log)
                if self.progress.step == stage.steps:
                    break
                parts = next(steps)
                if parts is None:
                    stopping = True
                    self._record(log)
                    break
                self.step(parts)
                now = time.monotonic()
                save = now - saved > 60 * self.runtime.checkpoint_every
                asked = self.agreement.largest(stop.asked or (self.main and now > end), self.main and save)
                stopping, saving = map(bool, asked)
                step = self.progress.step
                due = step % self.read_every == 0 or step == stage.steps
                if due or stopping or saving or self._evaluation_is_due():
                    self._record(log)
                if stopping:
                    break
                if saving and self.progress.step < stage.steps:
                    self.save()
                    saved = time.monotonic()
        if self.progress != before:
            self.save()
        finished = self.progress.step == stage.steps and not self._evaluation_is_due()  # a stop may come before it
        if finished and before.step < stage.steps and stage.finished is not None:
            self.say(stage.finished.format(loss=self.progress.loss))
        return finished and (self.in_last_stage or not stopping)  # stopped with its last step: the next stage follows

    def _record(self, log: RunLog | None) -> None:
        """Read the losses of the last steps into the log."""
        for step, values in self.read():
            if log is not None:
                log.step(step, values)

    def _batches(self, stop: Stop) -> Generator[list[tuple[list[int], Any]] | None, None, None]:
        """For each step from the present one to the last: the parts of this process, draw numbers and batch.

        None for a step whose batches are not ready when a signal asks to stop.
        """
        stage = self.stage
        steps = [self._draws(step) for step in range(self.progress.step, stage.steps)]
        loaded = batches(
            stage.sample,
            stage.collate,
            [draws for parts in steps for draws in parts],
            workers=self.runtime.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            should_stop=lambda: stop.asked and self.world == 1,  # other processes wait for this one within a step
        )
        with closing(loaded):
            for parts in steps:
                made = [(draws, next(loaded, None)) for draws in parts]
                yield made if all(batch is not None for _, batch in made) else None

    def _placed(self, batch: Any) -> Any:
        """A batch on this process' device, padded to the size of the batch over all processes."""
        batch = batch.to(self.accelerator.device)
        if self.world == 1 or not isinstance(batch, TrainingBatch):
            return batch
        height, width = self.agreement.largest(*batch.frames.shape[-2:])
        assert isinstance(self.model, ACVIS), "other systems have batches of their own"
        return widen(batch, (height, width), self.model.config.pixel_mean, self.model.config.size_divisor)

    def _draws(self, step: int) -> list[list[int]]:
        """Draw numbers of this process' samples in a step, by part: every `world`-th of the step's batch."""
        first = step * self.stage.batch
        own = list(range(first + self.rank, first + self.stage.batch, self.world))
        size = len(own) // self.stage.accumulation
        return [own[start : start + size] for start in range(0, len(own), size)]

    def _steps_done(self) -> int:
        """Steps done in all stages."""
        return sum(stage.steps for stage in self.stages[: self.progress.stage]) + self.progress.step

    def _evaluation_is_due(self) -> bool:
        step, every = self.progress.step, self.runtime.eval_every
        if self.validation is None or not self.in_last_stage or step == 0 or self.progress.evaluated == step:
            return False
        return step == self.stage.steps or (every > 0 and step % every == 0)

    def _total(self, terms: Tensor) -> Tensor:  # the losses' `reduce`
        return total_over(terms, self.world)

    def _log(self) -> AbstractContextManager[RunLog | None]:
        return RunLog(self.out, self.runtime.log_every, self.say) if self.main else nullcontext()


def _recompute(model: System) -> None:
    backbones = [module for module in model.modules() if isinstance(module, Swin)]
    if not backbones:
        raise ConfigError("recompute='backbone' is for Swin transformers, and this network has none: leave it out")
    for backbone in backbones:
        backbone.recompute = True


def _where(name: str, step: int, parts: Sequence[tuple[list[int], Any]]) -> str:
    """A step and its samples, for messages."""
    shown = []
    for draws, batch in parts:
        if isinstance(batch, TrainingBatch):
            shown += [
                f"draw {draw}: video {video}, frames {list(frames)}, sound {sound}"
                for draw, (video, frames, sound) in zip(draws, batch.samples, strict=True)
            ]
        else:
            shown += [f"draw {draw}" for draw in draws]
    return f"{name}, step {step + 1} ({', '.join(shown)}), training has stopped and the last checkpoint is kept"
