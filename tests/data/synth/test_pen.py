import numpy as np

from acvis_kit.data.synth.pen import REACH, Pen, mirrored, open_curve, smooth

RED = (200, 40, 40)


def test_a_box_fills_its_part_of_the_canvas() -> None:
    pen = Pen(200)
    pen.box(-0.5, -0.5, 0.5, 0.5, RED, outline=False)
    covered = (np.asarray(pen.alpha) > 0).mean()
    assert abs(covered - (REACH / 2) ** 2) < 0.01
    assert pen.picture.getpixel((100, 100)) == RED


def test_outlines_are_dark_and_belong_to_the_object() -> None:
    plain, outlined = Pen(200), Pen(200, ink=0.5)
    plain.box(-0.5, -0.5, 0.5, 0.5, RED, outline=False)
    outlined.box(-0.5, -0.5, 0.5, 0.5, RED)
    assert (np.asarray(outlined.alpha) > 0).sum() > (np.asarray(plain.alpha) > 0).sum()
    assert (100, 20, 20) in {colour for _, colour in outlined.picture.getcolors()}


def test_a_line_does_not_widen_the_object_and_a_stick_does() -> None:
    pen = Pen(100)
    pen.line([(-1, 0), (1, 0)], RED, 0.1)
    assert not np.asarray(pen.alpha).any()
    pen.stick([(-1, 0), (1, 0)], RED, 0.1)
    assert np.asarray(pen.alpha).any()


def test_a_limb_has_the_given_widths() -> None:
    pen = Pen(400)
    pen.limb([(-0.8, 0), (0.8, 0)], [0.1, 0.3], RED, outline=False, flat_end=True)
    alpha = np.asarray(pen.alpha) > 0
    unit = 200 * REACH
    left, right = (alpha[:, round(200 + x * unit)].sum() for x in (-0.78, 0.78))
    assert abs(left - 0.2 * unit) < 6 and abs(right - 0.6 * unit) < 6


def test_curves_go_through_their_points() -> None:
    points = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    assert np.allclose(smooth(points, steps=5)[::5], points)
    curve = open_curve(points, steps=6)
    assert np.allclose(curve[::6], points) and curve[-1] == points[-1]


def test_mirrored_outlines_are_symmetric() -> None:
    assert mirrored([(0.1, 0.0), (0.5, 1.0)]) == [(0.1, 0.0), (0.5, 1.0), (-0.5, 1.0), (-0.1, 0.0)]
