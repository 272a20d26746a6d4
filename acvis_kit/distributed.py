"""Work shared by several processes, where torchrun or `accelerate launch` has started them; alone, all of it is one's
own.
"""

from __future__ import annotations

import atexit
import os
from typing import Any, TypeVar

import torch.distributed

Item = TypeVar("Item")


def place() -> tuple[int, int]:
    """This process' number and how many there are: (0, 1) alone. Makes contact with the others when called first."""
    group = torch.distributed
    if not group.is_available():
        return 0, 1
    if not group.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        group.init_process_group("gloo")
        atexit.register(group.destroy_process_group)
    return (group.get_rank(), group.get_world_size()) if group.is_initialized() else (0, 1)


def is_main() -> bool:
    """Whether this is the process that writes what all of them found."""
    return place()[0] == 0


def own_share(items: list[Item]) -> list[tuple[int, Item]]:
    """The items that are this process' to do, with their places in the list: every `world`-th one."""
    rank, world = place()
    return list(enumerate(items))[rank::world]


def collect(found: dict[int, Any]) -> list[Any]:
    """What all processes found for their items, in the order of the items; on every process.

    Args:
        found: by the places that `own_share` gave.
    """
    world = place()[1]
    parts: list[dict[int, Any]] = [found]
    if world > 1:
        parts = [{} for _ in range(world)]
        torch.distributed.all_gather_object(parts, found)
    together = {number: value for part in parts for number, value in part.items()}
    return [together[number] for number in sorted(together)]
