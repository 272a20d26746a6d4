"""The focal loss of masks (Lin et al. 2017), as a loss and as a cost of matching (MaskFormer)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

ALPHA, GAMMA = 0.25, 2.0  # MaskFormer's


def focal_loss(logits: Tensor, truth: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """alpha_t (1 - p_t)^gamma times the cross-entropy, mean over the pixels of each mask.

    Args:
        logits: (R, P), masks at P pixels each.
        truth: (R, P), 0 or 1.
        alpha: weight of the pixels inside; those outside have 1 - alpha.
        gamma: how much pixels that are already right count less.

    Returns:
        (R,).
    """
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p_true = p * truth + (1 - p) * (1 - truth)
    weight = alpha * truth + (1 - alpha) * (1 - truth)
    return (weight * entropy * (1 - p_true) ** gamma).mean(-1)


def focal_costs(logits: Tensor, truth: Tensor, alpha: float = ALPHA, gamma: float = GAMMA) -> Tensor:
    """`focal_loss` of every query with every object.

    Args:
        logits: (..., Q, P).
        truth: (..., M, P), 0 or 1.
        alpha: as in `focal_loss`.
        gamma: as in `focal_loss`.

    Returns:
        (..., Q, M).
    """
    p = logits.sigmoid()
    inside = alpha * (1 - p) ** gamma * F.softplus(-logits)
    outside = (1 - alpha) * p**gamma * F.softplus(logits)
    truth = truth.transpose(-1, -2)
    return ((inside - outside) @ truth + outside.sum(-1, keepdim=True)) / logits.shape[-1]
