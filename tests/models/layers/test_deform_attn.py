"""Deformable attention: both sampling functions agree, and small cases are computed by hand."""

import math

import pytest
import torch

from acvis_kit.models.layers.deform_attn import DeformableAttention, linear_on_pyramid, sample_grid, sample_rows

SHAPES = [(3, 5), (6, 10), (12, 20)]
TOKENS = sum(h * w for h, w in SHAPES)


def draw(queries: int = 7, heads: int = 2, points: int = 3, spread: float = 1.4, dtype=torch.float64):
    """Random values and sampling points, many of them outside the image."""
    g = torch.Generator().manual_seed(0)
    values = torch.randn(2, TOKENS, heads, 4, generator=g, dtype=dtype)
    size = torch.tensor(SHAPES, dtype=dtype)
    unit = torch.rand(2, 2, queries, heads, 3, points, generator=g, dtype=dtype) * spread - (spread - 1) / 2
    x, y = unit[0] * size[:, 1:] - 0.5, unit[1] * size[:, :1] - 0.5
    return values, x, y, torch.rand(2, queries, heads, 3, points, generator=g, dtype=dtype)


@pytest.mark.parametrize("spread", [0.9, 1.4, 8.0])
def test_rows_and_grid_agree_inside_and_far_outside(spread: float) -> None:
    values, x, y, weights = draw(spread=spread)
    torch.testing.assert_close(sample_rows(values, SHAPES, x, y, weights), sample_grid(values, SHAPES, x, y, weights))


def test_a_sample_between_four_cells_is_their_weighted_mean() -> None:
    values = torch.tensor([[1.0, 2, 3, 4]]).view(1, 4, 1, 1)  # an image [[1, 2], [3, 4]]
    at = lambda x, y: sample_rows(  # noqa: E731
        values, [(2, 2)], torch.full((1, 1, 1, 1, 1), x), torch.full((1, 1, 1, 1, 1), y), torch.ones(1, 1, 1, 1, 1)
    ).item()
    assert at(0.0, 0.0) == 1
    assert at(0.25, 0.5) == pytest.approx((0.75 * 1 + 0.25 * 2 + 0.75 * 3 + 0.25 * 4) / 2)
    assert at(-0.5, 0.0) == 0.5  # half of it lies outside, where the image is 0
    assert at(-1.0, 0.0) == at(0.0, 2.0) == at(50.0, 50.0) == 0


def test_rows_and_grid_have_the_same_gradients() -> None:
    values, x, y, weights = draw()
    gradients = []
    for sample in (sample_rows, sample_grid):
        inputs = [t.clone().requires_grad_() for t in (values, x, y, weights)]
        sample(inputs[0], SHAPES, *inputs[1:]).square().sum().backward()
        gradients.append([t.grad for t in inputs])
    for rows, grid in zip(*gradients, strict=True):
        torch.testing.assert_close(rows, grid)


def test_initially_every_head_samples_in_its_own_direction_at_1_2_3_4_cells() -> None:
    layer = DeformableAttention(32, num_heads=8, num_levels=3, num_points=4)
    reference = torch.full((1, 2), 0.5)
    x, y, weights = layer.where(torch.randn(1, 1, 32), reference, SHAPES)
    for head in range(8):
        angle = 2 * math.pi * head / 8
        dx, dy = math.cos(angle), math.sin(angle)
        for level, (height, width) in enumerate(SHAPES):
            for point in range(4):
                step = (point + 1) / max(abs(dx), abs(dy))
                assert x[0, 0, head, level, point].item() == pytest.approx(width / 2 - 0.5 + step * dx, abs=1e-4)
                assert y[0, 0, head, level, point].item() == pytest.approx(height / 2 - 0.5 + step * dy, abs=1e-4)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / 12))


def test_weights_sum_to_one_over_levels_and_points_together() -> None:
    torch.manual_seed(0)
    layer = DeformableAttention(32, 4, 3, 4)
    torch.nn.init.normal_(layer.attention_weights.weight)
    _, _, weights = layer.where(torch.randn(2, 5, 32), torch.rand(5, 2), SHAPES)
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(2, 5, 4))


@pytest.mark.parametrize("length", [21, 42, 21 * 15, 100])
def test_a_linear_layer_is_the_same_with_and_without_gradients(length: int) -> None:
    """Without gradients it is computed as a convolution."""
    g = torch.Generator().manual_seed(0)
    tokens, weight, bias = (torch.randn(s, generator=g, dtype=torch.float64) for s in ((2, length, 8), (12, 8), (12,)))
    want = linear_on_pyramid(tokens, weight, bias)
    with torch.no_grad():
        torch.testing.assert_close(linear_on_pyramid(tokens, weight, bias), want)
