"""The table of published weights: where they are, what they were trained on, and their limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from acvis_kit.errors import WeightsError

ASSETS = Path(__file__).parents[1] / "assets"
DRAWN_WEIGHTS = "acvis-synth-tiny"  # for drawn scenes: the tutorials, the tests and the drawn examples use them
FILMED_WEIGHTS = "acvis-filmed-small"  # for filmed video
CLASS_WEIGHTS = "avsc-synth-tiny"  # of AVSC, for drawn scenes
DEFAULT_WEIGHTS = FILMED_WEIGHTS  # of load_model, the page and the command
SPACE = "acvis-kit/acvis"  # Space of the Hub where the page will be published

_REPOSITORY = re.compile(r"(?P<repository>\w[\w.-]*/[\w.-]+)(@(?P<revision>[^:@]+))?(:(?P<file>.+))?")
SAFETENSORS = (".safetensors",)
PICKLES = (".pth", ".pt", ".bin", ".pkl", ".ckpt")  # may run code when opened


@dataclass(frozen=True)
class Weights:
    """Published weights.

    Attributes:
        id: the name that `load_model` takes.
        repository: repository of the Hub, "user/name".
        licence: licence of the weights, as far as known.
        trained_on: training data, one sentence.
        limits: limits of the weights, one sentence.
        revision: branch, tag or commit; None is the newest, unpinned.
        file: file in the repository; None: the only checkpoint in its listing.
        sha256: of the file; None: only the Hub's own checksum is compared.
        scores: name of the measure -> value, as measured or published.
        bundled: folder of the installed package that holds the weights, or None.
        reference: whether it is a checkpoint of the reference code, which needs conversion.
        online: whether the repository is known to exist.
        examples: folder of the bundled clips that the page shows with these weights.
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
    examples: Path = ASSETS / "clips"


WEIGHTS: dict[str, Weights] = {
    weights.id: weights
    for weights in (
        Weights(
            id=DRAWN_WEIGHTS,
            repository="acvis-kit/acvis-synth-tiny",
            licence="mit",
            trained_on="AVIS-Synth: scenes that the kit draws, with sounds that it synthesises.",
            limits="For drawn scenes only: on filmed video the masks mean little.",
            bundled=ASSETS / DRAWN_WEIGHTS,
            online=False,
        ),
        Weights(
            id=FILMED_WEIGHTS,
            repository="acvis-kit/acvis-filmed-small",
            licence="mit",
            trained_on="982 photographs filmed by an imagined camera, and 1,700 recordings, all freely licensed.",
            limits="For filmed video, 18 classes. Some hours of training: often right, and often wrong.",
            bundled=ASSETS / FILMED_WEIGHTS,
            online=False,
            examples=ASSETS / "filmed_clips",
        ),
        Weights(
            id=CLASS_WEIGHTS,
            repository="acvis-kit/avsc-synth-tiny",
            licence="mit",
            trained_on="AVIS-Synth: scenes that the kit draws, with sounds that it synthesises.",
            limits="For drawn scenes only: AVSC marks the pixels of each class that sounds, not single objects.",
            bundled=ASSETS / CLASS_WEIGHTS,
            online=False,
        ),
        Weights(
            id="avis-reference",
            repository="ruohguo/avis",
            licence="see the repository: the weights are their authors'",
            trained_on="AVISeg: 616 filmed videos, 26 classes, most of them instruments, animals and vehicles.",
            limits="Only AVISeg's 26 classes; the highest count is 2, which means two or more.",
            file=None,
            reference=True,
        ),
    )
}


@dataclass(frozen=True)
class Remote:
    """A place on the Hub; `str()` gives the form that `load_model` takes.

    Attributes:
        repository: "user/name".
        revision: branch, tag or commit; None is the newest.
        file: file in the repository, or None.
        entry: its entry in the table of published weights, or None.
    """

    repository: str
    revision: str | None = None
    file: str | None = None
    entry: Weights | None = None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        file = f":{self.file}" if self.file and not self.entry else ""
        return f"{self.repository}{revision}{file:.200}" if len(self.repository) <= 200 else f"{self.repository:.200}…"


def remote_of(source: str) -> Remote | None:
    """The place on the Hub named by an id of the table or by `user/repo[@revision][:file]`; None for anything else.

    A repository of the table without a revision or a file stands for the table's entry.
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
            if entry.reference:  # another file of a repository whose checkpoints need conversion
                return Remote(place.repository, place.revision or entry.revision, place.file, entry)
    return place


def known_ids() -> str:
    """The ids of the table, separated by commas."""
    return ", ".join(WEIGHTS)


def choose_file(names: list[str], place: Remote) -> str | None:
    """The checkpoint among the names of a repository's files: safetensors before pickles; None if there is none.

    Raises:
        WeightsError: there are several, and `place` names none of them.
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
