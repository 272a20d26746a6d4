"""Files are written whole or not at all, with the permissions of any new file, and text is UTF-8 on every machine."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import secrets
import signal
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from acvis_kit.errors import AcvisError, WeightsError, brief

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from torch import Tensor

IN_USE = ".in-use"  # in a reserved folder: the number of the process; the lock on it ends with the process
FULL = (errno.ENOSPC, errno.EDQUOT)
LONGEST_SUFFIX = 16  # characters; a longer one is part of the name


def as_path(value: str | os.PathLike[str], error: type[AcvisError] = AcvisError) -> Path:
    """The path of a file or folder, as a user gave it.

    Raises:
        AcvisError: of the class `error`; neither a text nor a path, or no possible name.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise error(f"{brief(value)} was given for a path: give a text or a pathlib.Path")
    if "\0" in os.fspath(value):
        raise error(f"{brief(str(value))} cannot be the name of a file: it has a null character")
    return Path(value)


@contextmanager
def atomic_write(path: str | Path, error: type[AcvisError] = AcvisError, needed: int | None = None) -> Iterator[Path]:
    """Yield a draft to write to, in the folder of `path`; afterwards the draft becomes `path`.

    After an exception the draft is deleted and what was at `path` is unchanged. The draft has a short name with the
    suffix of `path`, and in the end the permissions that the umask gives, whatever its writer set. What a link points
    to is replaced, not the link. A device or a pipe has no draft: it is written to directly.

    Args:
        path: the file, replaced if it exists.
        error: what an OSError becomes.
        needed: bytes that are written, if known, for the message about a full disk.

    Raises:
        AcvisError: of the class `error`; the file cannot be written.
    """
    path = as_path(path, error)
    with write_errors(path, error, needed):
        if path.exists() and not path.is_file():
            yield path
            return
        final = path.resolve()
        suffix = final.suffix if len(final.suffix) <= LONGEST_SUFFIX else ""
        draft = final.with_name(f".partial-{secrets.token_hex(4)}{suffix}")
        try:
            permissions = _create(draft)
            yield draft
            draft.chmod(permissions)  # safetensors writes files that nobody else can read
            draft.replace(final)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


@contextmanager
def write_errors(path: Path, error: type[AcvisError] = AcvisError, needed: int | None = None) -> Iterator[None]:
    """Turn an OSError into an `error` that names the file or folder at `path` and the cause; see `atomic_write`."""
    try:
        yield
    except OSError as problem:
        raise error(f"{path} cannot be written: {_cause(problem, path, needed)}") from problem


@contextmanager
def reserved(folder: Path, error: type[AcvisError] = AcvisError) -> Iterator[None]:
    """Create a folder, and keep other processes from reserving it, where the system has locks of files.

    The lock ends with its process, however that ends. A folder that was created here and has stayed empty is removed.

    Args:
        folder: to write to.
        error: what is raised.

    Raises:
        AcvisError: of the class `error`; another process has reserved the folder, or it cannot be created.
    """
    created = not folder.exists()
    with write_errors(folder, error):
        folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder / IN_USE, error)
    try:
        yield
    finally:
        if lock is not None:
            (folder / IN_USE).unlink(missing_ok=True)
            lock.close()
        if created:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def _lock(path: Path, error: type[AcvisError]) -> IO[bytes] | None:
    """The file at `path`, open and locked, with the number of this process in it; None where there are no locks."""
    while fcntl is not None:
        with write_errors(path, error):
            file = path.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            number = ""
            with suppress(OSError, ValueError):  # it has just been removed
                number = read_text(path)
            raise error(
                f"another process{f' ({number})' if number else ''} is writing to {path.parent}: wait until it has "
                "finished, or choose another output folder"
            ) from None
        except OSError:  # of a file system without locks
            path.unlink(missing_ok=True)
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                with suppress(OSError):  # of a full disk; the number is for the message alone
                    file.truncate(0)
                    file.write(str(os.getpid()).encode("ascii"))
                return file
        file.close()  # its holder has removed it in the meantime
    return None


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end this process through its exit handlers, as Ctrl-C does: they remove temporary files and locks.

    Its own child processes get the signal too, as they get Ctrl-C from a terminal: nobody waits for their work. A
    process that was forked, and inherits this, ends at once. Among several processes of torchrun the signal keeps its
    usual effect: one that waits for the others could not handle it.
    """
    own = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        for child in multiprocessing.active_children():
            child.terminate()
        raise SystemExit(128 + signal.SIGTERM)

    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if not alone or threading.current_thread() is not threading.main_thread():  # which alone handles signals
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def stamp_of(path: str | Path) -> tuple[int, int]:
    """Size in bytes and modification time in ns, by which a file is recognised as unchanged.

    Raises:
        OSError: there is no such file.
    """
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Those of many files that are not there. Their folders are listed, which is faster than asking for each file."""
    listed: dict[Path, set[str]] = {}
    missing = []
    for path in paths:
        folder = path.parent
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        if path.name not in listed[folder] and not path.exists():  # the system may take other letters for the same
            missing.append(path)
    return missing


def check_none_empty(paths: Iterable[Path], error: type[AcvisError]) -> None:
    """See that files have content, as an interrupted copy may not.

    Raises:
        AcvisError: of the class `error`; names the first without, and says how many there are.
    """
    empty = [path for path in dict.fromkeys(paths) if not path.stat().st_size]
    if empty:
        more = f" (one of {len(empty)} such files)" * (len(empty) > 1)
        raise error(f"{empty[0]} has 0 bytes{more}: copy it again")


def write_text(path: str | Path, text: str, error: type[AcvisError] = AcvisError) -> Path:
    """Write text as UTF-8, with its line ends unchanged; see `atomic_write`. Returns the path.

    Names of files that the locale could not decode are written as the bytes that they were (surrogateescape).
    """
    data = text.encode("utf-8", "surrogateescape")
    with atomic_write(path, error, len(data)) as draft:
        draft.write_bytes(data)
    return Path(path)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8 (a UnicodeDecodeError).
    """
    return Path(path).read_text(encoding="utf-8-sig")


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    error: type[AcvisError] = WeightsError,
) -> Path:
    """Write tensors, on any device, as a safetensors file; see `atomic_write`. Returns the path."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path, error, sum(tensor.nbytes for tensor in held.values())) as draft:
        try:
            save_file(held, draft, {"format": "pt", **(metadata or {})})
            _sort_metadata(draft)
        except SafetensorError as problem:  # it names the system's error by its number alone
            code = re.search(r"os error (\d+)", str(problem))
            raise OSError(int(code[1]), os.strerror(int(code[1]))) if code else OSError(str(problem)) from problem
    return Path(path)


def _sort_metadata(file: Path) -> None:
    """Put the metadata of a safetensors file in order: the library writes them in a random one.

    Equal weights are equal files then, with one checksum.
    """
    with file.open("r+b") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same entries in another order are as long"
        opened.seek(8)
        opened.write(text.ljust(length))


def _create(file: Path) -> int:
    """Create an empty file; returns the permissions that the umask (or the folder's access list) gave it."""
    handle = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def _cause(problem: OSError, path: Path, needed: int | None) -> str:
    """The cause of an OSError and the remedy, in words."""
    folder = path.absolute().parent
    if problem.errno in FULL:
        size = "" if needed is None else f", {needed / 1e6:,.1f} MB are needed"
        return f"the disk is full{size}: make room, or write to another folder"
    if not os.path.isdir(folder) and problem.errno not in (errno.EACCES, errno.EPERM):
        return f"create the folder {folder} first"
    return problem.strerror or str(problem).strip() or type(problem).__name__
