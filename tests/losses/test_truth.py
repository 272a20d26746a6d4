"""The objects to be matched: per frame at the frame level, per clip at the video level."""

from __future__ import annotations

import torch

from acvis_kit.clip import Targets
from acvis_kit.losses.truth import Truth
from tests.losses.samples import SIZE, box

PLACE = (0, 0, 8, 8)


def truth() -> Truth:
    """Clip 0: objects 0 (frame 0), 1 (both frames), 2 (never). Clip 1: nothing. Clip 2: object 3 (frame 1)."""
    masks = [
        torch.stack([box(2, PLACE, None), box(2, PLACE, PLACE), box(2, None, None)]),
        torch.zeros(0, 2, 4 * SIZE[0], 4 * SIZE[1], dtype=torch.bool),
        torch.stack([box(2, None, PLACE)]),
    ]
    targets = [
        Targets(
            torch.arange(len(m)), m, torch.zeros(len(m), 2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64), None
        )
        for m in masks
    ]
    return Truth(targets, 3, 2, 3, SIZE, "cpu")


def listed(sets: object) -> list[list[int]]:
    return [row[:size].tolist() for row, size in zip(sets.objects, sets.sizes.tolist(), strict=True)]


def test_the_set_of_a_frame_holds_the_objects_with_a_mask_there() -> None:
    sets = truth().of_frames()
    assert listed(sets) == [[0, 1], [1], [], [], [], [3]]
    assert sets.clips.tolist() == [0, 0, 1, 1, 2, 2]
    assert sets.frames.tolist() == [[0], [1], [0], [1], [0], [1]]
    assert sets.valid.tolist() == [[True, True], [True, False], [False] * 2, [False] * 2, [False] * 2, [True, False]]


def test_the_set_of_a_clip_holds_the_objects_with_a_mask_in_any_frame() -> None:
    sets = truth().of_videos(3)
    assert listed(sets) == [[0, 1], [], [3]]
    assert sets.frames.tolist() == [[0, 1]] * 3
    assert sets.num_objects == 9


def test_clips_without_audio_labels_are_marked() -> None:
    assert truth().has_audio_labels.tolist() == [False] * 3
    assert not truth().audio_labels.any()


def test_auxiliary_labels_are_gathered_by_name_and_objects_without_them_marked() -> None:
    def clip(objects: int, **labels: list[bool]) -> Targets:
        masks, sounding = torch.ones(objects, 1, 8, 8, dtype=torch.bool), torch.ones(objects, 1, dtype=torch.bool)
        auxiliary = {name: torch.tensor(values)[:, None] for name, values in labels.items()}
        zeros = torch.zeros(objects, dtype=torch.int64)
        return Targets(zeros, masks, sounding, torch.tensor([objects]), None, auxiliary)

    clips = [clip(1), clip(2, cue=[True, False]), clip(1, cue=[True], moving=[True])]
    auxiliary = Truth(clips, 3, 1, 1, (2, 2), "cpu").auxiliary
    assert {name: labels[:, 0].tolist() for name, (labels, _) in auxiliary.items()} == {
        "cue": [False, True, False, True],
        "moving": [False, False, False, True],
    }
    assert {name: known.tolist() for name, (_, known) in auxiliary.items()} == {
        "cue": [False, True, True, True],
        "moving": [False, False, False, True],
    }
    assert truth().auxiliary == {}
