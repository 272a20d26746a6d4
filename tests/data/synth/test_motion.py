import numpy as np

from acvis_kit.data.synth.motion import FEWEST, SMALLEST, draw_camera, draw_paths, wave


def paths(seed: int, count: int = 5, length: int = 40, size: int = 128, wanted: int = 3):
    flags = [n % 2 == 0 for n in range(count)]
    return draw_paths(np.random.default_rng(seed), flags, flags, length, size, np.full(length, wanted))


def inside(path, size: int = 128) -> np.ndarray:
    """Seconds in which the middle is in the frame."""
    return (path.x > 0) & (path.x < size)


def test_waves_are_slow_and_within_one() -> None:
    curve = wave(np.random.default_rng(0), 200)
    assert np.abs(curve).max() <= 1 and np.abs(np.diff(curve)).max() < 0.7


def test_objects_are_never_smaller_than_24_pixels_at_128() -> None:
    for size in (128, 256):
        sizes = np.concatenate([p.size for seed in range(30) for p in paths(seed, size=size)])
        assert sizes.min() >= SMALLEST * size / 128 > 24 * size / 128
        assert sizes.max() <= 60 * size / 128


def test_objects_move_turn_and_change_size() -> None:
    for path in paths(1):
        assert np.ptp(path.x) > 3 and np.ptp(path.turn) > 0.02 and np.ptp(path.size) > 0.5


def test_some_leave_and_come_back_and_some_enter_late() -> None:
    seen = [inside(path) for seed in range(40) for path in paths(seed)]
    back = [np.count_nonzero(np.diff(s.astype(int)) == 1) > 0 and s[0] for s in seen]
    late = [not s[0] and s[-1] for s in seen]
    assert sum(back) > 10 and sum(late) > 5


def test_as_many_as_wanted_stay_in_the_picture() -> None:
    for wanted in (1, 4):
        for seed in range(30):
            present = np.sum([inside(path) for path in paths(seed, wanted=wanted)], axis=0)
            assert present.min() >= max(wanted, FEWEST)


def test_the_camera_never_zooms_out() -> None:
    cameras = [draw_camera(np.random.default_rng(seed), 30, 128) for seed in range(30)]
    assert min(c.zoom.min() for c in cameras) >= 1
    assert max(np.abs(c.shift).max() for c in cameras) < 0.15 * 128 * 1.3 / 2  # within the background's margin
    still = np.mean([np.ptp(c.zoom) == 0 for c in cameras])
    assert 0.1 < still < 0.6
    assert all(np.ptp(c.light) > 0 for c in cameras)
