"""Weights from the Hugging Face Hub: the local cache first, short time-outs, and what was fetched is checked.

huggingface_hub reads its own environment variables: HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from acvis_kit.errors import WeightsError
from acvis_kit.weights.published import PICKLES, Remote, choose_file

ANSWER_SECONDS = 2.5  # until the Hub counts as out of reach; HF_HUB_ETAG_TIMEOUT, where set, says otherwise
CONFIG_FILE = "config.json"
READ_AT_ONCE = 2**20  # bytes

T = TypeVar("T")


class HubUnreachable(WeightsError):
    """The Hub does not answer, and the local cache does not hold what is wanted."""


@dataclass(frozen=True)
class Fetched:
    """A file of a repository, on this machine.

    Attributes:
        file: in the local cache, its config.json beside it if the repository has one.
        commit: the revision it is from. sha256: of the file.
    """

    file: Path
    commit: str
    sha256: str


def fetch(place: Remote, *, pickles: bool = False) -> Fetched:
    """The weights at a place on the Hub; no request is made for what the cache holds.

    Args:
        pickles: whether a file that may be one is wanted; otherwise it is refused before it is downloaded.

    Raises:
        HubUnreachable: not in the cache, and no answer within `ANSWER_SECONDS`, or HF_HUB_OFFLINE is set.
        WeightsError: no such repository, revision or file, no access, a pickle that is not wanted, or a file with
            another sha256 than it must have.
    """
    file = _cached(place, pickles)
    announced = None
    if file is None:
        file, announced = _downloaded(place, pickles)
    commit = _commit_of(file)
    return Fetched(file, commit, _checked(file, place, commit, announced))


def _cached(place: Remote, pickles: bool) -> Path | None:
    """The file in the local cache, found without a request."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(place.repository, revision=place.revision, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    name = choose_file(names, place)
    if name is not None:
        _check_kind(name, place, pickles)
    return folder / name if name else None


def _downloaded(place: Remote, pickles: bool) -> tuple[Path, str | None]:
    """The file, fetched, and the sha256 that the Hub announces for it."""
    from huggingface_hub import HfApi, hf_hub_download

    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or ANSWER_SECONDS)
    listing = _asked(
        place,
        lambda: _within(
            seconds,
            lambda: HfApi().model_info(
                place.repository, revision=place.revision, files_metadata=True, timeout=max(1.0, seconds - 0.5)
            ),
        ),
    )
    announced = {entry.rfilename: entry.lfs.sha256 if entry.lfs else None for entry in listing.siblings or []}
    name = choose_file(list(announced), place)
    if name is None:
        wanted = place.file or "file ending in .safetensors or .pth"
        raise WeightsError(f"{place.repository} holds no {wanted}: it has {', '.join(announced) or 'no files'}")
    _check_kind(name, place, pickles)
    file = None
    # The weights come last: where they are in the cache, their configuration is there too.
    for wanted in (str(Path(name).with_name(CONFIG_FILE)), name):
        if wanted in announced:
            file = _asked(
                place, lambda wanted=wanted: hf_hub_download(place.repository, wanted, revision=place.revision)
            )
    return Path(file), announced[name]


def _check_kind(name: str, place: Remote, pickles: bool) -> None:
    if name.endswith(PICKLES) and not pickles:
        raise WeightsError(
            f"{place} holds {name}, which may be a pickle and run code when opened, where safetensors are expected: "
            "if it is a checkpoint of the reference code and you trust its maker, pass trust_pickle=True"
        )


def _asked(place: Remote, call: Callable[[], T]) -> T:
    """What the Hub answers; whatever goes wrong on the way is a WeightsError that says what to do."""
    from huggingface_hub import errors

    try:
        return call()
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{place} is gated: ask for access on its page, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"{place.repository} has no revision {place.revision!r}: leave @... out for the newest"
        ) from error
    except errors.RepositoryNotFoundError as error:
        if error.response is not None and error.response.status_code == 401:
            raise WeightsError(_no_access(place)) from error
        raise WeightsError(_no_repository(place)) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise HubUnreachable(_out_of_reach(place, "it could not be reached")) from error
        raise WeightsError(f"{place.repository} has no file {place.file!r}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        if status in (401, 403):
            raise WeightsError(_no_access(place)) from error
        if status == 404:
            raise WeightsError(_no_repository(place)) from error
        kind = HubUnreachable if isinstance(status, str) or status >= 500 else WeightsError
        raise kind(f"the Hub answered {status} for {place}: try again later, or give a folder or file") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable(_out_of_reach(place, "HF_HUB_OFFLINE is set")) from error
    except WeightsError:
        raise
    except Exception as error:  # sockets, TLS, proxies, JSON, a full disk: each library has exceptions of its own
        text = str(error).strip() or type(error).__name__
        raise HubUnreachable(_out_of_reach(place, text)) from error


def _no_repository(place: Remote) -> str:
    return f"the Hub has no repository {place.repository}: check the name, or that it is public"


def _no_access(place: Remote) -> str:
    return f"{place} does not exist, or is private: check the name, or log in with `hf auth login` (or set HF_TOKEN)"


def _out_of_reach(place: Remote, reason: str) -> str:
    return (
        f"{place} is not in the local cache and the Hub cannot be asked for it ({reason}): connect once to fetch it, "
        "or give a folder or file"
    )


def _within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises, if it does so in time: looking up a name has no time-out of its own."""
    answer: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(1)

    def run() -> None:
        try:
            answer.put((call(), None))
        except BaseException as error:
            answer.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value


def _commit_of(file: Path) -> str:
    """The commit in .../snapshots/<commit>/<file>."""
    parts = file.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _checked(file: Path, place: Remote, commit: str, announced: str | None) -> str:
    """The file's sha256, which must be the table's, the Hub's, and that of the first download of this commit."""
    found = sha256_of(file)
    record = Record()
    name = f"{place.repository}@{commit}/{file.name}"
    in_table = place.entry.sha256 if place.entry and file.name == place.entry.file else None
    for origin, expected in (
        ("the table of published weights says", in_table),
        ("the Hub announced", announced),
        ("the first download had", record.get(name)),
    ):
        if expected is not None and expected != found:
            with suppress(OSError):  # fetched again next time
                file.resolve().unlink()
                file.unlink(missing_ok=True)
            raise WeightsError(
                f"{place}: {file.name} has sha256 {found}, but {origin} {expected}: the copy was deleted, load it "
                "again; if it differs again, do not use it"
            )
    record.keep(name, found)
    return found


def sha256_of(file: Path) -> str:
    """Hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(READ_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


class Record:
    """The sha256 of what was downloaded, as JSON in huggingface_hub's folder: user/repo@commit/file -> sha256."""

    def __init__(self) -> None:
        from huggingface_hub import constants

        self.path = Path(constants.HF_HOME) / "acvis_kit" / "sha256.json"

    def get(self, name: str) -> str | None:
        return self._read().get(name)

    def keep(self, name: str, sha256: str) -> None:
        """Remember it, where that is new and the folder can be written."""
        known = self._read()
        if known.get(name) == sha256:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps({**known, name: sha256}, indent=1))
            partial.replace(self.path)

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            known = json.loads(self.path.read_text())
            if isinstance(known, dict):
                return known
        return {}
