"""What a run of an ablation is and begins with: its data, its ears, its eyes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from acvis_kit.ablation.tables import ABLATION_BASE, ABLATION_RECIPE, EARS_STEPS, EVAL_CLIPS, Row, setting, short_hash
from acvis_kit.config import ACVISConfig
from acvis_kit.data.aviseg import FEATURES, AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import AUGMENTATIONS
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.ears import teach_ears
from acvis_kit.training.recipe import Recipe
from acvis_kit.training.start import class_names_of, copy_weights, fingerprint, initial_model
from acvis_kit.weights.load import WEIGHTS_FILE, load_model

EARS = "ears"
EYES = ("backbone", "pixel_decoder")  # what sees, and never hears


@dataclass(frozen=True)
class Plan:
    """What all runs of one command have in common.

    Attributes:
        data: folder of AVIS-Synth by kind, "usual" and "dense"; a kind that is not there is not run.
        work: folder of the runs. device: "cpu", "cuda", or None: what there is.
        base, recipe, ears_steps, eval_clips: the setting, see `ablation`.
        eyes: weights of the kit that all rows begin with; the papers begin with a segmenter of COCO's silent pictures.
            Of weights that hear only backbone and pixel decoder are taken, because what comes after them knows the
            sound already. These two then stay as they are: rows differ in how they listen. None: from nothing.
        workers: processes that prepare samples, per run. threads: of torch, per run; None: as it is.
    """

    data: dict[str, Path]
    work: Path
    device: str | None = None
    base: ACVISConfig = ABLATION_BASE
    recipe: Recipe = ABLATION_RECIPE
    ears_steps: int = EARS_STEPS
    eval_clips: int = EVAL_CLIPS
    eyes: Path | None = None
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.eval_clips < 1:
            raise ConfigError(f"eval_clips={self.eval_clips} must be at least 1: runs are compared on them")
        if self.ears_steps < 0:
            raise ConfigError(f"ears_steps={self.ears_steps} must not be negative; 0 leaves the ears to the training")

    @property
    def setting(self) -> dict[str, Any]:
        eyes = None
        if self.eyes is not None:
            file = self.eyes / WEIGHTS_FILE if self.eyes.is_dir() else self.eyes
            eyes = fingerprint(file)[:12]
        return setting(self.base, self.recipe, self.ears_steps, self.eval_clips, eyes)


@dataclass(frozen=True)
class Run:
    """One row with one seed."""

    plan: Plan
    row: Row
    seed: int
    anew: bool = False  # forget what an earlier call left in its folder

    @property
    def key(self) -> str:
        """Of everything that the numbers depend on but the seed."""
        return short_hash([self.plan.setting, self.row.id(self.plan.base), data_print(self.plan.data[self.row.data])])

    @property
    def recipe(self) -> Recipe:
        """That of the plan, of this seed; lent eyes learn nothing."""
        given = self.plan.recipe
        frozen = given.frozen if self.plan.eyes is None else tuple(dict.fromkeys((*given.frozen, *EYES)))
        return replace(given, seed=self.seed, frozen=frozen)

    @property
    def folder(self) -> Path:
        return self.plan.work / f"{self.key}-{self.seed}"

    @property
    def title(self) -> str:
        return f"{self.row.name} ({self.row.data} counts), seed {self.seed}"


def ears_file(run: Run) -> Path | None:
    """Where the audio encoder lies that a run begins with; None where it has none, or begins with a fresh one."""
    config = run.row.config(run.plan.base)
    if not run.plan.ears_steps or not config.hears or config.audio_encoder == "precomputed":
        return None
    what = [config.audio_encoder, config.audio_features, config.audio_dim, run.plan.ears_steps]
    what += [run.plan.recipe.augmentation, data_print(run.plan.data[run.row.data])]
    return run.plan.work / EARS / f"{short_hash(what)}-{run.seed}.safetensors"


def make_ears(run: Run, deadline: float | None = None) -> None:
    """Teach the audio encoder of `ears_file(run)` to name what it hears, unless it lies there."""
    file, plan = ears_file(run), run.plan
    if file is None or file.is_file() or (deadline is not None and time.time() > deadline):
        return
    split = AVISegSplit(plan.data[run.row.data], "train")
    names = class_names_of(split)
    config = run.row.config(plan.base)
    listener = replace(  # the smallest network around these ears
        plan.base, audio_encoder=config.audio_encoder, audio_features=config.audio_features, audio_dim=config.audio_dim,
        audio_classes=True, class_names=names,
    )  # fmt: skip
    model = initial_model(listener, run.seed)
    clips = TrainingClips(split, names, augmentation=AUGMENTATIONS[plan.recipe.augmentation], seed=run.seed)
    teach_ears(model, clips, plan.ears_steps, workers=plan.workers, device=torch_device(plan.device))
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    save_file({name: value.cpu().contiguous() for name, value in model.audio_encoder.state_dict().items()}, partial)
    partial.replace(file)


def start_of(run: Run, names: tuple[str, ...]) -> ACVIS:
    """The network before its first step: fresh, but for its ears and, where they are given, its eyes.

    Raises:
        WeightsError: eyes of other sizes.
    """
    model = initial_model(replace(run.row.config(run.plan.base), class_names=names), run.seed)
    file = ears_file(run)
    if file is not None:
        make_ears(run)
        model.audio_encoder.load_state_dict(load_file(file))
    if run.plan.eyes is not None:
        given = load_model(run.plan.eyes)
        copy_weights(given, model, only=EYES if given.config.hears else None)
    return model


def data_print(folder: Path) -> str:
    """Of what a data set says about itself: its annotations and scenes, from which all of it was made.

    Raises:
        DataError: a file that is not there.
    """
    names = ("train.json", "train_scenes.json", "val.json", "val_scenes.json")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise DataError(
            f"{folder / missing[0]} is not there: make the data with acvis synth {folder} --split train:1500 "
            f"--split val:{EVAL_CLIPS} --size {ABLATION_BASE.short_side} --seconds 10 30"
        )
    return short_hash([_print(folder / name, (folder / name).stat().st_mtime_ns) for name in names])


def impossible(plan: Plan, row: Row) -> str | None:
    """Why a row cannot be run here."""
    folder = plan.data.get(row.data)
    if folder is None:
        return f"no data with {row.data} counts were given"
    if row.config(plan.base).audio_encoder == "precomputed" and not (folder / "train" / FEATURES).is_dir():
        return f"{folder}/train/{FEATURES} is not there"
    if plan.eyes is not None and row.config(plan.base).backbone != plan.base.backbone:
        return "the lent eyes are of another backbone: compare backbones without --eyes, in more steps"
    return None


_PRINTS: dict[tuple[Path, int], str] = {}


def _print(file: Path, changed: int) -> str:
    if (file, changed) not in _PRINTS:
        _PRINTS[file, changed] = fingerprint(file)
    return _PRINTS[file, changed]


def torch_device(device: str | None) -> str:
    """What is meant by it: None is a GPU, if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
