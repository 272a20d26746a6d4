"""The stages of a run: audio pretraining, visual pretraining, and the training of the whole network.

A `Stage` says which parameters are trained, on which samples, by which loss and with which rates. `Trainer` runs it.

The papers' encoders were pretrained on millions of videos, on ImageNet and on COCO. Parts with random weights train
slowly within the whole network: a step contains half a minute of sound and few scenes, and the gradients come through
queries that are random too. Alone, the audio encoder processes hours of sound in minutes, and the visual parts many
times as many frames, drawn from all clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acvis_kit.clip import moved
from acvis_kit.data.collate import SoundBatch, TrainingBatch, collate, collate_sounds
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.losses.criterion import Criterion, LossSum, per_term
from acvis_kit.losses.pixels import auxiliary_loss, pixel_class_loss
from acvis_kit.losses.truth import Truth
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.optimizer import exclude, parameter_groups
from acvis_kit.training.randomness import point_generators, seed_step
from acvis_kit.training.recipe import AUDIO_PARTS, VISUAL_PARTS, Recipe
from acvis_kit.training.schedule import lr_factor, pretrained_factor
from acvis_kit.training.teacher import Teacher

# Pretraining: AdamW; a warm-up times a cosine to 0.
LR, WEIGHT_DECAY, WARMUP, CLIP_NORM = 1.5e-3, 0.02, 50, 2.0
HARDLY = 0.05  # added to the deviation of a teacher's values, which lie in [0, 6]

Reduce = Callable[[Tensor], Tensor]  # sums a tensor over all processes


@dataclass(frozen=True)
class Stage:
    """A part of a run: which parameters are trained, on which samples, by which loss, and how.

    Attributes:
        name: in messages and the log.
        steps: optimizer steps.
        batch: samples per step, over all processes.
        frames: frames (or seconds of sound) in a sample.
        network: its parameters that require gradients are trained; what the losses call, alone or distributed.
        sample: the numbered stream of samples; numbers 0 to batch * steps - 1 are used.
        collate: makes a batch of a list of samples.
        losses: of (network, batch, draw numbers, reduce), differentiable scalars by name; their sum is minimised.
        groups: AdamW's parameter groups with "base_lr" and "pretrained", see `optimizer.set_rates`.
        rates: of a step, the factor on all learning rates, and a further one on those of pretrained groups.
        clip_norm: maximum norm of the gradient.
        seed: seeds the global random generators; called with (step, process) before each step.
        finished: the message at the end, a template for "loss"; None: no message.
        accumulation: parts of a step.
        betas: of AdamW.
        eps: of AdamW.
        ema: decay of the running average of the weights; 0: none.
        idle_parameters: whether some parameters contribute to no loss.
        prepare: called before the first step, for example to freeze parts; None: nothing to do.
    """

    name: str
    steps: int
    batch: int
    frames: int
    network: nn.Module
    sample: Callable[[int], Any]
    collate: Callable[[list[Any]], Any]
    losses: Callable[[nn.Module, Any, Sequence[int], Reduce], dict[str, Tensor]]
    groups: list[dict[str, Any]]
    rates: Callable[[int], tuple[float, float]]
    clip_norm: float
    seed: Callable[[int, int], None]
    finished: str | None = None
    accumulation: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    ema: float = 0.0
    idle_parameters: bool = False
    prepare: Callable[[], None] | None = None


def audio_pretraining(
    model: ACVIS,
    clips: TrainingClips,
    steps: int,
    batch: int = Recipe.audio_pretraining_batch,
    sounds: str = Recipe.audio_pretraining_sounds,
    seconds: int = Recipe.audio_pretraining_seconds,
    teacher: Teacher | None = None,
) -> Stage:
    """The audio encoder alone, trained to classify the sounds of each second: binary cross-entropy per class.

    With a teacher its vector also learns to predict the teacher's embedding, standardised within the batch: the mean
    squared error. So it learns from few recordings what the teacher has learned from many.

    Args:
        model: with `audio_classes`.
        clips: with audio labels; DataError without when the first sample is drawn.
        steps: optimizer steps.
        batch: clips per step.
        sounds: see `TrainingClips.sound`.
        seconds: of each clip.
        teacher: see `training.teacher`; the network has a head of `audio_teacher_dim` outputs for it.

    Raises:
        ConfigError: a network without a head for sound classes, or without one for the teacher.
    """
    if model.audio_encoder is None or model.audio_class_head is None:
        raise ConfigError(
            "audio_pretraining_steps needs audio_classes=True and an audio encoder: set both, or set it to 0"
        )

    head = model.audio_teacher_head
    if teacher is not None and (head is None or head.out_features != teacher.dim):
        raise ConfigError(
            f"the teacher's embeddings have {teacher.dim} values: set audio_teacher_dim={teacher.dim}, or leave the "
            "teacher out"
        )
    weight = model.config.audio_teacher_weight

    def losses(network: nn.Module, sound: SoundBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        # (B, T, K) and (B, T, E); processes have equally many, so their means average to the whole
        logits, embedding = network(sound.log_mel)
        found = {"audio_class": F.binary_cross_entropy_with_logits(logits, sound.audio_labels.to(logits))}
        if sound.teacher is not None:
            found["audio_teacher"] = weight * F.mse_loss(embedding, _standardised(sound.teacher.to(embedding)))
        return found

    def classify(log_mel: Tensor) -> tuple[Tensor, Tensor | None]:
        features = model.hear(log_mel)
        assert features is not None and features.class_logits is not None, "the model has an audio class head"
        return features.class_logits, head(features.clip) if teacher is not None and head is not None else None

    hours = steps * batch * seconds / 3600
    return _pretraining(
        "audio pretraining", model, AUDIO_PARTS, classify, steps, batch,
        frames=seconds,
        sample=partial(clips.sound, count=seconds, mixed=sounds == "mixed", teacher=teacher),
        collate=collate_sounds,
        losses=losses,
        finished=f"audio pretraining finished: {hours:.1f} h of audio, loss {{loss:.3f}}",
    )  # fmt: skip


def visual_pretraining(
    model: ACVIS, clips: TrainingClips, steps: int, batch: int = Recipe.visual_pretraining_batch, processes: int = 1
) -> Stage:
    """The backbone, the pixel decoder and the heads on pixels alone, trained on single frames of all clips.

    With `class_head="backbone"` the classifier of masks learns too, from the annotated masks.

    Args:
        model: with `pixel_classes`; its `auxiliary_targets` are trained too.
        clips: with targets="visible".
        steps: optimizer steps.
        batch: frames per step.
        processes: number of processes.

    Raises:
        ConfigError: a network without a head for pixel classes.
    """
    class_head, config = model.pixel_class_head, model.config
    if class_head is None:
        raise ConfigError("visual_pretraining_steps needs pixel_classes=True: set it, or visual_pretraining_steps=0")

    def classify(frames: Tensor, masks: Tensor, clips: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        pixels = model.encode(frames.flatten(0, 1))
        fine = pixels.fine  # (B, C, H / 4, W / 4), as T is 1
        auxiliary = {name: head(fine) for name, head in model.auxiliary_heads.items()}
        return class_head(fine).unsqueeze(1), auxiliary, model.name_masks(masks, pixels, clips)

    def losses(network: nn.Module, batch: TrainingBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        height, width = batch.targets[0].masks.shape[-2:]
        truth = Truth(batch.targets, len(batch), 1, config.num_classes, (height // 4, width // 4), batch.frames.device)
        clips = moved(truth.clips, batch.frames.device)
        # (B, 1, K + 1, h, w), (B, 1, h, w) by name, and (G, K + 1)
        classes, auxiliary, names = network(batch.frames, truth.masks, clips)
        sums: dict[str, LossSum] = {"pixel_class": pixel_class_loss(classes, truth, config.none_weight)}
        if names is not None:
            sums["mask_class"] = (F.nll_loss(names, truth.labels, reduction="sum"), len(names))
        for name, logits in auxiliary.items():
            sums[f"auxiliary/{name}"] = auxiliary_loss(name, logits, truth, config.none_weight)
        return per_term(sums, reduce, processes)

    return _pretraining(
        "visual pretraining", model, VISUAL_PARTS, classify, steps, batch,
        frames=1,
        sample=clips.picture,
        collate=partial(collate, pixel_mean=config.pixel_mean, size_divisor=config.size_divisor),
        losses=losses,
        finished=f"visual pretraining finished: {steps * batch} frames, loss {{loss:.3f}}",
    )  # fmt: skip


def whole_network(model: ACVIS, clips: TrainingClips, recipe: Recipe, processes: int = 1) -> Stage:
    """The whole network, with all losses.

    Args:
        model: the network.
        clips: the stream of samples.
        recipe: see `Recipe.for_processes`.
        processes: number of processes.
    """
    config, criterion = model.config, Criterion(model.config, processes)

    def losses(network: nn.Module, batch: TrainingBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        output = network(batch.frames, batch.log_mel, batch.audio_features)
        points = point_generators(recipe.seed, draws, output.frame_class_logits.device)
        return criterion(output, batch.targets, generators=points, reduce=reduce)

    only_patches = config.uses_audio_in_frames and config.audio_tokens == "patch"
    return Stage(
        "training",
        recipe.steps,
        recipe.batch,
        recipe.clip_frames,
        model,
        clips.sample,
        partial(collate, pixel_mean=config.pixel_mean, size_divisor=config.size_divisor),
        losses,
        groups=parameter_groups(model, recipe),
        rates=lambda step: (lr_factor(recipe, step), pretrained_factor(recipe, step)),
        clip_norm=recipe.clip_norm,
        seed=partial(seed_step, recipe.seed),
        accumulation=recipe.accumulation,
        betas=recipe.betas,
        eps=recipe.eps,
        ema=recipe.ema,
        # Where the network reads only the audio patch tokens, not the vector per frame of the audio encoder, or only
        # precomputed features.
        idle_parameters=(only_patches and not config.video_fusion and not config.audio_classes)
        or (recipe.audio_folder is not None and model.audio_encoder is not None)
        or (model.audio_teacher_head is not None and "audio_teacher_head" not in recipe.frozen_after_pretraining),
        prepare=partial(exclude, model, recipe.frozen_after_pretraining),
    )


def stages_of(
    model: ACVIS, clips: TrainingClips, recipe: Recipe, processes: int = 1, teacher: Teacher | None = None
) -> list[Stage]:
    """The stages of a run, in order.

    Args:
        model: the network.
        clips: the stream of samples.
        recipe: see `Recipe.for_processes`.
        processes: number of processes.
        teacher: of audio pretraining.

    Raises:
        ConfigError: a pretraining stage for a network without its head; a teacher without audio pretraining.
    """
    if teacher is not None and not recipe.audio_pretraining_steps:
        raise ConfigError("the teacher of the audio encoder is used in audio pretraining: set its steps above 0")
    stages = []
    if recipe.audio_pretraining_steps:
        stages += [
            audio_pretraining(
                model,
                clips,
                recipe.audio_pretraining_steps,
                recipe.audio_pretraining_batch,
                recipe.audio_pretraining_sounds,
                recipe.audio_pretraining_seconds,
                teacher,
            )
        ]
    if steps := recipe.visual_pretraining_steps:
        stages += [visual_pretraining(model, clips, steps, recipe.visual_pretraining_batch, processes)]
    return [*stages, whole_network(model, clips, recipe, processes)]


class _Parts(nn.Module):
    """Some parts of a network, and the function that is trained with them."""

    def __init__(self, model: ACVIS, parts: Iterable[str], function: Callable[..., Any]) -> None:
        super().__init__()
        for part in parts:
            self.add_module(part, getattr(model, part))
        self._function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self._function(*inputs)


def _pretraining(
    name: str,
    model: ACVIS,
    parts: Sequence[str],
    function: Callable[..., Any],
    steps: int,
    batch: int,
    **rest: Any,
) -> Stage:
    """A stage that trains some parts of the network by `function` with the optimizer of all pretraining stages."""
    network = _Parts(model, parts, function)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError(f"{name}: all of its parts are frozen, set its steps to 0 or freeze fewer parts")
    return Stage(
        name,
        steps,
        batch,
        network=network,
        groups=[{"params": trained, "base_lr": LR, "weight_decay": WEIGHT_DECAY, "pretrained": False}],
        rates=lambda step: (_rate(step, steps), 1.0),
        clip_norm=CLIP_NORM,
        seed=_seed,
        **rest,
    )


def _standardised(embeddings: Tensor) -> Tensor:
    """Mean 0 and deviation 1 of each of E values over a batch, (B, T, E); values that hardly vary stay near 0."""
    flat = embeddings.flatten(0, -2)
    return (embeddings - flat.mean(0)) / (flat.std(0) + HARDLY)


def _rate(step: int, steps: int) -> float:
    """Factor on LR in step `step`, counted from 0: linear warm-up, cosine to 0."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


def _seed(step: int, process: int) -> None:
    """Seed torch's global generator, which stochastic depth uses."""
    torch.manual_seed(step + (process << 32))
