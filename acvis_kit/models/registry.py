"""The model types: what `model_type` in a config.json stands for. A new system adds a line here."""

from __future__ import annotations

from typing import Any, NamedTuple

from acvis_kit.config import FORMAT, MODEL_TYPE, ACVISConfig
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.config import AVSCConfig
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.config import RAVSConfig
from acvis_kit.models.ravs.model import RAVS


class ModelType(NamedTuple):
    """A system: its network, and its configuration with `to_dict` and `from_dict`."""

    model: type[Any]
    config: type[Any]


MODEL_TYPES: dict[str, ModelType] = {
    MODEL_TYPE: ModelType(ACVIS, ACVISConfig),
    AVSCConfig.model_type: ModelType(AVSC, AVSCConfig),
    RAVSConfig.model_type: ModelType(RAVS, RAVSConfig),
}


def build_model(values: dict[str, Any], origin: str = "config.json") -> Any:
    """A model with random weights, of the class and configuration that a JSON object names.

    Args:
        values: "model_type" (ACVIS if there is none, as in format 1), "format", and the fields.
        origin: file of `values`, for messages.

    Returns:
        An `ACVIS`, `AVSC` or `RAVS`.

    Raises:
        WeightsError: an unknown model type, or a format that is newer than this version of the kit.
        ConfigError: fields that do not exist, or wrong values.
    """
    name = values.get("model_type", MODEL_TYPE) if isinstance(values, dict) else MODEL_TYPE
    if name not in MODEL_TYPES:
        raise WeightsError(
            f"{origin} has model_type {name!r}, this version of the kit knows {', '.join(MODEL_TYPES)}: update it, "
            "pip install --upgrade acvis-kit, or load these weights with the software that wrote them"
        )
    number = values.get("format", 1) if isinstance(values, dict) else 1
    if number not in range(1, FORMAT + 1):
        raise WeightsError(
            f"{origin} has format {number!r}, this version of the kit reads formats up to {FORMAT}: update it, "
            "pip install --upgrade acvis-kit"
        )
    kind = MODEL_TYPES[name]
    return kind.model(kind.config.from_dict(values))
