"""A mask is the dot product of a query's embedding with an embedding of every pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PixelEmbedding(nn.Conv2d):
    """1x1 convolution from the fine map F to per-pixel embeddings: E for frame masks, V for video masks."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim, kernel_size=1)
        nn.init.kaiming_uniform_(self.weight, a=1)
        nn.init.zeros_(self.bias)

    def mask_logits(self, embeds: Tensor, fine: Tensor) -> Tensor:
        """Masks of `embeds` on the map F, without ever making E or V: e . (W f + b) = (e W) . f + e . b.

        Resizing F bilinearly and then asking here is the same as resizing the mask, since both are linear.

        Args:
            embeds: (N, Q, C), from the mask head. fine: (N, C, H, W), F at any resolution.

        Returns:
            (N, Q, H, W) logits.
        """
        folded = embeds @ self.weight[:, :, 0, 0]
        offset = embeds @ self.bias
        return torch.einsum("nqc,nchw->nqhw", folded, fine) + offset[..., None, None]
