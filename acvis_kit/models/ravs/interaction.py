"""The audio-visual interaction of RAVS (equation 5): every token attends to the one audio vector of its frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AudioInteraction(nn.Module):
    """Multi-head cross-attention to a single key, with a residual.

    A softmax over one key is 1: the output would be the same vector for every token, and nothing would depend on how
    well a token and the sound agree. The weights are sigmoids, as in DDESeg.

    Args:
        dim: D of the tokens and of the audio vector.
        num_heads: heads; must divide D.
        weights: "sigmoid_res", or "softmax_res", the paper's form.
    """

    def __init__(self, dim: int, num_heads: int, weights: str = "sigmoid_res") -> None:
        super().__init__()
        self.num_heads, self.weights = num_heads, weights
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, audio: Tensor) -> Tensor:
        """Tokens (B, N, D) and vectors (B, D) -> (B, N, D)."""
        return x + self.out(self.attended(x, audio))

    def attended(self, x: Tensor, audio: Tensor) -> Tensor:
        """The weighted values without the last projection and the residual, (B, N, D)."""
        q = self.q(x).unflatten(-1, (self.num_heads, -1))  # (B, N, heads, D / heads)
        k, v = self.kv(audio)[:, None].unflatten(-1, (2, self.num_heads, -1)).unbind(2)  # (B, 1, heads, D / heads)
        logits = (q * k).sum(-1, keepdim=True) / q.shape[-1] ** 0.5  # (B, N, heads, 1), the one key last
        weights = logits.sigmoid() if self.weights == "sigmoid_res" else torch.softmax(logits, dim=-1)
        return (weights * v).flatten(2)
