"""Errors that a user can cause have one base class, so that one `except` catches them all."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import acvis_kit as ak
from acvis_kit import errors

ERRORS = [member for name, member in vars(errors).items() if inspect.isclass(member) and "Error" in name]


@pytest.mark.parametrize("error", ERRORS)
def test_each_error_is_an_acvis_error_and_public(error: type[Exception]) -> None:
    assert issubclass(error, ak.AcvisError)
    assert getattr(ak, error.__name__) is error and error.__doc__


def test_errors_carry_their_message() -> None:
    with pytest.raises(ak.AcvisError, match=r"^clip.mp4 has no picture$"):
        raise ak.MediaError("clip.mp4 has no picture")


@pytest.mark.parametrize(
    "value",
    [2**20000, "x" * 10**6, list(range(10**5)), {"a": "\n" * 10**5}, [[[[[[[[[1]]]]]]]]]],
    ids=["integer", "text", "list", "dict", "nested"],
)
def test_a_long_value_is_shown_in_one_short_line(value: object) -> None:
    shown = errors.brief(value)
    assert len(shown) < 100 and "\n" not in shown


def test_a_value_nested_beyond_pythons_recursion_is_shown_too() -> None:
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    assert errors.brief(nested) == "[[[[...]]]]"
    while nested:
        nested = nested.pop()  # or deleting it would recurse


def test_short_values_are_shown_as_they_are() -> None:
    assert [errors.brief(value) for value in (7, -1.5, None, "x", [1, 2])] == ["7", "-1.5", "None", "'x'", "[1, 2]"]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "an int"), ("", "a str"), (None, "a NoneType"), (np.zeros(1), "an ndarray"), (ak.AudioEdit(), "an AudioEdit")],
)
def test_the_kind_of_a_value_has_the_article_that_is_spoken(value: object, kind: str) -> None:
    assert errors.kind_of(value) == kind
