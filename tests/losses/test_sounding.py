"""Losses of sounding objects and audio classes cover only labelled and visible cases."""

from __future__ import annotations

from dataclasses import replace

import torch

from acvis_kit.clip import Targets
from acvis_kit.losses.criterion import Criterion
from tests.losses.samples import CONFIG, SIZE, generators, random_output, random_targets


def test_a_clip_without_audio_labels_does_not_count() -> None:
    """Of two clips only one has audio labels: the mean is over that clip."""
    output = random_output()
    labelled, unlabelled = random_targets(2), random_targets(2, seed=1, audio_labels=False)
    both = Criterion(CONFIG)(output, [labelled, unlabelled], generators=generators(2))["audio_class"]
    logits, audio_labels = output.audio_class_logits[0], labelled.audio_labels.double()
    want = torch.nn.functional.binary_cross_entropy_with_logits(logits, audio_labels)
    torch.testing.assert_close(both, CONFIG.audio_class_weight * want)


def test_the_sounding_loss_covers_only_frames_in_which_the_object_is_visible() -> None:
    """One query, one object, visible in frames 0 and 2, sounding in 2: -(log(1 - s(x_0)) + log s(x_2)) / 2."""
    masks = torch.zeros(1, 4, 4 * SIZE[0], 4 * SIZE[1], dtype=torch.bool)
    masks[0, [0, 2], :8, :8] = True
    sounding = torch.tensor([[False, True, True, True]])
    target = Targets(torch.tensor([1]), masks, sounding, torch.tensor([0, 1, 1, 1]))
    output = random_output(1, frame_layers=1, supervised=1, video_layers=1, queries=1)
    losses = Criterion(replace(CONFIG, sounding_weight=1.0))(output, [target])
    for name, logits in (
        ("frame/sounding", output.frame_sounding_logits[0, 0, :, 0]),
        ("video/sounding", output.video.sounding_logits[0, 0, :, 0]),
    ):
        want = -((1 - logits[0].sigmoid()).log() + logits[2].sigmoid().log()) / 2
        torch.testing.assert_close(losses[name], want, msg=name)
