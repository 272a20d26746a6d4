import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.errors import DataError

Scenes = dict[int, SceneRecord]


def test_silent_objects_have_masks_and_masks_never_overlap(scenes: Scenes) -> None:
    silent = 0
    for scene in list(scenes.values())[:8]:
        masks = np.stack([thing.masks() for thing in scene.objects])  # (N, T, H, W)
        assert masks.sum(0).max() == 1
        silent += (masks.any((2, 3)) & ~scene.sounding).sum()
        for number, thing in enumerate(scene.objects):
            assert np.array_equal(thing.areas, masks[number].sum((1, 2)))
            assert np.array_equal(thing.share > 0, thing.areas > 0)
    assert silent > 50


def test_masks_of_chosen_seconds(scenes: Scenes) -> None:
    thing = scenes[1].objects[0]
    assert np.array_equal(thing.masks([3, 0, 3]), thing.masks()[[3, 0, 3]])


def test_annotations_hold_masks_only_where_the_object_sounds(dataset: Path, scenes: Scenes) -> None:
    truth = json.loads((dataset / "train.json").read_text())
    annotations = {entry["id"]: entry for entry in truth["annotations"]}
    for scene in scenes.values():
        for thing in scene.objects:
            assert (thing.annotation_id is None) == (not thing.sounding.any())
            if thing.annotation_id is None:
                continue
            entry = annotations.pop(thing.annotation_id)
            assert (entry["video_id"], entry["category_id"]) == (scene.video_id, thing.category_id)
            for t in range(scene.length):
                wanted = thing.segmentations[t] if thing.sounding[t] else None
                assert entry["segmentations"][t] == wanted
                assert (entry["areas"][t] is None) == (entry["bboxes"][t] is None) == (wanted is None)
                if wanted:
                    rows, columns = np.nonzero(thing.mask(t))
                    left, top, width, height = entry["bboxes"][t]
                    assert (left, top) == (columns.min(), rows.min())
                    assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert not annotations  # nothing else is annotated


def test_the_recorded_soundtrack_is_the_one_in_the_file(dataset: Path, scenes: Scenes) -> None:
    for scene in list(scenes.values())[:3]:
        rate, samples = wavfile.read(dataset / "train" / "WAVAudios" / f"{scene.name}.wav")
        assert rate == 16000 and samples.dtype == np.int16 and samples.shape == (scene.length * 16000,)
        rendered = scene.soundtrack.render()
        assert np.abs(samples / 32767 - rendered).max() < 1e-4 and np.abs(rendered).max() > 0.001


def test_offscreen_seconds_are_those_of_voices_without_an_object(scenes: Scenes) -> None:
    for scene in scenes.values():
        outside = [part.seconds for part in scene.soundtrack.parts if part.object is None]
        assert np.array_equal(scene.offscreen, np.any(outside, axis=0) if outside else np.zeros(scene.length))


def test_scenes_of_another_version_or_damaged_are_refused(tmp_path: Path, dataset: Path) -> None:
    path = tmp_path / "train_scenes.json"
    with pytest.raises(DataError, match="is not there"):
        load_scenes(path)
    path.write_text("{")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        load_scenes(path)
    data = json.loads((dataset / "train_scenes.json").read_text())
    path.write_text(json.dumps({**data, "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        load_scenes(path)
    del data["scenes"][0]["objects"][0]["sounding"]
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="damaged"):
        load_scenes(path)
