"""Exceptions for mistakes in a user's input.

Every message names the value found, the value allowed, and the remedy. Broken invariants of our own are `assert`s
instead.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection
from typing import Any

# Arguments that messages advise to change, and that an interface other than Python may lack.
ADVISED = (
    "fps", "start", "end", "max_seconds", "too_long", "max_pixels", "max_bytes", "max_memory", "audio_features",
    "audio_weights", "allow_outside",
)  # fmt: skip
SWAPPED = re.compile(r", AudioEdit\.swap\((['\"])(.*)\1\)")  # how Python gives another clip the sound of a file


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


def without_advice(text: str, arguments: Collection[str] = ADVISED) -> str:
    """A message without the advice that needs arguments which the interface in use does not have.

    Args:
        text: the message; after its last colon comes the advice, "lower fps=, or raise max_memory=." Behind that a
            remark may stand in brackets.
        arguments: their names.
    """
    text = SWAPPED.sub("", text)
    cause, colon, advice = text.rpartition(": ")
    mentions = re.compile(rf"\b(?:{'|'.join(arguments)})=(?![-'\d])")  # a number is a value that was given
    advice, end = re.fullmatch(r"(.*?)(\.(?: \(.*\))?)?", advice, re.DOTALL).groups(".")  # type: ignore[union-attr]
    options = re.split(r",? or (?!more\b)|, (?![^(]*\))", advice)
    kept = [option for option in options if not (arguments and mentions.search(option))]
    if not colon or len(kept) == len(options):
        return text
    if not kept:
        return cause + end
    return cause + colon + ", ".join(kept[:-1]) + " or " * (len(kept) > 1) + kept[-1] + end
