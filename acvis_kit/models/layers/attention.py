"""The three transformer blocks of the kit, post-norm: x = LN(x + f(x)).

Positions are added to queries and keys, never to values (as in Mask2Former, ACVIS and AVISM).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention, batch first, with one packed input projection as in `nn.MultiheadAttention`.

    Args:
        dim: C.
        num_heads: number of heads; must divide C.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)  # as one matrix, not as three
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """softmax(q k^T / sqrt(C / heads) + mask) v, per head.

        Args:
            query: (B, Q, C).
            key: (B, K, C).
            value: (B, K, C).
            mask: broadcastable to (B, heads, Q, K); bool, True where a query may attend, or float, added to the logits.

        Returns:
            (B, Q, C).
        """
        to_q, to_k, to_v = self.in_proj_weight.chunk(3)
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)
        q = self._split_heads(F.linear(query, to_q, bias_q))
        k = self._split_heads(F.linear(key, to_k, bias_k))
        v = self._split_heads(F.linear(value, to_v, bias_v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, heads, Q, C / heads)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def weights(self, query: Tensor, key: Tensor) -> Tensor:
        """Attention weights of `forward` without a mask, for inspection: (B, heads, Q, K), rows sum to 1."""
        to_q, to_k, _ = self.in_proj_weight.chunk(3)
        bias_q, bias_k, _ = self.in_proj_bias.chunk(3)
        q = self._split_heads(F.linear(query, to_q, bias_q))
        k = self._split_heads(F.linear(key, to_k, bias_k))
        return (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, N, C) -> (B, heads, N, C / heads)


class CrossAttentionLayer(nn.Module):
    """x = LN(x + Attention(x + position, tokens + token_position, tokens))."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        tokens: Tensor,
        position: Tensor | None = None,
        token_position: Tensor | None = None,
        mask: Tensor | None = None,
        placed_tokens: Tensor | None = None,
    ) -> Tensor:
        """Attention from x (B, Q, C) to tokens (B, K, C), with `mask` as in `Attention`. Returns (B, Q, C).

        `placed_tokens`, where given, is tokens + token_position, computed once for several layers.
        """
        keys = _add(tokens, token_position) if placed_tokens is None else placed_tokens
        return self.norm(x + self.attention(_add(x, position), keys, tokens, mask))


class SelfAttentionLayer(nn.Module):
    """x = LN(x + Attention(x + position, x + position, x))."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attention = Attention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, position: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attention within x (B, Q, C), with `mask` as in `Attention`. Returns (B, Q, C)."""
        placed = _add(x, position)
        return self.norm(x + self.attention(placed, placed, x, mask))


class FeedForwardLayer(nn.Module):
    """x = LN(x + W2 ReLU(W1 x))."""

    def __init__(self, dim: int, inner_dim: int, linear: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.linear1 = linear(dim, inner_dim)
        self.linear2 = linear(inner_dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.norm(x + self.linear2(F.relu(self.linear1(x), inplace=True)))


class MLP(nn.Sequential):
    """Linear layers of equal width with ReLU between them: the mask head (3 layers)."""

    def __init__(self, dim: int, num_layers: int) -> None:
        steps: list[nn.Module] = []
        for _ in range(num_layers - 1):
            steps += [nn.Linear(dim, dim), nn.ReLU()]
        super().__init__(*steps, nn.Linear(dim, dim))


def _add(x: Tensor, position: Tensor | None) -> Tensor:
    return x if position is None else x + position
