"""Dirichlet variances and how they lower probabilities; why the literal equation 11 is not the default."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from acvis_kit.models.ravs.uncertainty import combine, concentrations, dirichlet_variance, normalised_uncertainty
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def maps(channels: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and uncertainties (2, 3, C, 4, 4)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 3, channels, 4, 4, generator=generator)
    delta = torch.rand(2, 3, channels, 4, 4, generator=generator)
    return logits.sigmoid() if channels == 1 else logits.softmax(2), delta


def test_variances_are_those_of_torchs_dirichlet() -> None:
    alpha = torch.from_numpy(GOLDENS["dir/alpha"])
    delta = dirichlet_variance(alpha, dim=1)
    np.testing.assert_allclose(delta, GOLDENS["dir/var"], atol=1e-6)
    theirs = torch.distributions.Dirichlet(alpha.movedim(1, -1)).variance.movedim(-1, 1)
    torch.testing.assert_close(delta, theirs)


def test_more_evidence_at_equal_proportions_is_less_variance() -> None:
    alpha = concentrations(torch.randn(5, 4))
    variances = [dirichlet_variance(alpha * scale, 1) for scale in (0.01, 1.0, 100.0)]
    assert (variances[0] > variances[1]).all() and (variances[1] > variances[2]).all()
    assert all(((v >= 0) & (v < 0.25)).all() for v in variances)
    assert concentrations(torch.tensor(-200.0)) > 0
    assert concentrations(torch.tensor(0.5), "evidential") == concentrations(torch.tensor(0.5)) + 1


def test_one_channel_has_no_variance_whatever_is_learned() -> None:
    """The binary problem with one channel, as the paper's text suggests: S = alpha, hence 0. RAVS has two there."""
    alpha = concentrations(torch.randn(2, 3, 1, 4, 4))
    assert not dirichlet_variance(alpha, 2).any()
    assert dirichlet_variance(concentrations(torch.randn(2, 3, 2, 4, 4)), 2).min() > 0


def test_normalised_uncertainty_reaches_one_in_each_clip_and_constants_are_zero() -> None:
    delta = torch.rand(2, 3, 1, 4, 4) * 0.2
    norm = normalised_uncertainty(delta)
    assert norm.flatten(1).amax(1).tolist() == [1, 1] and norm.flatten(1).amin(1).tolist() == [0, 0]
    assert not normalised_uncertainty(torch.full((1, 2, 3, 4, 4), 0.1)).any()
    bound = normalised_uncertainty(delta, "bound")
    torch.testing.assert_close(bound, 4 * delta)
    assert torch.equal(normalised_uncertainty(delta[:, :1], "bound"), bound[:, :1])  # depends on no other frame


@settings(deadline=None)
@given(st.sampled_from([1, 4]), st.sampled_from(["div1p", "mult"]), st.integers(0, 100))
def test_uncertain_foreground_is_lowered_and_never_raised(channels: int, rule: str, seed: int) -> None:
    p, delta = maps(channels, seed)
    y, foreground = combine(p, delta, rule), slice(1 if channels > 1 else 0, None)
    assert ((y >= 0) & (y <= 1 + 1e-6)).all()
    assert (y[:, :, foreground] <= p[:, :, foreground]).all()
    more = combine(p, (delta + 0.1).clamp(max=1), rule)
    assert (more[:, :, foreground] <= y[:, :, foreground]).all()
    torch.testing.assert_close(combine(p, torch.zeros_like(delta), rule), p)
    if channels > 1:
        torch.testing.assert_close(y.sum(2), torch.ones_like(y[:, :, 0]))


def test_equation_11_makes_foreground_of_certain_background() -> None:
    """A background pixel of probability 0.018 passes 0.5 as soon as its uncertainty is below 0.036."""
    p = torch.full((1, 1, 1, 1, 2), 0.018)
    delta = torch.tensor([0.030, 0.5]).view(1, 1, 1, 1, 2)
    literal = p / (delta + 1e-6)
    assert literal.flatten().tolist() == pytest.approx([0.6, 0.036], rel=0.01)
    assert not (combine(p, delta) > 0.5).any()
    y = combine(p, delta, "paper")  # divided by its greatest value, so that it is in [0, 1]
    assert y.max() == 1 and (y > 0.5).flatten().tolist() == [True, False]


def test_equation_11_is_no_change_once_two_classes_are_renormed() -> None:
    """Both classes of a Beta distribution share their variance."""
    p, _ = maps(2)
    delta = dirichlet_variance(concentrations(torch.randn(2, 3, 2, 4, 4)), 2)
    torch.testing.assert_close(delta[:, :, 0], delta[:, :, 1])
    literal = p / (delta + 1e-6)
    torch.testing.assert_close(literal / literal.sum(2, keepdim=True), p)


@pytest.mark.parametrize(("rule", "learns"), [("div1p", True), ("mult", True), ("paper", True), ("none", False)])
def test_the_uncertainty_learns_through_y_alone(rule: str, learns: bool) -> None:
    logits = torch.randn(1, 2, 2, 4, 4, requires_grad=True)
    delta = normalised_uncertainty(dirichlet_variance(concentrations(logits), 2)[:, :, 1:])
    y = combine(torch.rand(1, 2, 1, 4, 4), delta, rule)
    if learns:
        y.sum().backward()
        assert logits.grad.abs().sum() > 0 and logits.grad.isfinite().all()
    else:
        assert not y.requires_grad
