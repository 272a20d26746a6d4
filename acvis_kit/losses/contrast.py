"""Convergent contrast of RAVS (equation 9): groups that agree with the sound move towards it, others away.

Which groups are positive is decided by their present agreement, not by the ground truth. The loss is least, 0, where
all are positive: the fraction of positive groups should be watched.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Contrast(NamedTuple):
    """The contrast of N frames.

    Attributes:
        total: the sum over the frames that have positive and negative groups.
        frames: their number.
        positive: fraction of groups that are positive, of all frames, without gradient.
    """

    total: Tensor
    frames: Tensor
    positive: Tensor


def contrast_loss(
    centres: Tensor,
    audio: Tensor,
    tau: float = 0.1,
    sigma: float = 10.0,
    threshold: float = 0.5,
    counted: Tensor | None = None,
) -> Contrast:
    """-log of the share of positive groups in sum of exp(A / tau), A the cosine of a group and the sound.

    Args:
        centres: G, (N, P, D).
        audio: a, (N, D).
        tau: temperature.
        sigma: sigma_p; a group is positive where sigmoid(sigma * A) > threshold, negative where it is below. With
            threshold 0.5 that is the sign of A, whatever sigma is.
        threshold: eps_a.
        counted: bool (N,), False for frames that are left out (silent ones); None: all count.
    """
    agreement = torch.einsum("npd,nd->np", F.normalize(centres, dim=-1), F.normalize(audio, dim=-1))  # A
    indicator = (agreement.detach() * sigma).sigmoid()
    positive, negative = indicator > threshold, indicator < threshold
    logits = agreement / tau
    compared = logits.masked_fill(~(positive | negative), -torch.inf).logsumexp(1)
    both = positive.any(1) & negative.any(1)
    if counted is not None:
        both = both & counted
    # A frame without positive groups would be infinite, and its gradient NaN: its groups all stand in for them.
    chosen = positive | ~both[:, None]
    loss = torch.where(both, compared, logits.logsumexp(1)) - logits.masked_fill(~chosen, -torch.inf).logsumexp(1)
    return Contrast((loss * both).sum(), both.sum(), positive.float().mean())
