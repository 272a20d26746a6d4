"""Attention equals PyTorch's, batch first, with positions on queries and keys only."""

import torch
from torch import nn

from acvis_kit.models.layers.attention import Attention, CrossAttentionLayer


def attention_pair(dim: int, heads: int) -> tuple[Attention, nn.MultiheadAttention]:
    torch.manual_seed(0)
    ours, theirs = Attention(dim, heads), nn.MultiheadAttention(dim, heads, batch_first=True)
    nn.init.normal_(ours.in_proj_bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_attention_equals_pytorchs() -> None:
    ours, theirs = attention_pair(32, 4)
    q, k, v = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    mask = torch.rand(2, 1, 5, 7) > 0.5
    mask[..., 0] = True
    blocked = ~mask.expand(2, 4, 5, 7).flatten(0, 1)
    torch.testing.assert_close(ours(q, k, v), theirs(q, k, v)[0])
    torch.testing.assert_close(ours(q, k, v, mask), theirs(q, k, v, attn_mask=blocked)[0])


def test_weights_are_those_of_forward() -> None:
    ours, theirs = attention_pair(32, 4)
    q, k = torch.randn(2, 5, 32), torch.randn(2, 7, 32)
    torch.testing.assert_close(ours.weights(q, k), theirs(q, k, k, average_attn_weights=False)[1])


def test_positions_change_attention_but_are_never_added_to_values() -> None:
    torch.manual_seed(0)
    layer = CrossAttentionLayer(16, 2)
    x, one_token = torch.randn(1, 3, 16), torch.randn(1, 1, 16)
    place = torch.randn(1, 16)
    # A single token has weight 1 at any position: a difference could only come from its value.
    torch.testing.assert_close(layer(x, one_token, None, place), layer(x, one_token))
    tokens = torch.randn(1, 4, 16)
    assert not torch.allclose(layer(x, tokens, None, torch.randn(4, 16)), layer(x, tokens))
