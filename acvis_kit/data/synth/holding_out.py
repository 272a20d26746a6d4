"""Parts of a collection that have nothing in common: training and test material from one folder.

What belongs together stays together: all masks of a photograph, all files of a recording. Every class is divided in the
same proportion as far as its number allows.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from acvis_kit.errors import ConfigError


def check_share(share: tuple[float, float]) -> None:
    """Raise ConfigError unless 0 <= first < second <= 1."""
    if not 0 <= share[0] < share[1] <= 1:
        raise ConfigError(f"share={share}: give two numbers, 0 <= first < second <= 1")


def part_of(groups: Mapping[str, Collection[str]], share: tuple[float, float]) -> set[str]:
    """The groups of one part.

    A group counts for the rarest of its classes. The groups of a class have a shuffled order that depends on their
    names alone. A class of two groups or more has one at least on either side of a limit between 0 and 1.

    Args:
        groups: name of a group (a photograph, a recording) -> classes in it.
        share: (0, 0.8) and (0.8, 1) have no group in common, and together have all.
    """
    check_share(share)
    number = Counter(label for labels in groups.values() for label in set(labels))
    of_class: defaultdict[str, list[str]] = defaultdict(list)
    for name, labels in groups.items():
        of_class[min(labels, key=lambda label: (number[label], label), default="")].append(name)
    chosen: set[str] = set()
    for names in of_class.values():
        names.sort(key=lambda name: (zlib.crc32(name.encode()), name))
        chosen.update(names[_limit(share[0], len(names)) : _limit(share[1], len(names))])
    return chosen


def _limit(fraction: float, count: int) -> int:
    """How many of `count` lie below a fraction."""
    if fraction in (0, 1) or count < 2:
        return round(fraction * count)
    return min(max(round(fraction * count), 1), count - 1)
