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
    with pytest.raises(DataError, match="is not JSON"):
        load_scenes(path)
    data = json.loads((dataset / "train_scenes.json").read_text())
    path.write_text(json.dumps({**data, "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        load_scenes(path)
    path.write_text(json.dumps({**data, "scenes": data["scenes"][:1] * 2}))
    with pytest.raises(DataError, match="two scenes of one video"):
        load_scenes(path)
    del data["scenes"][0]["objects"][0]["sounding"]
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match="damaged"):
        load_scenes(path)


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("scenes",), 5, "scenes must be a list"),
        (("scenes", 0), None, r"scenes\[0\]: 'video_id' is missing"),
        (("voices",), [1], "voices are"),
        (("voices",), {"dog": [5]}, "voices of dog: the file is 5"),
        (("sounds",), {"a": 1}, "sounds: the folder is"),
        (("scenes", 0, "video_id"), [1], r"video_id is \[1\]"),
        (("scenes", 0, "video_id"), -1, "video_id is -1"),
        (("scenes", 0, "name"), 5, "the name is 5"),
        (("scenes", 0, "length"), float("inf"), "length is inf"),
        (("scenes", 0, "length"), 10**9, "length is 1000000000"),
        (("scenes", 0, "height"), 10**9, r"scenes\[0\]: height and width"),
        (("scenes", 0, "twins"), True, "twins is True, but the pair None"),
        (("scenes", 0, "twins"), "no", "twins is 'no'"),
        (("scenes", 0, "pair"), [0], "not two of its"),
        (("scenes", 0, "pair"), [0, 0], "not two of its"),
        (("scenes", 0, "pair"), [0, 99], "not two of its"),
        (("scenes", 0, "pair"), 5, "pair must be a list"),
        (("scenes", 0, "objects"), [], "there are no objects"),
        (("scenes", 0, "objects", 0), 5, r"scenes\[0\]\.objects\[0\]: 'category_id' is missing"),
        (("scenes", 0, "objects", 0, "id"), 1, "not its place in the list"),
        (("scenes", 0, "objects", 0, "level_db"), float("nan"), "must be numbers"),
        (("scenes", 0, "objects", 0, "annotation_id"), "x", "must be numbers"),
        (("scenes", 0, "objects", 0, "voice"), [], "entry of a voice is damaged"),
        (("scenes", 0, "objects", 0, "voice"), {"class": "dog", "seed": float("inf")}, "entry of a voice is damaged"),
        (("scenes", 0, "objects", 0, "voice"), {"class": "dog", "seed": 1, "source": 5}, "entry of a voice is damaged"),
        (("scenes", 0, "objects", 0, "segmentations"), [None], "1 segmentations"),
        (
            ("scenes", 0, "objects", 0, "segmentations", 0),
            {"size": [9, 9], "counts": "0"},
            r"frame 0: .*size is \[9, 9\]",
        ),
        (("scenes", 0, "objects", 0, "areas"), [1], "areas must be"),
        (("scenes", 0, "objects", 0, "areas", 0), 10**400, "areas must be"),
        (("scenes", 0, "objects", 0, "share", 0), None, "share must be"),
        (("scenes", 0, "objects", 0, "sounding", 0), [1, 2], "sounding must be"),
        (("scenes", 0, "objects", 0, "cue", 0), "1", "cue must be"),
        (("scenes", 0, "offscreen"), None, "offscreen must be a list"),
        (("scenes", 0, "soundtrack"), {}, "soundtrack's entry"),
        (("scenes", 0, "soundtrack", "length"), float("inf"), "soundtrack's entry"),
    ],
)
def test_an_entry_of_the_scenes_that_does_not_fit_is_named(
    dataset: Path, tmp_path: Path, way: tuple, value: object, message: str
) -> None:
    data = json.loads((dataset / "train_scenes.json").read_text())
    first = next(scene for scene in data["scenes"] if not scene["pair"])
    data["scenes"] = [first]
    place = data
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    path = tmp_path / "train_scenes.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=message) as refused:
        load_scenes(path)
    assert "train_scenes.json is damaged" in str(refused.value) and "acvis synth" in str(refused.value)


def test_a_pair_is_of_one_class(dataset: Path, tmp_path: Path, scenes: Scenes) -> None:
    data = json.loads((dataset / "train_scenes.json").read_text())
    number = next(n for n, scene in enumerate(data["scenes"]) if scene["pair"])
    scene = data["scenes"][number]
    assert scenes[scene["video_id"]].pair == tuple(scene["pair"])
    own = {thing["voice"]["class"] for k, thing in enumerate(scene["objects"]) if k in scene["pair"]}
    other = next(k for k, thing in enumerate(scene["objects"]) if thing["voice"]["class"] not in own)
    scene["pair"][0] = other
    path = tmp_path / "train_scenes.json"
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=rf"scenes\[{number}\]: the pair is .* not twice one"):
        load_scenes(path)
