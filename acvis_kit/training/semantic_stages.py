"""The stages of AVSC (proposals, then correlation with the sound) and of RAVS (the whole network)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from torch import Tensor, nn

from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.data.semantic_clips import SemanticBatch, SemanticClips, collate_semantic
from acvis_kit.data.soundtracks import Counterfactual
from acvis_kit.data.transforms import AUGMENTATIONS
from acvis_kit.losses.avsc import AVSCCriterion
from acvis_kit.losses.ravs import RAVSCriterion
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.training.optimizer import exclude, parameter_groups
from acvis_kit.training.randomness import seed_step
from acvis_kit.training.recipe import Recipe
from acvis_kit.training.schedule import cosine_factor, lr_factor
from acvis_kit.training.stages import Reduce, Stage

WITHOUT_SOURCE = {"mute": 1.0, "foreign": 1.0}  # sounds that nothing in the picture makes, in AVSC's second stage


def semantic_stages(model: AVSC | RAVS, split: SemanticSplit, recipe: Recipe, processes: int = 1) -> list[Stage]:
    """The stages of a run, in order.

    Args:
        model: the network.
        split: the data to train on.
        recipe: see `Recipe.for_processes`.
        processes: number of processes.
    """
    if isinstance(model, RAVS):
        return [_ravs(model, split, recipe, processes)]
    stages = [_proposals(model, split, recipe, processes)] if recipe.proposal_steps else []
    if model.sound_classifier is not None:  # without sound there is nothing to correlate
        stages.append(_correlation(model, split, recipe, processes))
    return stages


def semantic_clips(
    model: AVSC | RAVS, split: SemanticSplit, recipe: Recipe, clip_frames: int, other_sounds: Counterfactual
) -> SemanticClips:
    """The stream of samples that a network takes."""
    return SemanticClips(
        split,
        model.config.class_names,
        audio_encoder=model.config.audio_encoder,
        clip_frames=clip_frames,
        size=model.config.input_size,
        augmentation=AUGMENTATIONS[recipe.augmentation],
        counterfactual_audio=other_sounds,
        seed=recipe.seed,
    )


def _proposals(model: AVSC, split: SemanticSplit, recipe: Recipe, processes: int) -> Stage:
    """Stage 1 of AVSC: potential sounding objects, of single frames."""
    clips = semantic_clips(model, split, recipe, 1, Counterfactual())
    criterion = AVSCCriterion(model.config, processes)

    def losses(network: nn.Module, batch: SemanticBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        return criterion(network(batch.frames), batch.targets, reduce=reduce)

    return Stage(
        "proposals",
        recipe.proposal_steps,
        recipe.proposal_batch,
        frames=1,
        network=model,
        sample=clips.sample,
        collate=collate_semantic,
        losses=losses,
        groups=parameter_groups(model, recipe, parts=("backbone", "proposal_head"), lr=recipe.proposal_lr),
        rates=lambda step: (cosine_factor(step, recipe.warmup, recipe.proposal_steps), 1.0),
        clip_norm=recipe.clip_norm,
        seed=partial(seed_step, recipe.seed),
        finished=f"proposals finished: {recipe.proposal_steps * recipe.proposal_batch} frames, loss {{loss:.3f}}",
        betas=recipe.betas,
        eps=recipe.eps,
        prepare=partial(_prepare, model, recipe, "proposals"),
    )


def _correlation(model: AVSC, split: SemanticSplit, recipe: Recipe, processes: int) -> Stage:
    """Stage 2 of AVSC: which of the candidates sound, with stage 1 frozen."""
    other_sounds = Counterfactual(model.config.neg_audio_prob, WITHOUT_SOURCE)
    clips = semantic_clips(model, split, recipe, recipe.clip_frames, other_sounds)
    criterion = AVSCCriterion(model.config, processes)

    def losses(network: nn.Module, batch: SemanticBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        return criterion(network(batch.frames, batch.spectrogram), batch.targets, reduce=reduce)

    assert model.sound_encoder is not None, "a network with a classifier of the sound has its encoder"
    heard = ("sound_classifier",) if model.sound_encoder.frozen else ("sound_encoder", "sound_classifier")
    return _whole("correlation", model, clips, recipe, losses, heard, "correlation")


def _ravs(model: RAVS, split: SemanticSplit, recipe: Recipe, processes: int) -> Stage:
    clips = semantic_clips(model, split, recipe, recipe.clip_frames, Counterfactual(recipe.counterfactual_audio))
    criterion = RAVSCriterion(model.config, processes)

    def losses(network: nn.Module, batch: SemanticBatch, draws: Sequence[int], reduce: Reduce) -> dict[str, Tensor]:
        output = network(batch.frames, batch.spectrogram, valid=batch.valid, token_filter=batch.sounding)
        return criterion(output, batch.targets, reduce=reduce)

    frozen = {"sound_encoder"} if model.sound_encoder.frozen else set()
    parts = [name for name, _ in model.named_children() if name not in frozen]
    return _whole("training", model, clips, recipe, losses, parts)


def _whole(
    name: str,
    model: AVSC | RAVS,
    clips: SemanticClips,
    recipe: Recipe,
    losses: Callable[..., dict[str, Tensor]],
    parts: Collection[str],
    stage: str | None = None,
) -> Stage:
    return Stage(
        name,
        recipe.steps,
        recipe.batch,
        recipe.clip_frames,
        model,
        clips.sample,
        collate_semantic,
        losses,
        groups=parameter_groups(model, recipe, parts=parts),
        rates=lambda step: (lr_factor(recipe, step), 1.0),
        clip_norm=recipe.clip_norm,
        seed=partial(seed_step, recipe.seed),
        accumulation=recipe.accumulation,
        betas=recipe.betas,
        eps=recipe.eps,
        ema=recipe.ema,
        idle_parameters=True,  # without uncertainty or groups, parts of RAVS contribute to no loss
        prepare=partial(_prepare, model, recipe, stage),
    )


def _prepare(model: AVSC | RAVS, recipe: Recipe, stage: str | None) -> None:
    """Choose what is trained: the parts of AVSC's stage, without those that the recipe freezes."""
    if isinstance(model, AVSC):
        assert stage is not None, "AVSC is trained in two stages"
        model.train_stage(stage)
    exclude(model, recipe.frozen)
