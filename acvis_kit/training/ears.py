"""Before the network learns to see, its ears learn to name what they hear.

VGGish comes to the papers' networks trained on millions of videos. An encoder that starts from nothing learns slowly
inside the whole network: a step shows it half a minute of sound, and what it is told through the queries drowns what it
is told by name. Alone it hears hours in minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis import ACVIS
from acvis_kit.training.processes import quiet_worker

CLIPS, SECONDS = 4, 8  # per step: so many clips, so many seconds of each
LR, WEIGHT_DECAY, WARMUP = 1.5e-3, 0.02, 50


class Sounds(Dataset):
    """Sound alone: item `draw` is (log_mel (n, 96, 64), heard (n, K)) of n seconds of one clip."""

    def __init__(self, clips: TrainingClips) -> None:
        self._clips = clips

    def __getitem__(self, draw: int) -> tuple[Tensor, Tensor]:
        return self._clips.sound(draw, SECONDS)


def teach_ears(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    *,
    workers: int = 1,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
) -> None:
    """Train the audio encoder and its class head on the sounds of `clips`, as the multi-label problem that it is.

    The result is a function of the weights and the stream of sounds: a run that is killed here begins here again, and
    comes to the same.

    Args:
        model: with `audio_classes`; trained in place, on `device`. steps: each of 32 seconds of sound.

    Raises:
        ConfigError: a network that does not name classes, or data that do not say what is heard.
    """
    if model.audio_encoder is None or model.audio_class_head is None:
        raise ConfigError("audio_steps needs audio_classes=True and an audio encoder: set audio_steps=0, or these two")
    model.to(device).train()
    parameters = [*model.audio_encoder.parameters(), *model.audio_class_head.parameters()]
    optimizer = torch.optim.AdamW(parameters, LR, weight_decay=WEIGHT_DECAY)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps=steps))
    loader = DataLoader(
        Sounds(clips),
        batch_sampler=[range(step * CLIPS, (step + 1) * CLIPS) for step in range(steps)],
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=quiet_worker,
    )
    average = math.nan
    with tqdm(loader, desc="ears", unit="step") as bar:
        for log_mel, heard in bar:  # (CLIPS, SECONDS, ...)
            logits = model.hear(log_mel.to(device)).class_logits
            loss = F.binary_cross_entropy_with_logits(logits, heard.to(logits))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
            value = float(loss.detach())
            average = value if math.isnan(average) else average + 0.02 * (value - average)
            bar.set_postfix_str(f"loss {average:.3f}")
    optimizer.zero_grad()
    say(f"the ears have heard {steps * CLIPS * SECONDS / 3600:.1f} h: loss {average:.3f}")


def _rate(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
