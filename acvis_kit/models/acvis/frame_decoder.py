"""The frame decoder: each query attends to its frame inside its mask of the layer before (Mask2Former)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.config import ACVISConfig
from acvis_kit.models.acvis.sounding import SoundingHead
from acvis_kit.models.encoders.pixel_decoder import PixelFeatures
from acvis_kit.models.layers.attention import MLP, CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from acvis_kit.models.layers.pixel_embedding import PixelEmbedding
from acvis_kit.models.layers.positions import sine_position


class FrameOutput(NamedTuple):
    """States of the queries after the frame decoder.

    Attributes:
        queries: (D, N, Q_f, C), normed, without the count token, before the first layer and after each:
            D = 1 + frame_layers. At inference only the last, D = 1.
        count_token: (N, C), its normed state after the last layer; None without a count head.
    """

    queries: Tensor
    count_token: Tensor | None


class FrameDecoder(nn.Module):
    """`frame_layers` times: masked cross-attention to one scale, self-attention, feed-forward network.

    Successive layers use strides 32, 16, 8 in turn. Class and mask heads are shared by all layers.
    """

    def __init__(self, config: ACVISConfig) -> None:
        super().__init__()
        dim, heads = config.hidden_dim, config.num_heads
        self.has_count_token = config.count_head != "none"
        self.level_embed = nn.Parameter(torch.randn(3, dim))
        layers = range(config.frame_layers)
        self.cross_attention = nn.ModuleList(CrossAttentionLayer(dim, heads) for _ in layers)
        self.self_attention = nn.ModuleList(SelfAttentionLayer(dim, heads) for _ in layers)
        self.feed_forward = nn.ModuleList(FeedForwardLayer(dim, config.feedforward_dim) for _ in layers)
        self.norm = nn.LayerNorm(dim)
        self.class_head = nn.Linear(dim, config.class_logits)
        self.mask_head = MLP(dim, 3)
        self.pixel_embedding = PixelEmbedding(dim)  # E
        if config.targets == "visible":
            self.sounding_head = SoundingHead(dim, config.audio_classes, config.voiceless_classes)

    def tokens(self, scales: Sequence[Tensor]) -> list[Tensor]:
        """The pixel decoder's maps as tokens (N, H * W, C), plus the level embedding of each scale."""
        return [scale.flatten(2).transpose(1, 2) + e for scale, e in zip(scales, self.level_embed, strict=True)]

    def forward(
        self, queries: Tensor, positions: Tensor, tokens: Sequence[Tensor], pixels: PixelFeatures
    ) -> FrameOutput:
        """All layers of the decoder.

        Args:
            queries: (N, [1 +] Q_f, C), from the query generator; the count token first, where there is one.
            positions: ([1 +] Q_f, C), of the queries.
            tokens: (N, H * W, C) of strides 32, 16, 8.
            pixels: features of the same frames.
        """
        dim, dtype, device = queries.shape[-1], queries.dtype, queries.device
        shapes = [scale.shape[-2:] for scale in pixels.scales]
        places = [sine_position(h, w, dim, dtype=dtype, device=device) for h, w in shapes]  # (H * W, C) each
        # Resizing and the dot product commute: F is resized once per scale, and each mask is computed at that size.
        small = [_resized(pixels.fine, shape) for shape in shapes]

        states = [self.norm(queries)]
        layers = zip(self.cross_attention, self.self_attention, self.feed_forward, strict=True)
        for i, (cross, self_, ffn) in enumerate(layers):
            scale = i % len(tokens)
            mask = self.attention_mask(states[-1], small[scale])
            queries = cross(queries, tokens[scale], positions, places[scale], mask)
            queries = self_(queries, positions)
            queries = ffn(queries)
            states.append(self.norm(queries))

        if not self.training:
            states = states[-1:]
        out = torch.stack(states)
        if self.has_count_token:
            return FrameOutput(out[:, :, 1:], out[-1, :, 0])
        return FrameOutput(out, None)

    @torch.no_grad()
    def attention_mask(self, states: Tensor, fine: Tensor) -> Tensor:
        """Where each query may attend: inside its mask, or everywhere if that is empty; the count token everywhere.

        Args:
            states: (N, [1 +] Q_f, C), normed.
            fine: (N, C, H, W), F at the size of the scale.

        Returns:
            bool (N, 1, [1 +] Q_f, H * W), the same for all heads.
        """
        inside = self.pixel_embedding.mask_logits(self.mask_head(states), fine).flatten(2) >= 0
        inside |= ~inside.any(dim=-1, keepdim=True)
        if self.has_count_token:
            inside[:, 0] = True
        return inside[:, None]

    def predict(self, states: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Normed states (D, N, Q_f, C) -> class logits (D, N, Q_f, K + 1) and mask logits (D, N, Q_f, H / 4, W / 4).

        With `class_head="backbone"` there is one logit in place of K + 1, that there is an object.
        """
        embeds = self.mask_head(states).transpose(0, 1).flatten(1, 2)  # (N, D * Q_f, C): one product for all layers
        masks = self.pixel_embedding.mask_logits(embeds, fine).unflatten(1, (len(states), -1)).transpose(0, 1)
        return self.class_head(states), masks


def _resized(fine: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (N, C, H, W) at another size (h, w), bilinear.

    A GPU's kernel for this has a thread for each place of the result, which does all maps one after another. Where the
    size becomes a half, a quarter or an eighth, a sample is the mean of the four cells in the middle of those that it
    stands for: sums of slices, which have a thread for each value.
    """
    step = fine.shape[-1] // size[1]
    if fine.device.type == "cpu" or step % 2 or fine.shape[-2:] != (step * size[0], step * size[1]):
        return F.interpolate(fine, tuple(size), mode="bilinear", align_corners=False)
    before, behind = step // 2 - 1, step // 2
    rows = fine[..., before::step, :] + fine[..., behind::step, :]
    return (rows[..., before::step] + rows[..., behind::step]) / 4
