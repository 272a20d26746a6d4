"""Fields state their range, and a value outside is refused with the field, the value and the range."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest

from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.fields import Checked, choice, number, setting
from acvis_kit.training.recipe import Recipe


@dataclass(frozen=True, repr=False)
class Settings(Checked):
    colour: str = choice("red", "blue", help="of the line")
    layers: int = 2
    width: int = number(4, 1, 64)
    rate: float = number(0.1, above=0)
    decay: float = number(0.0, least=0, below=1)
    anything: float = number(0.0)
    limit: float | None = number(None, above=0)
    names: tuple[str, ...] = setting((), help="of the parts")
    mean: tuple[float, float] = (0.0, 1.0)
    wide: bool = False
    title: str = "none"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "green"}, "colour='green' is unknown: choose one of red, blue"),
        ({"colour": ["red"]}, r"colour=\('red',\) is unknown"),
        ({"layers": 0}, "layers=0 must be a whole number, at least 1"),
        ({"layers": 1.0}, r"layers=1\.0 must be a whole number"),
        ({"layers": True}, "layers=True must be a whole number"),
        ({"width": 65}, r"width=65 must lie in \[1, 64\]"),
        ({"width": None}, r"width=None must be a whole number in \[1, 64\]"),
        ({"width": 10**400}, r"width=1000.* must lie in \[1, 64\]"),
        ({"rate": 0}, "rate=0 must be a number above 0"),
        ({"rate": float("nan")}, "rate=nan"),
        ({"decay": 1.0}, r"decay=1\.0 must lie in \[0, 1\)"),
        ({"anything": float("inf")}, "anything=inf must be a finite number"),
        ({"anything": 10**400}, "anything=1000"),
        ({"limit": 0.0}, r"limit=0\.0 must be a number above 0"),
        ({"names": "dog"}, "names='dog' must be a list of texts"),
        ({"names": [1]}, r"names=\(1,\) must be a list of texts"),
        ({"mean": (1.0,)}, "mean=.* must be 2 finite numbers"),
        ({"mean": (1.0, float("nan"))}, "mean=.* must be 2 finite numbers"),
        ({"wide": 1}, "wide=1 must be true or false"),
        ({"title": 3}, "title=3 must be a text"),
    ],
)
def test_a_value_outside_its_range_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**values)


def test_values_within_their_range_stay_and_lists_become_tuples() -> None:
    one = Settings(colour="blue", width=64, rate=1, limit=2, names=["a"], mean=[1, 2.5], wide=True)
    assert (one.colour, one.width, one.rate, one.limit, one.names, one.mean) == ("blue", 64, 1, 2, ("a",), (1, 2.5))
    assert Settings().limit is None


def test_help_stands_in_the_metadata() -> None:
    assert {f.name: f.metadata["help"] for f in fields(Settings) if f.metadata.get("help")} == {
        "colour": "of the line",
        "names": "of the parts",
    }


def test_a_configuration_is_shown_by_what_differs_from_the_defaults() -> None:
    assert repr(Settings()) == "Settings()"
    one = Settings(colour="blue", names=("a",))
    assert repr(one) == "Settings(colour='blue', names=('a',))" and eval(repr(one)) == one
    assert repr(PRESETS["acvis-r101"]) == "ACVISConfig(backbone='resnet101')"
    assert repr(Recipe(lr=1e-3)) == "Recipe(lr=0.001)"
