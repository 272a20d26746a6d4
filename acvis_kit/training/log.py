"""The log of a run: a progress bar, log.jsonl, and events for TensorBoard where that is installed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

LOG = "log.jsonl"
SHOWN = 0.95  # decay of the mean on the progress bar


class RunLog:
    """Writes the losses of steps and the scores of evaluations. A line holds means over the steps since the last line.

    Later entries of an interrupted run are removed.

    Args:
        folder: of the run.
        total: steps of the whole run.
        first: steps done before.
        evaluated: step of the last evaluation before.
        every: steps per line.
        frames_per_step: over all processes.
        say: for messages.
    """

    def __init__(
        self,
        folder: Path,
        total: int,
        first: int,
        evaluated: int,
        every: int,
        frames_per_step: int,
        say: Callable[[str], None],
    ) -> None:
        self.every, self.frames_per_step = every, frames_per_step
        self.path = folder / LOG
        self._remove_later_lines(first, evaluated)
        self._file = self.path.open("a")
        self._board = _board(folder, first, say)
        self._bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=None)
        self._sums: dict[str, float] = {}
        self._steps, self._since = 0, time.monotonic()
        self._shown: float | None = None  # loss on the progress bar

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Record a step.

        Args:
            step: steps done, this one included.
            values: by name, with "loss".
        """
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._steps += 1
        loss = values["loss"]
        self._shown = loss if self._shown is None else SHOWN * self._shown + (1 - SHOWN) * loss
        self._bar.set_postfix_str(f"loss {self._shown:.3f}", refresh=False)
        self._bar.update()
        if step % self.every == 0:
            self._write_step(step)

    def evaluation(self, step: int, scores: Mapping[str, float], seconds: float) -> None:
        """Record the scores of an evaluation after `step` steps, and its duration."""
        self._write({"step": step, "evaluation": _clean(scores), "seconds": round(seconds, 1)})
        self._show(step, {f"evaluation/{name}": value for name, value in scores.items()})
        self._since = time.monotonic()  # evaluation does not count as training time

    def _write_step(self, step: int) -> None:
        seconds = time.monotonic() - self._since
        means = {name: value / self._steps for name, value in self._sums.items()}
        speed = {"seconds": seconds / self._steps, "frames_per_second": self._steps * self.frames_per_step / seconds}
        self._write({"step": step, **_clean(means), **{name: round(value, 4) for name, value in speed.items()}})
        self._show(step, {**means, **speed})
        self._sums, self._steps, self._since = {}, 0, time.monotonic()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _show(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def _remove_later_lines(self, first: int, evaluated: int) -> None:
        """Remove lines beyond the point where the run resumes, and a line that a kill has cut."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text().splitlines():
            try:
                found = json.loads(line)
                if found["step"] <= (evaluated if "evaluation" in found else first):
                    kept.append(line + "\n")
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
        self.path.write_text("".join(kept))


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
