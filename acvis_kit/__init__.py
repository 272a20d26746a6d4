"""acvis_kit: which objects sound, second by second, with their masks, classes and identities."""

from acvis_kit import convert, metrics
from acvis_kit.audio import AudioEdit
from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import AcvisError, ConfigError, DataError, MediaError, WeightsError
from acvis_kit.hub import load_model, save_model
from acvis_kit.media import load_clip
from acvis_kit.models.acvis import ACVIS
from acvis_kit.predict import Predictor
from acvis_kit.prediction import Prediction, Track
from acvis_kit.types import Clip

__version__ = "0.1.0"

__all__ = [
    "ACVIS",
    "PRESETS",
    "ACVISConfig",
    "AcvisError",
    "AudioEdit",
    "Clip",
    "ConfigError",
    "DataError",
    "MediaError",
    "Prediction",
    "Predictor",
    "Track",
    "WeightsError",
    "convert",
    "load_clip",
    "load_model",
    "metrics",
    "save_model",
]
