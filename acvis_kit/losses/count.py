"""How many objects sound, as a loss: the ordinal one in two forms, and cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ordinal_loss(logits: Tensor, counts: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
    """Sound-aware ordinal counting (SAOC, ACVIS section 3.3): K_max tasks, "more than k, given at least k?".

    "corn" asks task k in the frames with at least k objects alone and divides by the questions asked, as the
    reference does (CORN, Shi et al. 2021): p_k then is the conditional probability that `ordinal_probabilities`
    multiplies. "paper" asks every task in every frame and divides by the frames (equation 7).

    Args:
        logits: (..., K_max), of p_k = P(N > k | N > k - 1). counts: int64 (...), 0 or more.

    Returns:
        The sum of binary cross-entropies, and what to divide it by.
    """
    tasks = torch.arange(logits.shape[-1], device=logits.device)
    more = counts[..., None] > tasks
    asked = counts[..., None] >= tasks if reduction == "corn" else torch.ones_like(more)
    entropy = F.binary_cross_entropy_with_logits(logits, more.to(logits.dtype), reduction="none")
    terms = asked.sum() if reduction == "corn" else asked.new_tensor(counts.numel(), dtype=torch.int64)
    return (entropy * asked).sum(), terms


def cross_entropy_loss(logits: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The ablation: classes 0, 1, ..., K_max "or more".

    Args:
        logits: (..., K_max + 1). counts: int64 (...), 0 or more.

    Returns:
        The sum of cross-entropies, and the number of frames.
    """
    classes = counts.clamp(max=logits.shape[-1] - 1)
    total = F.cross_entropy(logits.flatten(0, -2), classes.flatten(), reduction="sum")
    return total, torch.tensor(counts.numel(), device=logits.device)
