"""Audio pretraining: the audio encoder alone is trained to classify what can be heard in each second.

The papers' VGGish was pretrained on millions of videos. An encoder with random weights learns slowly within the whole
network: a step contains half a minute of sound, and the gradients through the queries drown those of the class labels.
Alone it processes hours of sound in minutes.
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
from acvis_kit.training.recipe import AUDIO_PARTS
from acvis_kit.training.stage import CheckpointPolicy, run_stage

CLIPS, SECONDS = 4, 8  # per step: so many clips, so many seconds of each


def pretrain_audio(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    *,
    workers: int = 1,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    policy: CheckpointPolicy | None = None,
) -> bool:
    """Train the audio encoder and its class head on the sounds of `clips`: binary cross-entropy per second and class.

    Args:
        model: with `audio_classes`; trained in place, on `device`.
        clips: with audio labels.
        steps: of the optimizer, each of 32 seconds of sound.
        policy: see `run_stage`.

    Returns:
        Whether all steps are done.

    Raises:
        ConfigError: a network without a head for sound classes. DataError: data without audio labels.
    """
    if model.audio_encoder is None or model.audio_class_head is None:
        raise ConfigError(
            "audio_pretraining_steps needs audio_classes=True and an audio encoder: set both, or set it to 0"
        )
    model.to(device).train()

    def loss_of(given: tuple[Tensor, Tensor]) -> Tensor:
        log_mel, heard = given  # (CLIPS, SECONDS, ...)
        logits = model.hear(log_mel.to(device)).class_logits
        return F.binary_cross_entropy_with_logits(logits, heard.to(logits))

    sample = partial(clips.sound, count=SECONDS)
    loss = run_stage(
        model, AUDIO_PARTS, sample, CLIPS, steps, loss_of, name="audio pretraining", workers=workers, policy=policy
    )
    if loss is None:
        return False
    say(f"audio pretraining finished: {steps * CLIPS * SECONDS / 3600:.1f} h of audio, loss {loss:.3f}")
    return True
