"""acvis_kit: which objects sound in a video, frame by frame, with their masks, classes and identities.

The public names load when they are first used: `import acvis_kit` itself imports nothing, not even torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acvis_kit import metrics, viz
    from acvis_kit.clip import Clip
    from acvis_kit.config import PRESETS, ACVISConfig
    from acvis_kit.errors import AcvisError, ConfigError, DataError, MediaError, WeightsError
    from acvis_kit.inference.predict import predict
    from acvis_kit.inference.prediction import Prediction, Track
    from acvis_kit.inference.predictor import Predictor
    from acvis_kit.inference.semantic import SemanticPrediction
    from acvis_kit.inference.semantic_predictor import SemanticPredictor
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
    "SemanticPrediction",
    "SemanticPredictor",
    "Track",
    "WeightsError",
    "convert",
    "load_clip",
    "load_model",
    "metrics",
    "predict",
    "save_model",
    "viz",
]

_MODULES = {"convert": "acvis_kit.weights.convert", "metrics": "acvis_kit.metrics", "viz": "acvis_kit.viz"}
_HOMES = {
    "ACVIS": "models.acvis.model",
    "PRESETS": "config",
    "ACVISConfig": "config",
    "AcvisError": "errors",
    "AudioEdit": "media.edit",
    "Clip": "clip",
    "ConfigError": "errors",
    "DataError": "errors",
    "MediaError": "errors",
    "Prediction": "inference.prediction",
    "Predictor": "inference.predictor",
    "SemanticPrediction": "inference.semantic",
    "SemanticPredictor": "inference.semantic_predictor",
    "Track": "inference.prediction",
    "WeightsError": "errors",
    "load_clip": "media.load",
    "load_model": "weights.load",
    "predict": "inference.predict",
    "save_model": "weights.load",
}


def _let_torch_name_its_cache() -> None:
    """Name torch's cache where the user has no name, as in many containers: torch itself fails there."""
    if any(os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR")):
        return
    try:
        import pwd

        pwd.getpwuid(os.getuid())
    except ImportError:  # Windows
        return
    except KeyError:
        from tempfile import gettempdir

        os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.join(gettempdir(), f"torchinductor_{os.getuid()}")


_let_torch_name_its_cache()


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(import_module(f"acvis_kit.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module 'acvis_kit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({name for name in globals() if name.startswith("__")} | {*__all__})
