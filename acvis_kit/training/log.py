"""What a run says while it runs: a progress bar, log.jsonl, and TensorBoard's events where that is installed."""

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
    """Sums up steps and writes them down. Lines hold means over the steps since the line before.

    Args:
        folder: of the run. total: steps. first: steps done before, evaluated: step of the last evaluation before; what
            an interrupted run wrote beyond is removed.
        every: steps per line. frames_per_step: over all processes. say: for messages.
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
        self._forget(first, evaluated)
        self._file = self.path.open("a")
        self._board = _board(folder, first, say)
        self._bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True, disable=None)
        self._sums: dict[str, float] = {}
        self._steps, self._since, self._shown = 0, time.monotonic(), None

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Take in one step: `step` of them are done; values by name, "loss" and "lr" among them."""
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
        """Write down what an evaluation after `step` steps found, and how long it took."""
        self._write({"step": step, "evaluation": _clean(scores), "seconds": round(seconds, 1)})
        self._show(step, {f"evaluation/{name}": value for name, value in scores.items()})
        self._since = time.monotonic()  # not the training's time

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

    def _forget(self, first: int, evaluated: int) -> None:
        """Keep the lines up to where the run goes on; a line cut by a kill goes too."""
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
    """JSON has no NaN."""
    return {name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in values.items()}


def _board(folder: Path, first: int, say: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say(f"TensorBoard is not installed (pip install 'acvis-kit[train]'): {LOG} holds everything")
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=first + 1)
