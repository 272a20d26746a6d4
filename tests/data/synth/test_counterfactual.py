import dataclasses
from collections import Counter

import numpy as np
import pytest

from acvis_kit.data.synth.classes import SYNTH_CLASSES
from acvis_kit.data.synth.counterfactual import counterfactual
from acvis_kit.data.synth.records import SceneRecord
from acvis_kit.data.synth.who_sounds import COUNT_SHARES, SOUNDS_FROM
from acvis_kit.errors import ConfigError

Scenes = dict[int, SceneRecord]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def classes(scene: SceneRecord) -> set[str]:
    return {thing.class_name for thing in scene.objects}


@pytest.mark.parametrize("kind", ["mute", "swap", "foreign", "offscreen"])
def test_the_same_generator_gives_the_same_sound(scenes: Scenes, kind: str) -> None:
    scene = scenes[2]
    (one, first), (two, second) = (counterfactual(scene, kind, rng(4)) for _ in range(2))
    assert one == two and np.array_equal(first, second)
    assert first.shape == (len(scene.objects), scene.length) and first.dtype == bool
    assert one.length == scene.length


@pytest.mark.parametrize("kind", ["mute", "swap", "foreign"])
def test_the_objects_that_sound_are_those_with_a_part_in_the_soundtrack(scenes: Scenes, kind: str) -> None:
    for number, scene in scenes.items():
        soundtrack, sounding = counterfactual(scene, kind, rng(number))
        played = np.zeros_like(sounding)
        for part in soundtrack.parts:
            if part.object is not None:
                played[part.object] = part.seconds
                assert part.voice == scene.objects[part.object].voice
        assert np.array_equal(played, sounding)


def test_a_muted_scene_has_noise_at_most(scenes: Scenes) -> None:
    noises = []
    for number, scene in scenes.items():
        soundtrack, sounding = counterfactual(scene, "mute", rng(number))
        assert not sounding.any() and not soundtrack.parts
        noises.append(soundtrack.noise is not None)
    assert 0 < sum(noises) < len(noises)


def test_swapped_sounds_come_from_objects_in_view(scenes: Scenes) -> None:
    for number, scene in scenes.items():
        _, sounding = counterfactual(scene, "swap", rng(number))
        free = sounding.copy()
        if scene.twins:
            free[list(scene.pair)] = False
        assert (scene.share[free] >= SOUNDS_FROM).all()


def test_swaps_follow_the_count_chain_and_prefer_other_objects(scenes: Scenes) -> None:
    counts, kept, total = [], 0, 0
    for number, scene in scenes.items():
        if scene.pair:
            continue
        for seed in range(6):
            _, sounding = counterfactual(scene, "swap", rng([number, seed]))
            counts.append(sounding.sum(0))
            kept += (sounding & scene.sounding).sum()
            total += sounding.sum()
    shares = np.bincount(np.concatenate(counts), minlength=5) / sum(map(len, counts))
    assert np.abs(shares - COUNT_SHARES).max() < 0.15  # few scenes, some with too few objects for 3 and 4
    assert kept < 0.4 * total


def test_swapped_twins_keep_their_own_seconds_or_are_silent(scenes: Scenes) -> None:
    twins = [scene for scene in scenes.values() if scene.twins]
    assert twins
    outcomes = Counter()
    for scene in twins:
        pair = list(scene.pair)
        for seed in range(12):
            _, sounding = counterfactual(scene, "swap", rng(seed))
            same = np.array_equal(sounding[pair], scene.sounding[pair])
            assert same or not sounding[pair].any()
            outcomes[same] += 1
    assert min(outcomes[True], outcomes[False]) > 2


def test_two_objects_of_a_class_that_are_not_twins_stay_silent(scenes: Scenes) -> None:
    scene = next(s for s in scenes.values() if not s.pair)
    one = scene.objects[0]
    double = dataclasses.replace(scene.objects[1], voice=one.voice, category_id=one.category_id)
    scene = dataclasses.replace(scene, objects=(one, double, *scene.objects[2:]), pair=(0, 1))
    for seed in range(10):
        _, sounding = counterfactual(scene, "swap", rng(seed))
        assert not sounding[:2].any() and sounding.any()


def test_foreign_sounds_are_of_other_classes_and_fill_every_second(scenes: Scenes) -> None:
    several = 0
    for number, scene in scenes.items():
        soundtrack, sounding = counterfactual(scene, "foreign", rng(number))
        assert not sounding.any() and all(part.object is None for part in soundtrack.parts)
        assert not {part.voice.class_name for part in soundtrack.parts} & classes(scene)
        assert np.any([part.seconds for part in soundtrack.parts], axis=0).all()
        several += len(soundtrack.parts) > 1
    assert several


def test_offscreen_adds_one_voice_of_another_class_to_the_original(scenes: Scenes) -> None:
    for number, scene in scenes.items():
        soundtrack, sounding = counterfactual(scene, "offscreen", rng(number))
        assert np.array_equal(sounding, scene.sounding) and soundtrack.noise == scene.soundtrack.noise
        *original, added = soundtrack.parts
        assert tuple(original) == scene.soundtrack.parts
        assert added.object is None and added.voice.class_name not in classes(scene) and any(added.seconds)


def test_any_counterfactual_can_be_rendered(scenes: Scenes) -> None:
    for kind in ("mute", "swap", "foreign", "offscreen"):
        soundtrack, _ = counterfactual(scenes[3], kind, rng())
        sound = soundtrack.render_seconds([5, 0])
        assert sound.shape == (2, 16000) and np.abs(sound).max() <= 1
        assert kind != "foreign" or np.abs(sound).max(1).min() > 1e-4


def test_recorded_scenes_get_recorded_voices(scenes: Scenes) -> None:
    scene = dataclasses.replace(scenes[1], voices={name: [f"{name}/a.wav"] for name in SYNTH_CLASSES})
    soundtrack, _ = counterfactual(scene, "foreign", rng())
    assert all(part.voice.source == f"{part.voice.class_name}/a.wav" for part in soundtrack.parts)


def test_impossible_kinds_are_refused(scenes: Scenes) -> None:
    with pytest.raises(ConfigError, match=r"'louder'.*mute, swap"):
        counterfactual(scenes[1], "louder", rng())
    own = {thing.class_name: ["a.wav"] for thing in scenes[1].objects}
    with pytest.raises(ConfigError, match="no foreign sound"):
        counterfactual(dataclasses.replace(scenes[1], voices=own), "foreign", rng())
