"""ZeroGPU on a Hugging Face Space: a graphics card that is lent for the seconds a function asks for.

Where the package `spaces` is not installed nothing here does anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from acvis_kit.app.clips import drawn_size, still_of
from acvis_kit.inference.predictor import Predictor
from acvis_kit.media.decoding import claimed_end, opened
from acvis_kit.media.load import load_clip

if TYPE_CHECKING:
    from acvis_kit.app.sound_settings import SoundSettings
    from acvis_kit.clip import Clip
    from acvis_kit.inference.prediction import Prediction

START, PER_SECOND = 15.0, 0.5  # seconds of the card: to begin, and for a second of the clip
LONGEST = 120.0  # what a visitor may ask for at once


def duration_of(clip: str, max_seconds: float) -> int:
    """Seconds of the card that a clip needs, from its length."""
    with opened(Path(clip)) as container:
        length = claimed_end(container, "video") or (container.duration or 0) / 1e6 or max_seconds
    return round(min(LONGEST, START + PER_SECOND * min(length, max_seconds)))


class GpuResult(NamedTuple):
    """What the lent card has made of a clip with one sound.

    Attributes:
        prediction: with its clip. source: the clip with its own sound; both clips without pixels.
        stills: a JPEG of each frame. looking, listening: seconds.
    """

    prediction: Prediction
    source: Clip
    stills: list[bytes]
    looking: float
    listening: float


def runner(predictor: Predictor, max_seconds: float) -> Callable[[str, SoundSettings], GpuResult] | None:
    """A function of a clip's path and a settings that runs on a lent card; None where there is nothing to lend.

    It runs in a process of its own: paths and plain values go in, plain values come out, and nothing is kept there.
    """
    try:
        import spaces
    except ImportError:
        return None

    def predict(clip: str, settings: SoundSettings) -> GpuResult:
        began = time.monotonic()
        loaded = load_clip(clip, max_seconds=max_seconds, too_long="trim")
        features = predictor.encode(loaded)
        looking = time.monotonic() - began
        prediction = predictor.decode(features, settings.edit(), output_size=drawn_size(loaded.size))
        blank = loaded.frames.new_zeros(1).expand(len(loaded), 3, *drawn_size(loaded.size))
        stills = [still_of(frame.permute(1, 2, 0).numpy()) for frame in loaded.frames]
        slim = replace(prediction, clip=replace(prediction.clip, frames=blank))
        return GpuResult(slim, replace(loaded, frames=blank), stills, looking, time.monotonic() - began - looking)

    return spaces.GPU(duration=lambda clip, settings: duration_of(clip, max_seconds))(predict)
