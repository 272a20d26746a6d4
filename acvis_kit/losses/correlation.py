"""The loss of audio-visual semantic correlation (AVSC, stage 2)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from acvis_kit.clip import IGNORED

MARGIN = 1e-6  # S is 0 outside of every candidate, where a logarithm would be infinite


def correlation_loss(soft: Tensor, class_maps: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of S with "anything sounds here".

    Only pixels inside candidates give a gradient. For fixed masks the best p_c is the mean fraction of the candidate's
    pixels that sound.

    Args:
        soft: S, (N, H, W) in [0, 1].
        class_maps: int64 (N, H, W); pixels of 255 are left out.

    Returns:
        The sum over pixels, and their number.
    """
    known = class_maps != IGNORED
    s = soft.clamp(MARGIN, 1 - MARGIN)
    entropy = F.binary_cross_entropy(s, ((class_maps > 0) & known).to(s.dtype), reduction="none")
    return (entropy * known).sum(), known.sum()
