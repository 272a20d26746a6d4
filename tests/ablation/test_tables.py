"""The tables and their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acvis_kit.ablation.tables import (
    ABLATION_BASE,
    ABLATION_RECIPE,
    TABLES,
    Row,
    Table,
    chosen,
    setting,
    short_hash,
)
from acvis_kit.errors import ConfigError


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_every_row_has_a_valid_configuration(table: Table) -> None:
    for row in table.rows:
        row.config()  # raises ConfigError where fields contradict each other
    assert len({row.name for row in table.rows}) == len(table.rows)
    assert len({(row.id(), row.gated) for row in table.rows}) == len(table.rows)


def test_baselines_are_the_base_itself() -> None:
    for table in TABLES.values():
        assert table.baseline.config() == ABLATION_BASE and not table.baseline.gated


def test_all_tables_exist_with_their_values() -> None:
    names = (
        "generator count k_max k_max_dense count_weight window similarity fusion audio_encoder counterfactual targets"
    )
    assert set(TABLES) == {*names.split(), "count_gate", "backbone"}
    assert len(TABLES["generator"].rows) == 16
    assert {row.config().count_weight for row in TABLES["count_weight"].rows} == {0, 0.1, 0.5, 1, 2}
    assert {row.config().window_size for row in TABLES["window"].rows} == {3, 6, 12}
    assert {row.config().similarity_weight for row in TABLES["similarity"].rows} == {0, 0.1, 0.5, 1}
    assert {row.recipe().counterfactual_audio for row in TABLES["counterfactual"].rows} == {0, 0.1, 0.3}


def test_rows_of_several_tables_are_run_once() -> None:
    rows = chosen(["all"])
    assert len({row.id() for row in rows}) == len(rows) < sum(len(table.rows) for table in TABLES.values())
    assert len(chosen(["generator", "count"])) == 16  # the count losses of ACQG are in both
    assert len(chosen(["count_gate"])) == 3  # the gate needs no run


def test_the_required_rows_are_those_of_the_main_questions() -> None:
    """4 generators x 2, CE, K_max 3 and 4, counterfactual 0.3, sounding targets with two weights."""
    assert len(chosen(["all"], required=True)) == 8 + 1 + 2 + 1 + 2


def test_a_row_that_changes_nothing_is_the_baseline() -> None:
    assert Row("a", {"k_max": ABLATION_BASE.k_max}).id() == Row("b").id() != Row("c", data="dense").id()


def test_rows_can_be_chosen_by_name() -> None:
    assert [row.name for row in chosen(["k_max"], ["K_max 3"])] == ["K_max 3"]
    with pytest.raises(ConfigError, match="'K_max 9'"):
        chosen(["k_max"], ["K_max 9"])
    with pytest.raises(ConfigError, match="'kmax'"):
        chosen(["kmax"])


def test_a_setting_is_everything_that_scores_depend_on_except_the_seed() -> None:
    def hashed(base: object = ABLATION_BASE, recipe: object = ABLATION_RECIPE, steps: int = 5) -> str:
        return short_hash(setting(base, recipe, steps, 10))

    assert hashed(recipe=replace(ABLATION_RECIPE, seed=7)) == hashed()
    assert hashed(replace(ABLATION_BASE, class_names=("a",))) == hashed()  # the classes come from the data
    others = hashed(replace(ABLATION_BASE, k_max=4)), hashed(recipe=replace(ABLATION_RECIPE, steps=1)), hashed(steps=6)
    assert len({hashed(), *others}) == 4
