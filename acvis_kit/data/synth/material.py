"""What scenes are made of: a source of pictures and voices by class. Here the kit's own; `cutouts` brings others'."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from acvis_kit.data.synth.classes import SLENDER, SYNTH_CLASSES
from acvis_kit.data.synth.sounds import Recordings, Voice
from acvis_kit.data.synth.sprites import BASE, Sprite, draw_sprite

UPRIGHT = frozenset({"person", "piano", "cat", "car", "dog", "horse"})  # what is never seen lying on its side


class Material(Protocol):
    """Pictures and voices.

    Attributes:
        classes: AVISeg names of what can be seen. voiced: of what can be heard.
        recordings: where recorded voices are found, None if all are synthetic. voice_files: these by class, relative
            to their folder.
        recipe: what identifies the source, for JSON.
    """

    classes: tuple[str, ...]
    voiced: tuple[str, ...]
    recordings: Recordings | None
    voice_files: dict[str, list[str]]
    recipe: dict[str, Any]

    def sprite(self, class_name: str, rng: np.random.Generator, size: int) -> Sprite: ...

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice: ...

    def is_slender(self, class_name: str) -> bool: ...

    def is_upright(self, class_name: str) -> bool: ...


class DrawnMaterial:
    """The procedural source: drawn families and synthetic voices."""

    classes = SYNTH_CLASSES
    voiced = SYNTH_CLASSES
    recordings: Recordings | None = None

    def __init__(self) -> None:
        self.recipe: dict[str, Any] = {"source": "drawn"}
        self.voice_files: dict[str, list[str]] = {}

    def sprite(self, class_name: str, rng: np.random.Generator, size: int) -> Sprite:
        """A new instance for frames of `size` pixels."""
        return draw_sprite(class_name, rng, max(round(BASE * size / 128), 32))

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice:
        return Voice(class_name, int(rng.integers(2**31)))

    def is_slender(self, class_name: str) -> bool:
        return class_name in SLENDER

    def is_upright(self, class_name: str) -> bool:
        return class_name in UPRIGHT
