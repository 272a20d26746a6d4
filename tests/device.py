"""A device without hardware, which counts what a GPU would be waited for.

Its tensors say that they are on "meta" and hold their values in a tensor on the CPU. Mixing them with tensors on the
CPU is an error, as on a GPU.
"""

from __future__ import annotations

import copy
import traceback
from collections import Counter
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

Network = TypeVar("Network", bound=nn.Module)
DEVICE = torch.device("meta")
ROOT = Path(__file__).parents[1]
# Operations whose result or its shape depends on values: the host waits for them.
READS = {
    "_local_scalar_dense", "nonzero", "equal", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "item",
    "is_nonzero", "bincount", "repeat_interleave",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}  # a bool index is a read


class OnDevice(Tensor):
    """A tensor of the device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE
        )
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"OnDevice({self.held!r})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def cpu_values(self) -> Tensor:
        """A look at the values that nobody counts."""
        return self.held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of `Device`")


class DeviceGenerator(torch.Generator):
    """A generator of the device, or of the CPU."""

    def __new__(cls, device: Any = "cpu") -> DeviceGenerator:
        made = super().__new__(cls)
        made.named = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.named


class Device(TorchDispatchMode):
    """Context in which the device works.

    Attributes:
        reads: how often the host waits, by operation and the kit's line that asks.
        sent: copies to the device, likewise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()

    def __enter__(self) -> Device:
        """Copies of Python's numbers are hidden from a mode: functions that make them are replaced."""
        plain = torch.tensor

        def tensor(values: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
            made = plain(values, **kwargs)
            return made if device is None else made.to(device)

        def new_tensor(self: Tensor, values: Any, **kwargs: Any) -> Tensor:
            return tensor(values, **{"dtype": self.dtype, "device": self.device} | kwargs)

        def as_tensor(value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
            return value.to(device, dtype) if isinstance(value, Tensor) else tensor(value, dtype=dtype, device=device)

        self._patches = ExitStack()
        replaced = [
            (torch, "tensor", tensor),
            (torch, "as_tensor", as_tensor),
            (Tensor, "new_tensor", new_tensor),
            (torch, "Generator", DeviceGenerator),
            (torch, "autocast", lambda *_, **__: nullcontext()),  # "meta" has none
            (torch, "inference_mode", lambda *_: torch.no_grad()),  # which wrappers do not survive
        ]
        for owner, name, value in replaced:
            self._patches.enter_context(mock.patch.object(owner, name, value))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self._patches.close()
        super().__exit__(*error)

    def put(self, tensor: Tensor) -> Tensor:
        """A tensor on the device."""
        return OnDevice(tensor.detach().clone())

    def module(self, module: Network) -> Network:
        """A copy of a module on the device."""
        memo: dict[int, Any] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            there = self.put(tensor.detach())
            memo[id(tensor)] = nn.Parameter(there, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else there
        return copy.deepcopy(module, memo)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = str(func).removeprefix("aten.")
        flat = torch.utils._pytree.tree_leaves((args, kwargs))
        ours = [one for one in flat if isinstance(one, OnDevice)]
        others = [one for one in flat if isinstance(one, Tensor) and not isinstance(one, OnDevice)]
        target = kwargs.get("device")
        to_device = target is not None and torch.device(target).type == DEVICE.type
        if to_device:
            kwargs["device"] = torch.device("cpu")
        result_on_device = bool(ours) if target is None else to_device
        operation = name.partition(".")[0]
        if name.startswith("_to_copy"):
            if ours and not result_on_device:
                self._count(self.reads, "to host")
            elif not ours and result_on_device:
                self._count(self.sent, "to device" if kwargs.get("non_blocking") else "to device, waits")
        elif name.startswith("copy_"):
            into, source = args[0], args[1]
            if isinstance(source, OnDevice) and not isinstance(into, OnDevice):
                self._count(self.reads, "to host")
            elif isinstance(into, OnDevice) and not isinstance(source, OnDevice) and isinstance(source, Tensor):
                self._count(self.sent, "to device, waits")
        elif ours:
            if operation in READS:
                self._count(self.reads, operation)
            for index in args[1] if operation in INDEXING else ():
                if index is not None and index.dtype == torch.bool:
                    self._count(self.reads, "bool index")
                if index is not None and not isinstance(index, OnDevice):
                    self._count(self.sent, "index, waits")
                    others = [one for one in others if one is not index]
            mixed = [one for one in others if one.ndim]
            assert not mixed, f"{name} mixes devices: {[tuple(one.shape) for one in mixed]} on the CPU"

        def inner(value: Any) -> Any:
            return value.held if isinstance(value, OnDevice) else value

        out = func(*tree_map(inner, args), **tree_map(inner, kwargs))
        held = {id(one.held): one for one in ours}

        def outer(value: Any) -> Any:
            if not isinstance(value, Tensor) or not result_on_device:
                return value
            return held.get(id(value)) if id(value) in held else OnDevice(value)

        return tree_map(outer, out)

    def _count(self, counter: Counter[str], what: str) -> None:
        package = ROOT / "acvis_kit"
        lines = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(package)]
        where = f"{Path(lines[-1].filename).relative_to(package)}:{lines[-1].lineno} {lines[-1].line}" if lines else "-"
        counter[f"{what} | {where}"] += 1
