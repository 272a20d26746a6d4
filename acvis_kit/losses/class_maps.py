"""The class maps of a batch, which the criteria of all semantic systems compare with an output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from acvis_kit.clip import SemanticTargets
from acvis_kit.errors import DataError


def stacked(targets: Sequence[SemanticTargets]) -> tuple[Tensor, Tensor]:
    """The class maps (B, T, H, W) and supervised frames (B, T) of a batch.

    Raises:
        DataError: targets of different shapes.
    """
    if len(shapes := {tuple(target.class_maps.shape) for target in targets}) != 1:
        raise DataError(f"class maps of one batch have different shapes {sorted(shapes)}: give (T, H, W) of one size")
    return torch.stack([t.class_maps for t in targets]), torch.stack([t.supervised for t in targets])


def check_size(output: Sequence[int], truth: Sequence[int]) -> None:
    """Check that maps of an output and of the targets have one size.

    Raises:
        DataError: names both.
    """
    if tuple(output) != tuple(truth):
        raise DataError(
            f"the output has shape {tuple(output)}, the class maps {tuple(truth)}: give (clips, frames, height, width) "
            "of the network's input"
        )
