"""`predict`: a clip's prediction in one call; and the predictor that suits a model."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from acvis_kit.clip import Clip
from acvis_kit.config import InferenceConfig, inference_of
from acvis_kit.errors import ConfigError, brief
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticPredictor
from acvis_kit.inference.soundtrack import Sound, checked_sound
from acvis_kit.media.load import load_clip
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.load import load_model
from acvis_kit.weights.published import DEFAULT_WEIGHTS


def predict(
    clip: Clip | str | Path,
    audio: Sound | None = None,
    *,
    weights: ACVIS | AVSC | RAVS | str | Path = DEFAULT_WEIGHTS,
    **settings: Any,
) -> Prediction | SemanticPrediction:
    """What sounds in a clip: objects, or with weights of a semantic system pixels of classes.

    For several clips or sounds make one `Predictor` or `SemanticPredictor`, which loads the weights once.

    Args:
        clip: a clip, or the path of a video file, which is read as a whole; `load_clip` has options for a part of it,
            or another rate.
        audio: the sound, see `Predictor.decode`, such as "mute"; None: the clip's own.
        weights: a model, or a name or path for `load_model`. The default is part of the installation, made for filmed
            video of 18 classes, and often wrong; "acvis-synth-tiny" is for drawn scenes.
        **settings: of the `Predictor` or `SemanticPredictor`, for example score_threshold=0.5 or device="cuda"; of
            ACVIS also the other fields of its inference, such as sounding_threshold=0.5.

    Returns:
        A `Prediction`, or of AVSC and RAVS a `SemanticPrediction`.

    Raises:
        MediaError: the file cannot be read.
        WeightsError: there are no such weights.
        ConfigError: a setting that this system does not have, an option of `load_clip`, or a value outside its range.
    """
    of_clips = {*inspect.signature(load_clip).parameters} - {"path", "progress"}
    if options := {name: value for name, value in settings.items() if name in of_clips}:
        path = repr(str(clip)) if isinstance(clip, str | Path) else "path"
        given = ", ".join(f"{name}={brief(value)}" for name, value in options.items())
        raise ConfigError(
            f"{', '.join(options)}: predict has no options of load_clip: load the clip with them first, "
            f"ak.predict(ak.load_clip({path}, {given}))"
        )
    audio = checked_sound(audio)  # before the weights are loaded
    return predictor_for(weights, **settings)(clip, audio)


def predictor_for(model: ACVIS | AVSC | RAVS | str | Path, **settings: Any) -> Predictor | SemanticPredictor:
    """The predictor of a model: a `SemanticPredictor` of AVSC and RAVS, else a `Predictor`.

    Args:
        model: a model, or a name or path for `load_model`.
        **settings: of that predictor. Of a `Predictor` also the fields of its `inference`, by their names.

    Raises:
        WeightsError: there are no such weights.
        ConfigError: a setting that this predictor does not have, or a value outside its range.
    """
    found: Any = load_model(model) if isinstance(model, str | Path) else model
    kind = SemanticPredictor if isinstance(found, AVSC | RAVS) else Predictor
    known = [*inspect.signature(kind).parameters][1:]
    if isinstance(found, ACVIS):
        more = [field.name for field in fields(InferenceConfig) if field.name not in known]
        given = settings.get("inference") or inference_of(found.config)
        changes = {name: settings.pop(name) for name in more if name in settings}
        if changes and isinstance(given, InferenceConfig):  # of anything else the Predictor says what is wanted
            settings["inference"] = replace(given, **changes)
        known += more
    if unknown := [name for name in settings if name not in known]:
        near = [close for name in unknown for close in get_close_matches(name, known, 1)]
        hint = f"did you mean {', '.join(near)}? Choose" if near else "choose"
        raise ConfigError(
            f"{', '.join(unknown)}: no setting of a {kind.__name__}, which runs the {type(found).__name__}: {hint} "
            f"from {', '.join(known)}"
        )
    return kind(found, **settings)
