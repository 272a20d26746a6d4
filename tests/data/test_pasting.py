"""Objects of one clip before another: pixels and masks move together, and the sound stays that of the clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from acvis_kit.clip import Targets
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.pasting import LEFT, SCALES, paste
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.data.transforms import Augmentation
from acvis_kit.errors import ConfigError

DOG, CAT, CAR = 0, 1, 2
SIZE = (48, 64)


def clip(*objects: tuple[int, tuple[int, int, int, int], bool]) -> tuple[torch.Tensor, Targets]:
    """Two frames of grey noise with rectangles: class, (top, left, bottom, right), whether it sounds."""
    rng = np.random.default_rng(len(objects))
    frames = torch.from_numpy(rng.integers(90, 110, (2, 3, *SIZE), np.uint8))
    masks = torch.zeros(len(objects), 2, *SIZE, dtype=torch.bool)
    for n, (label, (top, left, bottom, right), _) in enumerate(objects):
        masks[n, :, top:bottom, left:right] = True
        frames[:, :, top:bottom, left:right] = 180 + 20 * label
    sounding = torch.tensor([[sounds] * 2 for _, _, sounds in objects]).reshape(-1, 2)
    labels = torch.tensor([label for label, _, _ in objects], dtype=torch.int64)
    return frames, Targets(labels, masks, sounding, sounding.sum(0), auxiliary={"cue": sounding})


def test_pixels_and_masks_are_pasted_together_and_what_is_behind_is_hidden() -> None:
    frames, targets = clip((DOG, (5, 5, 40, 60), False))
    changed = 0
    for seed in range(20):
        pixels, found = paste(frames, targets, *clip((CAT, (10, 10, 30, 30), True)), np.random.default_rng(seed))
        assert found.labels.tolist() in ([DOG, CAT], [CAT], [DOG])
        assert not (found.masks.sum(0) > 1).any()  # every pixel belongs to one object
        cat = found.masks[found.labels == CAT].flatten(0, 1)  # (frames, H, W)
        inside = torch.nn.functional.max_pool2d(1 - cat.float(), 3, 1, 1) == 0  # away from the blended edge
        for frame, mask in zip(pixels, inside, strict=False):
            assert (frame[:, mask] > 190).all()  # of the cat; the dog has 180
        assert (
            not found.sounding.any() and not found.auxiliary["cue"].any() and torch.equal(found.counts, targets.counts)
        )
        area = int(cat.sum((1, 2)).max()) if len(cat) else 0
        assert area <= (20 * SCALES[1] + 1) ** 2
        changed += area > 0
    assert changed > 15


def test_no_object_is_pasted_whose_class_is_heard() -> None:
    """It would have to sound."""
    frames, targets = clip((DOG, (5, 5, 20, 20), True))
    for seed in range(10):
        pixels, found = paste(frames, targets, *clip((DOG, (10, 10, 30, 30), True)), np.random.default_rng(seed))
        assert torch.equal(pixels, frames) and torch.equal(found.masks, targets.masks)
    outside = Targets(
        **{**vars(targets), "sounding": targets.sounding & False, "audio_labels": torch.tensor([[True]] * 2)}
    )
    _, found = paste(frames, outside, *clip((DOG, (10, 10, 30, 30), True)), np.random.default_rng(0))
    assert found.labels.tolist() == [DOG]  # it sounds from outside the picture


def test_what_sounds_stays_in_view() -> None:
    frames, targets = clip((DOG, (20, 28, 28, 36), True))
    before = targets.masks[0].sum((1, 2))
    pasted = 0
    for seed in range(40):
        _, found = paste(frames, targets, *clip((CAR, (0, 0, 40, 60), False)), np.random.default_rng(seed))
        assert (found.masks[0].sum((1, 2)) >= LEFT * before).all()
        pasted += len(found.labels) == 2
    assert 0 < pasted < 40


def test_small_objects_and_none_are_not_pasted() -> None:
    frames, targets = clip((DOG, (5, 5, 20, 20), False))
    for others in (clip(), clip((CAT, (0, 0, 4, 4), False))):
        pixels, found = paste(frames, targets, *others, np.random.default_rng(0))
        assert torch.equal(pixels, frames) and found.labels.tolist() == [DOG]


def test_samples_with_pasted_objects_depend_on_their_number_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 6}, seed=3, size=64, seconds=(4, 6), progress=False)
    split = AVISegSplit(tmp_path, "train")
    plain, pasted, again = (
        TrainingClips(split, clip_frames=2, targets="visible", augmentation=Augmentation(pasted=share))
        for share in (0.0, 1.0, 1.0)
    )
    more = 0
    for draw in range(6):
        own, changed = plain.sample(draw), pasted.sample(draw)
        assert torch.equal(changed.frames, again.sample(draw).frames) and torch.equal(own.log_mel, changed.log_mel)
        assert torch.equal(own.targets.counts, changed.targets.counts)
        more += not torch.equal(own.frames, changed.frames)
    assert more > 3


def test_a_fraction_outside_its_range_and_masks_of_sounding_objects_are_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 1}, seed=3, size=64, seconds=(4, 4), progress=False)
    with pytest.raises(ConfigError, match="needs targets='visible'"):
        TrainingClips(AVISegSplit(tmp_path, "train"), augmentation=Augmentation(pasted=0.5))
    with pytest.raises(ConfigError, match=r"pasted=1\.5 must lie in"):
        Augmentation(pasted=1.5)
