"""AdamW with the paper's parameter groups, its state as named tensors, and the running average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from acvis_kit.errors import ConfigError
from acvis_kit.training.recipe import Recipe

Network = TypeVar("Network", bound=nn.Module)

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
# Learned queries, positions and level embeddings; Swin's bias tables.
EMBEDDINGS = (
    "query_features", "query_positions", "slot_positions", "count_token", "patch_position", "level_embed",
    "relative_position_bias_table",
)  # fmt: skip
SEPARATOR = "/"  # between the names of a parameter and of its state; parameter names contain dots


def freeze(model: Network, parts: Sequence[str]) -> Network:
    """Set `requires_grad`: False for the parameters of some parts, True for all others; returns the model.

    Args:
        model: changed in place.
        parts: names as in `named_parameters`, or their beginnings up to a dot, such as "backbone".

    Raises:
        ConfigError: a part that the network does not have.
    """
    model.requires_grad_(True)
    exclude(model, parts)
    return model


def exclude(model: nn.Module, parts: Sequence[str]) -> None:
    """Set `requires_grad` to False for the parameters of some parts, and change no others; see `freeze`."""
    found: set[str] = set()
    for name, parameter in model.named_parameters():
        if matching := belongs(name, parts):
            parameter.requires_grad_(False)
            found.update(matching)
    if unknown := [part for part in parts if part not in found]:
        raise ConfigError(
            f"frozen={unknown[0]!r} is no part of the network: its parts are "
            + ", ".join(dict.fromkeys(name.partition(".")[0] for name, _ in model.named_parameters()))
        )


def belongs(name: str, parts: Sequence[str]) -> list[str]:
    """The parts, as in `freeze`, to which the parameter of this name belongs."""
    return [part for part in parts if f"{name}.".startswith(f"{part}.")]


def decays(model: nn.Module) -> dict[str, bool]:
    """Whether weight decay applies, by trainable parameter: not to norms, embeddings and bias tables."""
    in_norms = {
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
    return {
        name: name not in in_norms and name.rpartition(".")[2] not in EMBEDDINGS
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def parameter_groups(
    model: nn.Module, recipe: Recipe, *, parts: Collection[str] | None = None, lr: float | None = None
) -> list[dict[str, Any]]:
    """Up to eight groups: backbone or not, with weight decay or not, pretrained or not.

    Parts that the recipe freezes after their pretraining are in none of them.

    "base_lr" is the rate of a group before the factors of `set_rates`; "pretrained" is a bool.

    Args:
        model: its parameters that require gradients are trained.
        recipe: see `Recipe`.
        parts: modules of the network that are trained; None: all.
        lr: in place of the recipe's.
    """
    lr = recipe.lr if lr is None else lr
    groups: dict[tuple[bool, bool, bool], list[Tensor]] = {}
    parameters = dict(model.named_parameters())
    for name, decay in decays(model).items():
        part = name.partition(".")[0]
        if belongs(name, recipe.frozen_after_pretraining) or (parts is not None and part not in parts):
            continue
        groups.setdefault((part == "backbone", decay, part in recipe.pretrained), []).append(parameters[name])
    return [
        {
            "params": members,
            "base_lr": lr * (recipe.backbone_lr if of_backbone else 1.0),
            "weight_decay": recipe.weight_decay if decay else 0.0,
            "pretrained": pretrained,
        }
        for (of_backbone, decay, pretrained), members in sorted(groups.items())
    ]


def set_rates(optimizer: torch.optim.Optimizer, factor: float, pretrained_factor: float = 1.0) -> float:
    """Set the rate of every group, see `schedule`; returns the highest."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor * (pretrained_factor if group["pretrained"] else 1.0)
    return max(group["lr"] for group in optimizer.param_groups)


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state by name, "<parameter>/<state>"; parameters that never had a gradient have none."""
    return {
        f"{name}{SEPARATOR}{what}": value
        for name, parameter in model.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = dict(model.named_parameters())
    fused = any(group.get("fused") for group in optimizer.param_groups)  # then steps are counted on the device
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, what = key.rpartition(SEPARATOR)
        parameter = parameters[name]
        if value.shape == parameter.shape and what != "step":  # with the memory format of the parameter
            value = torch.empty_like(parameter).copy_(value)
        elif fused:
            value = value.to(parameter.device)
        optimizer.state[parameter][what] = value


class Average(Generic[Network]):
    """A running average of the weights: average += (1 - decay) (weights - average), after every step.

    After n steps the decay is at most (1 + n) / (10 + n), so that the initial weights soon have no influence.

    Args:
        model: copied; the copy, `self.model`, holds the average.
        decay: in [0, 1).
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.decay = decay
        self.model: Network = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int) -> None:
        """Update the average with the weights after `steps` steps."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        own = [value for value in self.model.state_dict().values() if value.is_floating_point()]
        new = [value for value in model.state_dict().values() if value.is_floating_point()]
        torch._foreach_lerp_(own, new, 1 - decay)
