"""The model types: what `model_type` in a config.json stands for. A new system adds a line here."""

from __future__ import annotations

from typing import Any

from acvis_kit.config import FORMAT, MODEL_TYPE, ACVISConfig
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS

MODEL_TYPES: dict[str, tuple[type[ACVIS], type[ACVISConfig]]] = {MODEL_TYPE: (ACVIS, ACVISConfig)}


def build_model(values: dict[str, Any], origin: str = "config.json") -> ACVIS:
    """A model with random weights, of the class and configuration that a JSON object names.

    Args:
        values: "model_type" (ACVIS if there is none, as in format 1), "format", and the fields.
        origin: file of `values`, for messages.

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
    model_class, config_class = MODEL_TYPES[name]
    return model_class(config_class.from_dict(values))
