"""Errors that a user can cause have one base class, so that one `except` catches them all."""

from __future__ import annotations

import inspect

import pytest

import acvis_kit as ak
from acvis_kit import errors

ERRORS = [member for _, member in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ERRORS)
def test_each_error_is_an_acvis_error_and_public(error: type[Exception]) -> None:
    assert issubclass(error, ak.AcvisError)
    assert getattr(ak, error.__name__) is error and error.__doc__


def test_errors_carry_their_message() -> None:
    with pytest.raises(ak.AcvisError, match=r"^clip.mp4 has no picture$"):
        raise ak.MediaError("clip.mp4 has no picture")
