"""The loss of stage 2 of AVSC: its optimum is the precision of the candidate."""

import torch

from acvis_kit.losses.correlation import correlation_loss


def gradient(p: float, truth: torch.Tensor, mask: torch.Tensor) -> float:
    probability = torch.tensor(p, dtype=torch.float64, requires_grad=True)
    total, _ = correlation_loss((probability * mask)[None], truth[None])
    total.backward()
    return float(probability.grad)


def test_the_best_probability_is_the_fraction_of_the_candidate_that_sounds() -> None:
    """A candidate of 12 pixels, 9 of which sound: the optimum is 9 / 12."""
    mask, truth = torch.zeros(5, 5, dtype=torch.float64), torch.zeros(5, 5, dtype=torch.int64)
    mask[:3, :4] = 1
    truth[:3, :3] = 4
    truth[4, 4] = 1  # outside of the candidate: no gradient
    assert abs(gradient(9 / 12, truth, mask)) < 1e-9
    assert gradient(0.7, truth, mask) < 0 < gradient(0.8, truth, mask)


def test_pixels_of_unknown_class_are_left_out() -> None:
    soft = torch.tensor([[[0.5, 0.5], [1.0, 0.0]]])
    total, count = correlation_loss(soft, torch.tensor([[[1, 0], [255, 255]]]))
    torch.testing.assert_close(total / count, torch.tensor(2.0).log())
    assert count == 2


def test_certain_mistakes_are_finite() -> None:
    total, _ = correlation_loss(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[1, 0]]]))
    assert total.isfinite() and total > 20
