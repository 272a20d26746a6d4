"""Replaced sounds: the target becomes empty, and another frame's sound has no class in common."""

import torch

from acvis_kit.models.avsc.negatives import replace_sounds


def frames(classes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One frame of each class, whose sound is constant at its number."""
    maps = torch.zeros(len(classes), 4, 4, dtype=torch.int64)
    maps[:, 0, 0] = torch.tensor(classes)
    return torch.tensor(classes, dtype=torch.float32)[:, None].repeat(1, 10), maps


def test_without_probability_nothing_changes() -> None:
    seconds, maps = frames([1, 2])
    out = replace_sounds(seconds, maps, 0.0, torch.Generator().manual_seed(0))
    assert out[0] is seconds and out[1] is maps


def test_replaced_sounds_are_silent_or_of_other_classes_and_their_targets_empty() -> None:
    classes = [1, 1, 2, 3] * 20
    seconds, maps = frames(classes)
    sounds, targets = replace_sounds(seconds, maps, 0.5, torch.Generator().manual_seed(0))
    heard = sounds[:, 0].int().tolist()
    changed = [i for i, (now, then) in enumerate(zip(heard, classes, strict=True)) if now != then]
    assert 25 < len(changed) < 55
    assert {heard[i] for i in changed} == {0, 1, 2, 3}
    assert not targets[changed].any() and torch.equal(seconds, frames(classes)[0])
    kept = sorted(set(range(80)) - set(changed))
    assert torch.equal(targets[kept], maps[kept])


def test_with_one_class_alone_the_sound_becomes_silence() -> None:
    seconds, maps = frames([2] * 10)
    sounds, targets = replace_sounds(seconds, maps, 1.0, torch.Generator().manual_seed(0))
    assert not sounds.any() and not targets.any()
