"""Random scenes: which objects, where, and which of them sound when. No picture is painted here.

Twins are two objects of one class of which at most one sounds at a time; a cue in the picture marks it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from acvis_kit.data.synth.material import Material
from acvis_kit.data.synth.mixing import draw_levels, draw_noise, draw_offscreen, mix
from acvis_kit.data.synth.motion import Camera, Path, draw_camera, draw_paths
from acvis_kit.data.synth.placing import Patch, place
from acvis_kit.data.synth.sounds import Voice
from acvis_kit.data.synth.soundtrack import Soundtrack
from acvis_kit.data.synth.sprites import Sprite
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM, draw_counts, draw_sounding

TWINS = 0.2  # fraction of clips with twins
SILENT_PAIRS = 0.15  # fraction of the other clips with two silent objects of one class
CUE = 0.8  # fraction of a twin's sounding seconds in which its cue is drawn
OBJECTS = {3: 0.25, 4: 0.3, 5: 0.25, 6: 0.2}  # number of objects -> probability
TRIES = 12  # draws until a twin sounds while both are in view


@dataclass(frozen=True)
class Thing:
    """One object: its picture, path, voice, and level in dBFS."""

    class_name: str
    sprite: Sprite
    path: Path
    voice: Voice
    level_db: float


@dataclass(frozen=True)
class Scene:
    """All of a clip but its pixels.

    Attributes:
        size: height and width, pixels.
        length: seconds, T.
        things: N objects.
        patches: [N][T], see `placing`.
        camera: see `motion`.
        share: float (N, T), fraction of each object that is in view.
        sounding: bool (N, T).
        cue: bool (N, T), where a twin's cue is drawn.
        pair: indices of two objects of one class, None if there are none.
        twins: whether the pair are twins; else both are silent.
        soundtrack: the sound.
    """

    size: int
    length: int
    things: tuple[Thing, ...]
    patches: list[list[Patch | None]]
    camera: Camera
    share: np.ndarray
    sounding: np.ndarray
    cue: np.ndarray
    pair: tuple[int, int] | None
    twins: bool
    soundtrack: Soundtrack

    @property
    def offscreen(self) -> np.ndarray:
        """Seconds with a sound from outside the picture, bool (T,)."""
        rows = [part.seconds for part in self.soundtrack.parts if part.object is None]
        return np.any(rows, axis=0) if rows else np.zeros(self.length, bool)


def draw_scene(
    rng: np.random.Generator,
    material: Material,
    size: int = 128,
    seconds: tuple[int, int] = (10, 60),
    count_law: str = "usual",
) -> Scene:
    """A random scene of log-uniform length.

    Args:
        rng: source of all random draws.
        material: source of pictures and voices.
        size: height and width of the frames, pixels.
        seconds: shortest and longest length.
        count_law: how many sound at once, see `who_sounds.draw_counts`. With "dense" no two objects are of one class,
            because they could not both sound.
    """
    length = round(math.exp(rng.uniform(math.log(seconds[0]), math.log(seconds[1]))))
    kind = "twins" if rng.random() < TWINS else "pair" if rng.random() < SILENT_PAIRS else "distinct"
    if count_law == "dense":
        kind = "distinct"
    counts = draw_counts(rng, length, count_law)
    while kind == "twins" and np.count_nonzero(counts) < min(3, length):
        counts = draw_counts(rng, length)
    names = _draw_classes(rng, material.classes, kind, int(counts.max()))
    pair = (0, 1) if kind != "distinct" else None
    sprites = [material.sprite(name, rng, size) for name in names]
    camera = draw_camera(rng, length, size)
    spare = 1 if pair else 0  # at most one of a pair sounds
    slender, upright = [material.is_slender(n) for n in names], [material.is_upright(n) for n in names]
    paths = draw_paths(rng, slender, upright, length, size, counts + spare)
    patches = place(sprites, paths, camera, size)
    share = np.array([[patch.share if patch else 0.0 for patch in row] for row in patches])  # (N, T)

    eligible = share >= SOUNDS_FROM
    twins = pair if kind == "twins" else None
    duplicate = np.array([names.count(name) > 1 for name in names])
    if twins:
        duplicate[list(twins)] = False
    eligible[duplicate] = False  # the picture would not show which of them sounds
    for _ in range(TRIES):
        sounding = draw_sounding(rng, counts, eligible, twins)
        if twins is None or (sounding[:2].any(0) & eligible[:2].all(0)).any():
            break
    cue = np.zeros_like(sounding)
    if twins is not None:
        cue[:2] = sounding[:2] & (rng.random((2, length)) < CUE)

    levels, noise_db = draw_levels(rng, len(names))
    voices = [material.voice(name, rng) for name in names]
    offscreen = draw_offscreen(rng, length, material, names, (float(levels.min()), float(levels.max())))
    soundtrack = mix(voices, levels.tolist(), sounding, [offscreen], draw_noise(rng, noise_db))
    things = tuple(Thing(*row) for row in zip(names, sprites, paths, voices, levels.tolist(), strict=True))
    return Scene(size, length, things, patches, camera, share, sounding, cue, pair, kind == "twins", soundtrack)


def _draw_classes(rng: np.random.Generator, classes: tuple[str, ...], kind: str, most: int) -> list[str]:
    """Class of each object, a pair first. At least one object more than ever sound at once, up to six in all."""
    doubles = {"distinct": 0, "twins": 1, "pair": 2}[kind]  # objects of a pair that cannot sound at the same time
    numbers = np.array(list(OBJECTS))
    shares = np.array(list(OBJECTS.values())) * (numbers >= min(most + max(doubles, 1), numbers[-1]))
    number = int(rng.choice(numbers, p=shares / shares.sum()))
    distinct = min(number - (kind != "distinct"), len(classes))
    names = [classes[n] for n in rng.permutation(len(classes))[:distinct]]
    return names if kind == "distinct" else [names[0], *names]
