"""Work shared by the processes that torchrun or `accelerate launch` has started; a single process does all of it."""

from __future__ import annotations

import atexit
import os
from typing import Any, TypeVar

import torch.distributed

Item = TypeVar("Item")


def place() -> tuple[int, int]:
    """(rank, world size) of this process, (0, 1) for a single one. The first call joins the process group."""
    group = torch.distributed
    if not group.is_available():
        return 0, 1
    if not group.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        group.init_process_group("gloo")
        atexit.register(group.destroy_process_group)
    return (group.get_rank(), group.get_world_size()) if group.is_initialized() else (0, 1)


def is_main() -> bool:
    """Whether this is rank 0, the process that writes the common result."""
    return place()[0] == 0


def own_share(items: list[Item]) -> list[tuple[int, Item]]:
    """The items of this process with their indices in the list: every `world`-th one, starting at its rank."""
    rank, world = place()
    return list(enumerate(items))[rank::world]


def collect(found: dict[int, Any]) -> list[Any]:
    """The results of all processes in the order of the items, on every process.

    Args:
        found: results of this process, by the indices from `own_share`.
    """
    world = place()[1]
    parts: list[dict[int, Any]] = [found]
    if world > 1:
        parts = [{} for _ in range(world)]
        torch.distributed.all_gather_object(parts, found)
    together = {number: value for part in parts for number, value in part.items()}
    return [together[number] for number in sorted(together)]
