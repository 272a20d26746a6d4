"""The classes of AVIS-Synth: twelve of AVISeg's, with AVISeg's names and ids."""

from __future__ import annotations

from typing import Any

from acvis_kit.config import AVISEG_CLASSES

SYNTH_CLASSES = (
    "person", "violin", "guitar", "flute", "piano", "accordion", "cat", "car", "saxophone", "dog", "trumpet", "horse",
)  # fmt: skip

# Long thin things are drawn longer, or they would be hard to see at all.
SLENDER = frozenset({"violin", "guitar", "flute", "saxophone", "trumpet"})


def category_id(name: str) -> int:
    """AVISeg's id, 1..26."""
    return AVISEG_CLASSES.index(name) + 1


def categories(names: tuple[str, ...] = SYNTH_CLASSES) -> list[dict[str, Any]]:
    """The `categories` of the JSON for these classes, in the order of their ids."""
    return [{"id": category_id(name), "name": name} for name in sorted(names, key=category_id)]
