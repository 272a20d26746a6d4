"""Runs of an ablation, and what they start from: data, pretrained audio encoder and visual weights."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from acvis_kit.ablation.tables import (
    ABLATION_BASE,
    ABLATION_RECIPE,
    AUDIO_PRETRAINING_STEPS,
    EVAL_CLIPS,
    Row,
    setting,
    short_hash,
)
from acvis_kit.config import ACVISConfig
from acvis_kit.data.aviseg import FEATURES, AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import AUGMENTATIONS
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.files import write_tensors
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.parallel import make_accelerator
from acvis_kit.training.recipe import Recipe, RuntimeConfig
from acvis_kit.training.stages import audio_pretraining
from acvis_kit.training.start import class_names_of, initial_model
from acvis_kit.training.trainer import Trainer
from acvis_kit.weights.download import sha256_of
from acvis_kit.weights.fit import load_exactly
from acvis_kit.weights.load import identity_of, load_model, read_safetensors
from acvis_kit.weights.transfer import copy_weights

AUDIO_WEIGHTS = "audio"  # folder of the pretrained audio encoders
PARTS_WITHOUT_AUDIO = ("backbone", "pixel_decoder")  # taken from the visual weights, and frozen


@dataclass(frozen=True)
class Plan:
    """What all runs of one command have in common.

    Attributes:
        data: folder of AVIS-Synth by kind, "usual" and "dense"; rows of a missing kind are not run.
        work: folder of the runs.
        device: "cpu" or "cuda"; None: a GPU if there is one.
        base: the network that rows change.
        recipe: of every run.
        audio_pretraining_steps: of the audio encoder, before the training; 0: none.
        eval_clips: clips of val that are evaluated.
        visual_weights: weights of the kit that all rows start from, as the papers start from a segmenter trained on
            COCO without sound. Of a network with audio input only backbone and pixel decoder are taken, because its
            other parts were trained with sound. These two then stay frozen: rows differ in their use of audio. None:
            random weights.
        workers: processes that prepare samples, per run.
        threads: of torch, per run; None: unchanged.

    Raises:
        ConfigError: a value outside its range.
        WeightsError: there are no such visual weights.
    """

    data: dict[str, Path]
    work: Path
    device: str | None = None
    base: ACVISConfig = ABLATION_BASE
    recipe: Recipe = ABLATION_RECIPE
    audio_pretraining_steps: int = AUDIO_PRETRAINING_STEPS
    eval_clips: int = EVAL_CLIPS
    visual_weights: str | Path | None = None
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.eval_clips < 1:
            raise ConfigError(f"eval_clips={self.eval_clips} must be at least 1: runs are compared on these clips")
        if self.audio_pretraining_steps < 0:
            raise ConfigError(
                f"audio_pretraining_steps={self.audio_pretraining_steps} must not be negative; 0 leaves the stage out"
            )
        if self.visual_weights is not None:
            _identity(self.visual_weights)  # weights that are not there are an error before the first run

    @property
    def setting(self) -> dict[str, Any]:
        """See `tables.setting`."""
        visual = None if self.visual_weights is None else _identity(self.visual_weights)
        return setting(self.base, self.recipe, self.audio_pretraining_steps, self.eval_clips, visual)


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    plan: Plan
    row: Row
    seed: int
    anew: bool = False  # whether to ignore what an earlier call left in its folder

    @property
    def key(self) -> str:
        """Hash of everything that the numbers depend on, except the seed."""
        return short_hash(
            [
                self.plan.setting,
                self.row.id(self.plan.base, self.plan.recipe),
                data_print(self.plan.data[self.row.data]),
            ]
        )

    @property
    def recipe(self) -> Recipe:
        """The recipe of the plan, with this seed; visual weights, if given, stay frozen."""
        given = self.row.recipe(self.plan.recipe)
        frozen = given.frozen
        if self.plan.visual_weights is not None:
            frozen = tuple(dict.fromkeys((*frozen, *PARTS_WITHOUT_AUDIO)))
        return replace(given, seed=self.seed, frozen=frozen)

    @property
    def folder(self) -> Path:
        return self.plan.work / f"{self.key}-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.row.name} ({self.row.data} counts), seed {self.seed}"


def audio_weights_file(run: Run) -> Path | None:
    """The file of a run's pretrained audio encoder; None if it has no encoder, or one with random weights."""
    config = run.row.config(run.plan.base)
    if not run.plan.audio_pretraining_steps or not config.uses_audio or config.audio_encoder == "precomputed":
        return None
    what = [config.audio_encoder, config.audio_features, config.audio_dim, run.plan.audio_pretraining_steps]
    what += [run.plan.recipe.augmentation, data_print(run.plan.data[run.row.data])]
    return run.plan.work / AUDIO_WEIGHTS / f"{short_hash(what)}-{run.seed}.safetensors"


def make_audio_weights(run: Run, deadline: float | None = None) -> None:
    """Pretrain the audio encoder of a run and write `audio_weights_file(run)`, unless the file exists."""
    file, plan = audio_weights_file(run), run.plan
    if file is None or file.is_file() or (deadline is not None and time.time() > deadline):
        return
    split = AVISegSplit(plan.data[run.row.data], "train")
    names = class_names_of(split)
    config = run.row.config(plan.base)
    small = replace(  # a network around this encoder
        plan.base, audio_encoder=config.audio_encoder, audio_features=config.audio_features, audio_dim=config.audio_dim,
        audio_classes=True, class_names=names,
    )  # fmt: skip
    model = initial_model(small, run.seed)
    clips = TrainingClips(split, names, augmentation=AUGMENTATIONS[plan.recipe.augmentation], seed=run.seed)
    folder = file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    minutes = None if deadline is None else max((deadline - time.time()) / 60, 1e-9)
    accelerator = make_accelerator(device="cpu" if torch_device(plan.device) == "cpu" else None)
    stage = audio_pretraining(model, clips, plan.audio_pretraining_steps)
    runtime = RuntimeConfig(workers=plan.workers, max_minutes=minutes)
    if not Trainer(model, [stage], folder, accelerator, runtime).run():
        return  # the next call resumes it
    assert model.audio_encoder is not None, "runs with a file have an audio encoder"
    write_tensors(file, model.audio_encoder.state_dict())
    shutil.rmtree(folder)


def start_of(run: Run, names: tuple[str, ...]) -> ACVIS:
    """The network before its first step: random, except for its audio encoder and the plan's visual weights, if any.

    Args:
        run: see `Run`.
        names: of the classes.

    Raises:
        WeightsError: the visual weights have other sizes.
    """
    model = initial_model(replace(run.row.config(run.plan.base), class_names=names), run.seed)
    file = audio_weights_file(run)
    if file is not None:
        make_audio_weights(run)
        assert model.audio_encoder is not None, "runs with a file have an audio encoder"
        load_exactly(model.audio_encoder, read_safetensors(file)[0])
    _take_visual_weights(run.plan, model)
    return model


def _take_visual_weights(plan: Plan, model: ACVIS) -> None:
    if plan.visual_weights is not None:
        given = load_model(plan.visual_weights)
        copy_weights(given, model, only=PARTS_WITHOUT_AUDIO if given.config.uses_audio else None)


def check_start(plan: Plan, rows: Iterable[Row]) -> None:
    """See that the data of rows are there, and that the visual weights fit the base network, before hours of work.

    Args:
        plan: see `Plan`.
        rows: that can be run, see `impossible`.

    Raises:
        DataError: a file of the data is missing.
        WeightsError: the visual weights cannot be read, or have other sizes than the base network. That a row changes
            these sizes is found when its run starts.
    """
    names: tuple[str, ...] = ()
    for folder in dict.fromkeys(plan.data[row.data] for row in rows):
        data_print(folder)
        for name in ("train", "val"):
            split = AVISegSplit(folder, name)
            split.check_files()
            names = class_names_of(split)
    if names and plan.visual_weights is not None:
        _take_visual_weights(plan, initial_model(replace(plan.base, class_names=names)))


@cache
def _identity(weights: str | Path) -> str:
    """The beginning of the identity of weights, which are opened once."""
    return identity_of(weights)[:12]


def data_print(folder: Path) -> str:
    """A hash of a data set's annotations and scenes, from which all of it was made.

    Raises:
        DataError: a file is missing.
    """
    names = ("train.json", "train_scenes.json", "val.json", "val_scenes.json")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(
            f"{folder / missing[0]} does not exist: make the data with acvis synth {folder} --split train:1500 "
            f"--split val:{EVAL_CLIPS} --size {ABLATION_BASE.short_side} --seconds 10 30"
        )
    return short_hash([_file_hash(folder / name, (folder / name).stat().st_mtime_ns) for name in names])


def impossible(plan: Plan, row: Row) -> str | None:
    """Why a row cannot be run with this plan, in words; None if it can."""
    folder = plan.data.get(row.data)
    if folder is None:
        return f"no data with {row.data} counts were given"
    if row.config(plan.base).audio_encoder == "precomputed" and not (folder / "train" / FEATURES).is_dir():
        return f"{folder}/train/{FEATURES} does not exist"
    if plan.visual_weights is not None and row.config(plan.base).backbone != plan.base.backbone:
        return "the visual weights have another backbone: compare backbones without --visual-weights, in more steps"
    return None


@cache
def _file_hash(file: Path, changed: int) -> str:
    """`sha256_of`, computed once per time of change."""
    return sha256_of(file)


def torch_device(device: str | None) -> str:
    """The device itself, or for None a GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
