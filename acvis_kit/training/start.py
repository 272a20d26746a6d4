"""The initial weights of a run (random, fine-tuned, a backbone's, VGGish's), and the description of a run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import nn

import acvis_kit
from acvis_kit.config import TIMM_BACKBONES, ACVISConfig
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.errors import WeightsError, kind_of
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.download import sha256_of
from acvis_kit.weights.encoders import load_imagenet_weights
from acvis_kit.weights.load import identity_of, load_model, with_vggish
from acvis_kit.weights.transfer import copy_weights

Say = Callable[[str], None]


class Described(Protocol):
    """A configuration of any system."""

    def to_dict(self) -> dict[str, Any]: ...


def class_names_of(split: AVISegSplit) -> tuple[str, ...]:
    """The categories of a data set, in the order of their ids."""
    return tuple(name for _, name in sorted(split.categories.items()))


def initial_model(
    config: ACVISConfig,
    seed: int = 0,
    *,
    init_from: str | Path | None = None,
    init_without: Sequence[str] = (),
    backbone_weights: str | Path | None = None,
    audio_weights: str | Path | None = None,
    say: Say = lambda _: None,
) -> ACVIS:
    """The network before its first step.

    Args:
        config: with the class names.
        seed: of the random weights.
        init_from: weights to fine-tune, as `load_model` accepts them; see `copy_weights`.
        backbone_weights: ImageNet's, see `load_imagenet_weights`.
        init_without: beginnings of names of tensors that are not copied from `init_from`.
        audio_weights: VGGish, see `weights.load.with_vggish`; or for the encoder of timm ImageNet's, as for a backbone.
        say: for messages.

    Raises:
        WeightsError: weights that do not fit.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ACVIS(config)
    if init_from is not None:
        given = load_model(init_from)
        if not isinstance(given, ACVIS):
            kind = kind_of(given)
            raise WeightsError(f"{init_from} holds {kind}: training an ACVIS needs weights of one")
        say(copy_weights(given, model, without=tuple(init_without)))
    if backbone_weights is not None:
        load_imagenet_weights(model.backbone, backbone_weights)
        say(f"backbone from {backbone_weights}")
    if audio_weights is not None and config.audio_encoder.startswith(TIMM_BACKBONES):
        load_imagenet_weights(cast(nn.Module, model.audio_encoder), audio_weights)
        say(f"audio encoder from {audio_weights}")
    elif audio_weights is not None:
        model = with_vggish(model, audio_weights)
        say(f"VGGish from {audio_weights}")
    elif init_from is None and config.uses_audio and config.audio_encoder == "vggish":
        say("VGGish starts from random weights" + _UNTRAINED_VGGISH[config.audio_features == "vggish_quantized"])
    return model


_UNTRAINED_VGGISH = {  # by whether its output is quantised
    True: " and stays untrained, because its output is rounded and has no gradient: pass --audio-weights",
    False: ": pass --audio-weights to start from trained ones",
}


def about(
    config: Described, recipe: dict[str, Any], split: AVISegSplit | SemanticSplit, weights: dict[str, str | Path | None]
) -> dict[str, Any]:
    """The description of a run for run.json; a run with an equal "same" entry resumes from its checkpoints."""
    files = {"truth": split.truth_file, "scenes": split.scenes_file}
    return {
        "same": {
            "config": config.to_dict(),
            "recipe": recipe,
            "data": {name: sha256_of(path) for name, path in files.items() if path.is_file()},
            "weights": {name: _identity(name, str(path)) for name, path in weights.items() if path is not None},
        },
        "data": f"{split.root} {split.name}, {len(split)} videos",
        "weights": {name: str(path) for name, path in weights.items() if path is not None},
        "kit": acvis_kit.__version__,
        "torch": torch.__version__,
        "git": git_revision(),
    }


def _identity(name: str, source: str) -> str:
    """What two runs with equal initial weights have in common: the checksum of a file, or a name."""
    if name == "init_from":
        return identity_of(source)
    return (
        sha256_of(Path(source)) if Path(source).is_file() else source
    )  # else timm's, a package's, a folder, the Hub's


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
