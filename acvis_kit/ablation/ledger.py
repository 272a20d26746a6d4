"""The ledger of the ablations: runs.jsonl, a line per run, and draws.jsonl, the bootstrap draws for intervals."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acvis_kit.errors import DataError
from acvis_kit.files import read_text, write_text

RUNS, DRAWS = "runs.jsonl", "draws.jsonl"
UNDEFINED = -1  # code of NaN in `pack`


class RunLedger:
    """The results of runs, in a folder; a repeated run replaces its earlier line.

    A run is identified by its key (see `start.Run.key`) and its seed.

    Args:
        folder: created when the first line is written.

    Raises:
        DataError: a file in it cannot be parsed.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lines: dict[tuple[str, int], dict[str, Any]] = {}
        self._draws: dict[tuple[str, int], dict[str, str]] = {}
        self._read()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """All lines, in the order in which they were first written."""
        return list(self._lines.values())

    def has(self, key: str, seed: int) -> bool:
        return (key, seed) in self._lines

    def line(self, key: str, seed: int) -> dict[str, Any] | None:
        return self._lines.get((key, seed))

    def draws(self, key: str, seed: int, gate: str) -> NDArray[np.float64] | None:
        """The draws of a run, percent, to a hundredth, see `scores.Measured`; None if the ledger has none.

        Args:
            key: of the run.
            seed: of the run.
            gate: "gate_off" or "gate_on".
        """
        text = self._draws.get((key, seed), {}).get(gate)
        return None if text is None else unpack(text)

    def add(self, line: dict[str, Any]) -> None:
        """Write a line; its "draws", arrays by gate, go to draws.jsonl."""
        self._read()  # another command may have written since
        line = dict(line)
        place = line["key"], line["seed"]
        self._draws[place] = {gate: pack(values) for gate, values in line.pop("draws").items()}
        self._lines[place] = _plain(line)
        self._write()

    def take(self, other: RunLedger) -> int:
        """Add the lines of another ledger, from another machine; returns their number.

        Raises:
            DataError: it has none.
        """
        if not other._lines:
            raise DataError(f"{other.folder} contains no runs: give the folder that holds the {RUNS} to be added")
        self._lines |= other._lines
        self._draws |= other._draws
        self._write()
        return len(other._lines)

    def _read(self) -> None:
        for name, found in ((RUNS, self._lines), (DRAWS, self._draws)):
            file = self.folder / name
            for number, text in enumerate(read_text(file).splitlines() if file.is_file() else (), start=1):
                try:
                    entry = json.loads(text)
                    place = entry["key"], entry["seed"]
                    found[place] = entry if name == RUNS else entry["draws"]
                except (json.JSONDecodeError, KeyError, TypeError) as error:
                    raise DataError(f"{file}, line {number}, does not describe a run ({error!r}): remove it") from error

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draws = [{"key": key, "seed": seed, "draws": own} for (key, seed), own in self._draws.items()]
        for name, entries in ((DRAWS, draws), (RUNS, self.lines)):
            write_text(self.folder / name, "".join(json.dumps(entry) + "\n" for entry in entries))


def pack(percent: NDArray[np.float64]) -> str:
    """Encode (draws, numbers), in [0, 100] or NaN, as text, in hundredths."""
    whole = np.where(np.isnan(percent), UNDEFINED, np.round(100 * np.nan_to_num(percent))).astype("<i2")
    return f"{percent.shape[1]}:{base64.b64encode(whole.tobytes()).decode('ascii')}"


def unpack(text: str) -> NDArray[np.float64]:
    """Decode the text of `pack`."""
    columns, _, code = text.partition(":")
    whole = np.frombuffer(base64.b64decode(code), "<i2").reshape(-1, int(columns))
    return np.where(whole == UNDEFINED, np.nan, whole / 100)


def _plain(value: Any) -> Any:
    """Numbers rounded to four decimals; NaN and infinity become None, because JSON lacks them."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
