"""What a network sees in photographs, before it listens: the masks of visible objects, and their names.

Objects of the truth are looked for among all masks that the network has, with silence as the sound. So this measures
seeing alone, on photographs, of which more are to be had than clips with masks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from acvis_kit.clip import SAMPLE_RATE, Clip
from acvis_kit.data.synth.annotated import Instance, Photograph
from acvis_kit.data.synth.classes import OTHER
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.diagnosis import ON_OBJECT, showing_everything
from acvis_kit.inference.prediction import Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import encode, iou

LEAST = 0.02  # fraction of the photograph that an object must cover
AS_IF_SOUNDING = 20.0  # added to the logits that objects sound: silence must not order their masks
CLOSE = 0.75  # least IoU of a mask that fits an object closely


@dataclass(frozen=True)
class SeenObject:
    """An object of a photograph.

    Attributes:
        name: its class; "other" where the network has no such class.
        iou: of the mask that fits it best, in [0, 1].
        named: whether the best of the masks on it has its class; False where none is on it.
    """

    name: str
    iou: float
    named: bool


@dataclass(frozen=True)
class ClassRow:
    """What was seen of the objects of one class.

    Attributes:
        objects: their number, at least 1.
        iou: mean IoU, in [0, 1].
        on: fraction with a mask of IoU 0.5.
        close: fraction with a mask of IoU 0.75.
        named: of those with a mask of IoU 0.5, in the classes that the network has, the fraction whose best mask has
            their class; None without any.
    """

    objects: int
    iou: float
    on: float
    close: float
    named: float | None

    @classmethod
    def of(cls, objects: Sequence[SeenObject]) -> ClassRow:
        """The row of these objects."""
        overlaps = np.array([one.iou for one in objects])
        named = [one.named for one in objects if one.iou >= ON_OBJECT and one.name != OTHER]
        return cls(
            objects=len(objects),
            iou=float(overlaps.mean()),
            on=float((overlaps >= ON_OBJECT).mean()),
            close=float((overlaps >= CLOSE).mean()),
            named=sum(named) / len(named) if named else None,
        )


@dataclass(frozen=True)
class PhotographScores:
    """What was seen of the objects of photographs, at least one."""

    objects: tuple[SeenObject, ...]

    def rows(self) -> dict[str, ClassRow]:
        """The row of all objects, "all", and of each class, the most frequent first."""
        frequent = Counter(one.name for one in self.objects).most_common()
        of_class = {name: [one for one in self.objects if one.name == name] for name, _ in frequent}
        return {name: ClassRow.of(objects) for name, objects in {"all": self.objects, **of_class}.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"least_area": LEAST, "classes": {name: asdict(row) for name, row in self.rows().items()}}

    def table(self) -> str:
        """Markdown: a row per class."""
        lines = [
            f"| of the photograph at least {LEAST:.0%} | objects | mean IoU | a mask has IoU 0.5 | 0.75 | its class |",
            "|---" * 6 + "|",
        ]
        for name, row in self.rows().items():
            shares = " | ".join("-" if x is None else f"{100 * x:.0f} %" for x in (row.on, row.close, row.named))
            lines.append(f"| {name} | {row.objects} | {row.iou:.2f} | {shares} |")
        return "\n".join(lines)


def score_photographs(
    predictor: Predictor, photographs: Sequence[Photograph], say: Callable[[str], None] = lambda _: None
) -> PhotographScores:
    """Look for the objects of photographs that cover `LEAST` of them or more.

    Args:
        predictor: of a network whose queries stand for everything visible; of its thresholds only those of duplicates
            and parts of masks count.
        photographs: see `read_photographs`.
        say: called with a line of text after every photograph.

    Raises:
        ConfigError: the network's queries stand for sounding objects.
        DataError: a photograph that cannot be read, or no such object.
    """
    config = predictor.model.config
    if config.targets != "visible":
        raise ConfigError(
            f"targets={config.targets!r}: this network marks what sounds, and a photograph is silent: give weights "
            "with targets='visible'"
        )
    everything = showing_everything(predictor, sounding_bias=AS_IF_SOUNDING)
    names = [name for name in config.class_names if name not in config.voiceless]
    found: list[SeenObject] = []
    for number, photograph in enumerate(photographs):
        pixels = np.array(photograph.read())  # (H, W, 3)
        clip = Clip.from_arrays(torch.from_numpy(pixels).permute(2, 0, 1)[None], torch.zeros(SAMPLE_RATE))
        # Areas in the file may be rounded; masks without a pixel, which tiny polygons are, are errors elsewhere.
        large = [one for one in photograph.instances if one.area >= LEAST / 2 * pixels[..., 0].size]
        masks = [(one, photograph.mask(one, pixels.shape[:2])) for one in large]
        coded = [(one, encode(mask)) for one, mask in masks if mask.mean() >= LEAST]
        if coded:
            tracks = everything.decode(everything.encode(clip), clip).tracks
            overlaps = iou([track.masks[0] for track in tracks], [code for _, code in coded])  # (tracks, objects)
            found += [_seen(one, names, tracks, overlaps[:, n]) for n, (one, _) in enumerate(coded)]
        say(f"[{number + 1}/{len(photographs)}] {photograph.path.name}: {len(coded)} objects")
    if not found:
        raise DataError(f"none of {len(photographs)} photographs shows an object that covers {LEAST:.0%} of it")
    return PhotographScores(tuple(found))


def _seen(instance: Instance, names: Sequence[str], tracks: Sequence[Track], overlaps: np.ndarray) -> SeenObject:
    """The object among all tracks, with their IoU (tracks,)."""
    name = instance.name if instance.name in names else OTHER
    on = [track for track, overlap in zip(tracks, overlaps, strict=True) if overlap >= ON_OBJECT]
    best = max(on, key=lambda track: track.score, default=None)
    return SeenObject(name, float(overlaps.max(initial=0)), best is not None and best.class_name == name)
