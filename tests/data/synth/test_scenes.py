import dataclasses
from collections import Counter

import numpy as np
import pytest

from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.scenes import Scene, draw_scene
from acvis_kit.data.synth.who_sounds import COUNT_SHARES, COUNT_TRANSITIONS, SOUNDS_FROM


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """220 scenes that are never painted."""
    material = DrawnMaterial()
    return [draw_scene(np.random.default_rng([1, k]), material, 64, (10, 30)) for k in range(220)]


def in_view(scene: Scene) -> np.ndarray:
    return scene.share > 0  # (N, T)


def test_clips_have_three_to_six_objects_and_three_are_in_view(scenes: list[Scene]) -> None:
    assert {len(scene.things) for scene in scenes} == {3, 4, 5, 6}
    fewer = np.concatenate([in_view(scene).sum(0) < 3 for scene in scenes]).mean()
    assert fewer < 0.02


def test_lengths_are_log_uniform(scenes: list[Scene]) -> None:
    lengths = [scene.length for scene in scenes]
    assert min(lengths) >= 10 and max(lengths) <= 30
    assert abs(np.median(lengths) - np.sqrt(300)) < 3


def test_at_least_half_of_the_objects_in_view_are_silent(scenes: list[Scene]) -> None:
    visible, sounding = (sum(int(a.sum()) for a in rows) for rows in zip(
        *((in_view(s), s.sounding) for s in scenes), strict=True))  # fmt: skip
    assert sounding < 0.5 * visible


def test_the_number_that_sounds_follows_aviseg(scenes: list[Scene]) -> None:
    counts = [scene.sounding.sum(0) for scene in scenes]
    shares = np.bincount(np.concatenate(counts), minlength=5)[:5] / sum(map(len, counts))
    assert np.abs(shares - COUNT_SHARES).max() < 0.06, shares
    moves = np.zeros((5, 5))
    for row in counts:
        np.add.at(moves, (row[:-1], row[1:]), 1)
    found = moves / np.maximum(moves.sum(1, keepdims=True), 1)
    assert np.abs(found - COUNT_TRANSITIONS).max() < 0.15, found
    assert np.abs(found - COUNT_TRANSITIONS)[1:3].max() < 0.04  # where most seconds are


def test_sounding_objects_are_in_view(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert (scene.share[scene.sounding] >= SOUNDS_FROM).all()


def test_offscreen_sounds_fill_10_to_20_percent_of_the_seconds(scenes: list[Scene]) -> None:
    assert 0.1 < np.concatenate([scene.offscreen for scene in scenes]).mean() < 0.2


def test_15_to_25_percent_of_clips_have_twins(scenes: list[Scene]) -> None:
    both = [s for s in scenes if s.twins and (in_view(s)[:2].all(0) & (s.sounding[:2].sum(0) == 1)).any()]
    assert 0.15 < len(both) / len(scenes) < 0.25
    for scene in both:
        assert scene.things[0].class_name == scene.things[1].class_name
        assert scene.sounding[:2].sum(0).max() == 1


def test_the_cue_is_drawn_in_80_percent_of_a_twins_sounding_seconds_and_nowhere_else(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert not (scene.cue & ~scene.sounding).any()
        assert not scene.cue[2:].any() and (scene.twins or not scene.cue.any())
    twins = [scene for scene in scenes if scene.twins]
    share = sum(s.cue.sum() for s in twins) / sum(s.sounding[:2].sum() for s in twins)
    assert 0.75 < share < 0.85


def test_two_objects_of_a_class_that_are_not_twins_are_silent(scenes: list[Scene]) -> None:
    pairs = [scene for scene in scenes if scene.pair and not scene.twins]
    assert len(pairs) > 10
    assert not any(scene.sounding[:2].any() for scene in pairs)
    for scene in scenes:
        number = Counter(thing.class_name for thing in scene.things)
        assert (max(number.values()) > 1) == (scene.pair is not None)


def test_the_soundtrack_plays_the_sounding_objects(scenes: list[Scene]) -> None:
    for scene in scenes[:40]:
        played = np.zeros_like(scene.sounding)
        for part in scene.soundtrack.parts:
            if part.object is not None:
                played[part.object] = part.seconds
                assert part.voice == scene.things[part.object].voice
        assert np.array_equal(played, scene.sounding)


def test_objects_are_at_least_24_pixels_across_at_128() -> None:
    material = DrawnMaterial()
    for k in range(15):
        scene = draw_scene(np.random.default_rng([2, k]), material, 128, (10, 10))
        extents = [patch.extent for row in scene.patches for patch in row if patch]
        assert min(extents) >= 24 and max(extents) < 72


def test_the_same_seed_gives_the_same_scene() -> None:
    one, two = (draw_scene(np.random.default_rng(7), DrawnMaterial(), 64, (10, 20)) for _ in range(2))
    assert np.array_equal(one.sounding, two.sounding) and np.array_equal(one.share, two.share)
    assert one.soundtrack == two.soundtrack
    assert dataclasses.asdict(one.camera)["light"].tolist() == dataclasses.asdict(two.camera)["light"].tolist()


def test_a_source_of_three_classes_is_enough() -> None:
    material = DrawnMaterial()
    material.classes = ("dog", "cat", "car")
    for k in range(30):
        scene = draw_scene(np.random.default_rng([3, k]), material, 64, (10, 12))
        assert 3 <= len(scene.things) <= 4
