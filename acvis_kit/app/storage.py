"""The page's folder: what is kept on the disk, how much of it, and for how long.

Everything that the page writes lies in one folder of its own: `visitors` (uploads and results, see `sweep`), `examples`
and `work` (temporary files of other modules). The folder is removed when the page ends. If the page is killed, the next
one that starts removes it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import gradio as gr

from acvis_kit.errors import AcvisError

try:
    import fcntl
except ImportError:  # Windows, where folders of killed pages stay
    fcntl = None  # type: ignore[assignment]

PREFIX = "acvis-page-"
LOCK = "in-use"  # a file that a living page holds locked; the lock ends with its process, however it ends
DISK_BYTES = 5 * 10**9  # of uploads and results, of all visitors
SPARE_BYTES = 10**9  # stay free on the disk
FULL = "The page's disk is full. Old files are deleted within the hour: try again later."


class PageFolder:
    """A new folder for one page.

    Args:
        around: the folder to make it in; the system's folder for temporary files if None.

    Attributes:
        root: the folder.
        visitors: for uploads and results.
        examples: for the overlays of the examples.
        work: for temporary files.
    """

    def __init__(self, around: Path | None = None) -> None:
        around = around or Path(tempfile.gettempdir())
        around.mkdir(parents=True, exist_ok=True)
        remove_stale(around)
        self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=around))
        self._lock = (self.root / LOCK).open("wb")
        _locked(self._lock)
        self.visitors, self.examples, self.work = (self.root / name for name in ("visitors", "examples", "work"))
        for folder in (self.visitors, self.examples, self.work):
            folder.mkdir()

    def remove(self) -> None:
        """Delete the folder with everything in it."""
        self._lock.close()
        shutil.rmtree(self.root, ignore_errors=True)


def remove_stale(around: Path) -> int:
    """Delete folders of pages whose process has ended without removing them; returns how many."""
    if fcntl is None:
        return 0
    stale = []
    for folder in around.glob(f"{PREFIX}*"):
        with suppress(OSError), (folder / LOCK).open("rb") as lock:
            if _locked(lock):
                shutil.rmtree(folder, ignore_errors=True)
                stale.append(folder)
    return len(stale)


def _locked(file: IO[bytes]) -> bool:
    """Lock a file until it is closed; whether that was possible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def secret_path(parent: Path) -> Path:
    """A path with a name of 128 random bits: who is not given a path below it cannot guess one."""
    return parent / secrets.token_hex(16)


def new_folder(parent: Path) -> Path:
    """A new folder with a secret name."""
    folder = secret_path(parent)
    folder.mkdir(parents=True)
    return folder


def shown_name(path: str | Path) -> str:
    """The name of an uploaded file as its visitor knows it: browsers write a quotation mark as %22."""
    return Path(path).name.replace("%22", '"')


def upload_folder() -> Path:
    """The folder for uploads and results, as gradio is told by the environment."""
    folder = Path(gr.utils.get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder and below."""
    total = 0
    for parent, _, names in os.walk(folder):  # which passes over folders that are deleted in the meantime
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def has_room(folder: Path, size: int = 0) -> bool:
    """Whether the visitors' folder may grow by `size` bytes."""
    free = shutil.disk_usage(folder).free
    return bytes_in(folder) + size <= DISK_BYTES and free - size >= SPARE_BYTES


def check_room(folder: Path) -> None:
    """Refuse to write into a visitors' folder that is full.

    Raises:
        AcvisError: `FULL`.
    """
    if not has_room(folder):
        raise AcvisError(FULL)


def sweep(folder: Path, before: float) -> int:
    """Delete files that came into `folder` before this moment (of `time.time`), and empty folders as old.

    The time of change counts, not that of modification: gradio's copies keep the latter from their originals.

    Returns:
        The number of files deleted.
    """
    deleted = 0
    for parent, folders, files in os.walk(folder, topdown=False):  # contents come before their folder
        for path in (Path(parent, name) for name in (*files, *folders)):
            with suppress(OSError):  # in use, not empty, or deleted already
                if path.lstat().st_ctime >= before:
                    continue
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                else:
                    path.unlink()
                    deleted += 1
    return deleted
