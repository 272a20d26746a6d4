"""Training in several processes: accelerate's set-up, sums over processes, stop signals."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acvis_kit.errors import AcvisError, ConfigError

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(precision: str = "float32", device: str | None = None) -> Accelerator:
    """Find GPUs and other processes (torchrun, accelerate launch), and set up mixed precision.

    Args:
        precision: of the recipe; "bf16" and "fp16" use autocast.
        device: "cpu": no GPU is used; None: what accelerate finds.

    Raises:
        AcvisError: accelerate is not installed, or does not join the processes that torchrun has started.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise AcvisError(f"training needs accelerate ({error}): pip install 'acvis-kit[train]'") from error
    mixed = precision if precision in ("bf16", "fp16") else "no"
    if device not in (None, "cpu"):
        raise ConfigError(f"device={device!r} must be cpu, or none for what accelerate finds")
    # Precision and device of an earlier run in this process must not hold for this one.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    started = int(os.environ.get("WORLD_SIZE", 1))
    # Without a GPU accelerate joins the processes of torchrun only if it is told to use the CPU.
    on_cpu = device == "cpu" or (started > 1 and not torch.cuda.is_available())
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=mixed, kwargs_handlers=[ddp])
    if accelerator.num_processes < started:
        raise AcvisError(
            f"{started} processes were started, but accelerate sees {accelerator.num_processes}: each would train for "
            "itself. Start them with torchrun, and unset ACCELERATE_USE_CPU and CUDA_VISIBLE_DEVICES"
        )
    return accelerator


def total_over(terms: Tensor, world: int) -> Tensor:
    """Sum a tensor over all processes; each gets the total, and `terms` does not change."""
    if world == 1:
        return terms
    total = terms.clone()
    torch.distributed.all_reduce(total)
    return total


class Agreement:
    """Whole numbers that all processes agree on, without waiting for a device: they never leave the hosts.

    All processes make it, and call it, at the same time.

    Args:
        world: number of processes.
    """

    def __init__(self, world: int) -> None:
        self._world, self._group = world, None
        if world > 1 and torch.distributed.get_backend() != "gloo":  # NCCL moves what lies on GPUs alone
            self._group = torch.distributed.new_group(backend="gloo")

    def largest(self, *numbers: int) -> list[int]:
        """The largest of each number over all processes; of flags, whether one of them is set."""
        if self._world == 1:
            return list(numbers)
        shared = torch.tensor(numbers)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX, group=self._group)
        return shared.tolist()


class Stop:
    """Context in which the first SIGTERM or Ctrl-C only sets `asked`; a second one has its usual effect.

    Attributes:
        number: of the signal; None before one came.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
