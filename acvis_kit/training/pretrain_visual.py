"""Visual pretraining: backbone and pixel decoder alone are trained to classify every pixel.

The papers' backbones and pixel decoders were pretrained on ImageNet and COCO. With random weights they train slowly
through queries that are random too, and a step of the whole network contains few scenes. Alone they process many times
as many frames, drawn from all clips.
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
from acvis_kit.training.recipe import VISUAL_PARTS
from acvis_kit.training.stage import CheckpointPolicy, run_stage

PICTURES = 32  # frames per step, each of another clip


def pretrain_visual(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    *,
    workers: int = 1,
    device: torch.device | str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    policy: CheckpointPolicy | None = None,
) -> bool:
    """Train the backbone, the pixel decoder and the heads on pixels with the frames of `clips`.

    Args:
        model: with `pixel_classes`, and with `pixel_signs` for cue labels; trained in place, on `device`.
        clips: with targets="visible".
        steps: optimizer steps, each of 32 frames.
        workers: processes that prepare samples.
        device: that the model is moved to.
        say: for messages.
        policy: see `run_stage`.

    Returns:
        Whether all steps are done.

    Raises:
        ConfigError: a network without a head for pixel classes.
    """
    class_head, cue_head = model.pixel_class_head, model.pixel_sign_head
    if class_head is None:
        raise ConfigError("visual_pretraining_steps needs pixel_classes=True: set it, or visual_pretraining_steps=0")
    model.to(device).train()
    config = model.config

    def loss_of(batch: TrainingBatch) -> Tensor:
        batch = batch.to(device)
        fine = model.encode(batch.frames.flatten(0, 1)).fine
        logits = class_head(fine).unsqueeze(1)  # (B, 1, K + 1, H / 4, W / 4)
        height, width = fine.shape[-2:]
        truth = Truth(batch.targets, len(batch), 1, config.num_classes, (height, width), logits.device)
        total, weight = pixel_class_loss(logits, truth, config.none_weight)
        loss = total / weight
        if cue_head is not None:
            total, weight = pixel_sign_loss(cue_head(fine), truth, config.none_weight)
            loss = loss + total / weight.clamp(min=1)
        return loss

    collate_frames = partial(collate, pixel_mean=config.pixel_mean, size_divisor=config.size_divisor)
    loss = run_stage(
        model, VISUAL_PARTS, clips.picture, PICTURES, steps, loss_of,
        name="visual pretraining", collate=collate_frames, workers=workers, policy=policy,
    )  # fmt: skip
    if loss is None:
        return False
    say(f"visual pretraining finished: {steps * PICTURES} frames, loss {loss:.3f}")
    return True
