"""The convergent contrast: golden values, its signs, the threshold that makes sigma_p inert, its degenerate optimum."""

import numpy as np
import pytest
import torch

from acvis_kit.losses.contrast import contrast_loss
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def pairs(agreements: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres whose cosines with the sound are as given."""
    a = torch.tensor(agreements, dtype=torch.float64)
    centres = torch.stack([a, (1 - a**2).sqrt()], 1)[None].requires_grad_()
    return centres, torch.tensor([[1.0, 0.0]], dtype=torch.float64)


def loss(agreements: list[float], **options) -> float:
    return contrast_loss(*pairs(agreements), **options).total.item()


@pytest.mark.parametrize("tau", [0.07, 0.1, 1.0])
def test_it_is_infonce_with_several_positives(tau: float) -> None:
    centres, audio = torch.from_numpy(GOLDENS["own/ama/G_eq6"])[None], torch.from_numpy(GOLDENS["own/cst/f_a"])[None]
    found = contrast_loss(centres, audio, tau)
    np.testing.assert_allclose(found.total, GOLDENS[f"own/cst/loss_tau{tau}"], rtol=1e-5)
    assert found.frames == 1 and found.positive == (GOLDENS["own/cst/A"] > 0).mean()


def test_better_positives_lower_it_and_nearer_negatives_raise_it() -> None:
    base = loss([0.5, -0.5, -0.2])
    assert 0 < loss([0.6, -0.5, -0.2]) < base < loss([0.5, -0.5, -0.1])
    centres, audio = pairs([0.5, -0.5, -0.2])
    contrast_loss(centres, audio).total.backward()
    assert centres.grad.any(-1).all()  # through every agreement; the choice itself has no gradient


def test_without_negatives_it_is_zero_which_is_its_degenerate_optimum() -> None:
    found = contrast_loss(*pairs([0.9, 0.1]))
    assert found.total == 0 and found.frames == 0 and found.positive == 1
    assert loss([-0.9, -0.1]) == 0  # no positive group
    for agreements in ([0.9, 0.1], [-0.9, -0.1], [0.0, 0.0]):
        centres, audio = pairs(agreements)
        contrast_loss(centres, audio).total.backward()
        assert not centres.grad.any() and centres.grad.isfinite().all()


def test_sigma_has_no_effect_at_one_half_and_has_one_elsewhere() -> None:
    agreements = [0.5, 0.03, -0.5]
    assert loss(agreements, sigma=0.1) == loss(agreements) == loss(agreements, sigma=1000.0)
    assert loss(agreements, threshold=0.6, sigma=10.0) != loss(agreements, threshold=0.6, sigma=100.0)


def test_frames_that_do_not_count_are_left_out() -> None:
    centres, audio = pairs([0.5, -0.5])
    both = contrast_loss(centres.repeat(3, 1, 1), audio.repeat(3, 1), counted=torch.tensor([True, False, True]))
    assert both.frames == 2
    torch.testing.assert_close(both.total, 2 * contrast_loss(centres, audio).total)
