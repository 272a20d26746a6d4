import json

import numpy as np

from acvis_kit.data.synth.who_sounds import COUNT_SHARES, COUNT_TRANSITIONS, draw_counts, draw_sounding
from tests.conftest import FIXTURES


def test_shares_and_transitions_sum_to_one() -> None:
    assert abs(COUNT_SHARES.sum() - 1) < 1e-3
    assert np.allclose(COUNT_TRANSITIONS.sum(1), 1, atol=1e-3)


def test_shares_and_transitions_are_those_of_aviseg() -> None:
    counted = json.loads((FIXTURES / "aviseg_counts.json").read_text())
    shares = np.zeros(5)
    for number, share in counted["count_share"].items():
        shares[min(int(number), 4)] += share
    assert np.allclose(COUNT_SHARES, shares, atol=1e-5)
    assert np.array_equal(COUNT_TRANSITIONS, [counted["transition"][str(number)] for number in range(5)])


def test_counts_follow_the_shares_and_transitions() -> None:
    rng = np.random.default_rng(0)
    clips = [draw_counts(rng, 30) for _ in range(1500)]
    shares = np.bincount(np.concatenate(clips), minlength=5) / (1500 * 30)
    assert np.abs(shares - COUNT_SHARES).max() < 0.03
    moves = np.zeros((5, 5))
    for clip in clips:
        np.add.at(moves, (clip[:-1], clip[1:]), 1)
    assert np.abs(moves / moves.sum(1, keepdims=True) - COUNT_TRANSITIONS).max() < 0.05


def test_objects_that_are_not_eligible_never_sound() -> None:
    rng = np.random.default_rng(1)
    eligible = rng.random((5, 400)) < 0.6
    sounding = draw_sounding(rng, draw_counts(rng, 400), eligible)
    assert sounding.any() and not (sounding & ~eligible).any()


def test_the_count_is_met_where_enough_are_eligible() -> None:
    rng = np.random.default_rng(2)
    counts, eligible = draw_counts(rng, 300), rng.random((6, 300)) < 0.7
    sounding = draw_sounding(rng, counts, eligible)
    assert np.array_equal(sounding.sum(0), np.minimum(counts, eligible.sum(0)))


def test_sounding_objects_go_on_while_the_count_stays() -> None:
    rng = np.random.default_rng(3)
    sounding = draw_sounding(rng, np.full(500, 2), np.ones((5, 500), bool))
    changed = (sounding[:, 1:] != sounding[:, :-1]).any(0).mean()
    assert 0.02 < changed < 0.12  # of seconds; one hands over to another now and then


def test_at_most_one_twin_sounds_and_twins_are_preferred() -> None:
    rng = np.random.default_rng(4)
    sounding = np.concatenate(
        [draw_sounding(rng, draw_counts(rng, 30), np.ones((5, 30), bool), twins=(1, 3)) for _ in range(60)], axis=1
    )
    assert sounding[[1, 3]].sum(0).max() == 1
    assert sounding[[1, 3]].any(0).mean() > sounding[0].mean()


def test_fixed_sounding_stays_and_counts() -> None:
    rng = np.random.default_rng(5)
    fixed = np.zeros((4, 50), bool)
    fixed[2, 10:30] = True
    sounding = draw_sounding(rng, np.full(50, 1), np.ones((4, 50), bool), fixed=fixed)
    assert np.array_equal(sounding[2], fixed[2]) and np.array_equal(sounding.sum(0), np.ones(50))


def test_objects_of_weight_zero_never_start() -> None:
    rng = np.random.default_rng(6)
    sounding = draw_sounding(rng, np.full(50, 3), np.ones((3, 50), bool), weights=np.array([1.0, 0.0, 1.0]))
    assert not sounding[1].any() and sounding[[0, 2]].all()
