"""Weights from the Hugging Face Hub: the local cache first, short time-outs, and the Hub's own checksums.

huggingface_hub compares no checksum, but it names what it stores by the Hub's: `snapshots/<commit>/model.safetensors`
is a link to `blobs/<sha256>`; for a small text file it is git's SHA-1. So a copy can be checked without a request, and
nothing has to be recorded. Nothing is written or deleted here, so that a shared or read-only cache works.

huggingface_hub reads its own environment variables: HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_ENDPOINT.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import TypeVar

from acvis_kit.errors import WeightsError
from acvis_kit.weights.fit import cut, reason
from acvis_kit.weights.published import PICKLES, Remote, choose_file

ANSWER_SECONDS = 2.5  # until the Hub counts as unreachable, unless HF_HUB_ETAG_TIMEOUT is set
CONFIG_FILE = "config.json"
SHA256_DIGITS, SHA1_DIGITS = 64, 40
OF_THE_DISK = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST)

T = TypeVar("T")


class HubUnreachable(WeightsError):
    """The Hub does not answer, and the local cache does not hold the weights."""


class WrongChecksum(WeightsError):
    """A file whose content is not that of the Hub or of the table of published weights."""


@dataclass(frozen=True)
class Fetched:
    """A downloaded file of a repository.

    Attributes:
        file: path in the local cache; config.json is beside it if the repository has one.
        commit: the commit that it is from.
        sha256: of the file, hexadecimal.
        is_whole: whether its content has the Hub's checksum; False where the cache does not tell that checksum (it
            consists of links, which some file systems lack).
    """

    file: Path
    commit: str
    sha256: str
    is_whole: bool


def fetch(place: Remote, *, pickles: bool = False) -> Fetched:
    """Fetch weights from the Hub; no request is made if the local cache holds them whole.

    Args:
        place: repository, revision and file.
        pickles: whether pickles are accepted; otherwise they are refused before the download.

    Raises:
        HubUnreachable: not in the cache, or damaged there, and no answer within `ANSWER_SECONDS`, or HF_HUB_OFFLINE is
            set.
        WeightsError: no such repository, revision or file, no access, a refused pickle, a cache that cannot be written,
            or a wrong checksum after a new download too.
    """
    file = _cached(place, pickles)
    if file is None:
        try:
            return _checked(_downloaded(place, pickles), place)
        except HubUnreachable as error:
            raise HubUnreachable(
                f"{place} is not in the local cache, and {error}: connect once to fetch it, or give a folder or file"
            ) from error
    try:
        return _checked(file, place)
    except WrongChecksum as damage:
        try:
            again = _downloaded(place, pickles, anew=True)
        except WeightsError as error:
            raise type(error)(f"{damage}; and it cannot be fetched anew: {error}") from error
        return _checked(again, place)


def _cached(place: Remote, pickles: bool) -> Path | None:
    """The file in the local cache, found without a request; None if it is not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # The empty list asks for the folder alone: it may lack files of the repository that are not wanted here.
        found = snapshot_download(place.repository, revision=place.revision, local_files_only=True, allow_patterns=[])
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    folder = Path(found)
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    name = choose_file(names, place)
    if name is not None:
        _check_kind(name, place, pickles)
    return folder / name if name else None


def _downloaded(place: Remote, pickles: bool, *, anew: bool = False) -> Path:
    """Download the file and its configuration; `anew` replaces what the cache holds, once the new copy is complete."""
    from huggingface_hub import HfApi, constants, hf_hub_download

    seconds = constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else ANSWER_SECONDS
    listing = _call_hub(place, partial(HfApi().model_info, place.repository, revision=place.revision, timeout=seconds))
    names = [entry.rfilename for entry in listing.siblings or []]
    name = choose_file(names, place)
    if name is None:
        expected = place.file or "file ending in .safetensors or .pth"
        raise WeightsError(f"{place.repository} holds no {expected}: it has {cut(', '.join(names)) or 'no files'}")
    _check_kind(name, place, pickles)
    download = partial(
        hf_hub_download, place.repository, revision=place.revision, etag_timeout=seconds, force_download=anew
    )
    config = Path(name).with_name(CONFIG_FILE).as_posix()
    # The weights come last: if they are in the cache, their configuration is too.
    if config in names:
        _call_hub(place, partial(download, config))
    return Path(_call_hub(place, partial(download, name)))


def _check_kind(name: str, place: Remote, pickles: bool) -> None:
    if name.endswith(PICKLES) and not pickles:
        raise WeightsError(
            f"{place} holds {name}, which may be a pickle and run code when opened; safetensors are expected: if it is "
            "a checkpoint of the reference code and you trust its author, pass trust_pickle=True"
        )


def _call_hub(place: Remote, call: Callable[[], T]) -> T:
    """The result of `call`; every exception becomes a WeightsError with a remedy."""
    from huggingface_hub import constants, errors

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
            raise HubUnreachable("the Hub cannot be reached") from error
        raise WeightsError(f"{place.repository} has no file {place.file!r}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise WeightsError(_no_access(place)) from error
        if status == 404:
            raise WeightsError(_no_repository(place)) from error
        if status and status < 500:
            raise WeightsError(
                f"the Hub answered {status} for {place}: try again later, or give a folder or file"
            ) from error
        raise HubUnreachable(f"the Hub answered {status or 'nothing'}") from error
    except errors.OfflineModeIsEnabled as error:
        raise HubUnreachable("the Hub cannot be reached (HF_HUB_OFFLINE is set)") from error
    except Exception as error:  # sockets, TLS, proxies, JSON, a full disk: each library has its own exceptions
        if isinstance(error, OSError) and error.errno in OF_THE_DISK:
            raise WeightsError(
                f"{place} cannot be stored in {constants.HF_HUB_CACHE} ({reason(error)}): free space there, or set "
                "HF_HOME to a folder of your own"
            ) from error
        raise HubUnreachable(f"the Hub cannot be reached ({reason(error)})") from error


def _no_repository(place: Remote) -> str:
    return f"the Hub has no repository {place.repository}: check its name and that it is public"


def _no_access(place: Remote) -> str:
    return f"{place} does not exist, or is private: check the name, or log in with `hf auth login` (or set HF_TOKEN)"


def _commit_of(file: Path) -> str:
    """The commit in a cached file's path, .../snapshots/<commit>/<file>."""
    parts = file.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _checked(file: Path, place: Remote) -> Fetched:
    """The file, after comparison of it and its configuration with the checksums of the Hub and of the table.

    Raises:
        WrongChecksum: one of them differs.
    """
    sha256 = sha256_of(file)
    in_table = place.entry.sha256 if place.entry and file.name == place.entry.file else None
    if in_table not in (None, sha256):
        raise WrongChecksum(
            f"{place}: {file} has sha256 {sha256}, but the table of published weights has {in_table}: do not use it"
        )
    is_whole = False
    for part in (file, file.with_name(CONFIG_FILE)):
        expected = _hub_checksum(part)
        if expected is None:
            continue
        found = sha256_of(part) if len(expected) == SHA256_DIGITS else _git_sha1_of(part)
        if found != expected:
            raise WrongChecksum(
                f"{place}: {part} has checksum {found}, but the Hub announced {expected}: it is damaged"
            )
        is_whole |= part == file
    return Fetched(file, _commit_of(file), sha256, is_whole)


def _hub_checksum(file: Path) -> str | None:
    """The Hub's checksum of a cached file, by the name of what the link points at; None if that is none."""
    if not file.is_symlink():
        return None
    name = Path(os.readlink(file)).name  # one step: a blob may itself be a link into a store with other names
    is_hexadecimal = not set(name) - set("0123456789abcdef")
    return name if is_hexadecimal and len(name) in (SHA256_DIGITS, SHA1_DIGITS) else None


def sha256_of(file: Path) -> str:
    """The file's sha256 in hexadecimal digits.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({reason(error)})") from error


def _git_sha1_of(file: Path) -> str:
    from huggingface_hub.utils.sha import git_hash

    return git_hash(file.read_bytes())
