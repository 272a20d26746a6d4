"""The learning rate as a function of the step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from acvis_kit.training.recipe import PAPER, SYNTH
from acvis_kit.training.schedule import lr_factor, pretrained_factor


def test_the_papers_rate_drops_to_a_tenth_at_32000_of_48000_without_warm_up() -> None:
    assert [lr_factor(PAPER, step) for step in (0, 1, 31_999, 32_000, 47_999)] == [1, 1, 1, 0.1, 0.1]


def test_a_shorter_run_drops_at_two_thirds() -> None:
    short = replace(PAPER, steps=9)
    assert [lr_factor(short, step) for step in range(9)] == [1] * 6 + [0.1] * 3


def test_the_warm_up_is_linear_and_ends_at_the_full_rate() -> None:
    recipe = replace(SYNTH, warmup=4, steps=104)
    assert [lr_factor(recipe, step) for step in range(5)] == [1 / 4, 2 / 4, 3 / 4, 1, 1]


def test_the_cosine_is_half_in_the_middle_and_ends_near_zero() -> None:
    recipe = replace(SYNTH, warmup=4, steps=104)
    assert lr_factor(recipe, 54) == pytest.approx(1 / 2)
    assert 0 < lr_factor(recipe, 103) < 1 / 1000
    rates = [lr_factor(recipe, step) for step in range(4, 104)]
    assert rates == sorted(rates, reverse=True)


def test_pretrained_parts_stay_frozen_and_then_warm_up() -> None:
    recipe = replace(SYNTH, steps=20, warmup=4, frozen_fraction=0.5)
    assert [pretrained_factor(recipe, step) for step in range(9, 16)] == [0, 0, 1 / 4, 2 / 4, 3 / 4, 1, 1]
    assert [pretrained_factor(replace(recipe, warmup=0), step) for step in (9, 10)] == [0, 1]
    assert {pretrained_factor(PAPER, step) for step in (0, 1, 1000)} == {1}
    assert [pretrained_factor(SYNTH, step) for step in (0, 299, 350, 400, 5399)] == [0, 0, 0.5, 1, 1]
