"""acvis_kit: which objects sound, second by second, with their masks, classes and identities."""

from acvis_kit import metrics
from acvis_kit.clip import Clip
from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import AcvisError, ConfigError, DataError, MediaError, WeightsError
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.media.edit import AudioEdit
from acvis_kit.media.load import load_clip
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights import convert
from acvis_kit.weights.load import load_model, save_model

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
