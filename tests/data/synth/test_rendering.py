import dataclasses

import numpy as np
import pytest

from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.rendering import render_frames
from acvis_kit.data.synth.scenes import Scene, draw_scene


def scene_of(condition, start: int = 0) -> Scene:
    """The first scene that meets the condition."""
    material = DrawnMaterial()
    for k in range(start, start + 200):
        scene = draw_scene(np.random.default_rng([4, k]), material, 96, (8, 8))
        if condition(scene):
            return scene
    raise AssertionError("no such scene among 200")


@pytest.fixture(scope="module")
def twins() -> Scene:
    return scene_of(lambda scene: scene.twins and scene.cue.any(1)[:2].any())


def frames(scene: Scene, seed: int = 0) -> np.ndarray:
    return np.stack(list(render_frames(np.random.default_rng(seed), scene))).astype(np.int16)  # (T, H, W, 3)


def test_frames_have_the_number_and_size_of_the_scene(twins: Scene) -> None:
    painted = list(render_frames(np.random.default_rng(0), twins))
    assert len(painted) == 8 and all(f.shape == (96, 96, 3) and f.dtype == np.uint8 for f in painted)


def test_the_cue_changes_the_picture_in_its_seconds_only(twins: Scene) -> None:
    plain = frames(dataclasses.replace(twins, cue=np.zeros_like(twins.cue)))
    changed = np.abs(frames(twins) - plain).max((1, 2, 3)) > 40
    assert np.array_equal(changed, twins.cue.any(0))


def test_the_cue_lies_beside_its_object(twins: Scene) -> None:
    plain = frames(dataclasses.replace(twins, cue=np.zeros_like(twins.cue)))
    cued = frames(twins)
    number, second = (int(v[0]) for v in np.nonzero(twins.cue))
    changed = np.abs(cued[second] - plain[second]).max(-1) > 40
    patch = twins.patches[number][second]
    rows, columns = np.nonzero(changed)
    away = np.hypot(columns + 0.5 - patch.middle[0], rows + 0.5 - patch.middle[1])
    assert changed.sum() > 20 and away.max() < patch.extent and away.min() > 0.4 * patch.extent


def test_without_a_cue_the_picture_does_not_show_which_object_sounds() -> None:
    scene = scene_of(lambda s: not s.twins)
    other = dataclasses.replace(scene, sounding=~scene.sounding)
    assert np.array_equal(frames(scene), frames(other))


def test_visible_pixels_show_the_object() -> None:
    """Taking an object away changes its visible pixels and little else (its shadow)."""
    scene = scene_of(lambda s: s.share[0, 0] > 0.5)
    without = dataclasses.replace(scene, patches=[[None] * 8, *scene.patches[1:]])
    changed = np.abs(frames(scene)[0] - frames(without)[0]).max(-1) > 24
    mask = scene.patches[0][0].mask(96)
    assert changed[mask].mean() > 0.6
    assert changed[~mask].sum() < 0.6 * mask.sum()


def test_light_follows_the_camera() -> None:
    scene = scene_of(lambda s: True)
    dark = dataclasses.replace(scene.camera, light=scene.camera.light * 0.5)
    assert frames(dataclasses.replace(scene, camera=dark)).mean() < 0.6 * frames(scene).mean()
