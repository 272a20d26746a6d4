"""`train_semantic`: a data set, a configuration of AVSC or RAVS and a recipe -> a folder with weights."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.errors import WeightsError, kind_of
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.config import AVSCConfig
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.config import RAVSConfig
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.models.registry import MODEL_TYPES
from acvis_kit.training.optimizer import exclude
from acvis_kit.training.parallel import Stop, make_accelerator
from acvis_kit.training.recipe import PROPOSALS, Recipe, RuntimeConfig, require_read
from acvis_kit.training.run import claim, described, remaining, stopped
from acvis_kit.training.semantic_stages import semantic_stages
from acvis_kit.training.start import about
from acvis_kit.training.trainer import LAST, Trainer
from acvis_kit.weights.encoders import load_audio_weights, load_imagenet_weights
from acvis_kit.weights.load import load_model
from acvis_kit.weights.transfer import copy_encoders

# Fields of a recipe that a system does not read.
_NOT_SEMANTIC = (
    "frame_sampling", "audio_folder", "audio_pretraining_steps", "audio_pretraining_sounds", "audio_pretraining_batch",
    "audio_pretraining_seconds", "visual_pretraining_steps", "visual_pretraining_batch", "frozen_after_pretraining",
    "frozen_fraction",
)  # fmt: skip
_UNREAD = {
    "avsc": (*_NOT_SEMANTIC, "counterfactual_audio"),  # see `neg_audio_prob` of its configuration
    "ravs": (*_NOT_SEMANTIC, *PROPOSALS),
}


def train_semantic(
    config: AVSCConfig | RAVSConfig,
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    runtime: RuntimeConfig | None = None,
    train_split: str = "train",
    subset: str | None = None,
    init_from: str | Path | None = None,
    backbone_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    overwrite: bool = False,
    stop: Stop | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train AVSC or RAVS, or resume the training, as `train` does with ACVIS. The weights are in OUT/last.

    Args:
        config: the network; its class names are replaced by those of the data, but for RAVS' binary task.
        recipe: everything that the final weights depend on, besides network and data.
        data: see `open_split`.
        out: folder of the run.
        runtime: settings that do not change the final weights. There is no evaluation during training.
        train_split: name of the split to train on.
        subset: see `open_split`.
        init_from: weights of the same system and classes to go on from, as `load_model` accepts them; or of an ACVIS,
            whose encoders are taken, see `copy_encoders`.
        backbone_weights: ImageNet's, see `load_imagenet_weights`.
        audio_weights: of BEATs, VGGish or HTSAT, see `load_audio_weights`.
        overwrite: start again where OUT holds another run.
        stop: receives the signals while training runs; None: one of its own.
        say: for messages.

    Returns:
        True if all steps are done; False if it stopped early.

    Raises:
        ConfigError: OUT holds another run.
        DataError: the data do not fit the configuration.
        WeightsError: initial weights that do not fit.
        NotFiniteError: a loss or a gradient became NaN or infinite.
    """
    began, out, runtime = time.monotonic(), Path(out), runtime or RuntimeConfig()
    accelerator = make_accelerator(recipe.precision, runtime.device)
    recipe = recipe.for_processes(accelerator.num_processes)
    if not accelerator.is_main_process:
        say = lambda _: None  # noqa: E731
    require_read(recipe, _UNREAD[config.model_type], config.model_type.upper())
    split = open_split(data, train_split, subset)
    config = with_classes_of(config, split)
    split.check_files()  # before a model is built
    weights = {"init_from": init_from, "backbone_weights": backbone_weights, "audio_weights": audio_weights}
    model = _initial(config, recipe.seed, **weights, say=say)
    exclude(model, recipe.frozen)  # an unknown part is an error before the first step
    stages = semantic_stages(model, split, recipe, accelerator.num_processes)
    if accelerator.is_main_process:
        claim(out, about(config, recipe.to_dict(), split, weights), overwrite, type(config))
    accelerator.wait_for_everyone()
    say(described(model, len(config.class_names), len(split), recipe, accelerator))
    trainer = Trainer(model, stages, out, accelerator, remaining(runtime, began), say=say)
    finished = trainer.run(stop)
    if finished:
        say(f"done: weights in {out / LAST}")
    else:
        say(stopped(trainer, overwrite))
    return finished


def with_classes_of(config: AVSCConfig | RAVSConfig, split: SemanticSplit) -> AVSCConfig | RAVSConfig:
    """The configuration with the classes of the data; RAVS' binary task keeps its single class."""
    if isinstance(config, RAVSConfig) and config.task == "binary":
        return config
    return replace(config, class_names=split.class_names)


def _initial(
    config: AVSCConfig | RAVSConfig,
    seed: int,
    init_from: str | Path | None,
    backbone_weights: str | Path | None,
    audio_weights: str | Path | None,
    say: Callable[[str], None],
) -> AVSC | RAVS:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cast(AVSC | RAVS, MODEL_TYPES[config.model_type].model(config))
    sound = model.sound_encoder
    if init_from is not None:
        _copy(load_model(init_from), model, init_from, say)
    if backbone_weights is not None:
        load_imagenet_weights(cast(nn.Module, model.backbone), backbone_weights)
        say(f"backbone from {backbone_weights}")
    if audio_weights is not None:
        if sound is None:
            raise WeightsError(f"audio_weights={audio_weights}: with audio_use=False there is no audio encoder")
        say(f"{load_audio_weights(sound, audio_weights)} from {audio_weights}")
    elif init_from is None and sound is not None and sound.network is not None and sound.frozen:
        say(f"{sound.name} has random weights and stays untrained: pass --audio-weights, or set audio_frozen=false")
    return model


def _copy(given: nn.Module, model: AVSC | RAVS, source: str | Path, say: Callable[[str], None]) -> None:
    if isinstance(given, ACVIS):
        say(copy_encoders(given, model))
        return
    if type(given) is not type(model) or given.config.class_names != model.config.class_names:
        raise WeightsError(
            f"{source} holds {kind_of(given)} for {len(given.config.class_names)} classes: going on "  # type: ignore[union-attr,arg-type]
            f"needs {kind_of(model)} for the {len(model.config.class_names)} classes of the data, or an ACVIS "
            "for its encoders"
        )
    try:
        model.load_state_dict(given.state_dict())
    except RuntimeError as error:
        raise WeightsError(f"{source} is of another configuration: {str(error)[:300]}") from error
