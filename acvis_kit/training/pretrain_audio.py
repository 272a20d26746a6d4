"""Audio pretraining: the audio encoder alone is trained to classify the sounds of each second.

The papers' VGGish was pretrained on millions of videos. An encoder with random weights trains slowly within the whole
network: a step contains half a minute of sound, and the gradients of the class labels are small beside those through
the queries. Alone it processes hours of sound in minutes.
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

CLIPS, SECONDS = 4, 8  # per step: clips, and seconds of each


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
        steps: optimizer steps, each of 32 seconds of sound.
        workers: processes that prepare samples.
        device: that the model is moved to.
        say: for messages.
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

    def loss_of(batch: tuple[Tensor, Tensor]) -> Tensor:
        log_mel, labels = batch  # (CLIPS, SECONDS, 96, 64), bool (CLIPS, SECONDS, K)
        features = model.hear(log_mel.to(device))
        assert features is not None and features.class_logits is not None, "the model has an audio class head"
        return F.binary_cross_entropy_with_logits(features.class_logits, labels.to(features.class_logits))

    sample = partial(clips.sound, count=SECONDS)
    loss = run_stage(
        model, AUDIO_PARTS, sample, CLIPS, steps, loss_of, name="audio pretraining", workers=workers, policy=policy
    )
    if loss is None:
        return False
    say(f"audio pretraining finished: {steps * CLIPS * SECONDS / 3600:.1f} h of audio, loss {loss:.3f}")
    return True
