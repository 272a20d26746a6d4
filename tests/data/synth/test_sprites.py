import numpy as np
import pytest
import torch

from acvis_kit.data.synth.classes import SYNTH_CLASSES
from acvis_kit.data.synth.sprites import Sprite, draw_sprite


def instances(class_name: str, count: int, pixels: int = 32) -> list[Sprite]:
    number = SYNTH_CLASSES.index(class_name)
    return [draw_sprite(class_name, np.random.default_rng([number, k]), pixels) for k in range(count)]


@pytest.mark.parametrize("class_name", SYNTH_CLASSES)
def test_no_two_instances_are_alike_and_none_touches_the_edge(class_name: str) -> None:
    drawn = instances(class_name, 12, pixels=64)
    assert len({sprite.picture.tobytes() for sprite in drawn}) == 12
    assert len({sprite.opaque.tobytes() for sprite in drawn}) == 12  # outlines differ, not only colours
    for sprite in drawn:
        edge = np.concatenate([sprite.opaque[0], sprite.opaque[-1], sprite.opaque[:, 0], sprite.opaque[:, -1]])
        assert not edge.any() and sprite.extent > 30


def test_the_same_seed_draws_the_same_sprite() -> None:
    one, two = (draw_sprite("cat", np.random.default_rng(5)) for _ in range(2))
    assert one.picture.tobytes() == two.picture.tobytes()


def test_levels_halve_and_keep_the_mean_colour() -> None:
    (sprite,) = instances("piano", 1, pixels=96)
    assert [level.width for level in sprite.levels] == [96, 48, 24]
    means = [Sprite(level).mean_colour() for level in sprite.levels]
    assert np.abs(means[0] - means[1]).max() < 8


def fitted_accuracy(features: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> float:
    """Accuracy of a multinomial logistic regression on the rows held out."""
    x = torch.from_numpy(np.c_[features, np.ones(len(features))])
    y, out = torch.from_numpy(labels), torch.from_numpy(held_out)
    weights = torch.zeros(x.shape[1], len(SYNTH_CLASSES), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(x[~out] @ weights, y[~out]) + 1e-4 * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return float(((x[out] @ weights).argmax(1) == y[out]).double().mean())


@pytest.fixture(scope="module")
def gallery() -> tuple[list[Sprite], np.ndarray, np.ndarray]:
    """100 instances a class, their classes, and which of them are held out."""
    drawn = [sprite for name in SYNTH_CLASSES for sprite in instances(name, 100)]
    labels = np.repeat(np.arange(len(SYNTH_CLASSES)), 100)
    return drawn, labels, np.tile(np.arange(100) >= 65, len(SYNTH_CLASSES))


def test_colour_predicts_the_class_at_most_twice_as_well_as_chance(gallery) -> None:
    drawn, labels, held_out = gallery
    colours = np.stack([sprite.mean_colour() for sprite in drawn]) / 255
    accuracy = fitted_accuracy(colours, labels, held_out)
    assert accuracy <= 2 / len(SYNTH_CLASSES), accuracy


def test_shape_predicts_the_class(gallery) -> None:
    """From the silhouette alone, at 16 pixels."""
    drawn, labels, held_out = gallery
    shapes = np.stack([np.asarray(s.levels[-1].getchannel("A"), np.float64).ravel() for s in drawn]) / 255
    assert fitted_accuracy(shapes, labels, held_out) > 0.9
