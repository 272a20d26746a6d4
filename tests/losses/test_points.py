"""Points: how they are distributed, how maps are sampled there, and that each clip draws its own."""

from __future__ import annotations

import pytest
import torch

from acvis_kit.losses.points import draw, sample_logits, sample_masks, uncertain_points
from tests.losses.samples import generators, seeded

CPU = torch.device("cpu")


def test_the_points_of_a_clip_do_not_depend_on_its_neighbours() -> None:
    """Rows 0 and 2 belong to clip 0, row 1 to clip 1."""
    both = draw(torch.tensor([0, 1, 0]), (3, 4), generators(2), CPU)
    first = draw(torch.tensor([0, 0]), (3, 4), generators(1), CPU)
    second = draw(torch.tensor([0]), (3, 4), generators(2)[1:], CPU)
    assert torch.equal(both[[0, 2]], first) and torch.equal(both[[1]], second)


def test_points_are_uniform_in_the_frame() -> None:
    points = draw(torch.zeros(1, dtype=torch.int64), (4000,), generators(1), CPU)[0]
    assert points.min() >= 0 and points.max() < 1
    halves = torch.histogramdd(points, bins=[2, 2], range=[0.0, 1.0, 0.0, 1.0]).hist / 4000
    assert (halves - 0.25).abs().max() < 0.03


def test_drawing_needs_no_rows_and_no_generators() -> None:
    assert draw(torch.zeros(0, dtype=torch.int64), (2,), generators(3), CPU).shape == (0, 2, 2)
    assert draw(torch.zeros(3, dtype=torch.int64), (2,), None, CPU).shape == (3, 2, 2)


def test_a_mask_sampled_at_pixel_centres_is_the_mask() -> None:
    mask = torch.rand(1, 3, 4, generator=seeded()) < 0.5
    y, x = torch.meshgrid((torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4, indexing="ij")
    points = torch.stack([x, y], -1).view(1, 12, 2)
    got = sample_masks(mask, torch.tensor([0]), points, torch.float64)
    torch.testing.assert_close(got.view(3, 4), mask[0].double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (24, 32)])
def test_masks_are_sampled_as_logits_are(size: tuple[int, int]) -> None:
    """The four look-ups equal torch's grid_sample, borders included."""
    masks = torch.rand(3, *size, generator=seeded()) < 0.5
    planes, points = torch.tensor([[2, 0], [1, 1]]), torch.rand(2, 2, 50, 2, generator=seeded(1))
    points[..., :4, :] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1e-4, 0.5]])
    got = sample_masks(masks, planes, points, torch.float64)
    want = sample_logits(masks[planes.flatten()].double()[:, None], points.flatten(0, 1)).view(2, 2, 50)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def test_most_points_lie_where_the_mask_is_uncertain() -> None:
    """Logits rise from left to right and cross zero in the middle."""
    logits = torch.linspace(-10, 10, 16).expand(1, 1, 1, 16, 16)
    where = torch.tensor([0])
    points = uncertain_points(logits, where, 400, 3.0, 0.75, generators(1))
    assert points.shape == (1, 1, 1, 400, 2)
    from_middle = (points[0, 0, 0, :, 0] - 0.5).abs()
    # The 300 least certain of 1200 uniform ones are a quarter of the frame, about 1/8 to each side of the middle.
    assert (from_middle[:300] < 0.25).all() and from_middle[:300].mean() < 0.08
    assert (from_middle[300:] > 0.25).sum() > 35
    uniform = uncertain_points(logits, where, 400, 3.0, 0.0, generators(1))
    assert ((uniform[0, 0, 0, :, 0] - 0.5).abs() > 0.25).sum() > 150


def test_one_generator_gives_the_same_points_again() -> None:
    logits = torch.randn(1, 2, 3, 6, 8, generator=seeded())
    clips = torch.tensor([0, 1])
    first, again, other = (uncertain_points(logits, clips, 20, 3.0, 0.75, generators(2, s)) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_layers_draw_one_after_another() -> None:
    """Two layers together get the points that they get alone."""
    logits, clips = torch.randn(2, 2, 3, 6, 8, generator=seeded()), torch.tensor([0, 1])
    together = uncertain_points(logits, clips, 20, 3.0, 0.75, generators(2))
    given = generators(2)
    alone = [uncertain_points(layer[None], clips, 20, 3.0, 0.75, given) for layer in logits]
    assert torch.equal(together, torch.cat(alone))


def test_the_choice_of_points_has_no_gradient() -> None:
    logits = torch.randn(1, 1, 1, 6, 8, generator=seeded(), requires_grad=True)
    assert not uncertain_points(logits, torch.tensor([0]), 8, 3.0, 0.75, None).requires_grad
