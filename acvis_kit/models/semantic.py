"""What the semantic systems have in common: the result of `decode`, and the normalisation of frames."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class SemanticMaps(NamedTuple):
    """Which pixels of which class sound, in B clips of T frames.

    Attributes:
        scores: (B, T, H, W) in [0, 1]; a pixel sounds where its score exceeds `threshold`.
        labels: int64 (B, T, H, W), zero-based class of a pixel, if it sounds.
        class_scores: (B, T, K) in [0, 1], the classes that are heard; None of a system without such an output.
        objects: bool (B, T, K, H, W), the objects that are seen, sounding or not; None of a system without candidates.
        uncertainty: (B, T, H, W) in [0, 1], of each pixel; None of a system that states none.
    """

    scores: Tensor
    labels: Tensor
    class_scores: Tensor | None = None
    objects: Tensor | None = None
    uncertainty: Tensor | None = None


def normalised(frames: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """RGB frames (N, 3, H, W) of 0..255 as the picture encoders take them, in the dtype of `mean`."""
    return (frames.to(mean.dtype) - mean) / std
