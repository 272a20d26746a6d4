"""Before the network learns to find objects, its eyes learn to name what stands at every pixel, and what shows sound.

The papers' backbones and pixel decoders come from ImageNet and COCO. Eyes that start from nothing learn slowly through
queries that do not know yet what to look for, and a step of the whole network shows them few scenes. Alone they see
many times as many, in pictures drawn from all over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from acvis_kit.data.collate import TrainingBatch, collate
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.losses.pixels import pixel_class_loss, pixel_sign_loss
from acvis_kit.losses.truth import Truth
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.lesson import Pauses, teach
from acvis_kit.training.recipe import EYES

PICTURES = 32  # per step, each of another clip


def teach_eyes(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    *,
    workers: int = 1,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    pauses: Pauses | None = None,
) -> bool:
    """Train the backbone, the pixel decoder and the pixels' heads on the pictures of `clips`.

    Args:
        model: with `pixel_classes`, and maybe `pixel_signs`; trained in place, on `device`. steps: each of 32 pictures.
        pauses: see `teach`.

    Returns:
        Whether the lesson has come to its end.

    Raises:
        ConfigError: a network that does not name pixels.
    """
    if model.pixel_class_head is None:
        raise ConfigError("picture_steps needs pixel_classes=True: set picture_steps=0, or this")
    model.to(device).train()
    config = model.config

    def loss_of(batch: TrainingBatch) -> Tensor:
        batch = batch.to(device)
        fine = model.encode(batch.frames.flatten(0, 1)).fine
        logits = model.pixel_class_head(fine).unsqueeze(1)  # (B, 1, K + 1, H / 4, W / 4)
        truth = Truth(batch.targets, len(batch), 1, config.num_classes, fine.shape[-2:], logits.device)
        total, weight = pixel_class_loss(logits, truth, config.none_weight)
        loss = total / weight
        if model.pixel_sign_head is not None:
            total, weight = pixel_sign_loss(model.pixel_sign_head(fine), truth, config.none_weight)
            loss = loss + total / weight.clamp(min=1)
        return loss

    together = partial(collate, pixel_mean=config.pixel_mean, size_divisor=config.size_divisor)
    loss = teach(
        model, EYES, clips.picture, PICTURES, steps, loss_of,
        name="eyes", collate=together, workers=workers, pauses=pauses,
    )  # fmt: skip
    if loss is None:
        return False
    say(f"the eyes have seen {steps * PICTURES / 1000:.0f} thousand pictures: loss {loss:.3f}")
    return True
