"""Which encoders a semantic system uses, as fields of its configuration. Importing this module imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, choice, number, setting

# Components of the one vector per frame that each audio encoder returns.
AUDIO_DIMS = {"vggish": 128, "beats": 768, "htsat": 768, "compact": 128}


@dataclass(frozen=True)
class EncoderConfig(Checked):
    """The encoders of frames and sound.

    Raises:
        ConfigError: a value outside its range.
    """

    # The kit's own (see `backbones.build_backbone`), "mit_b0" to "mit_b5" (transformers), or the name of any timm model
    # with four maps, such as "pvt_v2_b5".
    backbone: str = setting("resnet50", "name of the picture encoder")
    # Stride of the first map. 2 halves the stride of the first convolution: strides 2, 4, 8, 16 with the same weights.
    first_stride: int = number(4, 2, 4, help="stride of the picture encoder's first map, 4 or 2")
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)  # of RGB in 0..255
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    swin_window: int = number(7, 1, 64)  # of the kit's Swin backbones
    drop_path: float = number(0.1, least=0, most=1)  # of transformers as backbones, in training

    audio_encoder: str = choice("beats", "vggish", "htsat", "compact", "precomputed")
    # VGGish embeddings: whitened and rounded to 0..255, or raw. The published systems use raw ones.
    audio_features: str = choice("vggish_raw", "vggish_quantized")
    precomputed_dim: int = number(128, 1, 65_536, help="components of precomputed audio features")
    # Published weights of audio encoders are not trained further; False: trained with the rest, from random weights.
    audio_frozen: bool = setting(True, "whether the audio encoder keeps its weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.pixel_std) <= 0:
            raise ConfigError(f"pixel_std={self.pixel_std!r} must be above 0")
        if self.first_stride == 3:
            raise ConfigError("first_stride=3 must be 4 or 2")

    @property
    def audio_dim(self) -> int:
        """Components of the one audio vector per frame."""
        return AUDIO_DIMS.get(self.audio_encoder, self.precomputed_dim)
