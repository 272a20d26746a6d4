"""Another sound for a picture that stays, and the truth that follows from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from acvis_kit.data.synth.classes import SYNTH_CLASSES
from acvis_kit.data.synth.mixing import draw_noise, draw_offscreen, draw_runs, mix
from acvis_kit.data.synth.sounds import Voice
from acvis_kit.data.synth.soundtrack import Noise, Soundtrack
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM, draw_counts, draw_sounding
from acvis_kit.errors import ConfigError

if TYPE_CHECKING:
    from acvis_kit.data.synth.records import SceneRecord

CounterfactualKind = Literal["mute", "swap", "foreign", "offscreen"]
KEPT_TWINS = 0.5  # of the swaps keep the twins' own pattern, the others silence them: the drawn cue must not lie
KEPT_WEIGHT = 0.25  # how readily an object starts in a swap that sounded in the original; the others 1


def counterfactual(
    scene: SceneRecord, kind: CounterfactualKind, rng: np.random.Generator
) -> tuple[Soundtrack, np.ndarray]:
    """Another soundtrack of a scene.

    Args:
        kind: "mute": nothing sounds, the noise may stay. "swap": another draw of who sounds among the objects in view,
            rather those that were silent; twins keep their own seconds or are silent, and of two of a class that are
            no twins none sounds. "foreign": classes that are not in the scene, in every second. "offscreen": the
            original with a voice of a class that is not in the scene.
        rng: all that is drawn comes from it.

    Returns:
        The soundtrack and who of the objects sounds, bool (N, T).

    Raises:
        ConfigError: another kind, or no voice of a class outside the scene.
    """
    if kind not in _KINDS:
        raise ConfigError(f"{kind!r} is no kind of counterfactual sound: there are {', '.join(_KINDS)}")
    return _KINDS[kind](scene, rng)


def possible_kinds(scene: SceneRecord) -> tuple[str, ...]:
    """The kinds that a scene can be heard with: all, or none with a foreign voice if every voiced class is in view."""
    foreign = set(VoicePool(scene.voices).voiced) - set(_classes(scene))
    return tuple(kind for kind in _KINDS if foreign or kind not in ("foreign", "offscreen"))


class VoicePool:
    """Voices by class: synthetic ones, or those of the files that the scene's data set was made with."""

    def __init__(self, files: Mapping[str, Sequence[str]]) -> None:
        self._files = files
        self.voiced: tuple[str, ...] = tuple(files) or SYNTH_CLASSES

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice:
        seed, choice = int(rng.integers(2**31)), rng.random()
        files = self._files.get(class_name)
        return Voice(class_name, seed, files[int(choice * len(files))] if files else None)


def _mute(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    return Soundtrack(scene.length, (), _noise(scene, rng)), np.zeros_like(scene.sounding)


def _swap(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    original, eligible = scene.sounding, scene.share >= SOUNDS_FROM
    often = Counter(thing.class_name for thing in scene.objects)
    alike = np.array([often[thing.class_name] > 1 for thing in scene.objects])
    eligible[alike] = False
    fixed = np.zeros_like(original)
    if scene.twins and rng.random() < KEPT_TWINS:
        fixed[list(scene.pair)] = original[list(scene.pair)]
    weights = np.where(original.any(1), KEPT_WEIGHT, 1.0)
    sounding = draw_sounding(rng, draw_counts(rng, scene.length), eligible, fixed=fixed, weights=weights)
    levels = [thing.level_db for thing in scene.objects]
    extra = draw_offscreen(rng, scene.length, VoicePool(scene.voices), _classes(scene), _levels(scene))
    voices = [thing.voice for thing in scene.objects]
    return mix(voices, levels, sounding, [extra], _noise(scene, rng)), sounding


def _foreign(scene: SceneRecord, rng: np.random.Generator) -> tuple[Soundtrack, np.ndarray]:
    everywhere, pool = np.ones(scene.length, bool), VoicePool(scene.voices)
    first = _outsider(scene, rng, everywhere)
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
    part = _outsider(scene, rng, seconds)
    own = scene.soundtrack
    return Soundtrack(scene.length, (*own.parts, part), own.noise), scene.sounding.copy()


def _outsider(scene: SceneRecord, rng: np.random.Generator, seconds: np.ndarray):
    """A part of a class that is not in the scene."""
    part = draw_offscreen(rng, scene.length, VoicePool(scene.voices), _classes(scene), _levels(scene), seconds)
    if part is None:
        raise ConfigError(
            f"scene {scene.name} shows every class that has a voice ({', '.join(_classes(scene))}): there is no "
            "foreign sound; add folders of other classes to --sounds"
        )
    return part


def _classes(scene: SceneRecord) -> list[str]:
    return sorted({thing.class_name for thing in scene.objects})


def _levels(scene: SceneRecord) -> tuple[float, float]:
    levels = [thing.level_db for thing in scene.objects]
    return min(levels), max(levels)


def _noise(scene: SceneRecord, rng: np.random.Generator) -> Noise | None:
    """The scene's own noise half the time, else another of its level, or none."""
    own = scene.soundtrack.noise
    other = draw_noise(rng, own.level_db if own else min(_levels(scene)) - 15)
    return own if rng.random() < 0.5 else other


_KINDS: dict[str, Callable[..., tuple[Soundtrack, np.ndarray]]] = {
    "mute": _mute, "swap": _swap, "foreign": _foreign, "offscreen": _offscreen,
}  # fmt: skip
