"""Sound-guided semantic merging: groups of tokens become one token each, weighted by the sound (equations 6 and 7)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.models.layers.attention import FeedForwardLayer


def segment_softmax(score: Tensor, of_token: Tensor, groups: int) -> Tensor:
    """Softmax within each group.

    Args:
        score: s, (B, N).
        of_token: int64 (B, N), the group of each token, 0..P - 1.
        groups: P.

    Returns:
        w, (B, N); sums to 1 over the tokens of a group.
    """
    largest = score.new_full((len(score), groups), -torch.inf)
    largest = largest.scatter_reduce(1, of_token, score.detach(), "amax")
    power = (score - largest.gather(1, of_token)).exp()
    total = power.new_zeros(len(score), groups).scatter_add(1, of_token, power)
    return power / total.gather(1, of_token)


def merge(x: Tensor, weight: Tensor, of_token: Tensor, groups: int) -> Tensor:
    """Equation 6: G_p, the weighted sum of a group's tokens.

    Args:
        x: (B, N, D).
        weight: w, (B, N).
        of_token: int64 (B, N).
        groups: P.

    Returns:
        (B, P, D).
    """
    weighted = x * weight[..., None]
    return x.new_zeros(len(x), groups, x.shape[-1]).scatter_add(1, of_token[..., None].expand_as(x), weighted)


def plain_update(centres: Tensor, x: Tensor, score: Tensor) -> Tensor:
    """Equation 7 without learned projections: G + softmax(G x^T / sqrt(D) + s) x, over all tokens.

    Args:
        centres: G, (B, P, D).
        x: (B, N, D).
        score: s, (B, N), added for every group alike.
    """
    return centres + F.scaled_dot_product_attention(centres, x, x, attn_mask=score[:, None])


class GroupUpdate(nn.Module):
    """Equation 7 with learned projections, then a feed-forward network, both post-norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = FeedForwardLayer(dim, 4 * dim)

    def forward(self, centres: Tensor, x: Tensor, score: Tensor) -> Tensor:
        """As `plain_update`."""
        mixed = F.scaled_dot_product_attention(
            self.q(centres), self.k(x), self.v(x), attn_mask=score[:, None].to(x.dtype)
        )
        return self.feed_forward(self.norm(centres + self.out(mixed)))


def remap(x: Tensor, centres: Tensor, of_token: Tensor, gain: Tensor | None = None) -> Tensor:
    """X + G of each token's group: all tokens of a group receive the same increment.

    Args:
        x: (B, N, D).
        centres: G, (B, P, D).
        of_token: int64 (B, N).
        gain: (D,), of the increment; None: 1.
    """
    increment = centres.gather(1, of_token[..., None].expand_as(x))
    return x + (increment if gain is None else gain * increment)
