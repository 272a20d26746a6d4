"""Losses of the number of sounding objects: ordinal regression in two forms, and cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ordinal_loss(logits: Tensor, counts: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Sound-aware ordinal counting (SAOC, ACVIS section 3.3): K_max tasks, "more than k, given at least k?".

    "corn", as in the reference (CORN, Shi et al. 2021), evaluates task k only in frames with at least k objects and
    divides by the number of evaluated tasks: then p_k is the conditional probability that `ordinal_probabilities`
    multiplies. "paper" evaluates every task in every frame and divides by the number of frames (equation 7).

    Args:
        logits: (..., K_max), of p_k = P(N > k | N > k - 1).
        counts: int64 (...), 0 or more.
        reduction: "corn" or "paper".

    Returns:
        The sum of binary cross-entropies, and the number to divide it by.
    """
    tasks = torch.arange(logits.shape[-1], device=logits.device)
    more = counts[..., None] > tasks
    evaluated = counts[..., None] >= tasks if reduction == "corn" else torch.ones_like(more)
    entropy = F.binary_cross_entropy_with_logits(logits, more.to(logits.dtype), reduction="none")
    terms = evaluated.sum() if reduction == "corn" else evaluated.new_tensor(counts.numel(), dtype=torch.int64)
    return (entropy * evaluated).sum(), terms


def cross_entropy_loss(logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Counting as classification (the paper's ablation), with classes 0, 1, ..., K_max "or more".

    Args:
        logits: (..., K_max + 1).
        counts: int64 (...), 0 or more.

    Returns:
        The sum of cross-entropies, and the number of frames.
    """
    classes = counts.clamp(max=logits.shape[-1] - 1)
    total = F.cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="sum")
    return total, torch.tensor(counts.numel(), device=logits.device)
