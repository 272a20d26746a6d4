"""Fields of AVISeg's JSON; whole files are tested with those that read them, `AVISegSplit` and the metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.data import schema
from acvis_kit.errors import DataError


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5), np.array(0.5)])
def test_a_finite_number_may_have_any_type(value: object) -> None:
    assert schema.finite(value) == 0.5 and type(schema.finite(value)) is float


@pytest.mark.parametrize("value", [True, np.True_, "0.5", None, float("nan"), float("-inf"), 10**400, [0.5], {}])
def test_what_is_no_finite_number_is_none(value: object) -> None:
    assert schema.finite(value) is None


@pytest.mark.parametrize(("value", "found"), [(7, 7), (7.0, 7), (np.uint8(7), 7), ("a", "a"), (np.str_("a"), "a")])
def test_an_id_is_a_whole_number_or_text(value: object, found: object) -> None:
    assert schema.identifier(value) == found and type(schema.identifier(value)) is type(found)


@pytest.mark.parametrize("value", [2**63, -(2**63), 1.5, True, None, [1], {"id": 1}, float("inf")])
def test_what_is_no_id_is_none(value: object) -> None:
    assert schema.identifier(value) is None


@pytest.mark.parametrize(
    ("name", "inside"),
    [("v/0.jpg", True), ("./v/0.jpg", True), ("v/..0.jpg", True), ("v/../0.jpg", False), ("..", False), ("/v", False)],
)
def test_a_name_is_inside_if_it_neither_begins_at_the_root_nor_goes_up(name: str, inside: bool) -> None:
    assert schema.is_inside(name) == inside


def test_a_category_without_a_name_is_called_by_its_id() -> None:
    assert schema.category_names(({"id": 3}, {"id": np.int64(1), "name": "dog"})) == {3: "3", 1: "dog"}


def test_more_categories_than_scores_have_curves_for_are_refused() -> None:
    with pytest.raises(DataError, match="4097 categories are more than 4096"):
        schema.category_names([{"id": n} for n in range(2**12 + 1)])


def test_the_error_names_the_file_only_where_there_is_one() -> None:
    for source, message in ((Path("a/b.json"), "a/b.json: wrong"), ("b.json", "b.json: wrong"), ({}, "wrong")):
        with pytest.raises(DataError) as refused, schema.naming(source):
            raise DataError("wrong")
        assert str(refused.value) == message
