"""From log-mel spectrograms to tokens: VGGish (Hershey et al. 2017) and a compact encoder.

The input is the log-mel of one second of sound per frame. Both encoders return one vector per frame ("clip") and the
last feature map as tokens of time and frequency ("patch"). The papers use only the vector, see `query_generator`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

# Output channels of VGGish's 3x3 convolutions; M is a 2x2 max pooling.
VGGISH_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")
VGGISH_HIDDEN = 4096  # width of its two hidden linear layers
LOG_MEL_MEAN, LOG_MEL_STD = -3.0, 1.5  # approximately those of AVIS-Synth, for training from random weights
PATCH_GRID = (6, 4)  # times x frequencies of the last feature map of a log-mel (96, 64)
NUM_PATCHES = PATCH_GRID[0] * PATCH_GRID[1]  # A


class AudioFeatures(NamedTuple):
    """The encoded sound of B clips.

    Attributes:
        clip: (B, T, 128), one vector per frame.
        patches: (B, T, A, C_a), tokens of time and frequency, or None.
        class_logits: (B, T, K), the classes that sound; None without `audio_classes`.
    """

    clip: Tensor
    patches: Tensor | None = None
    class_logits: Tensor | None = None

    def frames(self, start: int, stop: int) -> AudioFeatures:
        """Only the frames from `start` up to `stop`."""
        return self._map(lambda part: part[:, start:stop])

    def smoothed(self, weight: float) -> AudioFeatures:
        """The class logits of each frame with those of the frames before and after, each of this weight, 0 to 1/3."""
        if self.class_logits is None or not weight:
            return self
        logits = self.class_logits
        before = torch.cat([logits[:, :1], logits[:, :-1]], 1)
        after = torch.cat([logits[:, 1:], logits[:, -1:]], 1)
        return self._replace(class_logits=(1 - 2 * weight) * logits + weight * (before + after))

    def repeat(self, times: int) -> AudioFeatures:
        """The B clips `times` over, one block after another."""
        return self._map(lambda part: part.repeat(times, *[1] * (part.ndim - 1)))

    def _map(self, change: Callable[[Tensor], Tensor]) -> AudioFeatures:
        return AudioFeatures(change(self.clip), *(None if part is None else change(part) for part in self[1:]))

    @classmethod
    def join(cls, parts: Sequence[AudioFeatures]) -> AudioFeatures:
        """Concatenation in time of parts of the same clips."""
        clip, *others = zip(*parts, strict=True)
        return cls(torch.cat(clip, 1), *(None if other[0] is None else torch.cat(other, 1) for other in others))


class VGGish(nn.Module):
    """VGGish, 72 M parameters.

    Args:
        quantize: whiten the embedding by PCA, clip it to [-2, 2] and round it to 8 bits: values 0..255, used unscaled
            (as in ACVIS). The rounding stops every gradient. False: the embedding itself, 128 values >= 0 (as in
            AVISM).
    """

    patch_dim = 512
    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self, quantize: bool = True) -> None:
        super().__init__()
        self.quantize = quantize
        layers: list[nn.Module] = []
        channels = 1
        for width in VGGISH_LAYERS:
            if isinstance(width, str):
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(NUM_PATCHES * channels, VGGISH_HIDDEN),
            nn.ReLU(),
            nn.Linear(VGGISH_HIDDEN, VGGISH_HIDDEN),
            nn.ReLU(),
            nn.Linear(VGGISH_HIDDEN, 128),
            nn.ReLU(),
        )
        if quantize:
            self.register_buffer("pca_eigen_vectors", torch.eye(128))
            self.register_buffer("pca_means", torch.zeros(128))

    def forward(self, log_mel: Tensor) -> AudioFeatures:
        """log_mel (B, T, 96, 64) -> vectors (B, T, 128) and patches (B, T, 24, 512), by time, then frequency."""
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
    """Eight convolutions with group norm, 0.5 M parameters, trained from random weights.

    The vector keeps the frequency axis: the map is averaged and maximised over time only. Pitch distinguishes sources,
    and with the maximum a short bark counts beside a long note.
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
        """log_mel (B, T, 96, 64) -> vectors (B, T, dim) and patches (B, T, 24, 128), by time, then frequency."""
        image = (log_mel.flatten(0, 1)[:, None] - LOG_MEL_MEAN) / LOG_MEL_STD  # (B * T, 1, 96, 64)
        features = self.features(image)  # (B * T, 128, 6, 4)
        patches = features.permute(0, 2, 3, 1).flatten(1, 2)
        vector = self.embedding(torch.cat([features.mean(dim=2), features.amax(dim=2)], 1).flatten(1))
        shape = log_mel.shape[:2]
        return AudioFeatures(vector.unflatten(0, shape), patches.unflatten(0, shape))
