"""`train`: a data set, a configuration and a recipe -> a folder with weights."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from torch import nn

from acvis_kit.config import MODEL_TYPE, ACVISConfig
from acvis_kit.data.aviseg import FEATURES, AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import AUGMENTATIONS
from acvis_kit.errors import ConfigError
from acvis_kit.files import read_text, write_text
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.training.log import LOG
from acvis_kit.training.optimizer import freeze
from acvis_kit.training.parallel import Stop, make_accelerator
from acvis_kit.training.recipe import PROPOSALS, Recipe, RuntimeConfig, require_read
from acvis_kit.training.scoring import Validation
from acvis_kit.training.stages import stages_of
from acvis_kit.training.start import about, class_names_of, initial_model
from acvis_kit.training.teacher import YAMNet
from acvis_kit.training.trainer import BEST, CHECKPOINTS, LAST, Trainer

if TYPE_CHECKING:
    from accelerate import Accelerator

RUN = "run.json"
FORMAT = 2  # of run.json and the checkpoints beside it; format 1, without a number, has other checkpoints
FORMER = ("stages", "lessons")  # folders of checkpoints in runs of earlier versions


def train(
    config: ACVISConfig,
    recipe: Recipe,
    data: str | Path,
    out: str | Path,
    *,
    runtime: RuntimeConfig | None = None,
    train_split: str = "train",
    val_split: str = "val",
    class_names: Sequence[str] | None = None,
    init_from: str | Path | None = None,
    init_without: Sequence[str] = (),
    backbone_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    audio_teacher: str | Path | None = None,
    overwrite: bool = False,
    allow_outside: bool = False,
    stop: Stop | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train a network, or resume its training.

    OUT/run.json describes the run; a second call with the same configuration, recipe, data and initial weights resumes
    from OUT/checkpoints. OUT/best and OUT/last are weights for `load_model`, OUT/log.jsonl contains the losses and
    scores. The global random generators are seeded.

    Args:
        config: the network; its class names are replaced, see `class_names`.
        recipe: everything that the final weights depend on, besides network and data.
        data: folder in AVISeg's layout.
        out: folder of the run.
        runtime: settings that do not change the final weights.
        train_split: name of the split to train on.
        val_split: name of the split to evaluate on, unless `runtime.eval_clips` is 0.
        class_names: None: the categories of the data, in the order of their ids.
        init_from: see `start.initial_model`.
        init_without: see `start.initial_model`.
        backbone_weights: see `start.initial_model`.
        audio_weights: see `start.initial_model`.
        audio_teacher: YAMNet's TFLite file, for audio pretraining; see `teacher.YAMNet`.
        overwrite: start again where OUT holds another run.
        allow_outside: read frames that the data name outside their folder.
        stop: receives the signals while training runs; afterwards it says which one came. None: one of its own.
        say: for messages.

    Returns:
        True if all steps are done; False if it stopped early, at `max_minutes` or on a signal.

    Raises:
        ConfigError: OUT holds another run.
        DataError: the data do not fit the configuration.
        NotFiniteError: a loss or a gradient became NaN or infinite.
    """
    began = time.monotonic()
    out, runtime = Path(out), runtime or RuntimeConfig()
    accelerator = make_accelerator(recipe.precision, runtime.device)
    recipe = recipe.for_processes(accelerator.num_processes)
    require_read(recipe, PROPOSALS, "ACVIS")
    if not accelerator.is_main_process:
        say = _nothing
    split = AVISegSplit(data, train_split, allow_outside=allow_outside)
    config = replace(config, class_names=tuple(class_names or class_names_of(split)))
    if (
        config.uses_audio
        and config.audio_encoder == "precomputed"
        and audio_weights is None
        and recipe.audio_folder is None
    ):
        recipe = replace(recipe, audio_folder=FEATURES)
    if recipe.audio_folder is not None and config.audio_tokens == "patch":
        raise ConfigError(
            f"audio_folder={recipe.audio_folder!r} has one vector per frame, audio_tokens='patch' needs an encoder: "
            "set audio_tokens=clip, or leave audio_folder out"
        )
    clips = TrainingClips(
        split,
        config.class_names,
        clip_frames=recipe.clip_frames,
        frame_sampling=recipe.frame_sampling,
        augmentation=AUGMENTATIONS[recipe.augmentation],
        targets=cast(Literal["sounding", "visible"], config.targets),  # ACVISConfig allows no others
        counterfactual_audio=recipe.counterfactual_audio,
        features=recipe.audio_folder,
        seed=recipe.seed,
    )
    validation = None
    if runtime.eval_clips:
        validation = Validation(
            AVISegSplit(data, val_split, allow_outside=allow_outside), runtime.eval_clips, config.class_names
        )
    split.check_files(recipe.audio_folder)  # before a model is built
    if validation is not None:
        validation.split.check_files()
    weights: dict[str, str | Path | None] = {
        "init_from": init_from,
        "backbone_weights": backbone_weights,
        "audio_weights": audio_weights,
    }
    teacher = YAMNet(audio_teacher) if audio_teacher is not None else None
    model = freeze(initial_model(config, recipe.seed, **weights, init_without=init_without, say=say), recipe.frozen)
    weights |= {"audio_teacher": audio_teacher, "init_without": " ".join(sorted(init_without)) or None}
    if recipe.precision == "float64":
        model = model.double()
    for name in sorted(set(config.auxiliary_targets) - set(clips.auxiliary_targets)):
        say(f"the auxiliary target {name!r} has no effect: the data have no such labels")
    stages = stages_of(model, clips, recipe, accelerator.num_processes, teacher)
    if accelerator.is_main_process:
        claim(out, about(config, recipe.to_dict(), split, weights), overwrite)
    accelerator.wait_for_everyone()
    say(described(model, len(config.class_names), len(split), recipe, accelerator))
    trainer = Trainer(model, stages, out, accelerator, remaining(runtime, began), validation, say)
    finished = trainer.run(stop)
    if finished:
        say(f"done: weights in {out / LAST}" + (f", the best in {out / BEST}" if validation is not None else ""))
    else:
        say(stopped(trainer, overwrite))
    return finished


def stopped(trainer: Trainer, overwrite: bool) -> str:
    """That a run stopped early, and how to go on."""
    command = "the same command" + " without --overwrite" * overwrite
    return f"{trainer.stage.name} stopped after step {trainer.progress.step}; {command} resumes the run"


def described(model: nn.Module, classes: int, videos: int, recipe: Recipe, accelerator: Accelerator) -> str:
    """A run in one line."""
    return (
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {classes} classes, "
        f"{videos} videos, {recipe.steps} steps of {recipe.batch} clips of {recipe.clip_frames} frames, "
        f"{accelerator.num_processes} process{'es' * (accelerator.num_processes > 1)} on {accelerator.device.type}"
    )


def remaining(runtime: RuntimeConfig, began: float) -> RuntimeConfig:
    """`runtime` with the rest of its `max_minutes`."""
    if runtime.max_minutes is None:
        return runtime
    return replace(runtime, max_minutes=max(runtime.max_minutes - (time.monotonic() - began) / 60, 1e-9))


def claim(out: Path, run: dict[str, Any], overwrite: bool, kind: type[Any] = ACVISConfig) -> None:
    """Create run.json in `out`, or check that the present one describes the same run.

    Args:
        out: folder of the run.
        run: see `start.about`.
        overwrite: remove what another run left there. Only a folder with a run.json is that of a run.
        kind: class of the configuration.

    Raises:
        ConfigError: `out` holds another run, names what differs; or, without a run.json, what a run would replace.
    """
    file = out / RUN
    folders, files = (CHECKPOINTS, *FORMER, BEST, LAST, "tensorboard"), (RUN, LOG)
    taken = [name for name in (*folders, *files) if (out / name).exists()]
    if taken and not file.is_file():
        raise ConfigError(
            f"{out} has no {RUN}, so it is no run's folder, but holds {', '.join(taken)}, which a run would replace: "
            "choose another --out, or move them away"
        )
    if overwrite:
        for name in folders:
            shutil.rmtree(out / name, ignore_errors=True)
        for name in files:
            (out / name).unlink(missing_ok=True)
    if file.is_file():
        try:
            whole = json.loads(read_text(file))
            there = whole["same"]
            if (given := whole.get("format", 1)) != FORMAT:
                raise ConfigError(f"its format is {given}, the format of this version is {FORMAT}")
            system = there["config"].get("model_type", MODEL_TYPE)
            if system == run["same"]["config"]["model_type"]:
                # Fields that are newer than the run get their defaults, which keep the earlier behaviour.
                there |= {"config": kind.from_dict(there["config"]).to_dict()}
                there |= {"recipe": Recipe.from_dict(there["recipe"]).to_dict()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{file} is damaged ({error!r}): choose another --out, or pass --overwrite") from error
        except ConfigError as error:
            raise ConfigError(
                f"{out} holds a run that this version of the kit cannot resume ({error}): finish it with the version "
                "that started it, choose another --out, or pass --overwrite to start again. Its weights still load."
            ) from error
        there = json.loads(json.dumps(there))  # tuples become lists
        if differs := _differences_of_runs(there, json.loads(json.dumps(run["same"]))):
            raise ConfigError(
                f"{out} holds another run: {'; '.join(differs[:6])}. Repeat its command to resume it, "
                "choose another --out, or pass --overwrite to start again"
            )
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out} cannot be a folder to write to ({error}): choose another --out") from error
    write_text(file, json.dumps({"format": FORMAT, **run}, indent=1) + "\n", ConfigError)


def _differences_of_runs(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """The differences of two descriptions of a run: their systems, or their presets, or else their fields."""
    systems = [run["config"].get("model_type", MODEL_TYPE).upper() for run in (there, here)]
    if systems[0] != systems[1]:
        return [f"it trains {systems[0]}, not {systems[1]}"]
    presets = [_preset_of(run["config"]) for run in (there, here)]
    if None not in presets and presets[0] != presets[1]:
        return [f"it trains the preset {presets[0]}, not {presets[1]}"]
    return [re.sub(r"^(config\.\w+|recipe)\.", "", difference) for difference in _differences(there, here)]


def _preset_of(config: dict[str, Any]) -> str | None:
    """The preset that a configuration is, but for its classes; None of any other."""
    for name, preset in ALL_PRESETS.items():
        known = json.loads(json.dumps(preset.to_dict()))
        known["network"]["class_names"] = config["network"]["class_names"]
        if known == config:
            return name
    return None


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """The differences of two JSON values, in words."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [*there, *(key for key in here if key not in there)]
        return [d for key in keys for d in _differences(there.get(key), here.get(key), f"{name}.{key}".lstrip("."))]
    return [] if there == here else [f"{name} was {there!r:.80}, is {here!r:.80}"]


def _nothing(_: str) -> None:
    """`say` of all processes but the main one."""
