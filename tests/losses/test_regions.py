"""Losses of class maps against DDESeg's and AVSBench's, and their treatment of unknown pixels."""

import numpy as np
import pytest
import torch

from acvis_kit.losses.regions import (
    cross_entropy,
    dice_loss,
    focal_cross_entropy,
    iou_loss,
    log_of_logits,
    log_of_probabilities,
    regions_of,
)
from tests.conftest import FIXTURES

GOLDENS = np.load(FIXTURES / "avs_models.npz")


def case(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (N, C, H, W) and class maps (N, H, W)."""
    if name == "bin":
        logits, maps = GOLDENS["bin/mixed/logits"][:, None], GOLDENS["bin/mixed/gt"]
    else:
        logits, maps = GOLDENS[f"avss/{name}/logits_f16"].astype(np.float32), GOLDENS[f"avss/{name}/gt"]
    return torch.from_numpy(logits), torch.from_numpy(maps).long()


@pytest.mark.parametrize(("name", "key"), [("v2", "sem"), ("bin", "bin")])
def test_losses_are_ddesegs(name: str, key: str) -> None:
    logits, maps = case(name)
    p = logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()
    regions = regions_of(maps, logits.shape[1], logits.dtype)
    found = {
        "ce": cross_entropy(log_of_logits(logits), regions),
        "focal": focal_cross_entropy(log_of_logits(logits), regions),
        "dice": dice_loss(p, regions),
        "iou": iou_loss(p, regions),
    }
    for kind, total in found.items():
        np.testing.assert_allclose(total / len(maps), GOLDENS[f"dde/loss_{key}/{kind}"], atol=1e-6)


def test_losses_of_avsbench_are_means_over_the_supervised_frames() -> None:
    logits, maps = case("bin")  # two videos of five frames
    regions = regions_of(maps, 1, logits.dtype)
    first = regions_of(maps[::5], 1, logits.dtype)
    np.testing.assert_allclose(cross_entropy(log_of_logits(logits), regions) / 10, GOLDENS["loss/ms3_bce"], atol=1e-6)
    of_first = cross_entropy(log_of_logits(logits[::5]), first) / 2
    np.testing.assert_allclose(of_first, GOLDENS["loss/s4_first_bce"], atol=1e-6)
    squared = dice_loss(logits[::5].sigmoid(), first, "squared") / 2
    np.testing.assert_allclose(squared, GOLDENS["loss/s4_first_dice_avsegformer"], atol=1e-6)
    logits, maps = case("v1s_padded")  # one video; only its first frame is flagged
    for frames, key in ((1, "v1s_flag"), (10, "all_flag")):
        total = cross_entropy(log_of_logits(logits[:frames]), regions_of(maps[:frames], 7, logits.dtype))
        np.testing.assert_allclose(total / frames, GOLDENS[f"loss/avss_ce_{key}"], atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_predicted_at_unknown_pixels_has_no_effect(channels: int) -> None:
    torch.manual_seed(0)
    maps = torch.randint(0, channels + (channels == 1), (2, 4, 4))
    maps[:, 1] = 255
    logits = torch.randn(2, channels, 4, 4, requires_grad=True)
    regions = regions_of(maps, channels, torch.float32)
    p = logits.softmax(1) if channels > 1 else logits.sigmoid()
    log_p = log_of_probabilities(p)
    losses = [cross_entropy(log_p, regions), focal_cross_entropy(log_p, regions), iou_loss(p, regions)]
    losses += [dice_loss(p, regions, form) for form in ("linear", "squared")]
    sum(losses).backward()
    assert not logits.grad[:, :, 1].any() and logits.grad[:, :, 0].any()


def test_a_perfect_prediction_costs_nothing_and_absent_classes_count() -> None:
    maps = torch.tensor([[[0, 1], [0, 2]]])
    regions = regions_of(maps, 4, torch.float32)
    assert dice_loss(regions.one_hot, regions) == iou_loss(regions.one_hot, regions) == 0
    wrong = regions.one_hot.clone()
    wrong[0, :, 0, 0] = torch.tensor([0.0, 0, 0, 1])  # one pixel of a class that is absent: its dice is 0
    assert iou_loss(wrong, regions).item() == pytest.approx((1 / 2 + 0 + 0 + 1) / 4, abs=1e-4)


def test_certain_mistakes_are_finite() -> None:
    p = torch.tensor([[[[0.0, 1.0]]]])
    total = cross_entropy(log_of_probabilities(p), regions_of(torch.tensor([[[1, 0]]]), 1, p.dtype))
    assert total.item() == pytest.approx(-np.log(1e-6), rel=1e-4)
