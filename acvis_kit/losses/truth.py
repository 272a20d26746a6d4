"""The ground truth of a batch as tensors: one stack of masks, and the objects that each set of queries is matched with.

A *set* holds the objects of one frame at the frame level, and the objects of one clip at the video level. Both are
represented by `Sets`, so that one loss serves both levels. An *answer* is one set of predictions for a set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acvis_kit.clip import TargetFacts, Targets, moved
from acvis_kit.errors import DataError


@dataclass(frozen=True)
class Sets:
    """N sets of at most M objects, over S frames each (1 at the frame level, T at the video level). On the CPU.

    Attributes:
        objects: int64 (N, M), rows of the `Truth`; the objects of a set first, then zeros.
        sizes: int64 (N,), number of objects of each set.
        frames: int64 (N, S), the frames of each set within its clip.
        clips: int64 (N,), the clip of each set.
        repeats: number of answers to each set: one, or at the video level one per supervised frame layer, in blocks.
            Answer i belongs to set i mod N.
    """

    objects: Tensor
    sizes: Tensor
    frames: Tensor
    clips: Tensor
    repeats: int = 1

    @property
    def valid(self) -> Tensor:
        """Bool (N, M), which entries of `objects` are objects and not padding."""
        return torch.arange(self.objects.shape[1]) < self.sizes[:, None]

    @property
    def num_objects(self) -> int:
        """Number of objects of all sets, times repeats: the divisor of the mask losses."""
        return int(self.sizes.sum()) * self.repeats


class Truth:
    """The targets of B clips of T frames, G objects in all; on the device of the output except where noted.

    Attributes:
        batch: B.
        frames: T.
        labels: int64 (G,).
        sounding: bool (G, T).
        masks: bool (G * T, H, W).
        counts: int64 (B, T).
        audio_labels: bool (B, T, K), False without labels.
        has_audio_labels: bool (B,), the clips with audio labels.
        auxiliary: by name, labels of a dense auxiliary target: bool (G, T), False without labels; and bool (G,), the
            objects of clips that have them.
        present: bool (G, T), where a mask is not empty; on the CPU.
        clips: int64 (G,), the clip of each object; on the CPU.

    Args:
        targets: one per clip.
        clips: B of the output.
        frames: T of the output.
        classes: K.
        size: (H, W) of the mask logits.
        device: of the output.

    Raises:
        DataError: targets that do not fit the output, naming the clip and both values.
    """

    def __init__(
        self,
        targets: Sequence[Targets],
        clips: int,
        frames: int,
        classes: int,
        size: Sequence[int],
        device: torch.device | str,
    ) -> None:
        if len(targets) != clips:
            raise DataError(f"the batch has {clips} clips, but targets of {len(targets)}: give one Targets per clip")
        for number, target in enumerate(targets):
            check_shapes(number, target, frames, classes, size)
        if len(sizes := {tuple(target.masks.shape[2:]) for target in targets}) > 1:
            raise DataError(f"masks of one batch have different sizes {sorted(sizes)}: pad all clips to one size")
        self.frames = frames
        self.batch = clips
        counts = [len(target.labels) for target in targets]
        self.clips = torch.repeat_interleave(torch.arange(clips), torch.tensor(counts))
        self.present = _checked_presence(targets, classes)
        self.masks = torch.cat([moved(target.masks, device) for target in targets]).flatten(0, 1)
        self.labels = torch.cat([moved(target.labels, device) for target in targets])
        self.sounding = torch.cat([moved(target.sounding, device) for target in targets])
        self.counts = torch.stack([moved(target.counts, device) for target in targets])
        without = torch.zeros(frames, classes, dtype=torch.bool)
        audio_labels = [without if target.audio_labels is None else target.audio_labels for target in targets]
        self.audio_labels = torch.stack([moved(one, device) for one in audio_labels])
        self.has_audio_labels = moved(torch.tensor([target.audio_labels is not None for target in targets]), device)
        self.auxiliary = {
            name: (
                torch.cat([moved(t.auxiliary.get(name, t.sounding & False), device) for t in targets]),
                moved(torch.tensor([name in target.auxiliary for target in targets])[self.clips], device),
            )
            for name in dict.fromkeys(name for target in targets for name in target.auxiliary)
        }

    def of_frames(self) -> Sets:
        """One set per frame, clip by clip: the objects whose mask is not empty there."""
        g, t = self.present.nonzero(as_tuple=True)
        clips = torch.arange(self.batch).repeat_interleave(self.frames)
        frames = torch.arange(self.frames).repeat(self.batch)
        return self._sets(g, self.clips[g] * self.frames + t, clips, frames[:, None], 1)

    def of_videos(self, layers: int) -> Sets:
        """One set per clip, with `layers` answers each: the objects whose mask is not empty in some frame."""
        g = self.present.any(1).nonzero()[:, 0]
        frames = torch.arange(self.frames).expand(self.batch, -1)
        return self._sets(g, self.clips[g], torch.arange(self.batch), frames, layers)

    @staticmethod
    def _sets(objects: Tensor, sets: Tensor, clips: Tensor, frames: Tensor, repeats: int) -> Sets:
        sizes = torch.bincount(sets, minlength=len(clips))
        order = sets.argsort(stable=True)
        table = torch.zeros(len(clips), int(sizes.max()) if len(sizes) else 0, dtype=torch.int64)
        table[torch.arange(table.shape[1]) < sizes[:, None]] = objects[order]
        return Sets(table, sizes, frames, clips, repeats)


def _checked_presence(targets: Sequence[Targets], classes: int) -> Tensor:
    """Where masks are not empty, bool (G, T) on the CPU, of targets whose labels and counts are in range.

    Raises:
        DataError: a label or a count out of range; names the clip and the value.
    """
    known = [target.facts for target in targets if target.facts is not None]
    all_facts = known if len(known) == len(targets) else _read_facts(targets)
    for number, facts in enumerate(all_facts):
        where = f"targets of clip {number} of the batch"
        if facts.labels is not None and not 0 <= facts.labels[0] <= facts.labels[1] < classes:
            raise DataError(
                f"{where}: labels from {facts.labels[0]} to {facts.labels[1]}, but the network has {classes} "
                f"classes, 0 to {classes - 1}: labels count from 0, in the order of class_names"
            )
        if facts.least_count < 0:
            raise DataError(f"{where}: a count of {facts.least_count} objects; counts are 0 or more")
    return torch.cat([facts.present for facts in all_facts])


def _read_facts(targets: Sequence[Targets]) -> list[TargetFacts]:
    """The facts of a batch; where its targets are on another device, that is waited for once."""
    parts = [part for t in targets for part in (t.labels, t.counts, t.masks.flatten(2).any(-1))]
    if any(part.device.type != "cpu" for part in parts):
        flat = torch.cat([moved(part, targets[0].masks.device).flatten().long() for part in parts]).cpu()
        pieces = flat.split([part.numel() for part in parts])
        parts = [piece.view(part.shape).to(part.dtype) for piece, part in zip(pieces, parts, strict=True)]
    return [TargetFacts.of(*parts[n : n + 3]) for n in range(0, len(parts), 3)]


def check_shapes(number: int, target: Targets, frames: int, classes: int, size: Sequence[int]) -> None:
    """Check that the targets of clip `number` have the shapes of an output: T frames, K classes, (H, W) mask logits.

    Raises:
        DataError: naming the clip, both values and the remedy.
    """
    objects = len(target.labels)
    where = f"targets of clip {number} of the batch"
    if target.masks.ndim != 4 or target.masks.shape[:2] != (objects, frames):
        raise DataError(
            f"{where}: masks of shape {tuple(target.masks.shape)}, but there are {objects} labels and the output has "
            f"{frames} frames: give masks (N, T, H, W) for the network's input frames"
        )
    if target.masks.dtype != torch.bool:
        raise DataError(f"{where}: masks are {target.masks.dtype}, they must be torch.bool")
    height, width = target.masks.shape[2:]
    if height * size[1] != width * size[0] or height < size[0]:
        raise DataError(
            f"{where}: masks of {height}x{width} do not fit mask logits of {size[0]}x{size[1]}: give them at the "
            "size of the padded input"
        )
    shapes = {
        "sounding": (objects, frames),
        "counts": (frames,),
        "audio_labels": (frames, classes),
    }
    given = {name: (getattr(target, name), shape) for name, shape in shapes.items()}
    given |= {f"auxiliary[{name!r}]": (value, (objects, frames)) for name, value in target.auxiliary.items()}
    for name, (value, want) in given.items():
        if value is not None and tuple(value.shape) != want:
            raise DataError(f"{where}: {name} has shape {tuple(value.shape)}, it must be {want}")
