"""Random voices by class, from the files that a data set was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from acvis_kit.data.synth.acoustics import Acoustics, draw_source
from acvis_kit.data.synth.classes import BACKGROUND, OTHER, SYNTH_CLASSES
from acvis_kit.data.synth.sounds import Voice


class VoicePool:
    """Voices by class: synthetic ones, or recorded ones from the files that the scene's data set was made with.

    Args:
        files: files of the recorded voices by class, empty for synthetic voices.
        room: where the scene is filmed; each voice gets a place in it. None: recordings stay as they are.
    """

    def __init__(self, files: Mapping[str, Sequence[str]], room: Acoustics | None = None) -> None:
        self._files, self._room = files, room
        voiced = tuple(name for name in files if name != BACKGROUND) or SYNTH_CLASSES
        # Sounds of no class are many kinds of sound: they count as half of the classes of this pool.
        self.voiced: tuple[str, ...] = voiced + (OTHER,) * (len(voiced) - 2) * (OTHER in voiced)

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice:
        seed, choice = int(rng.integers(2**31)), rng.random()
        files = self._files.get(class_name)
        if not files:
            return Voice(class_name, seed)
        acoustics = None if self._room is None else draw_source(rng, self._room)
        return Voice(class_name, seed, files[int(choice * len(files))], acoustics)

    def background(self, rng: np.random.Generator) -> Voice | None:
        """A sound that goes on behind a film; None if there is no recording of one."""
        return self.voice(BACKGROUND, rng) if self._files.get(BACKGROUND) else None
