"""Whether tensors fit a network, in names, shapes, kinds and values: the comparison of two state dicts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from acvis_kit.errors import AcvisError, WeightsError

SHOWN = 5  # problems that a message names
MOST_BYTES = 16 * 10**9  # of a network; ACVIS with Swin-L takes 0.9e9
LONGEST = 200  # characters of one problem in a message
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # kinds of numbers that weights may have
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def build_and_load(build: Callable[[], ModuleT], state: Mapping[str, Tensor], origin: str) -> ModuleT:
    """The network that `build` makes, with the weights of `state`.

    It is built on the meta device first, where tensors take no memory: a configuration that does not fit the weights is
    refused before memory is taken.

    Args:
        build: makes the network, with random weights, on torch's default device.
        state: its weights.
        origin: file of the configuration, for messages.

    Raises:
        WeightsError: the weights do not fit, or no network can be built.
        AcvisError: of `build`.
    """
    try:
        with torch.device("meta"), _ShortRanges():
            outline = build()
    except AcvisError:
        raise
    except Exception as error:  # modules and torch raise whatever a wrong value leads to
        raise WeightsError(f"no network can be built from the configuration in {origin}: {reason(error)}") from error
    own = outline.state_dict()
    require_fit(own, state)
    size = sum(tensor.nbytes for tensor in own.values())  # a file may be small: of zeros that are stored once
    if size > MOST_BYTES:
        raise WeightsError(f"the network takes {size / 1e9:.0f} GB, at most {MOST_BYTES / 1e9:.0f} GB are allowed")
    model = build()
    load_exactly(model, state)
    return model


def state_in(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state dict of a checkpoint: the dictionary under its key "model", if there is one, else the checkpoint."""
    inner = content.get("model")
    return inner if isinstance(inner, Mapping) else content


def load_exactly(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict that fits the model exactly. Tables that the model computes itself are not taken.

    Raises:
        WeightsError: names, shapes or kinds differ, or a value is NaN or infinite; see `require_fit`.
    """
    own = model.state_dict()
    require_fit(own, state)
    model.load_state_dict({**own, **{name: given for name, given in state.items() if not _is_computed(name)}})
    # After conversion to the model's dtype: a float64 may be beyond float32.
    wrong = [name for name in state if own[name].is_floating_point() and not bool(torch.isfinite(own[name]).all())]
    if wrong:
        raise WeightsError(f"NaN or infinite values in {listed(wrong, 'tensors')}: fetch or convert the weights again")


def require_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Compare two state dicts in names, shapes and kinds of numbers, without a look at their values.

    Args:
        own: of the model; may be on the meta device.
        state: weights for it; may be on the meta device.

    Raises:
        WeightsError: the first missing and unexpected names, wrong shapes and dtypes, and their number.
    """
    problems = [f"missing: {name}" for name in own if name not in state and not _is_computed(name)]
    problems += [f"unexpected: {name}" for name in state if name not in own]
    problems += wrong_shapes(own, state)
    problems += [
        f"dtype of {name}: {_kind(given)} given, {_kind(own[name])} expected"
        for name, given in state.items()
        if name in own and not _same_kind(given, own[name])
    ]
    if problems:
        raise WeightsError("the weights do not fit in " + listed(problems, "places", lines=True))


def wrong_shapes(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """A sentence for each tensor of `state` that has another shape in `own`."""
    return [
        f"shape of {name}: {tuple(given.shape)} given, {tuple(own[name].shape)} expected"
        for name, given in state.items()
        if name in own and own[name].shape != given.shape
    ]


def listed(items: Sequence[str], what: str, *, lines: bool = False) -> str:
    """Their number and the first `SHOWN` of them: "7 tensors: a; b; c; d; e; ...", or one on each of several lines."""
    begin, between = ("\n  ", "\n  ") if lines else (" ", "; ")
    shown = [cut(item) for item in items[:SHOWN]] + ["..."] * (len(items) > SHOWN)
    return f"{len(items)} {what}:{begin}{between.join(shown)}"


def cut(text: str) -> str:
    """A text of strangers for a message: at most `LONGEST` characters."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def reason(error: BaseException) -> str:
    """An exception of a library for a message: its first line, or its type."""
    return cut((str(error).strip() or type(error).__name__).splitlines()[0])


def require_layers(fields: Mapping[str, object], state: Mapping[str, Tensor]) -> None:
    """Compare the numbers of layers with that of tensors, before a module is made for each.

    Args:
        fields: of a configuration, by name.
        state: the weights; every layer has some.

    Raises:
        WeightsError: more layers than tensors.
    """
    for name, number in fields.items():
        if name.endswith("_layers") and isinstance(number, int) and number > len(state):
            raise WeightsError(f"{name}={number:.3g}, but the weights are only {len(state)} tensors: they do not fit")


class _ShortRanges(TorchFunctionMode):
    """Makes short ranges on the CPU: on the meta device the first torch.arange imports torch's compiler, for 2 s.

    Where that is imported (as torchvision's backbones do), ranges are made on the meta device, like the rest.
    """

    LONGEST = 1000  # numbers

    def _is_short(self, args: tuple[Any, ...]) -> bool:
        return bool(args) and all(isinstance(arg, int) for arg in args) and len(range(*args)) <= self.LONGEST

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.arange and "torch._dynamo" not in sys.modules and self._is_short(args):
            kwargs = {"device": "cpu", **kwargs}
        return func(*args, **kwargs)


def _is_computed(name: str) -> bool:
    """Whether a tensor is a table that the module computes itself."""
    return name.endswith("relative_position_index")


def _same_kind(given: Tensor, own: Tensor) -> bool:
    """Whether both are floats or both whole numbers; of any width, but dense."""
    return given.layout == own.layout and given.dtype in (FLOATS if own.is_floating_point() else INTEGERS)


def _kind(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return dtype if tensor.layout == torch.strided else f"sparse {dtype}"
