"""A GPU gives what the CPU gives, up to the precision of its convolutions."""

from __future__ import annotations

import copy

import pytest
import torch

from acvis_kit.clip import Clip, Targets
from acvis_kit.inference.predictor import Predictor
from acvis_kit.losses.criterion import Criterion
from acvis_kit.models.acvis.model import ACVIS
from tests.conftest import SEEING

DEVICE = "cuda"
pytestmark = pytest.mark.gpu


def test_features_counts_and_masks_are_those_of_the_cpu(tiny_model: ACVIS, noise_clip: Clip) -> None:
    on_cpu, on_gpu = Predictor(copy.deepcopy(tiny_model)), Predictor(copy.deepcopy(tiny_model), device=DEVICE)
    for ours, theirs in zip(
        on_cpu.encode(noise_clip).chunks("cpu"), on_gpu.encode(noise_clip).chunks("cpu"), strict=True
    ):
        torch.testing.assert_close(theirs.fine.cpu(), ours.fine, rtol=1e-2, atol=1e-2)
    expected, found = on_cpu(noise_clip), on_gpu(noise_clip)
    torch.testing.assert_close(found.count_probs.cpu(), expected.count_probs, rtol=0, atol=1e-2)
    assert found.counts.device.type == "cpu" and abs(len(found.tracks) - len(expected.tracks)) <= 1


def test_losses_and_gradients_are_those_of_the_cpu() -> None:
    classes = len(SEEING.class_names)
    masks = torch.zeros(2, 3, 64, 64, dtype=torch.bool)
    masks[0, :, 4:30, 4:30] = masks[1, :2, 36:60, 30:60] = True
    sounding = torch.tensor([[True, True, False], [False, True, False]])
    targets = Targets(torch.tensor([0, 1]), masks, sounding, sounding.sum(0), torch.zeros(3, classes, dtype=torch.bool))
    losses = {}
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        model = ACVIS(SEEING).train()
        frames = torch.randint(0, 256, (1, 3, 3, 64, 64), dtype=torch.uint8)
        log_mel = torch.randn(1, 3, 96, 64)
        output = model.to(device)(frames.to(device), log_mel.to(device))
        points = [torch.Generator().manual_seed(0)]
        losses[device] = Criterion(SEEING)(output, [targets.to(device)], generators=points)
        sum(losses[device].values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    for name, loss in losses["cpu"].items():
        torch.testing.assert_close(losses[DEVICE][name].cpu(), loss, rtol=5e-2, atol=1e-2)
