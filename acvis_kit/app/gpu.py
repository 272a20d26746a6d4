"""ZeroGPU on a Hugging Face Space: a function gets a GPU for the seconds that it requests.

Without the package `spaces`, `runner` returns None and the page runs the model in its own process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from acvis_kit.app.clips import clip_of, mask_size, still_of, without_pixels
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.semantic_predictor import SemanticPredictor
from acvis_kit.media.decoding import claimed_end, opened, stated_end
from acvis_kit.media.load import load_clip

if TYPE_CHECKING:
    from acvis_kit.app.sound_settings import SoundSettings
    from acvis_kit.clip import Clip
    from acvis_kit.inference.prediction import Prediction
    from acvis_kit.inference.semantic import SemanticPrediction

START, PER_SECOND = 15.0, 0.5  # GPU seconds: to begin, and for each second of the clip
LONGEST = 120.0  # GPU seconds that one run may request


def duration_of(clip: str, max_seconds: float) -> int:
    """GPU seconds to request for the clip in a file, from its length; at most `LONGEST`."""
    with opened(Path(clip)) as container:
        length = claimed_end(container, "video") or stated_end(container)
    return round(min(LONGEST, START + PER_SECOND * min(length, max_seconds)))


class GpuResult(NamedTuple):
    """The result of a run on the GPU. Its clips have no pixels.

    Attributes:
        prediction: with its clip, which has the sound that the model received.
        source: the clip with its original sound.
        stills: T JPEGs, one of each frame.
        encoding: seconds that reading and encoding the clip took.
        decoding: seconds that decoding took.
    """

    prediction: Prediction | SemanticPrediction
    source: Clip
    stills: list[bytes]
    encoding: float
    decoding: float


def runner(
    predictor: Predictor | SemanticPredictor, max_seconds: float
) -> Callable[[str, SoundSettings], GpuResult] | None:
    """A function of a clip's path and its sound settings that runs on ZeroGPU; None without the package `spaces`.

    It runs in a separate process: its arguments and its result are pickled, and the process keeps no state.
    """
    try:
        import spaces
    except ImportError:
        return None

    def predict(clip: str, settings: SoundSettings) -> GpuResult:
        began = time.monotonic()
        loaded = load_clip(clip, max_seconds=max_seconds, too_long="trim")
        settings.check_within(loaded.duration)
        features = predictor.encode(loaded)
        encoding = time.monotonic() - began
        decode: Any = predictor.decode  # it gets what its own `encode` returned
        prediction = decode(features, settings.edit(), output_size=mask_size(loaded.size, predictor))
        stills = [still_of(frame) for frame in loaded.frames]
        slim = replace(prediction, clip=without_pixels(clip_of(prediction)))
        return GpuResult(slim, without_pixels(loaded), stills, encoding, time.monotonic() - began - encoding)

    return spaces.GPU(duration=lambda clip, settings: duration_of(clip, max_seconds))(predict)
