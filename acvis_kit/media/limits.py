"""Ranges of the numbers that come from outside, and the check of them; each is checked once, where it comes in."""

from __future__ import annotations

import math

from acvis_kit.errors import ConfigError, brief
from acvis_kit.fields import is_number

FPS = (0.01, 1000.0)  # frames per second
DAY = 86_400.0  # s: no stretch of a file is longer, and none begins later
SHORTEST = 0.001  # s
SIDES = (2, 16_384)  # pixels of a written picture


def check_number(name: str, value: object, low: float, high: float, what: str = "") -> None:
    """Refuse what is not a finite number in [low, high].

    Args:
        name: the argument, as the caller writes it.
        value: what was given.
        low: least value allowed.
        high: largest value allowed.
        what: the unit or meaning, for the message.

    Raises:
        ConfigError: names the argument, the value and the range.
    """
    if not (is_number(value) and low <= value and value <= high and math.isfinite(value)):  # type: ignore[operator, arg-type]
        raise ConfigError(f"{name}={brief(value)} must lie between {low:g} and {high:g} {what}".rstrip() + ".")
