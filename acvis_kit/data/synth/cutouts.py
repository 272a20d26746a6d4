"""Your own material: objects cut out of photographs by COCO-format masks, voices from folders of recordings.

With both, data are built in the manner of VPO (Visual Post-production, of "Unraveling Instance Associations", CVPR
2024): objects of one source sound with recordings of another, matched by class.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.synth.annotated import Instance, Photograph, read_photographs
from acvis_kit.data.synth.holding_out import check_share
from acvis_kit.data.synth.material import UPRIGHT, DrawnMaterial
from acvis_kit.data.synth.recordings import RecordedVoices
from acvis_kit.data.synth.sounds import VOICES, Voice
from acvis_kit.data.synth.sprites import BASE, Sprite
from acvis_kit.errors import ConfigError, DataError

SMALL = 32.0**2  # pixels: COCO's bound of "small"; smaller cut-outs are blurred at any size
KEPT = 256  # decoded cut-outs kept in memory, at most 0.2 MB each for frames of 128 x 128
FEWEST_CLASSES = 3  # classes that a scene needs


class CutOuts:
    """Instances of AVISeg's classes in a COCO file; photographs that say `cutout_ok: false` are left out.

    Args:
        annotations: JSON in COCO's format, masks as polygons or run lengths.
        images: folder of its images.
        share: which part of the photographs, with all their objects: (0, 0.8) and (0.8, 1) have none in common.

    Attributes:
        instances: AVISeg name -> photographs and their objects.
        unknown: names of categories that AVISeg does not have.

    Raises:
        DataError: a file that is missing or not in this format, or no usable instance.
    """

    def __init__(self, annotations: str | Path, images: str | Path, share: tuple[float, float] = (0.0, 1.0)) -> None:
        found = [
            (photograph, instance)
            for photograph in read_photographs(annotations, images, share)
            for instance in photograph.instances
            if photograph.cutout_ok and instance.area >= SMALL
        ]
        self.unknown = tuple(sorted({one.name for _, one in found} - set(AVISEG_CLASSES)))
        self.instances: dict[str, list[tuple[Photograph, Instance]]] = {}
        for name in AVISEG_CLASSES:
            if own := [pair for pair in found if pair[1].name == name]:
                self.instances[name] = own
        if not self.instances:
            raise DataError(
                f"{annotations} with images in {images} has no instance of AVISeg's classes of at least {SMALL:.0f} "
                f"pixels that can be cut out: it has {', '.join(self.unknown) or 'none'}"
            )

    def cut(self, class_name: str, number: int, side: int) -> Sprite:
        """One instance, its longer side at most `side` pixels; cached. DataError if its picture or mask is unusable."""
        return _cut(self, class_name, number, side)

    def read(self, class_name: str, number: int, side: int) -> Sprite:
        """The same as `cut`, without the cache."""
        return cut_out(*self.instances[class_name][number], side)


def cut_out(photograph: Photograph, instance: Instance, side: int) -> Sprite:
    """An object of a photograph, its longer side at most `side` pixels.

    Raises:
        DataError: its picture or mask is unusable.
    """
    photo = photograph.read()
    mask = photograph.mask(instance, (photo.height, photo.width))
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    photo.putalpha(Image.fromarray(mask.astype(np.uint8) * 255))
    photo = photo.crop(box)
    margin = max(photo.size) // 16 + 1  # so that the edges fade out inside the sprite
    room = Image.new("RGBA", (photo.width + 2 * margin, photo.height + 2 * margin))
    room.paste(photo, (margin, margin))
    if max(room.size) > side:
        factor = side / max(room.size)
        target = max(round(room.width * factor), 8), max(round(room.height * factor), 8)
        room = room.resize(target, Image.Resampling.BOX)
    return Sprite(room)


@lru_cache(maxsize=KEPT)
def _cut(source: CutOuts, class_name: str, number: int, side: int) -> Sprite:
    return source.read(class_name, number, side)


class OwnMaterial:
    """Cut-outs in place of drawn objects, recordings in place of synthetic voices, or both; see `material.Material`.

    A class is used if it has both pictures and voices. A warning names the classes that are left out.

    Args:
        cutouts: COCO JSON and folder of images, None for drawn objects.
        sounds: folder of recordings by class, None for synthetic voices.
        share: which part of both, e.g. (0, 0.8) for training and (0.8, 1) for tests.

    Raises:
        DataError: unreadable input.
        ConfigError: neither is given, or fewer than three classes are left.
    """

    def __init__(
        self,
        cutouts: tuple[str | Path, str | Path] | None,
        sounds: str | Path | None,
        share: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        check_share(share)
        if cutouts is None and sounds is None:
            raise ConfigError("neither cut-outs nor sounds are given: use DrawnMaterial for the kit's own")
        self._drawn = DrawnMaterial()
        self._cutouts = CutOuts(*cutouts, share) if cutouts else None
        self.recordings = RecordedVoices(sounds, share=share) if sounds else None
        self.voiced: tuple[str, ...] = tuple(self.recordings.files) if self.recordings else tuple(VOICES)
        self.voice_files = {n: list(f) for n, f in self.recordings.files.items()} if self.recordings else {}
        self.sounds = str(Path(sounds).resolve()) if sounds else None
        pictured = tuple(self._cutouts.instances) if self._cutouts else self._drawn.classes
        self.classes: tuple[str, ...] = tuple(name for name in pictured if name in self.voiced)
        voiceless = [name for name in pictured if name not in self.voiced]
        if len(self.classes) < FEWEST_CLASSES:
            raise ConfigError(
                f"only {', '.join(self.classes) or 'no class'} with pictures and voices, but a scene needs "
                f"{FEWEST_CLASSES} classes: pictures of {', '.join(pictured)}; voices of {', '.join(self.voiced)}"
            )
        if voiceless:
            warnings.warn(f"left out, because they have no voice: {', '.join(voiceless)}", stacklevel=2)
        if self._cutouts and self._cutouts.unknown:
            unknown = ", ".join(self._cutouts.unknown)
            warnings.warn(f"left out, because AVISeg has no such class: {unknown}", stacklevel=2)
        self.recipe: dict[str, Any] = {
            "source": "own",
            "cutouts": [str(Path(p).resolve()) for p in cutouts] if cutouts else None,
            "sounds": self.sounds,
            "share": list(share),
        }

    def sprite(self, class_name: str, rng: np.random.Generator, size: int) -> Sprite:
        """A random instance, for frames of `size` pixels."""
        if self._cutouts is None:
            return self._drawn.sprite(class_name, rng, size)
        number = int(rng.integers(len(self._cutouts.instances[class_name])))
        return self._cutouts.cut(class_name, number, max(round(BASE * size / 128), 32))

    def voice(self, class_name: str, rng: np.random.Generator) -> Voice:
        return self.recordings.voice(class_name, rng) if self.recordings else self._drawn.voice(class_name, rng)

    def is_slender(self, class_name: str) -> bool:
        return self._drawn.is_slender(class_name)

    def is_upright(self, class_name: str) -> bool:
        return self._cutouts is not None or class_name in UPRIGHT
