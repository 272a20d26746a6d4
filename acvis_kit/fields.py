"""Fields of configurations: each states its range, choices and help beside its default, and `Checked` enforces them.

The command line makes its options of the same statements, see `cli.options.add_fields`.
"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from numbers import Real
from typing import Any

from acvis_kit.errors import ConfigError


def choice(default: str, *others: str, prefix: str = "", help: str = "") -> Any:
    """A field that takes one of several words.

    Args:
        default: the first of them.
        *others: the others.
        prefix: of further words that are valid, such as "timm:"; "" allows none.
        help: what it means, in a few words.
    """
    return dataclasses.field(default=default, metadata={"choices": (default, *others), "prefix": prefix, "help": help})


def number(
    default: float | None,
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    help: str = "",
) -> Any:
    """A field that holds a number within bounds; the annotation decides whether it is whole, and whether None is valid.

    Args:
        default: of the field.
        least: smallest valid value.
        most: largest valid value.
        above: valid values are larger.
        below: valid values are smaller.
        help: what it means, in a few words.
    """
    bounds = {"least": least, "most": most, "above": above, "below": below}
    return dataclasses.field(default=default, metadata={"bounds": bounds, "help": help})


def setting(default: Any, help: str) -> Any:
    """A field without a range: a text, a flag or a tuple.

    Args:
        default: of the field; immutable.
        help: what it means, in a few words.
    """
    return dataclasses.field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Checked:
    """Base of configurations: lists of JSON become tuples, and every field is checked by its annotation and metadata.

    A whole number without bounds must be at least 1.

    Raises:
        ConfigError: names the field, the value and what is valid.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, value := tuple(value))
            kind, _, optional = str(field.type).partition(" | ")
            if optional == "None" and value is None:
                continue
            if "choices" in field.metadata:
                _check_choice(field.name, value, field.metadata["choices"], field.metadata["prefix"])
            elif kind in ("int", "float"):
                default = {"least": 1} if kind == "int" else {}
                _check_number(field.name, value, kind == "int", field.metadata.get("bounds", default))
            else:
                _check_type(field.name, value, kind)

    def __repr__(self) -> str:
        """The fields that differ from their default, as in the call that makes the same configuration."""
        changed = [field for field in dataclasses.fields(self) if getattr(self, field.name) != field.default]
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in changed)})"


def _check_choice(name: str, value: Any, allowed: tuple[str, ...], prefix: str) -> None:
    if isinstance(value, str) and (value in allowed or (prefix and value.startswith(prefix) and value != prefix)):
        return
    more = f", or {prefix}NAME" if prefix else ""
    raise ConfigError(f"{name}={value!r:.60} is unknown: choose one of {', '.join(allowed)}{more}")


def _check_number(name: str, value: Any, whole: bool, bounds: dict[str, float | None]) -> None:
    least, most, above, below = (bounds.get(key) for key in ("least", "most", "above", "below"))
    ok = isinstance(value, int) and not isinstance(value, bool) if whole else _is_finite(value)
    if (
        ok
        and (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return
    kind = "a whole number" if whole else "a number"
    low = f"[{least:.10g}" if least is not None else f"({above:.10g}" if above is not None else "(-inf"
    high = f"{most:.10g}]" if most is not None else f"{below:.10g})" if below is not None else "inf)"
    if (least is not None or above is not None) and (most is not None or below is not None):
        wanted = f"must lie in {low}, {high}" if ok else f"must be {kind} in {low}, {high}"
    elif least is not None:
        wanted = f"must be {kind}, at least {least:.10g}"
    elif above is not None:
        wanted = f"must be {kind} above {above:.10g}"
    else:
        wanted = f"must be a finite number in {low}, {high}"
    raise ConfigError(f"{name}={value!r:.60} {wanted}")


def _check_type(name: str, value: Any, kind: str) -> None:
    """Whether a value is of the annotated type; members of tuples of one length are numbers, of others texts."""
    if kind == "bool":
        ok, wanted = isinstance(value, bool), "true or false"
    elif kind == "str":
        ok, wanted = isinstance(value, str), "a text"
    elif kind == "tuple[str, ...]":
        ok, wanted = isinstance(value, tuple) and all(isinstance(one, str) for one in value), "a list of texts"
    elif kind.startswith("tuple[float"):
        length = kind.count("float")
        ok = isinstance(value, tuple) and len(value) == length and all(_is_finite(one) for one in value)
        wanted = f"{length} finite numbers"
    else:
        return
    if not ok:
        raise ConfigError(f"{name}={value!r:.60} must be {wanted}")


def is_number(value: object) -> bool:
    """Whether a value is a real number, of Python or NumPy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
