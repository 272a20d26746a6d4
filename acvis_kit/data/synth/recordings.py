"""Recorded voices: a folder of sound files by class, in place of synthetic voices.

FOLDER/.../<class>/.../<file>.wav       any depth; the innermost folder that names a class counts

Each file becomes a loop that is audible in every second (`audible_loop`). A voice is a file, a starting point in its
loop, and its acoustics. Reading needs PyAV.

Several files may be cut from one recording. Training and test material must not share it, so a table in the folder,
SOURCES*.tsv, may name the recording of each file: its columns "file" and "recording", separated by tabs. The files of
ESC-10 and ESC-50 name theirs themselves.
"""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter1d

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.synth.acoustics import Acoustics
from acvis_kit.data.synth.classes import BACKGROUND, OTHER
from acvis_kit.data.synth.holding_out import check_share, part_of
from acvis_kit.data.synth.sounds import Voice
from acvis_kit.data.synth.synthesis import Signal, draws
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.files import read_text
from acvis_kit.media.sound import load_sound

SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff"})
# Folder names of known collections (ESC-10/50, Medley-solos-DB, Philharmonia, Berklee) -> AVISeg's names.
FOLDER_NAMES = {
    "dog_bark": "dog", "engine": "car", "car_engine": "car", "car_horn": "car", "male": "person", "female": "person",
    "speech": "person", "female_singer": "person", "male_singer": "person", "laugh": "person", "laughing": "person",
    "baby_cry": "person", "crying_baby": "person", "person_sneeze": "person", "sneezing": "person",
    "coughing": "person", "tenor_sax": "saxophone", "alto_sax": "saxophone", "sax": "saxophone",
    "electric_guitar": "guitar", "acoustic_guitar": "guitar", "double_bass": "bass", "contrabass": "bass",
    "grand_piano": "piano", "lawn_mower": "lawn_mover", "meow": "cat", "neigh": "horse", "roar": "lion",
}  # fmt: skip
# Words in the path of a sound that goes on all the time, as behind a film.
BACKGROUNDS = frozenset({
    "ambience", "background", "cicada", "fire_crackling", "noise", "ocean", "rain", "sea_waves", "traffic", "weather",
    "wind",
})  # fmt: skip
UNCLEAR = frozenset({"choir", "crowd"})  # voices of people that are neither a person in view nor foreign to one
LONGEST = 60.0  # seconds read from a file
CACHED = 64  # loops kept in memory, at most 3.8 MB each
GRAIN = SAMPLE_RATE // 50  # samples, 20 ms: the resolution at which pauses are found
QUIET_DB = -26.0  # relative to the 95th percentile of the grains' levels: below it lies a pause
KEPT = 4  # grains of a pause kept before and after sound; a pause of at most twice as many is unchanged
JOIN = SAMPLE_RATE // 100  # samples over which cut ends fade, 10 ms
EVEN = SAMPLE_RATE * 6 // 10  # samples, 0.6 s: the window that evens out the level
FLOOR = 0.03  # least local RMS, relative to the highest, that is amplified to unit level


class RecordedVoices:
    """The recorded voices of a folder.

    Args:
        folder: has the layout above; hidden files are ignored.
        classes: names of classes; a folder belongs to a class if it has its name, or a name in `folder_names`.
            Case, blanks, hyphens and a leading number ("001 - Dog bark") do not matter.
        folder_names: other names -> classes, in addition to `FOLDER_NAMES`.
        share: which part of the recordings, see `holding_out`: (0, 0.8) and (0.8, 1) have no recording in common.
        others: take sounds of folders that name no class too: as class "background" where the path has one of the words
            in `BACKGROUNDS`, else as class "other"; those in `UNCLEAR` are left out.

    Attributes:
        files: class -> its files, POSIX paths relative to the folder.
        unknown: folders with sounds that name no class; without `others` a warning lists them.

    Raises:
        DataError: not a folder, or no sound in it belongs to a class.
        ConfigError: a share outside [0, 1], or a name that stands for no class.
    """

    def __init__(
        self,
        folder: str | Path,
        classes: Sequence[str] = AVISEG_CLASSES,
        folder_names: Mapping[str, str] | None = None,
        share: tuple[float, float] = (0.0, 1.0),
        others: bool = False,
    ) -> None:
        self.folder = Path(folder)
        check_share(share)
        self._names = _table(classes, folder_names or {})
        if not self.folder.is_dir():
            raise DataError(f"{self.folder} is not a folder: give one with a folder of sounds per class.")
        found, unknown = self._find_files(classes)
        self.unknown = tuple(sorted({Path(file).parent.as_posix() for file in unknown}))
        if others:
            found |= _sorted_by_kind(unknown)
        self.files = _part(found, read_recordings(self.folder), share)
        known = ", ".join(sorted(self._names))
        if not self.files:
            raise DataError(
                f"{self.folder} has no sound of a class (folders: {', '.join(self.unknown) or 'none'}): name folders "
                f"{known}."
            )
        if self.unknown and not others:
            warnings.warn(
                f"{self.folder}: left out {', '.join(self.unknown)}, which name no class; known names are {known}. "
                "Rename the folders to use them.",
                stacklevel=2,
            )
        self._loops: OrderedDict[tuple[str, Acoustics | None], Signal] = OrderedDict()

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that have sounds, in the order they were given in."""
        return tuple(self.files)

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice:
        """A random voice of a class: a file and a starting point. DataError if the class has no file."""
        if class_name not in self.files:
            raise DataError(
                f'{self.folder} has no sound of class "{class_name}": it has {", ".join(self.classes)}. Add a folder '
                f'"{class_name}", or leave the class out.'
            )
        files = self.files[class_name]
        return Voice(class_name, int(rng.integers(2**31)), files[int(rng.integers(len(files)))])

    def second(self, voice: Voice, second: int) -> Signal:
        """One second of a recorded voice, float32 (16000,), about unit RMS; see `sounds.Recordings`.

        Raises:
            DataError: no such file in the folder, or a silent one. MediaError: a file that cannot be read.
        """
        loop = self._loop(voice.source or "", voice.acoustics)
        begin = int(draws(voice.seed, 30, 0, 1)[0, 0] * len(loop)) + second * SAMPLE_RATE
        return loop[np.arange(begin, begin + SAMPLE_RATE) % len(loop)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loops": OrderedDict()}  # each worker process reads its own loops

    def _loop(self, source: str, acoustics: Acoustics | None) -> Signal:
        loop = self._loops.pop((source, acoustics), None)
        if loop is None:
            usual = Acoustics() if acoustics is None else acoustics
            loop = audible_loop(self._read(source), usual.pause)
            if loop is None:
                raise DataError(f"{self.folder / source} is silent: take it out of the folder.")
            loop = loop if acoustics is None else acoustics.apply(loop)
        self._loops[source, acoustics] = loop
        while len(self._loops) > CACHED:
            self._loops.popitem(last=False)
        return loop

    def _read(self, source: str) -> Signal:
        path = self.folder / source
        if not (path.is_file() and path.resolve().is_relative_to(self.folder.resolve())):
            raise DataError(f'no sound "{source}" in {self.folder}: give the folder that the scenes were made with.')
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*more than .* s of sound")  # files are cut on purpose
            return load_sound(path, max_seconds=LONGEST).numpy()

    def _find_files(self, classes: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        """Files by class, and files in folders that name no class."""
        found: dict[str, list[str]] = {name: [] for name in classes}
        unknown: list[str] = []
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            if path.suffix.lower() not in SUFFIXES or any(p.startswith(".") for p in inside.parts):
                continue
            folders = [_plain(name) for name in reversed(inside.parts[:-1])]
            named = next((self._names[name] for name in folders if name in self._names), None)
            if named is None:
                unknown.append(inside.as_posix())
            else:
                found[named].append(inside.as_posix())
        return found, unknown


def audible_loop(sound: Signal, pause: float = 2 * KEPT * GRAIN / SAMPLE_RATE) -> Signal | None:
    """A loop made of a recording, audible in every second.

    Longer pauses are cut to `pause`; the pieces between cuts fade in and out over 10 ms. A result below 0.5 s is
    followed by a pause half as long as itself, at most 0.2 s. The level is evened out with a window of 0.6 s, or of
    more, so that it is longer than every pause.

    Args:
        sound: float32 (S,), 16 kHz.
        pause: seconds, 0.16 to 0.5.

    Returns:
        float32 (L,), of about unit RMS, whose end continues at its beginning; None if the sound is silent.
    """
    grains = sound[: max(1, len(sound) // GRAIN) * GRAIN]
    grains = np.pad(grains, (0, -len(grains) % GRAIN)).reshape(-1, GRAIN)  # (n, 320)
    level = np.sqrt((grains.astype(np.float64) ** 2).mean(axis=1))
    loud = level >= max(np.quantile(level, 0.95), 1e-6) * 10 ** (QUIET_DB / 20)
    if not loud.any():
        return None
    kept = round(pause * SAMPLE_RATE / GRAIN / 2)
    near = np.convolve(loud, np.ones(2 * kept + 1), mode="same") > 0 if len(loud) > 2 * kept else np.ones_like(loud)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], near, [False]])))
    pieces = [_faded(grains[first:last].reshape(-1)) for first, last in edges.reshape(-1, 2)]
    loop = np.concatenate(pieces)
    if len(loop) < SAMPLE_RATE // 2:
        loop = np.pad(loop, (0, min(len(loop) // 2, SAMPLE_RATE // 5)))
    window = EVEN + 4 * (kept - KEPT) * GRAIN
    power = uniform_filter1d(loop.astype(np.float64) ** 2, window, mode="wrap")
    local = np.sqrt(np.maximum(power, 0))
    return (loop / np.maximum(local, FLOOR * local.max())).astype(np.float32)


def _faded(piece: Signal) -> Signal:
    ramp = np.minimum(1, (np.arange(len(piece)) + 0.5) / JOIN)
    return (piece * ramp * ramp[::-1]).astype(np.float32)


def read_recordings(folder: Path) -> dict[str, str]:
    """File -> its recording, from the tables SOURCES*.tsv of a folder; see the module.

    Raises:
        DataError: a table that cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.glob("SOURCES*.tsv")):
        try:
            header, *rows = (line.split("\t") for line in read_text(path).splitlines() if line)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a table ({error}): correct it or take it away") from error
        columns = {name.split(" ")[0]: number for number, name in enumerate(header)}
        if not {"file", "recording"} <= set(columns):
            raise DataError(f'{path} has columns {", ".join(header)}: it needs "file" and "recording"')
        found |= {row[columns["file"]]: row[columns["recording"]] for row in rows if len(row) == len(header)}
    return found


def recording_of(file: str, table: Mapping[str, str]) -> str:
    """The recording that a file was cut from: by the table, or by ESC-50's names, or the file itself.

    ESC-50's 1-100032-A is Freesound's 100032. A table may name Freesound's recordings by an address or in words.
    """
    name = table.get(file)
    if name is None:
        named = re.fullmatch(r"\d-(\d+)-[A-Z](-\d+)?", Path(file).stem)
        return f"freesound {named[1]}" if named else file
    sound = re.search(r"freesound\D*(?:people/[^/]*/sounds/)?(\d+)/?$", name)
    return f"freesound {sound[1]}" if sound else name


def _part(
    found: Mapping[str, Sequence[str]], table: Mapping[str, str], share: tuple[float, float]
) -> dict[str, tuple[str, ...]]:
    """The files of one part by class, all files of a recording together; classes without a file are left out."""
    groups: dict[str, set[str]] = {}
    for class_name, files in found.items():
        for file in files:
            groups.setdefault(recording_of(file, table), set()).add(class_name)
    chosen = part_of(groups, share)
    kept = {name: tuple(f for f in files if recording_of(f, table) in chosen) for name, files in found.items()}
    return {name: files for name, files in kept.items() if files}


def _sorted_by_kind(files: Sequence[str]) -> dict[str, list[str]]:
    """Sounds of no class: those that go on behind a film, and the others."""
    kinds: dict[str, list[str]] = {OTHER: [], BACKGROUND: []}
    for file in files:
        parts = [_plain(part) for part in Path(file).with_suffix("").parts]
        words = {word for part in parts for word in (part, *part.split("_"))}
        if not words & UNCLEAR:
            kinds[BACKGROUND if words & BACKGROUNDS else OTHER].append(file)
    return kinds


def _table(classes: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Plain folder names -> classes."""
    if strange := sorted(set(given.values()) - set(classes)):
        raise ConfigError(f"folder_names has unknown classes {', '.join(strange)}: choose from {', '.join(classes)}.")
    usual = {name: known for name, known in FOLDER_NAMES.items() if known in classes}
    return usual | {_plain(name): name for name in classes} | {_plain(name): known for name, known in given.items()}


def _plain(name: str) -> str:
    """Lower case with underscores, no leading number: "001 - Dog bark" -> "dog_bark"."""
    return re.sub(r"[\s-]+", "_", re.sub(r"^\d+\s*-\s*", "", name.strip().lower()))
