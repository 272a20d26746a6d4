"""Filmed scenes: photographs seen by a camera, with recordings; in place of drawn scenes.

A photograph of one source sounds with a recording of another, matched by class, as in VPO (Visual Post-production, of
"Unraveling Instance Associations", CVPR 2024). Who sounds must follow from picture and sound: one object that stands
out in its class, or all objects of a class that look alike. What no class names is of the class "other": it is visible,
and has no voice.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.synth.acoustics import Acoustics, draw_room
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.data.synth.handheld import Move, draw_margin, draw_move
from acvis_kit.data.synth.holding_out import check_share
from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.mixing import (
    OFFSCREEN,
    OFFSCREEN_RUN,
    draw_levels,
    draw_offscreen,
    draw_recorded_noise,
    draw_runs,
    mix,
)
from acvis_kit.data.synth.phone import Phone, draw_phone
from acvis_kit.data.synth.photographs import Photographs
from acvis_kit.data.synth.placing import FEWEST_PIXELS, Region
from acvis_kit.data.synth.recordings import RecordedVoices
from acvis_kit.data.synth.scenery import HELD, Scenery, draw_scenery
from acvis_kit.data.synth.sounds import Recordings, Voice
from acvis_kit.data.synth.soundtrack import Soundtrack
from acvis_kit.data.synth.voice_pool import VoicePool
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM, draw_counts, draw_sounding
from acvis_kit.errors import ConfigError, DataError

NOTHING = 0.12  # fraction of clips about an object without a class
PEOPLE = 2.5  # weight of persons among the classes that a clip is about
LARGEST_OTHERS = 10  # objects without a class that are annotated, the largest of a clip
SEEN = {False: 0.0012, True: 0.004}  # fraction of the frame that an object must cover once, by "is without a class"
HEARD = 0.03  # fraction of the frame that the box of an object's visible pixels must cover for it to sound
STANDS_OUT = 3.0  # an object so many times as large as the next of its class is the one that sounds
CHOIR = 3  # objects of a class that look alike and sound together, at most
PLAYERS_SILENT = 0.75  # fraction of clips in which a person who plays an instrument is silent throughout
OVERLAP = 0.25  # fraction of an instrument's box that a person's box covers, from which on the person plays it
LEFT_OUT = 0.35  # fraction of clips with several objects that could sound in which one more is silent at any time
BREAKS = 0.35  # fraction of clips with breaks in which nothing in view sounds
BREAK_SHARE, BREAK_RUN = 0.4, 2.5  # fraction of the time in these, and their mean length in seconds
OFFSCREEN_ALONE = 0.5  # fraction of seconds with a sound from outside where nothing in view can sound
TRIES = 20  # draws until an object is in view


@dataclass(frozen=True)
class FilmedThing:
    """An object of a filmed scene: its class, voice, and level in dBFS."""

    class_name: str
    voice: Voice
    level_db: float


@dataclass(frozen=True)
class FilmedScene:
    """All of a clip but its pixels.

    Attributes:
        size: height and width, pixels.
        length: seconds, T.
        things: N objects.
        patches: [N][T], their visible pixels; None where there are none.
        share: float (N, T), fraction of each object that is in view.
        sounding: bool (N, T).
        may_sound: bool (N, T), when another soundtrack may let it sound.
        soundtrack: the sound.
        room: where it is filmed, None with synthetic voices.
        scenery: what stands before the camera.
        move: the camera.
        phone: what it does to the picture.
    """

    size: int
    length: int
    things: tuple[FilmedThing, ...]
    patches: list[list[Region | None]]
    share: np.ndarray
    sounding: np.ndarray
    may_sound: np.ndarray
    soundtrack: Soundtrack
    room: Acoustics | None
    scenery: Scenery
    move: Move
    phone: Phone

    pair: tuple[int, int] | None = None
    twins: bool = False

    @property
    def cue(self) -> np.ndarray:
        """Filmed scenes have no twins and no cues, bool (N, T)."""
        return np.zeros_like(self.sounding)

    @property
    def offscreen(self) -> np.ndarray:
        """Seconds with a sound from outside the picture, bool (T,)."""
        rows = [part.seconds for part in self.soundtrack.parts if part.object is None]
        return np.any(rows, axis=0) if rows else np.zeros(self.length, bool)

    def frames(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """The frames in order, uint8 (H, W, 3)."""
        for t in range(self.length):
            seen = self.move.see(self.scenery.picture(t), t, self.size, Image.Resampling.BICUBIC)
            yield self.phone.film(rng, seen, t, self.move.smear[t])


class PhotoMaterial(DrawnMaterial):
    """Photographs with their surroundings, and recordings or synthetic voices; see `material.Material`.

    Args:
        photographs: COCO JSON and folder of images, see `annotated`.
        sounds: folder of recordings by class, see `recordings`; None for synthetic voices.
        share: which part of both, e.g. (0, 0.8) for training and (0.8, 1) for tests.
        named: classes that scenes annotate by name; all others become "other". None: all of AVISeg's.

    Raises:
        DataError: unreadable input. ConfigError: an unknown class, or no class with pictures and voices.
    """

    def __init__(
        self,
        photographs: tuple[str | Path, str | Path],
        sounds: str | Path | None,
        share: tuple[float, float] = (0.0, 1.0),
        named: Sequence[str] | None = None,
    ) -> None:
        check_share(share)
        named = AVISEG_CLASSES if named is None else tuple(named)
        if strange := sorted(set(named) - set(AVISEG_CLASSES)):
            raise ConfigError(f"AVISeg has no class {', '.join(strange)}: choose from {', '.join(AVISEG_CLASSES)}")
        super().__init__()
        self.photographs = Photographs(*photographs, share, named)
        recorded = RecordedVoices(sounds, named, share=share, others=True) if sounds else None
        self.recordings: Recordings | None = recorded
        self.voice_files = {n: list(f) for n, f in recorded.files.items()} if recorded else {}
        self.classes = (*named, OTHER)
        self.voiced = tuple(name for name in VoicePool(self.voice_files).voiced if name in named)
        self.sounding = tuple(name for name in self.photographs.pictured if name in self.voiced)
        if not self.sounding:
            raise ConfigError(
                f"no class has pictures and voices in the part {share}: pictures of "
                f"{', '.join(self.photographs.pictured)}; voices of {', '.join(self.voiced) or 'none'}"
            )
        if silent := [name for name in self.photographs.pictured if name not in self.voiced]:
            warnings.warn(f"shown, but always silent, because they have no voice: {', '.join(silent)}", stacklevel=2)
        self.recipe: dict[str, Any] = {
            "source": "photographs",
            "photographs": [str(Path(path).resolve()) for path in photographs],
            "sounds": str(Path(sounds).resolve()) if sounds else None,
            "share": list(share),
            "named": list(named),
        }

    def film(self, rng: np.random.Generator, size: int, seconds: tuple[int, int]) -> FilmedScene:
        """A random scene of log-uniform length.

        Args:
            rng: source of all random draws.
            size: height and width of the frames, pixels.
            seconds: shortest and longest length.

        Raises:
            DataError: photographs that show next to nothing.
        """
        length = round(math.exp(rng.uniform(math.log(seconds[0]), math.log(seconds[1]))))
        for _ in range(TRIES):
            margin = draw_margin(rng)
            scenery = draw_scenery(rng, self.photographs, self._draw_subject(rng), size, margin, length)
            move = draw_move(rng, length, scenery.side, margin, size)
            phone = draw_phone(rng, length, size, scenery.view.grey)
            numbers, patches, share = _seen(scenery, move, phone, size)
            if numbers:
                break
        else:
            raise DataError(
                f"{TRIES} draws of photographs showed no object at {size} x {size} pixels: give larger objects, or "
                "larger frames"
            )
        names = [scenery.names[n] for n in numbers]
        room = draw_room(rng) if self.recordings else None
        pool = VoicePool(self.voice_files, room)
        sounding, may_sound = self._draw_sounding(rng, names, patches, share, size)
        levels, noise_db = draw_levels(rng, len(names))
        voices = [pool.voice(n, rng) if n in self.voiced else Voice(n, int(rng.integers(2**31))) for n in names]
        fraction = OFFSCREEN if may_sound.any() else OFFSCREEN_ALONE
        outside = draw_offscreen(
            rng, length, pool, [n for n in names if n != OTHER], (float(levels.min()), float(levels.max())),
            draw_runs(rng, length, fraction, OFFSCREEN_RUN),
        )  # fmt: skip
        soundtrack = mix(voices, levels.tolist(), sounding, [outside], draw_recorded_noise(rng, noise_db, pool))
        things = tuple(FilmedThing(*row) for row in zip(names, voices, levels.tolist(), strict=True))
        return FilmedScene(
            size, length, things, patches, share, sounding, may_sound, soundtrack, room, scenery, move, phone
        )

    def _draw_subject(self, rng: np.random.Generator) -> str:
        """The class that a clip is about."""
        if self.photographs.showing[OTHER] and rng.random() < NOTHING:
            return OTHER
        weights = self.photographs.weights(self.sounding) * np.where(np.array(self.sounding) == "person", PEOPLE, 1)
        return self.sounding[int(rng.choice(len(weights), p=weights / weights.sum()))]

    def _draw_sounding(
        self, rng: np.random.Generator, names: Sequence[str], patches: list[list[Region | None]],
        share: np.ndarray, size: int,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """Which objects sound, and when another soundtrack may let them sound: bool (N, T) each.

        Args:
            rng: source of all random draws.
            names: class of each object.
            patches: [N][T], their visible pixels.
            share: float (N, T), fraction of each object that is in view.
            size: height and width of the frames, pixels.
        """
        length = share.shape[1]
        areas = np.array([[p.area if p else 0 for p in row] for row in patches]).reshape(share.shape)
        boxes = np.array([[p.visible.size if p else 0 for p in row] for row in patches]).reshape(share.shape)
        audible = (share >= SOUNDS_FROM) & (boxes >= HEARD * size**2)  # (N, T)
        units = _units([name if name in self.voiced else OTHER for name in names], areas)
        may_sound = np.zeros_like(audible)
        for unit in units:
            if len(unit) == 1:
                may_sound[unit] = audible[unit]
        if rng.random() < PLAYERS_SILENT:
            units = [unit for unit in units if not any(_plays(n, names, patches) for n in unit)]
        eligible = np.array([audible[unit].any(0) for unit in units]).reshape(-1, length)  # (units, T)
        counts = draw_counts(rng, length)
        if len(units) > 1 and rng.random() < LEFT_OUT:
            counts = np.minimum(counts, len(units) - 1)
        if rng.random() < BREAKS:
            counts[draw_runs(rng, length, BREAK_SHARE, BREAK_RUN)] = 0
        chosen = draw_sounding(rng, counts, eligible)
        sounding = np.zeros_like(audible)
        for unit, seconds in zip(units, chosen, strict=True):
            sounding[unit] = seconds & audible[unit]
        return sounding, may_sound


def _seen(
    scenery: Scenery, move: Move, phone: Phone, size: int
) -> tuple[list[int], list[list[Region | None]], np.ndarray]:
    """The objects that a clip shows, their visible pixels [N][T], and the fraction in view, float (N, T)."""
    frames = []
    for t in range(scenery.length):
        ids = move.see(Image.fromarray(scenery.ids(t)), t, size, Image.Resampling.NEAREST)
        frames.append(phone.cut(np.asarray(ids)))
    number = len(scenery.names)
    areas = np.stack([np.bincount(ids.reshape(-1), minlength=number + 1)[1:] for ids in frames], 1)  # (N, T)
    areas[areas < FEWEST_PIXELS * (size / 128) ** 2] = 0
    other = np.array([name == OTHER for name in scenery.names], bool)
    least = np.where(other, SEEN[True], SEEN[False]) * size**2
    kept = areas.max(1) >= least if number else np.zeros(0, bool)
    by_size = [n for n in np.argsort(-areas.max(1), kind="stable") if other[n] and kept[n]]
    kept[by_size[LARGEST_OTHERS:]] = False
    numbers = [int(n) for n in np.flatnonzero(kept)]
    patches = [[_region(frames[t], n) if areas[n, t] else None for t in range(scenery.length)] for n in numbers]
    scale = (move.side / size) ** 2  # pixels of the scenery in one of the frame
    whole = np.stack([scenery.areas(t) for t in range(scenery.length)], 1)[numbers]
    return numbers, patches, np.clip(areas[numbers] * scale / np.maximum(whole, 1), 0, 1)


def _region(ids: np.ndarray, number: int) -> Region:
    found = ids == number + 1
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    left, top = int(columns[0]), int(rows[0])
    return Region(left, top, found[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1])


def _units(names: Sequence[str], areas: np.ndarray) -> list[list[int]]:
    """The objects that can sound, in groups that sound together; see `STANDS_OUT` and `CHOIR`."""
    size = areas.mean(1)
    units = []
    for name in dict.fromkeys(name for name in names if name != OTHER):
        own = sorted((n for n, other in enumerate(names) if other == name), key=lambda n: -size[n])
        alike = [n for n in own if size[n] * STANDS_OUT > size[own[0]]]
        if len(alike) <= CHOIR:
            units.append(alike)
    return units


def _plays(number: int, names: Sequence[str], patches: list[list[Region | None]]) -> bool:
    """Whether an object is a person before or behind an instrument."""
    if names[number] != "person":
        return False
    instruments = [n for n, name in enumerate(names) if name in HELD or name == "piano"]
    return any(
        _covered(own, other) >= OVERLAP
        for n in instruments
        for own, other in zip(patches[number], patches[n], strict=True)
        if own is not None and other is not None
    )


def _covered(person: Region, instrument: Region) -> float:
    """Fraction of the instrument's box that the person's box covers."""
    height, width = (
        max(0, min(a.stop, b.stop) - max(a.start, b.start))
        for a, b in zip(person.window, instrument.window, strict=True)
    )
    return height * width / max(instrument.visible.size, 1)
