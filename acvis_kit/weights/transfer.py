"""Weights of one network for another: fine-tuning on other classes, and ImageNet's backbones."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.fit import listed, require_fit, wrong_shapes

CLASS_HEADS = ("frame_decoder.class_head", "tracker.class_head", "audio_class_head", "pixel_class_head")


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
    heads = [key for key in own if key.rpartition(".")[0] in CLASS_HEADS and key in given]
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


def load_imagenet_weights(backbone: nn.Module, weights: Mapping[str, Tensor] | str | Path) -> None:
    """Copy torchvision's ImageNet classification weights into a ResNet or Swin.

    The classifier and the batch counters of batch norm are left out. Swin's four output norms are not in torchvision's
    weights and keep their values.

    Args:
        backbone: a ResNet or Swin; changed in place.
        weights: a state dict, or the `.pth` file that torchvision publishes.

    Raises:
        WeightsError: a file that cannot be read; names or shapes that do not fit, the first named.
    """
    state: Mapping[str, Tensor]
    if isinstance(weights, str | Path):
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{weights} is not a file of torchvision's weights ({error})") from error
    else:
        state = weights
    ignored = ("fc.", "head.", "norm.")
    given = {k: v for k, v in state.items() if not k.startswith(ignored) and not k.endswith("num_batches_tracked")}
    needed = {k: v for k, v in backbone.state_dict().items() if not k.startswith("norms.")}
    try:
        require_fit(needed, given)
    except WeightsError as error:
        raise WeightsError(f"these are not torchvision's weights of this {type(backbone).__name__}: {error}") from error
    backbone.load_state_dict({**backbone.state_dict(), **given})
