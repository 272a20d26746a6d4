"""Training and test material of one collection have no group in common."""

from __future__ import annotations

import pytest

from acvis_kit.data.synth.holding_out import part_of
from acvis_kit.errors import ConfigError

GROUPS = {f"photo {n}": {"person"} | ({"horse"} if n < 2 else set()) for n in range(12)}


def test_two_parts_have_nothing_in_common_and_together_have_all() -> None:
    train, test = part_of(GROUPS, (0, 0.8)), part_of(GROUPS, (0.8, 1))
    assert not train & test and train | test == set(GROUPS)
    assert len(train) == 9  # 8 of 10 with a person alone, 1 of 2 with a horse


def test_a_rare_class_of_two_groups_is_on_both_sides() -> None:
    for limit in (0.05, 0.5, 0.95):
        for share in ((0, limit), (limit, 1)):
            assert len({"photo 0", "photo 1"} & part_of(GROUPS, share)) == 1


def test_a_single_group_is_on_one_side() -> None:
    assert part_of({"tuba": {"tuba"}}, (0, 0.8)) == {"tuba"}
    assert part_of({"tuba": {"tuba"}}, (0.8, 1)) == set()


def test_more_groups_of_another_class_change_nothing_for_a_class() -> None:
    more = GROUPS | {f"car {n}": {"car"} for n in range(30)}
    assert part_of(GROUPS, (0, 0.7)) == part_of(more, (0, 0.7)) & set(GROUPS)


@pytest.mark.parametrize("share", [(0.5, 0.5), (0.8, 0.2), (-0.1, 1), (0, 1.1)])
def test_a_share_is_a_range_of_fractions(share: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="0 <= first < second <= 1"):
        part_of(GROUPS, share)
