import numpy as np

from acvis_kit.data.synth.material import DrawnMaterial


def test_every_class_has_pictures_and_voices() -> None:
    material = DrawnMaterial()
    for name in material.classes:
        assert material.sprite(name, np.random.default_rng(0), 64).area > 50
        assert material.voice(name, np.random.default_rng(0)).class_name == name
    assert material.recordings is None and material.voice_files == {}


def test_sprites_grow_with_the_frames() -> None:
    material = DrawnMaterial()
    small, large = (material.sprite("car", np.random.default_rng(0), size) for size in (128, 256))
    assert large.picture.width == 2 * small.picture.width


def test_classes_are_slender_and_upright_by_their_shape() -> None:
    material = DrawnMaterial()
    assert material.is_slender("flute") and not material.is_slender("piano")
    assert material.is_upright("horse") and not material.is_upright("trumpet")
