"""Counterfactual soundtracks: another sound for the same frames, and the ground truth that follows from it.

Twins are two objects of one class of which at most one sounds at a time. A foreign sound is of a class that is not in
the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

from acvis_kit.data.synth.classes import OTHER
from acvis_kit.data.synth.mixing import draw_noise, draw_offscreen, draw_recorded_noise, draw_runs, mix
from acvis_kit.data.synth.soundtrack import Noise, Part, Soundtrack
from acvis_kit.data.synth.voice_pool import VoicePool
from acvis_kit.data.synth.who_sounds import draw_counts, draw_sounding
from acvis_kit.errors import ConfigError

if TYPE_CHECKING:
    from acvis_kit.data.synth.records import SceneRecord

CounterfactualKind = Literal["mute", "swap", "foreign", "offscreen"]
KEPT_TWINS = 0.5  # fraction of swaps in which twins keep their pattern; else both are silent, as no cue may mislead
KEPT_WEIGHT = 0.25  # weight of objects that sounded in the original when a swap chooses objects; the others have 1


def counterfactual(
    scene: SceneRecord, kind: CounterfactualKind, rng: np.random.Generator
) -> tuple[Soundtrack, np.ndarray]:
    """Draw another soundtrack of a scene.

    Args:
        scene: the scene with its original soundtrack.
        kind: "mute": nothing sounds, the noise may stay. "swap": the sounding objects are drawn again among those in
            view, with a preference for silent ones; twins keep their seconds or are silent, and two objects of a class
            that are not twins are silent. "foreign": classes that are not in the scene, in every second. "offscreen":
            the original with a voice of a class that is not in the scene.
        rng: source of all random draws.

    Returns:
        The soundtrack, and which objects sound, bool (N, T).

    Raises:
        ConfigError: an unknown kind, or every class that has a voice is in the scene.
    """
    if kind not in _KINDS:
        raise ConfigError(f"unknown kind of counterfactual sound {kind!r}: choose from {', '.join(_KINDS)}")
    return _KINDS[kind](scene, rng)


def possible_kinds(scene: SceneRecord) -> tuple[str, ...]:
    """All kinds; without "foreign" and "offscreen" if every class that has a voice is in the scene."""
    foreign = set(_pool(scene).voiced) - set(_classes(scene))
    return tuple(kind for kind in _KINDS if foreign or kind not in ("foreign", "offscreen"))


def _mute(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    return Soundtrack(scene.length, (), _noise(scene, rng)), np.zeros_like(scene.sounding)


def _swap(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    original, eligible = scene.sounding, scene.may_sound
    fixed = np.zeros_like(original)
    if scene.twins and rng.random() < KEPT_TWINS:
        assert scene.pair is not None, "twins are a pair"
        fixed[list(scene.pair)] = original[list(scene.pair)]
    weights = np.where(original.any(1), KEPT_WEIGHT, 1.0)
    sounding = draw_sounding(rng, draw_counts(rng, scene.length), eligible, fixed=fixed, weights=weights)
    levels = [thing.level_db for thing in scene.objects]
    extra = draw_offscreen(rng, scene.length, _pool(scene), _classes(scene), _levels(scene))
    voices = [thing.voice for thing in scene.objects]
    return mix(voices, levels, sounding, [extra], _noise(scene, rng)), sounding


def _foreign(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    always, pool = np.ones(scene.length, bool), _pool(scene)
    first = _foreign_part(scene, rng, always)
    second = None
    if rng.random() < 0.5:
        some = draw_runs(rng, scene.length, 0.5, 6.0)
        second = draw_offscreen(rng, scene.length, pool, _classes(scene), _levels(scene), some)
    parts = tuple(part for part in (first, second) if part is not None)
    return Soundtrack(scene.length, parts, _noise(scene, rng)), np.zeros_like(scene.sounding)


def _offscreen(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    seconds = np.ones(scene.length, bool)
    if rng.random() < 0.5:
        seconds = draw_runs(rng, scene.length, 0.5, 6.0)
        seconds[int(rng.integers(scene.length))] = True
    part = _foreign_part(scene, rng, seconds)
    own = scene.soundtrack
    return Soundtrack(scene.length, (*own.parts, part), own.noise), scene.sounding.copy()


def _foreign_part(scene: SceneRecord, rng: np.random.Generator, seconds: np.ndarray) -> Part:
    """A voice of a class that is not in the scene, in the given seconds, bool (T,)."""
    part = draw_offscreen(rng, scene.length, _pool(scene), _classes(scene), _levels(scene), seconds)
    if part is None:
        raise ConfigError(
            f"scene {scene.name} shows every class that has a voice ({', '.join(_classes(scene))}), so it has no "
            "foreign sound: add folders of other classes to --sounds"
        )
    return part


def _pool(scene: SceneRecord) -> VoicePool:
    return VoicePool(scene.voices, scene.room)


def _classes(scene: SceneRecord) -> list[str]:
    """Classes in the picture, without "other": such objects have no voice."""
    return sorted({thing.class_name for thing in scene.objects} - {OTHER})


def _levels(scene: SceneRecord) -> tuple[float, float]:
    """Lowest and highest level of the objects, dBFS."""
    levels = [thing.level_db for thing in scene.objects]
    return min(levels), max(levels)


def _noise(scene: SceneRecord, rng: np.random.Generator) -> Noise | None:
    """The scene's own noise half of the time, else another of the same level, or none."""
    own = scene.soundtrack.noise
    level_db = own.level_db if own else min(_levels(scene)) - 15
    other = draw_noise(rng, level_db) if scene.room is None else draw_recorded_noise(rng, level_db, _pool(scene))
    return own if rng.random() < 0.5 else other


_KINDS: dict[str, Callable[..., tuple[Soundtrack, np.ndarray]]] = {
    "mute": _mute, "swap": _swap, "foreign": _foreign, "offscreen": _offscreen,
}  # fmt: skip
