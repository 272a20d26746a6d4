"""Sources of pictures and voices by class: their protocol, and the kit's own; `cutouts` has one for other material."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from acvis_kit.data.synth.classes import SLENDER, SYNTH_CLASSES
from acvis_kit.data.synth.sounds import Recordings, Voice
from acvis_kit.data.synth.sprites import BASE, Sprite, draw_sprite
from acvis_kit.errors import ConfigError

UPRIGHT = frozenset({"person", "piano", "cat", "car", "dog", "horse"})  # classes that never lie on their side


class Material(Protocol):
    """A source of pictures and voices.

    Attributes:
        classes: AVISeg names of the classes that scenes show.
        voiced: AVISeg names of the classes that have voices.
        recordings: the recorded voices, None if all are synthetic.
        voice_files: files of the recorded voices by class, relative to their folder.
        recipe: JSON entries that identify the source.
    """

    classes: tuple[str, ...]
    voiced: tuple[str, ...]
    voice_files: dict[str, list[str]]
    recipe: dict[str, Any]

    @property
    def recordings(self) -> Recordings | None: ...

    def sprite(self, class_name: str, rng: np.random.Generator, size: int) -> Sprite: ...

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice: ...

    def is_slender(self, class_name: str) -> bool: ...

    def is_upright(self, class_name: str) -> bool: ...


class DrawnMaterial:
    """The procedural source: drawn objects and synthetic voices.

    Args:
        classes: of the objects; None: all twelve. Sounds from outside the picture are of all twelve in any case.

    Raises:
        ConfigError: a class that is not drawn.
    """

    voiced: tuple[str, ...] = SYNTH_CLASSES
    recordings: Recordings | None = None

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        if unknown := sorted(set(classes or ()) - set(SYNTH_CLASSES)):
            raise ConfigError(f"there are no drawn objects of {', '.join(unknown)}: choose {', '.join(SYNTH_CLASSES)}")
        self.classes = tuple(name for name in SYNTH_CLASSES if classes is None or name in classes)
        self.recipe: dict[str, Any] = {"source": "drawn"}
        if classes is not None:
            self.recipe["classes"] = list(self.classes)
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
