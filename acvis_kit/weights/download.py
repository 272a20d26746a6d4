"""Weights from the Hugging Face Hub: the local cache first, short time-outs, checked downloads.

huggingface_hub reads its own environment variables: HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from acvis_kit.errors import WeightsError
from acvis_kit.weights.published import PICKLES, Remote, choose_file

ANSWER_SECONDS = 2.5  # until the Hub counts as unreachable, unless HF_HUB_ETAG_TIMEOUT is set
CONFIG_FILE = "config.json"
READ_AT_ONCE = 2**20  # bytes

T = TypeVar("T")


class HubUnreachable(WeightsError):
    """The Hub does not answer, and the local cache does not hold the weights."""


@dataclass(frozen=True)
class Fetched:
    """A downloaded file of a repository.

    Attributes:
        file: path in the local cache; config.json is beside it if the repository has one.
        commit: the commit that it is from.
        sha256: of the file, hexadecimal.
    """

    file: Path
    commit: str
    sha256: str


def fetch(place: Remote, *, pickles: bool = False) -> Fetched:
    """Fetch weights from the Hub; no request is made if the local cache holds them.

    Args:
        place: repository, revision and file.
        pickles: whether pickles are accepted; otherwise they are refused before the download.

    Raises:
        HubUnreachable: not in the cache, and no answer within `ANSWER_SECONDS`, or HF_HUB_OFFLINE is set.
        WeightsError: no such repository, revision or file, no access, a refused pickle, or a file with a wrong sha256.
    """
    file = _cached(place, pickles)
    announced = None
    if file is None:
        file, announced = _downloaded(place, pickles)
    commit = _commit_of(file)
    return Fetched(file, commit, _checked(file, place, commit, announced))


def _cached(place: Remote, pickles: bool) -> Path | None:
    """The file in the local cache, found without a request; None if it is not there."""
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
    """Download the file and its configuration; the sha256 is the one that the Hub announces, None if it does not."""
    from huggingface_hub import HfApi, hf_hub_download

    seconds = float(os.environ.get("HF_HUB_ETAG_TIMEOUT") or ANSWER_SECONDS)
    model_info = partial(
        HfApi().model_info,
        place.repository,
        revision=place.revision,
        files_metadata=True,
        timeout=max(1.0, seconds - 0.5),
    )
    listing = _call_hub(place, partial(_within, seconds, model_info))
    announced = {entry.rfilename: entry.lfs.sha256 if entry.lfs else None for entry in listing.siblings or []}
    name = choose_file(list(announced), place)
    if name is None:
        expected = place.file or "file ending in .safetensors or .pth"
        raise WeightsError(f"{place.repository} holds no {expected}: it has {', '.join(announced) or 'no files'}")
    _check_kind(name, place, pickles)
    config = str(Path(name).with_name(CONFIG_FILE))
    # The weights come last: if they are in the cache, their configuration is too.
    if config in announced:
        _call_hub(place, partial(hf_hub_download, place.repository, config, revision=place.revision))
    file = _call_hub(place, partial(hf_hub_download, place.repository, name, revision=place.revision))
    return Path(file), announced[name]


def _check_kind(name: str, place: Remote, pickles: bool) -> None:
    if name.endswith(PICKLES) and not pickles:
        raise WeightsError(
            f"{place} holds {name}, which may be a pickle and run code when opened; safetensors are expected: if it is "
            "a checkpoint of the reference code and you trust its author, pass trust_pickle=True"
        )


def _call_hub(place: Remote, call: Callable[[], T]) -> T:
    """The result of `call`; every exception becomes a WeightsError with a remedy."""
    from huggingface_hub import errors

    try:
        return call()
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"{place} is gated: request access on its page, then log in with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise WeightsError(
            f"{place.repository} has no revision {place.revision!r}: omit @... for the newest"
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
    except Exception as error:  # sockets, TLS, proxies, JSON, a full disk: each library has its own exceptions
        text = str(error).strip() or type(error).__name__
        raise HubUnreachable(_out_of_reach(place, text)) from error


def _no_repository(place: Remote) -> str:
    return f"the Hub has no repository {place.repository}: check its name and that it is public"


def _no_access(place: Remote) -> str:
    return f"{place} does not exist, or is private: check the name, or log in with `hf auth login` (or set HF_TOKEN)"


def _out_of_reach(place: Remote, reason: str) -> str:
    return (
        f"{place} is not in the local cache and the Hub cannot be reached ({reason}): connect once to fetch it, "
        "or give a folder or file"
    )


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of `call`, or its exception, if it ends in time. A DNS lookup has no time-out of its own.

    Raises:
        TimeoutError: `call` takes longer than `seconds`.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(timeout=seconds)
    except TimeoutError:
        if answer.done():  # in the last moment, or it is `call` that raised this error
            return answer.result()
        raise TimeoutError(f"no answer within {seconds:g} s") from None


def _commit_of(file: Path) -> str:
    """The commit in a cached file's path, .../snapshots/<commit>/<file>."""
    parts = file.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _checked(file: Path, place: Remote, commit: str, announced: str | None) -> str:
    """The file's sha256, after comparison with the table, the Hub, and the first download of this commit.

    Raises:
        WeightsError: one of them differs; the file is deleted.
    """
    found = sha256_of(file)
    record = Record()
    name = f"{place.repository}@{commit}/{file.name}"
    in_table = place.entry.sha256 if place.entry and file.name == place.entry.file else None
    for origin, expected in (
        ("the table of published weights has", in_table),
        ("the Hub announced", announced),
        ("the first download had", record.get(name)),
    ):
        if expected is not None and expected != found:
            with suppress(OSError):  # so that it is fetched again next time
                file.resolve().unlink()
                file.unlink(missing_ok=True)
            raise WeightsError(
                f"{place}: {file.name} has sha256 {found}, but {origin} {expected}: the copy was deleted, load it "
                "again; if it differs again, do not use it"
            )
    record.keep(name, found)
    return found


def sha256_of(file: Path) -> str:
    """The file's sha256 in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(READ_AT_ONCE):
            digest.update(part)
    return digest.hexdigest()


class Record:
    """The sha256 of each downloaded file, as JSON in huggingface_hub's folder: user/repo@commit/file -> sha256."""

    def __init__(self) -> None:
        from huggingface_hub import constants

        self.path = Path(constants.HF_HOME) / "acvis_kit" / "sha256.json"

    def get(self, name: str) -> str | None:
        return self._read().get(name)

    def keep(self, name: str, sha256: str) -> None:
        """Store the sha256 of a new file, if the folder is writable."""
        recorded = self._read()
        if recorded.get(name) == sha256:
            return
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_suffix(f".{os.getpid()}.partial")
            partial.write_text(json.dumps({**recorded, name: sha256}, indent=1))
            partial.replace(self.path)

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            recorded = json.loads(self.path.read_text())
            if isinstance(recorded, dict):
                return recorded
        return {}
