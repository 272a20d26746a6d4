"""The one interface of audio encoders: seconds of sound -> spectrograms -> one vector (and tokens) per frame.

Every encoder is a module (B, T, times, bands) -> `AudioFeatures`; its front end is a plain function of the waveform, so
that a loader can compute spectrograms without the network. Precomputed vectors (B, T, C) take the place of both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from acvis_kit.errors import DataError
from acvis_kit.media.mel import log_mel
from acvis_kit.models.encoders.audio import AudioFeatures, CompactAudioEncoder, VGGish
from acvis_kit.models.encoders.beats import BEATs
from acvis_kit.models.encoders.config import EncoderConfig
from acvis_kit.models.encoders.fbank import fbank
from acvis_kit.models.encoders.htsat import HTSAT, clap_spectrogram


class FrontEnd(NamedTuple):
    """From seconds of sound (..., 16000), 16 kHz, to what an audio encoder takes.

    Attributes:
        compute: the function.
        shape: (times, bands) of its result.
    """

    compute: Callable[[Tensor], Tensor]
    shape: tuple[int, int]


FRONT_ENDS = {
    "vggish": FrontEnd(log_mel, (96, 64)),
    "compact": FrontEnd(log_mel, (96, 64)),
    "beats": FrontEnd(fbank, (98, 128)),
    "htsat": FrontEnd(clap_spectrogram, (1001, 64)),
}


class SoundEncoder(nn.Module):
    """The audio encoder that a configuration names, or precomputed vectors.

    Attributes:
        dim: C_a, components of a vector.
        frozen: whether it keeps its weights; then it stays in evaluation mode and gives no gradient.
        front_end: of the encoder; None with precomputed features.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.name, self.dim, self.frozen = config.audio_encoder, config.audio_dim, config.audio_frozen
        self.front_end = FRONT_ENDS.get(self.name)
        self.network = _network(config)
        if self.frozen and self.network is not None:
            self.network.requires_grad_(False)

    def forward(self, spectrogram: Tensor | None = None, audio_features: Tensor | None = None) -> AudioFeatures:
        """Encode the sound of B clips of T frames.

        Args:
            spectrogram: (B, T, times, bands), of the encoder's front end.
            audio_features: (B, T, C_a), instead of the spectrogram.

        Raises:
            DataError: neither is given, or one of another shape.
        """
        if audio_features is not None:
            if audio_features.ndim != 3 or audio_features.shape[-1] != self.dim:
                raise DataError(
                    f"audio_features are {tuple(audio_features.shape)}: expected (clips, frames, {self.dim})"
                )
            return AudioFeatures(audio_features)
        if self.network is None or self.front_end is None:
            raise DataError("audio_encoder='precomputed' needs audio_features: this network cannot encode a sound")
        if spectrogram is None or tuple(spectrogram.shape[2:]) != self.front_end.shape:
            given = None if spectrogram is None else tuple(spectrogram.shape)
            times, bands = self.front_end.shape
            raise DataError(
                f"spectrogram is {given}: audio_encoder={self.name!r} takes (clips, frames, {times}, {bands}), see "
                "FRONT_ENDS"
            )
        return self.network(spectrogram)

    def train(self, mode: bool = True) -> SoundEncoder:
        """Training mode; a frozen encoder stays in evaluation mode (HTSAT has batch norm and dropout)."""
        super().train(mode)
        if self.frozen and self.network is not None:
            self.network.eval()
        return self


def _network(config: EncoderConfig) -> nn.Module | None:
    match config.audio_encoder:
        case "vggish":
            return VGGish(quantize=config.audio_features == "vggish_quantized")
        case "compact":
            return CompactAudioEncoder(config.audio_dim)
        case "beats":
            return BEATs()
        case "htsat":
            return HTSAT()
    return None
