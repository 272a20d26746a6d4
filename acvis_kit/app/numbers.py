"""Numbers that come from outside, checked once, where they come in."""

from __future__ import annotations

from typing import Any

from acvis_kit.errors import ConfigError

SHOWN = 40  # characters of a wrong value in a message, at most


def number_within(name: str, value: Any, low: float, high: float) -> float:
    """A value as a number in [low, high]; None is 0.

    Raises:
        ConfigError: it is no number, not finite, or outside the range; the message names all three.
    """
    try:
        number = 0.0 if value is None else float(value) if _is_number(value) else float("nan")
    except OverflowError:  # an integer beyond all floats
        number = float("inf")
    if not low <= number <= high:  # false for NaN, too
        raise ConfigError(f"{name}={shortened(value)} must be a number from {low:g} to {high:g}.")
    return number


def shortened(value: Any) -> str:
    """The value as Python writes it, cut to `SHOWN` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a huge number"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
