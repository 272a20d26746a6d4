"""`predict`: a clip's prediction in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acvis_kit.clip import Clip
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.soundtrack import Sound
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.published import DEFAULT_WEIGHTS


def predict(
    clip: Clip | str | Path,
    audio: Sound | None = None,
    *,
    weights: ACVIS | str | Path = DEFAULT_WEIGHTS,
    **settings: Any,
) -> Prediction:
    """Which objects sound in a clip. For several clips or sounds make one `Predictor`, which loads the weights once.

    Args:
        clip: a clip, or the path of a video file.
        audio: the sound, see `Predictor.decode`; None: the clip's own.
        weights: a model, or a name or path for `load_model`. The default is part of the installation, and made for
            drawn scenes: on filmed video its masks mean little.
        **settings: of the `Predictor`, for example score_threshold=0.5 or device="cuda".

    Raises:
        MediaError: the file cannot be read.
        WeightsError: there are no such weights.
        ConfigError: a setting outside its range.
    """
    return Predictor(weights, **settings)(clip, audio)
