"""Padding of batches that does not depend on how the clips are spread over processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.data.collate import TrainingBatch


def widen(batch: TrainingBatch, size: tuple[int, int], pixel_mean: Sequence[float], divisor: int) -> TrainingBatch:
    """Pad a batch to `size`, as `collate` does beside a clip of that size; the network's output depends on padding.

    Args:
        batch: frames (B, T, 3, h, w), masks at their padded size.
        size: (H, W), at least (h, w).
        pixel_mean: colour that frames are padded with, (3,).
        divisor: masks are padded with False to the next multiples of it.
    """
    height, width = batch.frames.shape[-2:]
    if (height, width) == size:
        return batch
    mean = torch.tensor(pixel_mean, dtype=torch.float32, device=batch.frames.device).view(3, 1, 1)
    frames = mean.expand(*batch.frames.shape[:2], 3, *size).clone()
    frames[..., :height, :width] = batch.frames

    def pad(masks: Tensor) -> Tensor:
        missing = [side + -side % divisor - present for side, present in zip(size, masks.shape[-2:], strict=True)]
        return F.pad(masks, (0, missing[1], 0, missing[0]))

    targets = [replace(target, masks=pad(target.masks)) for target in batch.targets]
    return replace(batch, frames=frames, targets=targets)
