"""Options made from the fields of a configuration, and `--set FIELD=VALUE`, which reaches every field."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Collection
from dataclasses import Field, replace
from functools import partial
from typing import Any

from acvis_kit.config import RENAMED
from acvis_kit.errors import ConfigError
from acvis_kit.training.recipe import RENAMED as RENAMED_IN_RECIPE

METAVARS = {"int": "N", "float": "X", "str": "TEXT", "tuple": "A,B"}


def add_fields(
    parser: argparse._ActionsContainer, part: type[Any], only: Collection[str] = (), defaults: str | None = None
) -> None:
    """Add an option for every field: its name, type, choices and help are those of the field.

    Args:
        parser: a parser or a group of one.
        part: a configuration, see `fields.Checked`.
        only: names of fields; empty: all.
        defaults: what the help says instead of a default; None: the field's own.
    """
    for field in dataclasses.fields(part):
        if only and field.name not in only:
            continue
        default = _shown(field.default) if defaults is None else defaults
        text = f"{field.metadata.get('help', '')} ({default})" if default else field.metadata.get("help", "")
        more: dict[str, Any] = {"default": None, "help": text.strip().replace("%", "%%")}
        if field.type == "bool":
            parser.add_argument(flag(field.name), action=argparse.BooleanOptionalAction, **more)
            continue
        if "choices" not in field.metadata:
            more["metavar"] = METAVARS[_kind(field)]
        else:
            more["choices"] = field.metadata["choices"]
        parser.add_argument(flag(field.name), type=partial(_argument, field), **more)


def given(arguments: argparse.Namespace, part: type[Any]) -> dict[str, Any]:
    """The fields whose options were given."""
    values = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(part)}
    return {name: value for name, value in values.items() if value is not None}


def with_fields(settings: list[str], *parts: Any) -> tuple[Any, ...]:
    """Copies of configurations with settings applied, each to the first one that has the field.

    Args:
        settings: "FIELD=VALUE", see `value_of`.
        parts: instances of dataclasses.

    Raises:
        ConfigError: a field that none of them has, or a value of the wrong type.
    """
    changes: list[dict[str, Any]] = [{} for _ in parts]
    for text in settings:
        name, equals, value = text.partition("=")
        if present := (RENAMED_IN_RECIPE | RENAMED).get(name):
            raise ConfigError(f"--set {text!r}: {name} is now called {present}")
        fields = [{field.name: field for field in dataclasses.fields(part)} for part in parts]
        owners = [n for n, own in enumerate(fields) if name in own]
        if not equals or not owners:
            known = sorted(name for own in fields for name in own)
            raise ConfigError(f"--set {text!r}: write FIELD=VALUE, with a field of {', '.join(known)}")
        try:
            changes[owners[0]][name] = value_of(fields[owners[0]][name], value)
        except ConfigError as error:
            raise ConfigError(f"--set {text}: {error}") from None
    return tuple(replace(part, **change) for part, change in zip(parts, changes, strict=True))


def value_of(field: Field[Any], text: str) -> Any:
    """The value that a text gives a field, by the field's annotation.

    Args:
        field: of a dataclass.
        text: a number; true or false; a word; a tuple as "a,b,c" or as a JSON list; "none" where None is valid.

    Raises:
        ConfigError: says what was expected.
    """
    kind = _kind(field)
    if text == "none" and str(field.type).endswith("| None"):
        return None
    if kind == "str":
        return text
    if kind == "tuple":
        return _tuple_of(field, text)
    try:
        value = float(text) if kind == "float" else json.loads(text)
    except ValueError:
        value = None
    ok = {
        "bool": isinstance(value, bool),
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": isinstance(value, int | float) and not isinstance(value, bool),
    }
    if not ok[kind]:
        wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}[kind]
        raise ConfigError(f"{field.name}={text!r:.60} must be {wanted}")
    return value


def _tuple_of(field: Field[Any], text: str) -> tuple[Any, ...]:
    numbers = "float" in str(field.type)
    try:
        if text.startswith("["):
            return tuple(json.loads(text))
        words = [word.strip() for word in text.split(",") if word.strip()]
        return tuple(float(word) for word in words) if numbers else tuple(words)
    except ValueError:
        kind = "numbers" if numbers else "words"
        raise ConfigError(f"{field.name}={text!r:.60} must be {kind} as a,b,c or a JSON list") from None


def _kind(field: Field[Any]) -> str:
    """The kind of a field's values: "int", "float", "bool", "tuple" or "str"."""
    name = str(field.type).partition(" | ")[0].partition("[")[0]
    return name if name in ("int", "float", "bool", "tuple") else "str"


def flag(name: str) -> str:
    """The option of a field or an argument: "--clip-frames" of "clip_frames"."""
    return "--" + name.replace("_", "-")


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "" if default is None else f"{default:.6g}" if isinstance(default, float) else str(default)


def _argument(field: Field[Any], text: str) -> Any:
    """`value_of`, with the error that argparse shows beside the option."""
    try:
        return value_of(field, text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
