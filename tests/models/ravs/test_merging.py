"""Merging by the sound: golden loops of equations 6 and 7, and the properties of a softmax within groups."""

import numpy as np
import torch

from acvis_kit.models.ravs.merging import GroupUpdate, merge, plain_update, remap, segment_softmax
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def golden(name: str) -> torch.Tensor:
    return torch.from_numpy(GOLDENS[f"own/ama/{name}"])[None]


def merged(score: torch.Tensor) -> torch.Tensor:
    of_token = golden("group")
    return merge(golden("x"), segment_softmax(score, of_token, 3), of_token, 3)


def test_equations_6_and_7_and_the_remap_are_those_of_the_golden_loops() -> None:
    x, score, of_token = golden("x"), golden("score"), golden("group")
    weight = segment_softmax(score, of_token, 3)
    np.testing.assert_allclose(weight, golden("w"), atol=1e-12)
    centres = merge(x, weight, of_token, 3)
    np.testing.assert_allclose(centres, golden("G_eq6"), atol=1e-12)
    updated = plain_update(centres, x, score)
    np.testing.assert_allclose(updated, golden("G_eq7"), atol=1e-12)
    np.testing.assert_allclose(remap(x, updated, of_token), golden("x_remap"), atol=1e-12)


def test_weights_of_a_group_sum_to_one_and_a_lone_token_has_all() -> None:
    of_token = torch.tensor([[0, 0, 1, 2, 2, 2]])
    weight = segment_softmax(torch.tensor([[5.0, -900, 3, 1, 1, 1]]), of_token, 3)
    torch.testing.assert_close(weight, torch.tensor([[1.0, 0, 1, 1 / 3, 1 / 3, 1 / 3]]))


def test_a_constant_added_to_a_group_changes_nothing() -> None:
    score = golden("score")
    moved = score + torch.tensor([100.0, 0.0, -50.0], dtype=score.dtype)[golden("group")]
    torch.testing.assert_close(merged(moved), merged(score))


def test_a_higher_score_moves_the_centre_towards_the_token() -> None:
    token = 4
    group = int(golden("group")[0, token])
    distances = []
    for more in (0.0, 1.0, 5.0):
        score = golden("score").clone()
        score[0, token] += more
        distances.append(float((merged(score)[0, group] - golden("x")[0, token]).norm()))
    assert distances[0] > distances[1] > distances[2]


def test_one_token_with_an_overwhelming_score_is_added_to_every_group() -> None:
    x, score = golden("x"), golden("score").clone()
    score[0, 7] = 1e4
    centres = merged(golden("score"))
    torch.testing.assert_close(plain_update(centres, x, score), centres + x[:, 7:8])


def test_tokens_of_one_group_receive_the_same_increment() -> None:
    x, of_token, centres = golden("x"), golden("group"), golden("G_eq7")
    change = (remap(x, centres, of_token) - x)[0]
    for group in range(3):
        rows = change[of_token[0] == group]
        torch.testing.assert_close(rows, centres[0, group].expand_as(rows))
    gain = torch.full((4,), 0.5, dtype=x.dtype)
    torch.testing.assert_close(remap(x, centres, of_token, gain)[0] - x[0], change / 2)


def test_the_learned_update_reads_tokens_by_their_scores() -> None:
    torch.manual_seed(0)
    update = GroupUpdate(4).double()
    x, centres = golden("x"), golden("G_eq6")
    flat, peaked = torch.zeros_like(golden("score")), golden("score") * 50
    assert not torch.allclose(update(centres, x, flat), update(centres, x, peaked))
