"""From log-mel seconds to tokens: VGGish (Hershey et al. 2017) and a compact encoder.

Both give one vector per second ("clip") and, where it is wanted, the last feature map as tokens of time and frequency
("patch"). The papers use the vector alone, see `query_generator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acvis_kit.config import ACVISConfig

# Output channels of VGGish's 3x3 convolutions; M is a 2x2 max pooling.
VGGISH_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")
LOG_MEL_MEAN, LOG_MEL_STD = -3.0, 1.5  # about those of AVIS-Synth, for an encoder that starts from nothing
PATCH_GRID = (6, 4)  # times x frequencies of the last map of a log-mel second (96, 64)
NUM_PATCHES = PATCH_GRID[0] * PATCH_GRID[1]  # A


class AudioFeatures(NamedTuple):
    """What the network uses_audio.

    Attributes:
        clip: (B, T, 128), one vector per second.
        patches: (B, T, A, C_a), tokens of time and frequency, or None.
        class_logits: (B, T, K), which classes can be heard; None where the network does not name them.
    """

    clip: Tensor
    patches: Tensor | None = None
    class_logits: Tensor | None = None

    def frames(self, start: int, stop: int) -> AudioFeatures:
        """Only the frames from `start` up to `stop`."""
        return AudioFeatures(*(None if part is None else part[:, start:stop] for part in self))

    def repeat(self, times: int) -> AudioFeatures:
        """The clips one after another, `times` over."""
        return AudioFeatures(*(None if part is None else part.repeat(times, *[1] * (part.ndim - 1)) for part in self))

    @classmethod
    def join(cls, parts: Sequence[AudioFeatures]) -> AudioFeatures:
        """Stretches of the same clips, one after another in time."""
        return cls(*(None if part[0] is None else torch.cat(part, 1) for part in zip(*parts, strict=True)))


def build_audio_encoder(config: ACVISConfig) -> nn.Module | None:
    """The encoder that `config.audio_encoder` names; None where features are precomputed or nothing is heard."""
    if config.audio_encoder == "precomputed" or not config.uses_audio:
        return None
    if config.audio_encoder == "vggish":
        return VGGish(quantize=config.audio_features == "vggish_quantized")
    return CompactAudioEncoder(config.audio_dim)


class VGGish(nn.Module):
    """VGGish, 72 M parameters.

    Args:
        quantize: whiten the embedding by PCA, clip it to [-2, 2] and round it to 8 bits: values 0..255, used unscaled,
            as ACVIS does. The rounding stops every gradient. False: the embedding as it is, 128 values >= 0, as AVISM
            used.
    """

    patch_dim = 512

    def __init__(self, quantize: bool = True) -> None:
        super().__init__()
        self.quantize = quantize
        layers: list[nn.Module] = []
        channels = 1
        for width in VGGISH_LAYERS:
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(NUM_PATCHES * channels, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, 128),
            nn.ReLU(),
        )
        if quantize:
            self.register_buffer("pca_eigen_vectors", torch.eye(128))
            self.register_buffer("pca_means", torch.zeros(128))

    def forward(self, log_mel: Tensor) -> AudioFeatures:
        """log_mel (B, T, 96, 64) -> vectors (B, T, 128) and patches (B, T, 24, 512), time by time."""
        examples = log_mel.flatten(0, 1)[:, None]  # (B * T, 1, 96, 64)
        patches = self.features(examples).permute(0, 2, 3, 1).flatten(1, 2)  # (B * T, A, 512)
        vector = self.embeddings(patches.flatten(1))
        if self.quantize:
            vector = self.whiten_and_round(vector)
        shape = log_mel.shape[:2]
        return AudioFeatures(vector.unflatten(0, shape), patches.unflatten(0, shape))

    def whiten_and_round(self, vector: Tensor) -> Tensor:
        """VGGish's published post-processing: (N, 128) -> (N, 128), whole numbers 0..255."""
        whitened = (vector - self.pca_means) @ self.pca_eigen_vectors.T
        return ((whitened.clamp(-2, 2) + 2) * (255 / 4)).round()


class CompactAudioEncoder(nn.Module):
    """Eight convolutions with group norm, 0.5 M parameters, learned from nothing.

    The vector keeps the frequency axis (mean and maximum over time only): pitch tells sources apart, and a short bark
    counts beside a long note.
    """

    patch_dim = 128
    widths = (24, 48, 96, 128)

    def __init__(self, dim: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in self.widths:
            layers += [
                nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, width),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.GroupNorm(8, width),
                nn.ReLU(inplace=True),
            ]
            before = width
        self.features = nn.Sequential(*layers)
        self.embedding = nn.Sequential(nn.Linear(2 * PATCH_GRID[1] * before, dim), nn.ReLU())

    def forward(self, log_mel: Tensor) -> AudioFeatures:
        """log_mel (B, T, 96, 64) -> vectors (B, T, dim) and patches (B, T, 24, 128), time by time."""
        image = (log_mel.flatten(0, 1)[:, None] - LOG_MEL_MEAN) / LOG_MEL_STD  # (B * T, 1, 96, 64)
        map_ = self.features(image)  # (B * T, 128, 6, 4)
        patches = map_.permute(0, 2, 3, 1).flatten(1, 2)
        vector = self.embedding(torch.cat([map_.mean(dim=2), map_.amax(dim=2)], 1).flatten(1))
        shape = log_mel.shape[:2]
        return AudioFeatures(vector.unflatten(0, shape), patches.unflatten(0, shape))
