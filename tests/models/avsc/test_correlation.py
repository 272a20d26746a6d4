"""S = sum of p_c m_c: golden values and the properties of equation 1; what a softmax cannot say."""

import numpy as np
import pytest
import torch

from acvis_kit.models.avsc.candidates import Candidates
from acvis_kit.models.avsc.correlation import SoundClassifier, best_candidate, correlate, sounding_masks
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def random_candidates(frames: int = 2, classes: int = 3) -> Candidates:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(frames, classes, 5, 6, generator=generator) > 0.5
    return Candidates(masks, torch.rand(frames, classes, generator=generator) * 0.9 + 0.1)


def test_overlaps_are_combined_as_in_the_golden_loops() -> None:
    p, masks = torch.from_numpy(GOLDENS["own/asl/p"])[None], torch.from_numpy(GOLDENS["own/asl/masks"])[None].bool()
    candidates = Candidates(masks, torch.ones(1, 3))
    assert GOLDENS["own/asl/S_raw"].max() > 1  # the sum alone is no probability
    np.testing.assert_allclose(correlate(p, candidates)[0], GOLDENS["own/asl/S_clamped"], atol=1e-12)
    np.testing.assert_allclose(correlate(p, candidates, "noisy_or")[0], GOLDENS["own/asl/S_noisy_or"], atol=1e-12)


@pytest.mark.parametrize("overlap", ["clamp", "noisy_or"])
def test_silence_and_no_candidates_give_a_blank_map(overlap: str) -> None:
    candidates = random_candidates()
    assert not correlate(torch.zeros(2, 3), candidates, overlap).any()
    none = Candidates(torch.zeros_like(candidates.masks), torch.zeros(2, 3))
    assert not correlate(torch.ones(2, 3), none, overlap).any()


def test_s_is_linear_in_p_below_the_clamp_and_does_not_depend_on_the_order_of_classes() -> None:
    candidates, p = random_candidates(), torch.rand(2, 3) / 3
    torch.testing.assert_close(correlate(p / 2, candidates), correlate(p, candidates) / 2)
    order = [2, 0, 1]
    permuted = Candidates(candidates.masks[:, order], candidates.scores[:, order])
    torch.testing.assert_close(correlate(p[:, order], permuted), correlate(p, candidates))


def test_swapped_sounds_swap_the_masks() -> None:
    """Two videos that show the same two objects: the mask follows the sound."""
    masks = torch.zeros(2, 2, 1, 4, dtype=torch.bool)
    masks[:, 0, :, :2] = masks[:, 1, :, 2:] = True
    candidates = Candidates(masks, torch.ones(2, 2))
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    own, swapped = correlate(p, candidates) > 0.5, correlate(p.flip(0), candidates) > 0.5
    assert torch.equal(own.flip(0), swapped) and not torch.equal(own, swapped)


def test_instances_are_the_candidates_whose_class_sounds() -> None:
    candidates = random_candidates()
    found = sounding_masks(torch.tensor([[0.6, 0.5, 0.1], [0.0, 0.7, 0.9]]), candidates)
    shown = torch.tensor([[True, False, False], [False, True, True]])
    assert torch.equal(found.flatten(2).any(-1), shown) and torch.equal(found[shown], candidates.masks[shown])


def test_without_audio_the_best_candidate_is_the_output() -> None:
    candidates = random_candidates()
    best = candidates.scores.argmax(1)
    chosen = correlate(best_candidate(candidates), candidates)
    assert torch.equal(chosen > 0, candidates.masks[[0, 1], best])
    none = Candidates(torch.zeros_like(candidates.masks), torch.zeros(2, 3))
    assert not correlate(best_candidate(none), none).any()


def test_a_softmax_cannot_hear_two_classes_or_none() -> None:
    """Two sources share a sum of 1, so none passes 0.5; and silence still sums to 1."""
    torch.manual_seed(0)
    vectors = 3 * torch.randn(200, 8)
    p = {act: SoundClassifier(8, 16, 2, act)(vectors) for act in ("sigmoid", "softmax", "softmax_null")}
    assert ((p["softmax"] > 0.5).sum(1) == 1).all()  # of two classes always exactly one
    assert ((p["softmax_null"] > 0.5).sum(1) <= 1).all() and ((p["softmax_null"] > 0.5).sum(1) == 0).any()
    assert {int(n) for n in (p["sigmoid"] > 0.5).sum(1)} == {0, 1, 2}
