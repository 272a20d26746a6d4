"""Training samples of different sizes as one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from acvis_kit.clip import TargetFacts, Targets, moved, pinned
from acvis_kit.config import ACVISConfig
from acvis_kit.data.training_clips import SoundSample, TrainingSample


@dataclass(frozen=True)
class TrainingBatch:
    """B clips of T frames.

    Attributes:
        frames: (B, T, 3, H, W), RGB, 0..255: uint8 if all clips are of one size, else float32.
        log_mel: float32 (B, T, 96, 64), or None.
        audio_features: float32 (B, T, 128), or None.
        targets: one per clip; masks bool (N, T, H', W') at the network's padded size.
        samples: (video id, frame numbers, kind of sound) of each clip, for error messages.
    """

    frames: Tensor
    log_mel: Tensor | None
    audio_features: Tensor | None
    targets: list[Targets]
    samples: tuple[tuple[int, tuple[int, ...], str], ...] = ()

    def __len__(self) -> int:
        return self.frames.shape[0]

    def to(self, device: torch.device | str) -> TrainingBatch:
        """The batch with all tensors on another device."""
        return self._each(lambda tensor: moved(tensor, device), [targets.to(device) for targets in self.targets])

    def pin_memory(self) -> TrainingBatch:
        """The batch in page-locked memory, for faster copies to a GPU; a DataLoader calls it."""
        return self._each(pinned, [targets.pin_memory() for targets in self.targets])

    def _each(self, change: Callable[[Tensor], Tensor], targets: list[Targets]) -> TrainingBatch:
        given = {name: getattr(self, name) for name in ("frames", "log_mel", "audio_features")}
        changed: dict[str, Any] = {name: change(value) for name, value in given.items() if value is not None}
        return replace(self, **changed, targets=targets)


@dataclass(frozen=True)
class SoundBatch:
    """The sound of B clips of T frames.

    Attributes:
        log_mel: float32 (B, T, 96, 64).
        audio_labels: bool (B, T, K), the classes that sound.
        teacher: float32 (B, T, E), embeddings of another encoder, or None.
    """

    log_mel: Tensor
    audio_labels: Tensor
    teacher: Tensor | None = None

    def __len__(self) -> int:
        return self.log_mel.shape[0]

    def to(self, device: torch.device | str) -> SoundBatch:
        """The batch on another device."""
        return self._each(lambda tensor: moved(tensor, device))

    def pin_memory(self) -> SoundBatch:
        """The batch in page-locked memory, for faster copies to a GPU; a DataLoader calls it."""
        return self._each(pinned)

    def _each(self, change: Callable[[Tensor], Tensor]) -> SoundBatch:
        teacher = None if self.teacher is None else change(self.teacher)
        return SoundBatch(change(self.log_mel), change(self.audio_labels), teacher)


def collate_sounds(sounds: Sequence[SoundSample]) -> SoundBatch:
    """A batch of the sounds of `TrainingClips.sound`."""
    log_mel, audio_labels, teacher = zip(*sounds, strict=True)
    return SoundBatch(torch.stack(log_mel), torch.stack(audio_labels), _stack(teacher))


def collate(
    samples: Sequence[TrainingSample],
    pixel_mean: Sequence[float] = ACVISConfig.pixel_mean,
    size_divisor: int = ACVISConfig.size_divisor,
) -> TrainingBatch:
    """A batch of the largest height and width among the samples; smaller frames lie in the upper left corner.

    Smaller frames are padded with the mean colour, because the network subtracts it: all padding is then 0, including
    the network's own up to a multiple of `size_divisor`. Masks are padded to that multiple with False.
    """
    height = max(sample.frames.shape[-2] for sample in samples)
    width = max(sample.frames.shape[-1] for sample in samples)
    if len({sample.frames.shape[-2:] for sample in samples}) == 1:
        frames = torch.stack([sample.frames for sample in samples])
    else:
        clips, count = len(samples), samples[0].frames.shape[0]  # B, T
        mean = torch.tensor(pixel_mean, dtype=torch.float32).view(3, 1, 1)
        frames = mean.expand(clips, count, 3, height, width).clone()  # (B, T, 3, H, W)
        for canvas, sample in zip(frames, samples, strict=True):
            canvas[..., : sample.frames.shape[-2], : sample.frames.shape[-1]] = sample.frames
    padded = height + -height % size_divisor, width + -width % size_divisor
    return TrainingBatch(
        frames=frames,
        log_mel=_stack([sample.log_mel for sample in samples]),
        audio_features=_stack([sample.audio_features for sample in samples]),
        targets=[_pad(sample.targets, padded) for sample in samples],
        samples=tuple((sample.video_id, sample.seconds, sample.sound) for sample in samples),
    )


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    """The parts stacked; None if all are None."""
    given = [part for part in parts if part is not None]
    assert len(given) in (0, len(parts)), "samples of one data set have the same kind of sound"
    return torch.stack(given) if given else None


def _pad(targets: Targets, size: tuple[int, int]) -> Targets:
    masks = torch.zeros(*targets.masks.shape[:2], *size, dtype=torch.bool)
    masks[..., : targets.masks.shape[-2], : targets.masks.shape[-1]] = targets.masks
    facts = TargetFacts.of(targets.labels, targets.counts, targets.masks.flatten(2).any(-1))
    return replace(targets, masks=masks, facts=facts)
