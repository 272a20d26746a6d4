"""The number of sounding objects: ordinal regression (SAOC, ACVIS section 3.3) or, for comparison, classification."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class CountHead(nn.Linear):
    """The count token's state (..., C) -> logits (..., K_max or K_max + 1).

    "ordinal": K_max logits, p_k = P(N > k | N > k - 1). "ce": K_max + 1 logits of 0, 1, ..., K_max "or more".

    Args:
        dim: C.
        k_max: K_max.
        kind: "ordinal" or "ce".
    """

    def __init__(self, dim: int, k_max: int, kind: str) -> None:
        super().__init__(dim, k_max if kind == "ordinal" else k_max + 1)
        self.kind = kind

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (..., K_max or K_max + 1) -> probabilities (..., K_max + 1) of 0, 1, ..., K_max "or more"."""
        return ordinal_probabilities(logits) if self.kind == "ordinal" else logits.softmax(-1)


def ordinal_probabilities(logits: Tensor) -> Tensor:
    """P(N = k) = P(N > k - 1) - P(N > k), where P(N > k) = p_0 ... p_k never rises with k.

    Args:
        logits: (..., K_max), of p_k = P(N > k | N > k - 1).

    Returns:
        (..., K_max + 1), sums to 1.
    """
    more_than = logits.sigmoid().cumprod(-1)  # P(N > 0), ..., P(N > K_max - 1)
    ends = torch.ones_like(more_than[..., :1])
    return torch.cat([ends, more_than], -1) - torch.cat([more_than, 0 * ends], -1)


def count_probabilities(from_token: Tensor, presence: Tensor, count_from: str) -> Tensor:
    """Probabilities of each count in every frame; the predicted count is the most probable one.

    Args:
        from_token: (T, K_max + 1), of the count head.
        presence: (T, M), for each video query with a track the probability that its object is present and sounds.
        count_from: "token", "queries", or "both" for the mean of the two; see `ACVISConfig`.

    Returns:
        (T, K_max + 1), sums to 1.
    """
    if count_from == "token":
        return from_token
    from_queries = count_of_independent(presence.to(from_token), from_token.shape[-1] - 1)
    return from_queries if count_from == "queries" else (from_token + from_queries) / 2


@dataclass(frozen=True, repr=False, eq=False)
class CountSource:
    """What the counts of a clip follow from. Only queries whose tracks are shown are counted.

    Attributes:
        from_token: (T, K_max + 1), of the count head.
        presence: (M, T), see `count_probabilities`.
        scores: (M,), the best score of each query's tracks.
        count_from: see `count_probabilities`.
    """

    from_token: Tensor
    presence: Tensor
    scores: Tensor
    count_from: str

    def probabilities(self, score_threshold: float = 0.0) -> Tensor:
        """Probabilities of each count, (T, K_max + 1), with the tracks that score above the threshold."""
        shown = self.presence[self.scores > score_threshold]
        return count_probabilities(self.from_token, shown.T, self.count_from)


def count_of_independent(presence: Tensor, k_max: int) -> Tensor:
    """Distribution of the number of present objects, each present independently (Poisson binomial distribution).

    Args:
        presence: (T, M), the probability of each of M objects in each frame.
        k_max: K_max; larger counts are pooled with it.

    Returns:
        (T, K_max + 1), sums to 1; probability 1 for the count 0 where M is 0.
    """
    counts = presence.new_zeros(presence.shape[0], k_max + 1)
    counts[:, 0] = 1
    for p in presence.unbind(1):
        one_more = counts * p[:, None]
        counts = counts - one_more
        counts[:, 1:] += one_more[:, :-1]
        counts[:, -1] += one_more[:, -1]
    return counts
