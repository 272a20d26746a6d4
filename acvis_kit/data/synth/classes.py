"""The classes of AVIS-Synth: twelve of AVISeg's, with AVISeg's names and ids, and what is of no class."""

from __future__ import annotations

from typing import Any

from acvis_kit.config import AVISEG_CLASSES

SYNTH_CLASSES = (
    "person", "violin", "guitar", "flute", "piano", "accordion", "cat", "car", "saxophone", "dog", "trumpet", "horse",
)  # fmt: skip

OTHER = "other"  # things without a class, which have no voice; and sounds without a class, from outside the picture
BACKGROUND = "background"  # sounds that go on behind a film

# Long thin objects are drawn longer than others: at the same length they would be hard to see.
SLENDER = frozenset({"violin", "guitar", "flute", "saxophone", "trumpet"})


def category_id(name: str) -> int:
    """AVISeg's id of a class, 1..26; 27 for `OTHER`."""
    return (*AVISEG_CLASSES, OTHER).index(name) + 1


def categories(names: tuple[str, ...] = SYNTH_CLASSES) -> list[dict[str, Any]]:
    """The JSON's `categories` for these classes, in the order of their ids."""
    return [{"id": category_id(name), "name": name} for name in sorted(names, key=category_id)]
