"""Masks as dot products of a query's embedding with an embedding of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelEmbedding(nn.Conv2d):
    """1x1 convolution from the fine map F to per-pixel embeddings: E for frame masks, V for video masks."""

    bias: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, kernel_size=1)
        nn.init.kaiming_uniform_(self.weight, a=1)
        nn.init.zeros_(self.bias)

    def mask_logits(self, embeds: Tensor, fine: Tensor) -> Tensor:
        """Mask logits from the map F, without computing E or V: e . (W f + b) = (e W) . f + e . b.

        This and bilinear resizing are linear: resizing F before gives the same as resizing the masks after.

        Args:
            embeds: (N, Q, C), from the mask head.
            fine: (N, C, H, W), F at any resolution.

        Returns:
            (N, Q, H, W) logits.
        """
        folded = embeds @ self.weight[:, :, 0, 0]
        offset = embeds @ self.bias
        return torch.einsum("nqc,nchw->nqhw", folded, fine) + offset[..., None, None]
