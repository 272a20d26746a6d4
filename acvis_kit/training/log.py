"""The log of a run: a progress bar, log.jsonl, and events for TensorBoard where that is installed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from acvis_kit.files import read_text, write_errors, write_text

LOG = "log.jsonl"


class RunLog:
    """Writes the losses of steps and the scores of evaluations.

    A line has means over the steps since the last line, or since the run was resumed. It names its stage and the step
    in it; TensorBoard counts the steps of all stages.

    Args:
        folder: of the run; created.
        every: steps per line.
        say: for messages.
    """

    def __init__(self, folder: Path, every: int, say: Callable[[str], None]) -> None:
        self.folder, self.every, self.say = folder, every, say
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / LOG
        self._board: Any = None
        self._bar: tqdm | None = None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()

    def begin(self, stage: str, *, total: int, done: int, evaluated: int, earlier: int, frames_per_step: int) -> None:
        """Begin or resume a stage. Later entries of an interrupted run are removed.

        Args:
            stage: its name.
            total: its steps.
            done: its steps done before.
            evaluated: step of the last evaluation before.
            earlier: steps of the stages before.
            frames_per_step: over all processes.
        """
        self.stage, self.earlier, self.frames_per_step, self.total = stage, earlier, frames_per_step, total
        self._remove_later_lines(done, evaluated)
        if self._bar is None:
            self._board = _board(self.folder, earlier + done, self.say)
        else:
            self._bar.close()
        self._bar = tqdm(desc=stage, total=total, initial=done, unit="step", dynamic_ncols=True, disable=None)
        self._sums: dict[str, float] = {}
        self._steps, self._since = 0, time.monotonic()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Record a step.

        Args:
            step: steps done in the stage, this one included.
            values: by name, with "loss".
        """
        assert self._bar is not None, "a stage has begun"
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        self._bar.set_postfix_str(f"loss {self._sums['loss'] / self._steps:.3f}", refresh=False)
        self._bar.update()
        if step % self.every == 0 or step == self.total:
            self._write_step(step)

    def evaluation(self, step: int, scores: Mapping[str, float], seconds: float) -> None:
        """Record the scores of an evaluation after `step` steps, and its duration."""
        self._write({"step": step, "evaluation": _clean(scores), "seconds": round(seconds, 1)})
        self._show(step, {f"evaluation/{name}": value for name, value in scores.items()})
        self._since += seconds  # evaluation does not count as training time

    def _write_step(self, step: int) -> None:
        seconds = time.monotonic() - self._since
        means = {name: value / self._steps for name, value in self._sums.items()}
        speed = {"seconds": seconds / self._steps, "frames_per_second": self._steps * self.frames_per_step / seconds}
        self._write({"step": step, **_clean(means), **{name: round(value, 4) for name, value in speed.items()}})
        self._show(step, {**means, **speed})
        self._sums, self._steps, self._since = {}, 0, time.monotonic()

    def _write(self, line: Mapping[str, Any]) -> None:
        with write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, **line}) + "\n")

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, self.earlier + step)

    def _remove_later_lines(self, done: int, evaluated: int) -> None:
        """Remove lines of the stage beyond the point where it resumes, and a line that a kill has cut."""
        kept = []
        for line in read_text(self.path).splitlines() if self.path.is_file() else ():
            try:
                found = json.loads(line)
                last = evaluated if "evaluation" in found else done
                if found["stage"] != self.stage or found["step"] <= last:
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        write_text(self.path, "".join(kept))


def _clean(values: Mapping[str, float]) -> dict[str, float | None]:
    """Six digits; None for NaN and infinity, which JSON lacks."""
    return {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in values.items()}


def _board(folder: Path, first: int, say: Callable[[str], None]) -> Any:
    """TensorBoard's writer, from step `first` on; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say(f"TensorBoard is not installed (pip install 'acvis-kit[train]'): {LOG} contains the same numbers")
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=first + 1)
