"""Atomic checkpoints: tensors as safetensors in files of bounded size, numbers as JSON.

RUN/checkpoints/step-000123/            state.json, and for each kind of tensor an index and one or more files
RUN/checkpoints/step-000124.partial/    being written; left by a killed run, removed by the next one

A folder gets its final name when all its files are on the disk: a kill at any moment leaves the previous checkpoints.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from acvis_kit.errors import AcvisError, WeightsError
from acvis_kit.files import write_errors, write_tensors

STATE, PARTIAL, OLD = "state.json", ".partial", ".old"
KEPT = 2


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: contains nothing else.
        shard_mb: largest file in 10^6 bytes; None: no limit.
        keep: number of checkpoints that are kept.
    """

    def __init__(self, folder: str | Path, shard_mb: float | None = None, keep: int = KEPT) -> None:
        self.folder = Path(folder)
        self.limit = None if shard_mb is None else int(shard_mb * 1e6)
        self.keep = keep

    def write(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove the oldest ones; returns its folder.

        Args:
            step: steps done.
            tensors: by kind ("model", "optimizer", ...) and name.
            state: values for JSON.

        Raises:
            AcvisError: it cannot be written. Nothing of it is left, earlier checkpoints are unchanged.
        """
        final = self.folder / f"step-{step:06d}"
        partial = final.with_name(final.name + PARTIAL)
        try:
            with write_errors(final):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                self._write_files(partial, step, tensors, state)
                replaced = final.with_name(final.name + OLD)
                if final.exists():
                    final.rename(replaced)
                partial.rename(final)
                _sync(self.folder)
        except AcvisError as error:
            raise AcvisError(
                f"the checkpoint of step {step} was not written: {error}. {self._left()}; the same command, without "
                "--overwrite, resumes it"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
        for path in self._all()[: -self.keep]:
            shutil.rmtree(path)
        return final

    def _write_files(
        self, folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
    ) -> None:
        needed = sum(tensor.nbytes for named in tensors.values() for tensor in named.values())
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise AcvisError(
                f"{folder.parent} has {free / 1e6:,.1f} MB left, {needed / 1e6:,.1f} MB are needed: make room, or "
                "write to another disk"
            )
        for kind, named in tensors.items():
            write_pieces(folder, kind, named, self.limit)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        whole = {**state, "step": step, "kinds": list(tensors), "files": sizes}
        _write_text(folder / STATE, json.dumps(whole, indent=1))
        _sync(folder)

    def _left(self) -> str:
        newest = self.newest()
        return "There is no earlier one" if newest is None else f"The last one is {newest.name}"

    def newest(self) -> Path | None:
        """The latest complete checkpoint, see `is_whole`; None if there is none."""
        return next((path for path in reversed(self._all()) if is_whole(path)), None)

    def damaged(self) -> list[Path]:
        """Checkpoints that have their final name, but not all their files: a disk lost them."""
        return [path for path in self._all() if not is_whole(path)]

    def clean(self) -> None:
        """Remove incomplete folders that a killed run left."""
        if self.folder.is_dir():
            for path in list(self.folder.iterdir()):
                final = path.with_name(path.name.removesuffix(OLD))
                if path.name.endswith(OLD) and not final.exists():  # killed before its successor got the name
                    path.rename(final)
                elif path.name.endswith((PARTIAL, OLD)):
                    shutil.rmtree(path)

    def _all(self) -> list[Path]:
        found = self.folder.glob("step-*") if self.folder.is_dir() else ()
        return sorted((p for p in found if p.name[5:].isdigit()), key=lambda path: int(path.name[5:]))


def read_checkpoint_folder(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `Checkpoints.write` wrote: tensors by kind and name, and the state.

    Raises:
        WeightsError: the checkpoint is incomplete.
    """
    if not is_whole(folder):
        raise WeightsError(f"{folder} is not a complete checkpoint: files are missing or cut; resume from another")
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return {kind: read_pieces(folder, kind) for kind in state["kinds"]}, state


def is_whole(folder: Path) -> bool:
    """Whether state.json and every file that it lists exist, at their full size."""
    try:
        files = json.loads((folder / STATE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def write_pieces(folder: Path, kind: str, tensors: Mapping[str, Tensor], limit: int | None = None) -> None:
    """Write KIND-00001.safetensors, ... and KIND.index.json, which lists the pieces of each tensor and their files.

    Args:
        folder: exists.
        kind: of the tensors, the beginning of the file names.
        tensors: by name.
        limit: bytes of tensors per file, at most; larger tensors are cut into pieces. None: one file.
    """
    index: dict[str, Any] = {}
    for number, file_pieces in enumerate(_packed(_pieces(tensors, limit), limit), start=1):
        name = f"{kind}-{number:05d}.safetensors"
        for tensor, key, _ in file_pieces:
            entry = index.setdefault(tensor, {"shape": list(tensors[tensor].shape), "pieces": []})
            entry["pieces"].append([name, key])
        write_tensors(folder / name, {key: piece for _, key, piece in file_pieces}, error=AcvisError)
        _sync(folder / name)
    _write_text(folder / f"{kind}.index.json", json.dumps(index))


def read_pieces(folder: Path, kind: str) -> dict[str, Tensor]:
    """Read what `write_pieces` wrote, in the same order, on the CPU."""
    index = json.loads((folder / f"{kind}.index.json").read_text(encoding="utf-8"))
    files = {file for entry in index.values() for file, _ in entry["pieces"]}
    loaded = {file: load_file(folder / file) for file in sorted(files)}
    return {
        name: torch.cat([loaded[file][key] for file, key in entry["pieces"]]).view(entry["shape"])
        for name, entry in index.items()
    }


Piece = tuple[str, str, Tensor]  # name of its tensor, its key in the file, values (n,)


def _pieces(tensors: Mapping[str, Tensor], limit: int | None) -> Iterator[Piece]:
    """All tensors, flattened and cut into pieces of at most `limit` bytes."""
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().contiguous().view(-1)
        size = max(1, limit // flat.element_size() if limit else flat.numel())
        for number, part in enumerate(flat.split(size)):
            yield name, f"{name}#{number}", part.clone()  # safetensors stores no views


def _packed(pieces: Iterable[Piece], limit: int | None) -> Iterator[list[Piece]]:
    """The pieces of each file, at most `limit` bytes in all."""
    gathered: list[Piece] = []
    held = 0
    for piece in pieces:
        if gathered and limit and held + piece[2].nbytes > limit:
            yield gathered
            gathered, held = [], 0
        gathered.append(piece)
        held += piece[2].nbytes
    if gathered:
        yield gathered


def _write_text(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
