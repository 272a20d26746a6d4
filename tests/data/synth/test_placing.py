import numpy as np
from PIL import Image

from acvis_kit.data.synth.motion import Camera, Path
from acvis_kit.data.synth.placing import place
from acvis_kit.data.synth.sprites import Sprite


def block(width: int = 60, height: int = 60) -> Sprite:
    """An opaque block in the middle of a clear canvas."""
    picture = Image.new("RGBA", (80, 80))
    picture.paste((200, 10, 10, 255), (40 - width // 2, 40 - height // 2, 40 + width // 2, 40 + height // 2))
    return Sprite(picture)


def path(x: float, y: float, size: float, turn: float = 0.0, depth: float = 0.5, flip: bool = False) -> Path:
    one = np.ones(1)
    return Path(x * one, y * one, size * one, turn * one, np.array([flip]), 1.0, depth)


def camera(zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Camera:
    return Camera(np.array([zoom]), np.array([shift]), np.ones((1, 3)))


def mask(sprite: Sprite, at: Path, through: Camera | None = None) -> np.ndarray:
    return place([sprite], [at], through or camera(), 100)[0][0].mask(100)


def centre(pixels: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(pixels)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_an_object_has_the_place_and_size_of_its_path() -> None:
    pixels = mask(block(), path(40, 60, 30))
    assert np.allclose(centre(pixels), (40, 60), atol=0.6)
    assert abs(pixels.sum() - 900) < 70


def test_an_object_turns() -> None:
    lying, standing = mask(block(60, 20), path(50, 50, 40)), mask(block(60, 20), path(50, 50, 40, turn=np.pi / 2))
    assert np.ptp(np.nonzero(lying)[1]) > 2 * np.ptp(np.nonzero(lying)[0])
    assert np.ptp(np.nonzero(standing)[0]) > 2 * np.ptp(np.nonzero(standing)[1])


def test_a_mirrored_object_is_mirrored() -> None:
    picture = block().picture.copy()
    picture.paste((0, 0, 0, 0), (50, 0, 80, 40))  # the upper right quarter is missing
    plain, flipped = (mask(Sprite(picture), path(50, 50, 50, flip=f)) for f in (False, True))
    assert centre(plain)[0] < 50 < centre(flipped)[0]


def test_the_camera_moves_and_enlarges_all_objects() -> None:
    pixels = mask(block(), path(40, 50, 20), camera(zoom=1.5, shift=(5, 0)))
    assert np.allclose(centre(pixels), (50 - 10 * 1.5 + 5, 50), atol=0.6)
    assert abs(pixels.sum() - 900) < 70


def test_the_nearer_object_hides_the_farther() -> None:
    (far,), (near,) = place(
        [block(), block()], [path(45, 50, 30, depth=0.1), path(60, 50, 30, depth=0.9)], camera(), 100
    )
    assert not (far.mask(100) & near.mask(100)).any()
    assert near.share > 0.97 and abs(far.share - 0.5) < 0.05


def test_a_hidden_object_is_out_of_view() -> None:
    (far,), _ = place([block(), block()], [path(50, 50, 20, depth=0.1), path(50, 50, 40, depth=0.9)], camera(), 100)
    assert far.share == 0 and far.area == 0


def test_an_object_at_the_edge_is_cut_and_one_outside_is_none() -> None:
    half = place([block()], [path(0, 50, 30)], camera(), 100)[0][0]
    assert abs(half.share - 0.5) < 0.05 and half.left == 0
    assert place([block()], [path(-60, 50, 30)], camera(), 100) == [[None]]
