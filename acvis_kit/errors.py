"""Exceptions for mistakes in a user's input.

Every message names the value found, the value allowed, and the remedy. Broken invariants of our own are `assert`s
instead.
"""

from __future__ import annotations

import reprlib
from typing import Any


class AcvisError(Exception):
    """Base of all errors that a user can cause and correct."""


class MediaError(AcvisError):
    """A file that cannot be read as video or sound, or exceeds a limit. Names the file, the cause and the remedy."""


class WeightsError(AcvisError):
    """Weights that are missing, of the wrong kind, or do not fit the configuration."""


class ConfigError(AcvisError):
    """A configuration whose fields contradict each other or have values outside their range."""


class DataError(AcvisError):
    """A data set or result file that does not follow its format. Names the entry."""


class _Brief(reprlib.Repr):
    """A repr of one line, of bounded depth: a value from a stranger's file may be long or deeply nested."""

    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() <= 128 else f"an integer of {x.bit_length()} bits"


_BRIEF = _Brief()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother = 3, 80, 80


def kind_of(value: object) -> str:
    """The type of a value with its article, as messages name it: "an AVSC", "a RAVS", "an int"."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' or name.startswith('nd') else 'a'} {name}"


def brief(value: Any) -> str:
    """A value as messages show it: its repr, shortened where it is long or deep."""
    return " ".join(_BRIEF.repr(value).split())
