"""An audio encoder of the library timm, for filmed video: EfficientNet-Lite sees the spectrogram as a picture."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from acvis_kit.models.encoders.audio import LOG_MEL_MEAN, PATCH_GRID, AudioFeatures

PICTURE_STD = 2.25  # divides log-mels, which then vary as much as pictures do, by about 0.7
STEM = "body.conv_stem.weight"  # of EfficientNet, of one channel here


class TimmAudioEncoder(nn.Module):
    """A convolutional network of timm that sees the log-mel as a grey picture; it starts from ImageNet's weights.

    Edges and textures of pictures are of use in spectrograms too ("Rethinking CNN Models for Audio Classification",
    Palanisamy et al. 2020). The patches are the map of stride 16. The vector is the mean and the maximum over time of
    the map of stride 32, which keeps its two bands of frequency.

    Its batch norms use the statistics of the batch while they are trained, and their running ones when frozen.

    Args:
        name: timm's name of the model.
        dim: size of the vector.
    """

    def __init__(self, name: str, dim: int = 128) -> None:
        super().__init__()
        self.name = name
        body: Any = timm.create_model(name, pretrained=False, in_chans=1, features_only=True, out_indices=(3, 4))
        self.patch_dim, last = body.feature_info.channels()
        self.body: nn.Module = body.to(memory_format=torch.channels_last)  # twice as fast on a CPU
        self.embedding = nn.Sequential(nn.Linear(2 * (PATCH_GRID[1] // 2) * last, dim), nn.ReLU())

    def forward(self, log_mel: Tensor) -> AudioFeatures:
        """log_mel (B, T, 96, 64) -> vectors (B, T, dim) and patches (B, T, 24, C_a), by time, then frequency."""
        if self.training and not any(parameter.requires_grad for parameter in self.body.parameters()):
            self.body.eval()
        image = (log_mel.flatten(0, 1)[:, None] - LOG_MEL_MEAN) / PICTURE_STD  # (B * T, 1, 96, 64)
        fine, last = self.body(image)  # (B * T, C_a, 6, 4) and (B * T, C, 3, 2)
        patches = fine.permute(0, 2, 3, 1).flatten(1, 2)
        vector = self.embedding(torch.cat([last.mean(dim=2), last.amax(dim=2)], 1).flatten(1))
        shape = log_mel.shape[:2]
        return AudioFeatures(vector.unflatten(0, shape), patches.unflatten(0, shape))
