"""What a run starts from: fresh weights, weights to fine-tune, a backbone's or VGGish's; and what it may go on from."""

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
    """The categories of a data set in the order of their ids."""
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
        config: class names included. seed: of the fresh weights.
        init_from: weights to begin with, as `load_model` takes them; see `copy_weights`.
        backbone_weights: torchvision's ImageNet weights. audio_weights: VGGish, see `hub.with_vggish`.

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
        say("VGGish starts from random weights" + _HOPELESS[config.audio_features == "vggish_quantized"])
    return model


_HOPELESS = {
    True: " and cannot learn, because its output is rounded: what is heard means nothing. Pass --audio-weights",
    False: ": pass --audio-weights to begin with trained ones",
}


def copy_weights(source: ACVIS, target: ACVIS, only: Sequence[str] | None = None) -> str:
    """Copy all that fits by name; rows of class heads go to the classes of the same name, and "none" to "none".

    What `target` has in addition (a head that another configuration brings) stays fresh.

    Args:
        only: parts that are copied, such as "backbone"; None: all.

    Returns:
        What was copied, what is fresh, and what was left behind, in words.

    Raises:
        WeightsError: shapes that differ elsewhere than in class heads; lists them.
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
            f"the weights to begin with are of another configuration, {len(wrong)} shapes differ: "
            + "; ".join(wrong[:5])
            + ("; ..." if len(wrong) > 5 else "")
            + ". Leave --preset out to take theirs"
        )
    merged = {key: value for key, value in given.items() if key in own and key not in heads}
    for key in heads:
        merged[key] = _rows(given[key], own[key], names, new_names)
    target.load_state_dict({**own, **merged})
    fresh = sorted({key.rpartition(".")[0] for key in own if key not in given})
    left = sorted({key.rpartition(".")[0] for key in given if key not in own})
    new = [name for name in new_names if name not in names]
    told = [f"{len(merged)} of {len(own)} tensors copied, class heads for {len(shared)} of {len(new_names)} classes"]
    told += [f"fresh classes: {', '.join(new)}"] if new else []
    told += [f"fresh modules: {', '.join(fresh)}"] if fresh else []
    told += [f"left behind: {', '.join(left)}"] if left else []
    return "; ".join(told)


def _rows(given: Tensor, own: Tensor, names: tuple[str, ...], new_names: tuple[str, ...]) -> Tensor:
    """A class head's weight or bias: (K [+ 1], ...), a row per class, "none" last where there is one."""
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
    """What a run is, for run.json: a later run with the same "same" goes on from its checkpoints."""
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
    """The commit of the kit's own checkout, "+" behind it if files have changed; None where it is installed."""
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
