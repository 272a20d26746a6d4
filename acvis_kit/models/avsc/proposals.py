"""Stage 1 of AVSC: queries that describe potential sounding objects, seen without the sound (MaskFormer).

maps of the backbone ── pixel decoder ──┬── F ─────────────────────── masks = e . E(F)
                                        └── stride 32 ── decoder ──┬── e
                                                    queries ───────┘└── classes, "no object" last
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acvis_kit.models.avsc.config import AVSCNetwork
from acvis_kit.models.encoders.feature_pyramid import FeaturePyramid
from acvis_kit.models.encoders.pixel_decoder import PixelDecoder
from acvis_kit.models.layers.attention import MLP, CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from acvis_kit.models.layers.pixel_embedding import PixelEmbedding
from acvis_kit.models.layers.positions import sine_position


class Proposals(NamedTuple):
    """What the queries say about N frames, after D decoder layers; D = 1, the last, in evaluation mode.

    Attributes:
        class_logits: (D, N, Q, K + 1), "no object" last.
        mask_logits: (D, N, Q, h, w), at the stride of the finest map.
    """

    class_logits: Tensor
    mask_logits: Tensor


class ProposalHead(nn.Module):
    """Pixel decoder, transformer decoder, class and mask heads.

    Args:
        config: of AVSC.
        channels: of the backbone's maps, finest first.
    """

    def __init__(self, config: AVSCNetwork, channels: Sequence[int]) -> None:
        super().__init__()
        dim, heads, layers = config.hidden_dim, config.num_heads, range(config.decoder_layers)
        deformable = config.pixel_decoder == "deformable"
        self.pixel_decoder = PixelDecoder(config, channels) if deformable else FeaturePyramid(dim, channels)
        self.query_position = nn.Parameter(torch.randn(config.num_queries, dim))
        self.input_proj = nn.Conv2d(dim, dim, 1)
        self.self_attention = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in layers)
        self.cross_attention = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in layers)
        self.feed_forward = nn.ModuleList(FeedForwardLayer(dim, config.feedforward_dim) for _ in layers)
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, config.num_classes + 1)
        self.mask_head = MLP(dim, 3)
        self.pixel_embedding = PixelEmbedding(dim)  # E

    def forward(self, maps: Sequence[Tensor]) -> Proposals:
        """The backbone's maps (N, C_i, H / s, W / s), finest first -> proposals."""
        pixels = self.pixel_decoder(maps)
        states = self._decode(self.input_proj(pixels.scales[0]))  # (D, N, Q, C)
        embeds = self.mask_head(states).transpose(0, 1).flatten(1, 2)  # (N, D * Q, C): one product for all layers
        masks = self.pixel_embedding.mask_logits(embeds, pixels.fine)
        masks = masks.unflatten(1, (len(states), -1)).transpose(0, 1)  # (D, N, Q, h, w)
        return Proposals(self.class_head(states), masks)

    def _decode(self, coarse: Tensor) -> Tensor:
        """The coarsest map (N, C, h, w) -> normed states of the queries after each layer, (D, N, Q, C)."""
        number, dim, height, width = coarse.shape
        tokens = coarse.flatten(2).transpose(1, 2)
        place = sine_position(height, width, dim, dtype=tokens.dtype, device=tokens.device)
        queries = tokens.new_zeros(number, *self.query_position.shape)
        states = []
        for self_, cross, ffn in zip(self.self_attention, self.cross_attention, self.feed_forward, strict=True):
            queries = self_(queries, self.query_position)
            queries = cross(queries, tokens, self.query_position, place)
            queries = ffn(queries)
            states.append(self.norm(queries))
        return torch.stack(states if self.training else states[-1:])
