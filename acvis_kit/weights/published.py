"""The table of published weights: where they are, what they were trained on, and what they cannot do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acvis_kit.errors import WeightsError

ASSETS = Path(__file__).parents[1] / "assets"
DEMO_WEIGHTS = "acvis-synth-tiny"  # what the page opens with
SPACE = "acvis-kit/acvis"  # where the page is to be published

_REPOSITORY = re.compile(r"(?P<repository>\w[\w.-]*/[\w.-]+)(@(?P<revision>[^:@]+))?(:(?P<file>.+))?")
SAFETENSORS = (".safetensors",)
PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt")  # what may run code when it is opened


@dataclass(frozen=True)
class Weights:
    """What the kit knows of weights that others can fetch.

    Attributes:
        id: the name that `load_model` takes.
        repository: on the Hub, "user/name".
        revision: branch, tag or commit; None is the newest, unpinned.
        file: in the repository; None where only its listing tells which checkpoint there is.
        sha256: of the file; None: the one of the first download is recorded, and later ones must equal it.
        licence: of the weights, as far as it is known.
        trained_on, limits: for people, one sentence each.
        scores: name of the measure -> value, as measured or published.
        bundled: a folder of the installed package that holds them, or None.
        reference: a checkpoint of the reference code, to be converted.
        online: whether the repository is known to exist.
    """

    id: str
    repository: str
    licence: str
    trained_on: str
    limits: str
    revision: str | None = None
    file: str | None = "model.safetensors"
    sha256: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    bundled: Path | None = None
    reference: bool = False
    online: bool = True


WEIGHTS: dict[str, Weights] = {
    weights.id: weights
    for weights in (
        Weights(
            id=DEMO_WEIGHTS,
            repository="acvis-kit/acvis-synth-tiny",
            licence="mit",
            trained_on="AVIS-Synth: scenes that the kit draws, with sounds that it makes.",
            limits="They know drawn scenes only: on filmed ones their masks mean little.",
            bundled=ASSETS / DEMO_WEIGHTS,
            online=False,
        ),
        Weights(
            id="avis-reference",
            repository="ruohguo/avis",
            licence="see the repository: the weights are their authors'",
            trained_on="AVISeg: 616 filmed videos, 26 classes, most of them instruments, animals and vehicles.",
            limits="They know AVISeg's 26 classes; the count ends at 2, which means two or more.",
            file=None,
            reference=True,
        ),
    )
}


@dataclass(frozen=True)
class Remote:
    """A place on the Hub: "user/name", a revision or None, a file or None, and what the table says of it, if anything.

    `str()` writes it as `load_model` takes it.
    """

    repository: str
    revision: str | None = None
    file: str | None = None
    entry: Weights | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        file = f":{self.file}" if self.file and not self.entry else ""
        return f"{self.repository}{revision}{file}"


def remote_of(source: str) -> Remote | None:
    """The place on the Hub that an id of the table, or `user/repo[@revision][:file]`, names; None for anything else.

    A repository of the table, named without a revision or a file, is the table's entry.
    """
    if source in WEIGHTS:
        entry = WEIGHTS[source]
        return Remote(entry.repository, entry.revision, entry.file, entry)
    match = _REPOSITORY.fullmatch(source)
    if match is None or (source.endswith(SAFETENSORS + PICKLES) and not match["file"]):
        return None
    place = Remote(match["repository"], match["revision"], match["file"])
    for entry in WEIGHTS.values():
        if entry.repository == place.repository:
            sole = place.revision in (None, entry.revision) and place.file in (None, entry.file)
            if sole:
                return Remote(entry.repository, entry.revision, entry.file, entry)
            if entry.reference:  # another file of a repository whose checkpoints are to be converted
                return Remote(place.repository, place.revision or entry.revision, place.file, entry)
    return place


def known_ids() -> str:
    """For error messages."""
    return ", ".join(WEIGHTS)


def choose_file(names: list[str], place: Remote) -> str | None:
    """The checkpoint among the names of a repository's files: safetensors before pickles; None where there is none.

    Raises:
        WeightsError: several, and nothing says which.
    """
    if place.file:
        return place.file if place.file in names else None
    if "model.safetensors" in names:
        return "model.safetensors"
    for suffixes in (SAFETENSORS, PICKLES):
        found = sorted(name for name in names if name.endswith(suffixes))
        if len(found) == 1:
            return found[0]
        if found:
            raise WeightsError(
                f"{place.repository} holds {len(found)} checkpoints ({', '.join(found)}): name one, "
                f"load_model('{place.repository}:{found[0]}')"
            )
    return None
