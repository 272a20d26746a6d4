"""What the host waits for in a step of training on another device."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from acvis_kit.clip import Targets
from acvis_kit.data.collate import TrainingBatch, collate
from acvis_kit.data.training_clips import TrainingSample
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training.stages import visual_pretraining, whole_network
from tests.device import DEVICE, Device
from tests.training.tiny import CONFIG, RECIPE

EVERYTHING = replace(
    CONFIG, targets="visible", audio_classes=True, pixel_classes=True, auxiliary_targets=("cue",), count_from="both",
    supervised_frame_layers=2,
)  # fmt: skip


def batch(frames: int = 3) -> TrainingBatch:
    """Two clips of two and three objects."""
    g = torch.Generator().manual_seed(1)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g) < 0.3

    def sample(objects: int) -> TrainingSample:
        targets = Targets(
            labels=torch.randint(0, CONFIG.num_classes, (objects,), generator=g),
            masks=chance(objects, frames, 64, 64) & chance(objects, frames, 1, 1),
            sounding=chance(objects, frames),
            counts=torch.randint(0, 3, (frames,), generator=g),
            audio_labels=chance(frames, CONFIG.num_classes),
            auxiliary={"cue": chance(objects, frames)},
        )
        pictures = torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8, generator=g)
        return TrainingSample(pictures, torch.randn(frames, 96, 64, generator=g), None, targets)

    return collate([sample(2), sample(3)])


def step(model: ACVIS, stage_of, clips: TrainingBatch, device: torch.device | str) -> dict[str, Tensor]:
    """Losses, gradients and a step of AdamW."""
    stage = stage_of(model)
    optimizer = torch.optim.AdamW(stage.groups, lr=1e-3)
    losses = stage.losses(stage.network, clips.to(device), [4, 5], lambda terms: terms)
    torch.stack(list(losses.values())).sum().backward()
    losses["norm"] = nn.utils.clip_grad_norm_(stage.network.parameters(), stage.clip_norm)
    optimizer.step()
    return losses


def whole(model: ACVIS):
    return whole_network(model, SimpleNamespace(sample=None), RECIPE)


def visual(model: ACVIS):
    return visual_pretraining(model, SimpleNamespace(picture=None), 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage_of", "frames", "waits"),
    [
        # The costs of all layers, clips and levels for the matching; whether all sums are finite.
        (whole, 3, ["losses/criterion.py", "losses/matcher.py"]),
        (visual, 1, []),
    ],
)
def test_a_training_step_waits_for_the_device_no_more_often_than_it_must(stage_of, frames: int, waits) -> None:
    torch.manual_seed(0)
    model = ACVIS(EVERYTHING).train()
    clips = batch(frames)
    device = Device()
    with device:
        copy = device.module(model)
        device.reads.clear()
        device.sent.clear()
        there = step(copy, stage_of, clips, DEVICE)
    assert sorted(what.split(" | ")[1].split(":")[0] for what in device.reads.elements()) == waits
    assert not [what for what in device.sent if "waits" in what]  # copies to the device neither
    here = step(model, stage_of, clips, "cpu")
    for name, value in here.items():
        torch.testing.assert_close(there[name].cpu_values(), value.detach(), rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_targets_on_the_device_are_read_once() -> None:
    device = Device()
    with device:
        copy = device.module(ACVIS(EVERYTHING).train())
        clips = batch()
        targets = [replace(one, facts=None).to(DEVICE) for one in clips.targets]
        device.reads.clear()
        step(copy, whole, replace(clips, targets=targets), DEVICE)
    assert sum(count for what, count in device.reads.items() if "truth.py" in what) == 1
