"""Before the network learns to see, its ears learn to name what they hear.

VGGish comes to the papers' networks trained on millions of videos. An encoder that starts from nothing learns slowly
inside the whole network: a step shows it half a minute of sound, and what it is told through the queries drowns what it
is told by name. Alone it hears hours in minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.lesson import Pauses, teach
from acvis_kit.training.recipe import EARS

CLIPS, SECONDS = 4, 8  # per step: so many clips, so many seconds of each


def teach_ears(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    *,
    workers: int = 1,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    pauses: Pauses | None = None,
) -> bool:
    """Train the audio encoder and its class head on the sounds of `clips`, as the multi-label problem that it is.

    Args:
        model: with `audio_classes`; trained in place, on `device`. steps: each of 32 seconds of sound.
        pauses: see `teach`.

    Returns:
        Whether the lesson has come to its end.

    Raises:
        ConfigError: a network that does not name classes, or data that do not say what is heard.
    """
    if model.audio_encoder is None or model.audio_class_head is None:
        raise ConfigError("audio_steps needs audio_classes=True and an audio encoder: set audio_steps=0, or these two")
    model.to(device).train()

    def loss_of(given: tuple[Tensor, Tensor]) -> Tensor:
        log_mel, heard = given  # (CLIPS, SECONDS, ...)
        logits = model.hear(log_mel.to(device)).class_logits
        return F.binary_cross_entropy_with_logits(logits, heard.to(logits))

    sample = partial(clips.sound, count=SECONDS)
    loss = teach(model, EARS, sample, CLIPS, steps, loss_of, name="ears", workers=workers, pauses=pauses)
    if loss is None:
        return False
    say(f"the ears have heard {steps * CLIPS * SECONDS / 3600:.1f} h: loss {loss:.3f}")
    return True
