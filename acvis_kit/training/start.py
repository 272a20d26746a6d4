"""The initial weights of a run (random, fine-tuned, a backbone's, VGGish's), and the description of a run."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import acvis_kit
from acvis_kit.config import ACVISConfig
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders.backbones import load_imagenet_weights
from acvis_kit.weights.load import load_model, open_weights, with_vggish

CLASS_HEADS = ("frame_decoder.class_head", "tracker.class_head", "audio_class_head", "pixel_class_head")
Say = Callable[[str], None]


def class_names_of(split: AVISegSplit) -> tuple[str, ...]:
    """The categories of a data set, in the order of their ids."""
    return tuple(name for _, name in sorted(split.categories.items()))


def initial_model(
    config: ACVISConfig,
    seed: int = 0,
    *,
    init_from: str | Path | None = None,
    backbone_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    say: Say = lambda _: None,
) -> ACVIS:
    """The network before its first step.

    Args:
        config: with the class names.
        seed: of the random weights.
        init_from: weights to fine-tune, as `load_model` accepts them; see `copy_weights`.
        backbone_weights: torchvision's ImageNet weights.
        audio_weights: VGGish, see `weights.load.with_vggish`.
        say: for messages.

    Raises:
        WeightsError: weights that do not fit.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ACVIS(config)
    if init_from is not None:
        say(copy_weights(load_model(init_from), model))
    if backbone_weights is not None:
        load_imagenet_weights(model.backbone, backbone_weights)
        say(f"backbone from {backbone_weights}")
    if audio_weights is not None:
        model = with_vggish(model, audio_weights)
        say(f"VGGish from {audio_weights}")
    elif init_from is None and config.uses_audio and config.audio_encoder == "vggish":
        say("VGGish starts from random weights" + _UNTRAINED_VGGISH[config.audio_features == "vggish_quantized"])
    return model


_UNTRAINED_VGGISH = {  # by whether its output is quantised
    True: " and stays untrained, because its output is rounded and has no gradient: pass --audio-weights",
    False: ": pass --audio-weights to start from trained ones",
}


def copy_weights(source: ACVIS, target: ACVIS, only: Sequence[str] | None = None) -> str:
    """Copy tensors by name. Rows of class heads are copied by class name, and "none" to "none".

    Tensors that only `target` has (a head of another configuration) stay as they are.

    Args:
        source: the trained network.
        target: changed in place.
        only: parts that are copied, such as "backbone"; None: all.

    Returns:
        What was copied, what is new in `target`, and what was not copied, in words.

    Raises:
        WeightsError: shapes differ elsewhere than in class heads; lists them.
    """
    given, own = source.state_dict(), target.state_dict()
    given = {key: value for key, value in given.items() if only is None or key.partition(".")[0] in only}
    names, new_names = source.config.class_names, target.config.class_names
    shared = [name for name in new_names if name in names]
    heads = [key for key in own if key.rpartition(".")[0] in CLASS_HEADS and key in given]
    wrong = [
        f"{key}: {tuple(given[key].shape)} given, {tuple(value.shape)} expected"
        for key, value in own.items()
        if key in given and key not in heads and given[key].shape != value.shape
    ]
    if wrong:
        raise WeightsError(
            f"the initial weights are of another configuration, {len(wrong)} shapes differ: "
            + "; ".join(wrong[:5])
            + ("; ..." if len(wrong) > 5 else "")
            + ". Leave out --preset to use that of the weights"
        )
    merged = {key: value for key, value in given.items() if key in own and key not in heads}
    for key in heads:
        merged[key] = _rows(given[key], own[key], names, new_names)
    target.load_state_dict({**own, **merged})
    fresh = sorted({key.rpartition(".")[0] for key in own if key not in given})
    left = sorted({key.rpartition(".")[0] for key in given if key not in own})
    new = [name for name in new_names if name not in names]
    parts = [f"{len(merged)} of {len(own)} tensors copied, class heads for {len(shared)} of {len(new_names)} classes"]
    parts += [f"new classes: {', '.join(new)}"] if new else []
    parts += [f"new modules: {', '.join(fresh)}"] if fresh else []
    parts += [f"not copied: {', '.join(left)}"] if left else []
    return "; ".join(parts)


def _rows(given: Tensor, own: Tensor, names: tuple[str, ...], new_names: tuple[str, ...]) -> Tensor:
    """A class head's weight or bias, (K or K + 1, ...): `own`, with the rows of `given` for classes of the same name.

    There is a row per class, and a last one for "none" in the heads that have it.
    """
    rows = own.clone()
    for number, name in enumerate(new_names):
        if name in names:
            rows[number] = given[names.index(name)]
    if len(own) > len(new_names):
        rows[-1] = given[-1]
    return rows


def about(
    config: ACVISConfig, recipe: dict[str, Any], split: AVISegSplit, weights: dict[str, str | Path | None]
) -> dict[str, Any]:
    """The description of a run for run.json; a run with an equal "same" entry resumes from its checkpoints."""
    files = {"truth": split.truth_file, "scenes": split.scenes_file}
    return {
        "same": {
            "config": replace(config).to_dict(),
            "recipe": recipe,
            "data": {name: fingerprint(path) for name, path in files.items() if path.is_file()},
            "weights": {
                name: open_weights(path).sha256 if name == "init_from" else fingerprint(Path(path))
                for name, path in weights.items()
                if path is not None
            },
        },
        "data": f"{split.root} {split.name}, {len(split)} videos",
        "weights": {name: str(path) for name, path in weights.items() if path is not None},
        "kit": acvis_kit.__version__,
        "torch": torch.__version__,
        "git": git_revision(),
    }


def fingerprint(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        WeightsError: a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error})") from error


def git_revision() -> str | None:
    """The commit of the kit's checkout, with "+" if files have changed; None for an installed kit."""
    root = Path(acvis_kit.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        run = [
            subprocess.run(["git", *what], cwd=root, capture_output=True, text=True, check=True, timeout=20).stdout
            for what in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0].strip() + ("+" if run[1].strip() else "")
