"""The audio encoder that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acvis_kit.config import ACVISConfig
from acvis_kit.models.encoders.audio import CompactAudioEncoder, VGGish

if TYPE_CHECKING:
    from acvis_kit.models.encoders.timm_audio import TimmAudioEncoder


def build_audio_encoder(config: ACVISConfig) -> VGGish | CompactAudioEncoder | TimmAudioEncoder | None:
    """The encoder that `config.audio_encoder` names; None with precomputed features or without audio input."""
    if config.audio_encoder == "precomputed" or not config.uses_audio:
        return None
    if config.audio_encoder == "vggish":
        return VGGish(quantize=config.audio_features == "vggish_quantized")
    if config.audio_encoder == "compact":
        return CompactAudioEncoder(config.audio_dim)
    from acvis_kit.models.encoders.timm_audio import TimmAudioEncoder  # timm takes a second to import
    from acvis_kit.models.encoders.timm_backbones import TIMM_NAMES

    return TimmAudioEncoder(TIMM_NAMES[config.audio_encoder], config.audio_dim)
