import numpy as np

from acvis_kit.data.synth.material import DrawnMaterial
from acvis_kit.data.synth.mixing import draw_levels, draw_noise, draw_offscreen, draw_runs, mix
from acvis_kit.data.synth.sounds import Voice


def test_sources_are_0_to_30_db_above_the_noise() -> None:
    rng = np.random.default_rng(0)
    above = []
    for _ in range(300):
        levels, noise = draw_levels(rng, 4)
        above.append(levels - noise)
        assert levels.min() > -35 and levels.max() < -12 and noise >= -80  # audible, and clear of the limiter
        assert np.ptp(levels) <= 8.02  # none drowns out the others
    above = np.concatenate(above)
    assert above.min() >= -0.02 and above.max() <= 30.02
    assert np.ptp(above) > 27  # the whole range is used


def test_background_noise_is_common() -> None:
    noises = [draw_noise(np.random.default_rng(k), -40.0) for k in range(400)]
    assert 0.62 < np.mean([n is not None for n in noises]) < 0.78
    assert len({n.kind for n in noises if n}) >= 4


def test_runs_have_the_given_fraction_and_mean_length() -> None:
    runs = draw_runs(np.random.default_rng(1), 60000, 0.15, 5.0)
    begins = np.count_nonzero(np.diff(runs.astype(int)) == 1)
    assert abs(runs.mean() - 0.15) < 0.02 and abs(runs.sum() / begins - 5.0) < 0.5


def test_offscreen_voices_are_mostly_of_classes_out_of_view() -> None:
    rng, material = np.random.default_rng(2), DrawnMaterial()
    parts = [draw_offscreen(rng, 40, material, ("dog", "cat"), (-30.0, -20.0)) for _ in range(500)]
    parts = [part for part in parts if part]
    inside = np.mean([part.voice.class_name in ("dog", "cat") for part in parts])
    assert 0.02 < inside < 0.16
    assert all(part.object is None and any(part.seconds) and -30 <= part.level_db <= -20 for part in parts)


def test_offscreen_voices_for_given_seconds_are_never_of_a_class_in_view() -> None:
    rng, material = np.random.default_rng(3), DrawnMaterial()
    when = np.array([True, False, True])
    for _ in range(100):
        part = draw_offscreen(rng, 3, material, material.classes[1:], (-30.0, -20.0), when)
        assert part.voice.class_name == material.classes[0] and part.seconds == (True, False, True)
    assert draw_offscreen(rng, 3, material, material.classes, (-30.0, -20.0), when) is None


def test_silent_objects_have_no_part_in_the_mixture() -> None:
    sounding = np.array([[True, False], [False, False], [True, True]])
    voices = [Voice("dog", n) for n in range(3)]
    track = mix(voices, [-20.0, -21.0, -22.0], sounding, [None], None)
    assert [(part.object, part.level_db) for part in track.parts] == [(0, -20.0), (2, -22.0)]
    assert track.parts[0].seconds == (True, False) and track.length == 2
