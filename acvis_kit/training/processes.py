"""What a process of a training run has to do with others: accelerate's set-up, sums over all, signals, workers."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from acvis_kit.config import ACVISConfig
from acvis_kit.errors import AcvisError
from acvis_kit.training.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def make_accelerator(recipe: Recipe, config: ACVISConfig, device: str | None = None) -> Accelerator:
    """Finds GPUs and other processes (torchrun, accelerate launch), and sets up mixed precision.

    Args:
        recipe: of which the precision counts. config: of the network.
        device: "cpu" keeps away from GPUs; None takes what there is.

    Raises:
        AcvisError: accelerate is not installed.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise AcvisError(f"training needs accelerate ({error}): pip install 'acvis-kit[train]'") from error
    precision = recipe.precision if recipe.precision in ("bf16", "fp16") else "no"
    AcceleratorState._reset_state()  # an earlier run in this process may have had another precision, which is refused
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=has_idle_parameters(config))
    return Accelerator(cpu=device == "cpu", mixed_precision=precision, kwargs_handlers=[ddp])


def has_idle_parameters(config: ACVISConfig) -> bool:
    """Whether some parameters have no part in any loss, which costs DistributedDataParallel a search in every step.

    That is so where only the patches of sound are listened to: then nothing reads the encoder's vector.
    """
    only_patches = config.uses_audio_in_frames and config.audio_tokens == "patch"
    return only_patches and not config.video_fusion and not config.audio_classes


def total_over(terms: Tensor, world: int) -> Tensor:
    """The sum over all processes, on every one of them; `terms` is left as it is."""
    if world == 1:
        return terms
    total = terms.clone()
    torch.distributed.all_reduce(total)
    return total


class Stop:
    """Within this context the first SIGTERM or Ctrl-C sets `asked`; a second one has its usual effect."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self.__exit__()


def quiet_worker(_: int) -> None:
    """A worker leaves signals, which often go to the whole group, to the process that trains; that one ends it."""
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the trainer's handler, which a fork inherits
