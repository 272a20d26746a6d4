"""Codes of masks agree with the pixels and with pycocotools; invalid segmentations are refused."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from acvis_kit import masks
from acvis_kit.errors import DataError
from acvis_kit.masks import mask_of
from tests.device import Device


def text_of(*lengths: int) -> str:
    """The text of one or two runs, however senseless."""
    text = ""
    for length in lengths:
        while not -16 <= length < 16:
            text, length = text + chr(48 + (length & 31 | 32)), length >> 5
        text += chr(48 + (length & 31))
    return text


def random_masks(n: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.random(generator.integers(1, 40, 2)) < generator.random() for _ in range(n)]


def test_runs_spans_and_areas_are_those_of_the_pixels() -> None:
    drawn = random_masks(300)  # more than 255, where pycocotools' own area fails
    codes = [masks.encode(m) for m in drawn]
    assert masks.spans([c["counts"] for c in codes]).tolist() == [m.size for m in drawn]
    assert masks.areas(codes).tolist() == [m.sum() for m in drawn]
    for code, mask in zip(codes, drawn, strict=True):
        assert sum(masks.runs(code["counts"])[1::2]) == mask.sum()
        assert sum(masks.runs(code["counts"])) == mask.size


def test_large_masks_have_runs_of_several_groups() -> None:
    mask = np.zeros((720, 1280), bool)
    mask[100:700, 5:9] = mask[3, 1000:] = True
    assert masks.spans([masks.encode(mask)["counts"]]).tolist() == [720 * 1280]


def test_spans_takes_text_bytes_and_empty_lists() -> None:
    assert masks.spans(["PPTl0", b"PPTl0", ""]).tolist() == [720 * 1280, 720 * 1280, 0]
    assert masks.spans([]).tolist() == []


@pytest.mark.parametrize(
    "text",
    [
        "PPTl",
        "~",
        "PPTl0 ",
        "\n",
        "PPé",
        "o" * 40 + "0",
        "P" * 6 + "0",
        text_of(2**26 + 1),
        text_of(5, -1),
        "o" * 10**6,
    ],
)
def test_an_invalid_text_spans_minus_one(text: str) -> None:
    assert masks.spans(["4", text, "PPTl0"]).tolist() == [4, -1, 720 * 1280]
    with pytest.raises(DataError, match="no text of run lengths"):
        masks.runs(text)


def test_a_million_characters_that_promise_more_are_refused_without_summing_them_up() -> None:
    """Python's integers would grow to 5 million bits, in quadratic time."""
    text = "P" * 6 + "o" * 10**6 + "0"  # the six stand for 0: the rest must not be cut off silently
    for code in ({"size": [4, 4], "counts": text}, {"size": [4, 4], "counts": text.encode()}):
        with pytest.raises(DataError, match="no text of run lengths"):
            mask_of(code, (4, 4))


def test_sums_of_differences_are_decoded_text_by_text() -> None:
    drawn = random_masks(40)
    texts = [masks.encode(mask)["counts"] for mask in drawn]
    for text, mask in zip(texts, drawn, strict=True):
        edges = [*np.flatnonzero(np.diff(mask.T.ravel().astype(int), prepend=0)).tolist(), mask.size]
        assert masks.runs(text) == np.diff([0, *edges]).tolist()
    together = masks._lengths([text.encode() for text in texts])[0].tolist()
    assert together == [length for text in texts for length in masks.runs(text)]


def test_minimal_and_padded_groups_are_the_same_numbers() -> None:
    assert masks.runs("16") == masks.runs("QP06") == [1, 6]


def test_empty_masks() -> None:
    assert masks.empty((720, 1280)) == {"size": [720, 1280], "counts": masks.BLANK_720P}
    assert coco_mask.decode(masks.empty((3, 5))).tolist() == np.zeros((3, 5)).tolist()
    assert masks.areas([]).tolist() == []


def test_uncompressed_lists_become_the_text_that_pycocotools_writes() -> None:
    for mask in random_masks(50):
        code = masks.encode(mask)
        listed = {"size": list(mask.shape), "counts": masks.runs(code["counts"])}
        assert masks.from_segmentation(listed, mask.shape) == code


class NothingIsRasterised:
    """Stands for pycocotools and fails where it is asked for anything."""

    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"pycocotools.mask.{name} was called")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1e18, 1, 20, 1, 20, 20, 1, 20]], "at most 4096 from the frame"),
        ([[3e7, 0, 5, 5, 0, 0]], "at most 4096 from the frame"),
        ([[0, 0, 60 + 4097, 0, 5, 5]], "at most 4096 from the frame"),
        ([[0, -4097, 60, 0, 5, 5]], "at most 4096 from the frame"),
        ([[0, 0, 10**400, 1, 2, 2]], "at most 4096 from the frame"),
        ([[0, 0, float("inf"), 1, 2, 2]], "finite"),
        ([[0, 0, True, 1, 2, 2]], "finite"),
        ([[0, 0, "1", 1, 2, 2]], "finite"),
        ([[0, 0, None, 1, 2, 2]], "finite"),
        ([[-4000, 0, 4000, 1] * 200], "pixels long, more than 1048576"),
        ([[-4000, 0, 4000, 1, 0, 0]] * 100, "pixels long, more than 1048576"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, r"size is \[1000000000, 1000000000\], the video's \[40, 60\]"),
        ({"size": [60, 40], "counts": [2400]}, "size is"),
        ({"size": [40, 60], "counts": [10**400]}, "add up to an integer of 1329 bits"),
        ({"size": [40, 60], "counts": None}, "counts"),
        ({"size": [40, 60], "counts": [None]}, "counts"),
        ({"size": [40, True], "counts": [2400]}, "a size"),
        ({"size": [[]], "counts": "0"}, "a size"),
        (np.zeros((60, 40), bool), r"size is \[60, 40\]"),
        (np.zeros((40, 60), np.float32), "bool or whole numbers"),
    ],
)
def test_what_would_take_memory_or_the_process_is_refused_before_it_is_rasterised(
    segmentation: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "_coco", NothingIsRasterised)
    with pytest.raises(DataError, match=message):
        masks.from_segmentation(segmentation, (40, 60))


def test_polygons_beside_the_frame_and_fine_outlines_are_taken() -> None:
    assert masks.from_segmentation([[-1060.0, -481.0, -1059.0, -514.0, -1178.0, -522.0]], (40, 60)) == masks.empty(
        (40, 60)
    )
    angles = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    circle = (np.stack([np.cos(angles), np.sin(angles)], axis=1) * 300 + 400).ravel().tolist()
    assert masks.areas([masks.from_segmentation([circle], (800, 800))])[0] == pytest.approx(np.pi * 300**2, rel=0.01)


def test_hundreds_of_polygons_are_one_mask() -> None:
    corners = [(x, y) for x in range(0, 60, 3) for y in range(0, 60, 3)]
    squares = [[x, y, x + 2, y, x + 2, y + 2, x, y + 2] for x, y in corners]
    expected = np.zeros((60, 60), bool)
    for x, y in corners:
        expected[y : y + 2, x : x + 2] = True
    assert len(squares) == 400 and masks.from_segmentation(squares, (60, 60)) == masks.encode(expected)


def test_numbers_arrays_and_tuples_of_numpy_and_torch_are_what_they_hold() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    code = masks.encode(mask)
    lengths = masks.runs(code["counts"])
    same = [
        mask,
        torch.from_numpy(mask),
        {"size": np.array([4, 6]), "counts": code["counts"]},
        {"size": (np.int64(4), np.int32(6)), "counts": np.str_(code["counts"])},
        {"size": torch.tensor([4, 6]), "counts": np.array(lengths, np.uint32)},
        {"size": [4.0, 6.0], "counts": tuple(map(np.uint8, lengths))},
        {"size": [4, 6], "counts": torch.tensor(lengths)},
        ((2, 1, 5, 1, 5, 3, 2, 3),),
        [np.array([2, 1, 5, 1, 5, 3, 2, 3])],
        mask.astype(np.uint8),
        [list(map(np.float32, [2, 1, 5, 1, 5, 3, 2, 3]))],
    ]
    assert [masks.from_segmentation(segmentation, (4, 6)) for segmentation in same] == [code] * len(same)
    assert masks.from_segmentation(np.zeros(0), (4, 6)) is None and masks.from_segmentation((), (4, 6)) is None


@pytest.mark.parametrize(("value", "number"), [(3, 3), (np.int8(3), 3), (3.0, 3), (torch.tensor(3), 3), (-2, -2)])
def test_a_whole_number_may_have_any_type(value: object, number: int) -> None:
    assert masks.whole(value) == number and type(masks.whole(value)) is int


@pytest.mark.parametrize("value", [True, np.True_, "3", 2.5, float("nan"), float("inf"), None, [3], np.array([3]), {}])
def test_what_is_no_whole_number_is_none(value: object) -> None:
    assert masks.whole(value) is None


@pytest.mark.parametrize(
    "size", [(0, 4), (4, 65537), (2**14, 2**14), (4.5, 4), ("4", 4), (10**400, 1), (None, [[[[5]]]])]
)
def test_a_frame_has_sides_and_pixels_within_limits(size: tuple[object, object]) -> None:
    with pytest.raises(DataError, match="height and width are"):
        masks.frame_size(*size)
    assert masks.frame_size(8192.0, np.int32(8192)) == (8192, 8192)


def test_a_mask_in_memory_is_an_array_or_a_code() -> None:
    mask = np.eye(3, 5)
    code = masks.encode(mask)
    assert masks.as_code(mask) == masks.as_code(code) == code
    for wrong in (np.zeros((2, 3, 4)), "text", {"size": [3, 5]}, {"counts": "?"}, {"size": [10**9] * 2, "counts": "0"}):
        with pytest.raises(DataError):
            masks.as_code(wrong)


def test_polygons_are_united_and_rasterised_as_coco_does() -> None:
    square, other = [0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 8, 2, 8, 8, 2, 8]
    code = masks.from_segmentation([square, other], (10, 10))
    assert masks.areas([code]).tolist() == [4 * 4 + 6 * 6 - 2 * 2]
    assert code == masks.from_segmentation([other, square], (10, 10))


def test_null_and_an_empty_list_are_none_and_two_points_enclose_nothing() -> None:
    assert masks.from_segmentation(None, (4, 4)) is None
    assert masks.from_segmentation([], (4, 4)) is None
    assert masks.from_segmentation([[0, 0, 3, 3]], (4, 4)) == masks.empty((4, 4))  # to pycocotools: a box of 3 x 3


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ("text", "a list of polygons"),
        ([[0, 0, 1, 1, 2]], "flat list"),
        ([[0, 0, 1, float("nan"), 2, 2]], "finite"),
        ([["a", 0, 1, 1, 2, 2]], "finite"),
        ([3], "flat list"),
        ([[0, 0, 1, 1, [2], 2]], "finite"),
        ({"size": [2, 2], "counts": [1, 2]}, "add up to 3, but size .2, 2. has 4"),
        ({"size": [2, 2], "counts": [-1, 5]}, "at least 0"),
        ({"size": [2, 2]}, "counts"),
        ({"size": 4, "counts": "04"}, "size"),
    ],
)
def test_an_invalid_segmentation_is_refused_with_the_reason(segmentation: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        masks.from_segmentation(segmentation, (2, 2))


def test_polygons_are_rasterised_as_coco_does() -> None:
    rng = np.random.default_rng(0)
    for round_number in range(400):
        size = (int(rng.integers(5, 90)), int(rng.integers(5, 90)))
        count = 2 * int(rng.integers(3, 12))
        polygons = [rng.uniform(-10, 100, count).tolist(), rng.integers(-3, 95, count).tolist()]  # also beyond the edge
        expected = coco_mask.decode(
            coco_mask.merge(coco_mask.frPyObjects([list(map(float, p)) for p in polygons], *size))
        )
        assert np.array_equal(mask_of(polygons, size), expected.astype(bool)), round_number


def test_a_rectangle_of_whole_pixels_is_exactly_that() -> None:
    mask = mask_of([[2, 1, 7, 1, 7, 4, 2, 4]], (6, 9))
    expected = np.zeros((6, 9), bool)
    expected[1:4, 2:7] = True
    assert np.array_equal(mask, expected)


def test_run_lengths_are_read_as_text_bytes_and_numbers() -> None:
    for mask in random_masks(50):
        code = masks.encode(mask)
        for counts in (code["counts"], code["counts"].encode(), masks.runs(code["counts"])):
            assert np.array_equal(mask_of({"size": list(mask.shape), "counts": counts}, mask.shape), mask)
    assert mask_of({"size": [2, 2], "counts": [1, 2, 1]}, (2, 2)).tolist() == [[False, True], [True, False]]


def test_stacks_of_masks_have_the_codes_of_single_ones() -> None:
    stack = np.random.default_rng(2).random((6, 9, 7)) < 0.3
    coded = masks.encode_masks(torch.from_numpy(stack))
    assert [{**code, "counts": code["counts"].decode()} for code in coded] == [masks.encode(mask) for mask in stack]
    assert np.array_equal(np.stack([masks.decode(code) for code in coded]), stack)


def test_boxes_intersections_and_overlaps_are_those_of_the_pixels() -> None:
    left, right = np.zeros((4, 6), bool), np.zeros((4, 6), bool)
    left[1:3, 0:4] = right[1:4, 2:5] = True
    a, b, nothing = masks.encode(left), masks.encode(right), masks.empty((4, 6))
    assert masks.boxes([a, b, nothing]).tolist() == [[0, 1, 4, 2], [2, 1, 3, 3], [0, 0, 0, 0]]
    assert masks.shared_fractions([a, b], [b, a, nothing]).tolist() == [[4 / 8, 1, 0], [1, 4 / 9, 0]]
    assert masks.shared_fractions([], [a]).shape == (0, 1) and masks.shared_fractions([a], []).shape == (1, 0)
    assert masks.iou([a, nothing], [b, a]).tolist() == [[4 / 13, 1.0], [0.0, 0.0]]
    assert masks.iou([], [a]).shape == (0, 1) and masks.iou([a], []).shape == (1, 0)


def test_shared_pixels_are_counted_exactly() -> None:
    pictures = np.random.default_rng(3).random((8, 301, 257)) < np.linspace(0.01, 0.99, 8)[:, None, None]
    codes = [masks.encode(picture) for picture in pictures]
    flat = pictures.reshape(8, -1).astype(np.int64)
    shared = masks.shared_fractions(codes[:5], codes) * masks.areas(codes[:5])[:, None]
    assert np.array_equal(np.rint(shared), (flat @ flat.T)[:5])


def test_null_is_none_and_an_empty_code_is_an_empty_mask() -> None:
    assert mask_of(None, (4, 4)) is None and mask_of([], (4, 4)) is None
    assert not mask_of({"size": [4, 4], "counts": [16]}, (4, 4)).any()
    assert not mask_of([[1, 1, 3, 3]], (4, 4)).any()  # two points enclose nothing


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [4, 5], "counts": [20]}, r"size is \[4, 5\], .* \[4, 4\]"),
        ({"size": [4, 4], "counts": [15]}, "add up to 15"),
        ({"size": [4, 4], "counts": "02"}, "span 2 pixels"),
        ({"size": [4, 4], "counts": [17, -1]}, "at least 0"),
        ({"counts": [16]}, "not None"),
        ({"size": [None, 4], "counts": [16]}, "a size"),
        ({"size": ["a", "b"], "counts": [16]}, "a size"),
        ({"size": [4, 4], "counts": text_of(26, -10)}, "negative run"),
        ({"size": [4, 4], "counts": text_of(-5, 21)}, "negative run"),
        ([[0, 0, 1e9, 1, 2, 2]], "from the frame"),
        ([[0, 0, 10**400, 1, 2, 2]], "from the frame"),
        ([[0, 0, 1, 1, 2]], "flat list"),
        ([[0, 0, 1, float("nan"), 2, 2]], "finite"),
        ("PPTl0", "not str"),
    ],
)
def test_a_segmentation_that_is_no_mask_of_the_frame_is_refused(segmentation: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        mask_of(segmentation, (4, 4))


def test_without_pycocotools_the_error_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DataError, match="pip install pycocotools"):
        masks.encode(np.ones((2, 2), bool))


@st.composite
def stacks(draw: st.DrawFn) -> np.ndarray:
    """Bool (N, H, W): noise of some density, whole columns, empty and full masks."""
    n, h, w = draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = np.array(draw(st.lists(st.sampled_from([0, 0.01, 0.5, 0.99, 1]), min_size=n, max_size=n)))
    width = 1 if draw(st.booleans()) else w
    return np.broadcast_to(generator.random((n, h, width)) < density[:, None, None], (n, h, w))


@given(stacks())
def test_texts_by_torch_are_pycocotools(drawn: np.ndarray) -> None:
    want = [code["counts"] for code in coco_mask.encode(np.asfortranarray(drawn.transpose(1, 2, 0), np.uint8))]
    block, ends = masks.coded_by_torch(torch.from_numpy(drawn.copy()))
    assert [block[start:end] for start, end in pairwise([0, *ends])] == want
    assert masks.texts_in_a_block(torch.from_numpy(drawn.copy())) == (block, ends)


def test_texts_by_torch_of_a_large_mask_have_runs_of_several_groups() -> None:
    mask = np.zeros((1, 4000, 5000), bool)
    mask[0, 5, 100:103] = mask[0, -1, -1] = True
    text, ends = masks.coded_by_torch(torch.from_numpy(mask))
    assert text.decode() == masks.encode(mask[0])["counts"] and ends == [len(text)]


def test_no_masks_have_no_texts() -> None:
    assert masks.coded_by_torch(torch.zeros(0, 4, 5, dtype=torch.bool)) == (b"", [])


def test_masks_of_another_device_are_coded_there() -> None:
    drawn = torch.from_numpy(np.stack([np.eye(7, 9, k) > 0 for k in range(3)]))
    with Device() as device:
        codes = masks.encode_masks(device.put(drawn))
    assert codes == masks.encode_masks(drawn)
    assert sum(device.reads.values()) == 3  # how many changes there are, where the texts end, and these
