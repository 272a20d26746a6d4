"""Attention over the frames of a clip, separately at every pixel of the decoder's map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acvis_kit.errors import DataError
from acvis_kit.models.layers.attention import SelfAttentionLayer


class TemporalAttention(nn.Module):
    """x = LN(x + attention over T), with a learned position of each frame. One frame alone is not changed.

    Args:
        dim: C.
        num_heads: heads; must divide C.
        max_frames: positions.
    """

    def __init__(self, dim: int, num_heads: int, max_frames: int) -> None:
        super().__init__()
        self.attention = SelfAttentionLayer(dim, num_heads)
        self.position = nn.Parameter(torch.zeros(max_frames, dim))
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Mix the frames of each clip.

        Args:
            x: (B, T, C, H, W), T at most `max_frames`.
            valid: bool (B, T), False for padded frames, which no frame attends to; None: all are frames.

        Returns:
            (B, T, C, H, W).

        Raises:
            DataError: more frames than positions.
        """
        clips, frames, channels, height, width = x.shape
        if frames == 1:
            return x
        if frames > len(self.position):
            raise DataError(
                f"a clip of {frames} frames, but max_frames={len(self.position)}: cut it, as SemanticPredictor does, "
                "or raise max_frames and train anew"
            )
        pixels = x.permute(0, 3, 4, 1, 2).reshape(-1, frames, channels)  # (B * H * W, T, C)
        mask = None
        if valid is not None:
            attended = valid | ~valid.any(1, keepdim=True)  # a clip without any frame must not give NaN
            mask = attended.repeat_interleave(height * width, 0)[:, None, None]  # (B * H * W, 1, 1, T)
        mixed = self.attention(pixels, self.position[:frames], mask)
        return mixed.reshape(clips, height, width, frames, channels).permute(0, 3, 4, 1, 2)
