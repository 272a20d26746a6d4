from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acvis_kit.errors import ConfigError, DataError
from acvis_kit.metrics import evaluate
from acvis_kit.metrics.checks import read_results, read_truth
from tests.metrics.tables import files, golden

A, NIL = "#..", "..."
GT, RESULTS = files([([(1, [A, None])], [(1, 0.5, [A, NIL])]), ([], [])])
SQUARE = [[0, 0, 2, 0, 2, 1, 0, 1]]


def changed(data: Any, path: str, value: Any) -> Any:
    """A copy in which `a.0.b` is another value, or gone if that is `...`."""
    out = copy.deepcopy(data)
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    place = out
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return out


def read(gt: Any, results: Any, protocol: str = "paper") -> Any:
    return read_results(results, read_truth(gt, protocol), protocol)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("0.video_id", 7, r"results\[0\]: video_id 7 is not among the ground truth's 2 videos"),
        ("0.video_id", [1], r"video_id \[1\]"),
        ("0.video_id", ..., "'video_id' is missing"),
        ("0.category_id", 9, r"results\[0\]: category_id 9 .*\[1, 2, 3\]"),
        ("0.category_id", ..., "'category_id' is missing"),
        ("0.score", 1.01, r"results\[0\]: score 1.01 is not a number in \[0, 1\]"),
        ("0.score", -0.1, "score -0.1"),
        ("0.score", float("nan"), "score nan"),
        ("0.score", "0.5", "score '0.5'"),
        ("0.score", True, "score True"),
        ("0.score", ..., "'score' is missing"),
        ("0.segmentations", [None], r"results\[0\]: 1 segmentations, but video 1 has 2 frames"),
        ("0.segmentations", None, "None segmentations"),
        ("0.segmentations", ..., "'segmentations' is missing"),
        ("0.segmentations.1", {"size": [2, 3], "counts": "6"}, r"results\[0\], frame 1: the mask's size is \[2, 3\]"),
        ("0.segmentations.1", {"size": [1, 3], "counts": "PPTl0"}, "frame 1: the counts of the RLE span 921600 pix"),
        ("0.segmentations.1", {"size": [1, 3], "counts": "~~"}, "frame 1: the counts of the RLE are no text"),
        ("0.segmentations.0", {"size": [1, 3], "counts": ""}, "frame 0: the counts of the RLE span 0 pixels"),
        ("0.segmentations.0", 5, r"results\[0\], frame 0: a segmentation is"),
        ("0.segmentations.0", {"size": [1, 3], "counts": "o" * 10**6 + "0"}, "frame 0: the counts .* no text"),
        ("0.segmentations.0", {"size": [1, 3], "counts": "4\x4f0"}, "frame 0: the counts of the RLE are no text"),
        ("0.video_id", {}, r"results\[0\]: video_id {}"),
        ("0.video_id", True, "video_id True"),
        ("0.video_id", 10**30, "video_id 1000"),
        ("0.category_id", [], r"category_id \[\]"),
        ("0.category_id", "1", r"category_id '1' is not among the ground truth's, \[1, 2, 3\]"),
        ("0.category_id", 1.5, "category_id 1.5"),
        ("0.score", 10**400, "score an integer of 1329 bits is not a number"),
        ("0.score", None, "score None"),
        ("0.segmentations", 2, "2 segmentations"),
        ("0.segmentations", {"a": 1}, "segmentations, but video 1 has 2 frames"),
        ("0", "text", "'video_id' is missing"),
    ],
)  # fmt: skip
def test_the_error_names_an_invalid_entry_of_the_results(path: str, value: Any, message: str) -> None:
    assert read(GT, RESULTS)[1][0].score == 0.5
    for protocol in ("paper", "official"):
        gt = GT if protocol == "paper" else changed(GT, "annotations.0.segmentations", [SQUARE, None])
        if protocol == "official" and path == "0.segmentations.0" and value == 5:
            message = "frame 0: a predicted segmentation is an RLE"
        with pytest.raises(DataError, match=message):
            read(gt, changed(RESULTS, path, value), protocol)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("videos", ..., "videos, categories, annotations"),
        ("videos", 5, "videos must be a list, not 5"),
        ("categories", {}, "categories must be a list"),
        ("annotations", "x", "annotations must be a list"),
        ("annotations", None, "nothing to score against"),
        ("annotations", ..., "nothing to score against"),
        ("categories.0", 5, r"categories\[0\]: 'id' is missing"),
        ("categories.0.id", [1], r"categories\[0\]: the id is \[1\], not a whole number"),
        ("categories.0.id", "1", "not a whole number"),
        ("categories.0.id", 2**63, "not a whole number"),
        ("categories.0.name", 5, r"categories\[0\]: the name is 5, not a text"),
        ("categories.0.name", "\ud800", "not a text"),
        ("videos.0", None, r"videos\[0\]: 'id' is missing"),
        ("videos.0.id", {}, r"videos\[0\]: the id is {}, not a whole number or text"),
        ("videos.0.id", True, "the id is True"),
        ("videos.0.file_names", 5, r"videos\[0\] \(id 1\): file_names must be a list, not 5"),
        ("videos.0.file_names", [5, 6], r"videos\[0\] \(id 1\): the file name is 5, not a text"),
        ("videos.0.length", None, "length None, but 2 file names"),
        ("videos.0.length", True, "length True"),
        ("videos.0.height", True, "height and width are"),
        ("videos.0.height", 10**9, "height and width are"),
        ("annotations.0.video_id", [1], r"video_id \[1\]"),
        ("annotations.0.category_id", {}, "category_id {}"),
        ("annotations.0.segmentations.1", [[1e18, 1, 20, 1, 20, 20]], "frame 1: a polygon is"),
        ("annotations.0.segmentations.1", [[-4000, 0, 4000, 1] * 99], "frame 1: the polygons are"),
        ("annotations.0.segmentations.1", {"size": [2, 3], "counts": [6]}, r"frame 1: the mask's size is \[2, 3\]"),
        ("annotations.0.id", 2**63, "the id is"),
        ("annotations.0.id", None, "the id is None"),
        ("categories.1.id", 1, r"categories\[1\]: id 1 or name 'class 2' occurs twice"),
        ("categories.1.name", "class 1", r"categories\[1\].*twice"),
        ("videos.1.id", 1, r"videos\[1\]: another video has the id 1"),
        ("videos.0.length", 3, r"videos\[0\] \(id 1\): length 3, but 2 file names"),
        ("videos.0.height", 0, "height and width are"),
        ("videos.0.width", ..., "'width' is missing"),
        ("annotations.0.video_id", 8, r"annotations\[0\] \(id 1\): video_id 8"),
        ("annotations.0.category_id", 8, r"annotations\[0\] \(id 1\): category_id 8"),
        ("annotations.0.segmentations", [None], "1 segmentations, but video 1 has 2 frames"),
        ("annotations.0.iscrowd", 1, "there are no crowds"),
        ("annotations.0.id", "x", "the id is 'x'"),
        ("annotations.0.segmentations.1", [[0, 0, 1]], r"annotations\[0\] \(id 1\), frame 1: a polygon is"),
        ("annotations.0.segmentations.1", {"size": [1, 3], "counts": [4]}, "frame 1: run lengths add up to 4"),
        ("annotations.0", 5, "'video_id' is missing"),
    ],
)
def test_the_error_names_an_invalid_entry_of_the_truth(path: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_truth(changed(GT, path, value))


def test_the_error_names_an_annotation_whose_size_is_not_the_videos() -> None:
    with pytest.raises(
        DataError, match=r"annotations\[0\] .* height and width are \(4, 3\), those of video 1 are \(1, 3\)"
    ):
        read_truth(changed(GT, "annotations.0.height", 4))


def test_two_annotations_with_one_id_are_an_error_only_within_a_video() -> None:
    one, two = [(1, [A, None])], [(1, [A, None]), (2, [A, A])]
    gt, _ = files([(two, []), (one, [])])
    gt["annotations"][2]["id"] = 1
    assert [t.id for t in read_truth(gt).videos[2].tracks] == [1]
    gt["annotations"][1]["id"] = 1
    with pytest.raises(DataError, match=r"annotations\[1\] \(id 1\): video 1 has another annotation"):
        read_truth(gt)


def test_frames_beyond_a_limit_are_refused_whatever_the_lengths_claim() -> None:
    video = {"id": 1, "height": 4, "width": 4, "length": 2**22 + 1}
    with pytest.raises(DataError, match="4194305 frames together, more than 4194304"):
        read_truth({"videos": [video], "categories": [], "annotations": []})


def test_official_refuses_areas_that_are_no_pixels() -> None:
    gt = changed(GT, "annotations.0.segmentations", [SQUARE, None])
    for areas in ("x", 5, [True], ["4"], [-1], [float("nan")], [10**400], [[4]]):
        gt["annotations"][0]["areas"] = areas
        with pytest.raises(DataError, match=r"annotations\[0\] \(id 1\): areas"):
            read_truth(gt, "official")
        assert read_truth(gt, "paper").videos[1].tracks[0].mean_area is None


def test_numbers_of_numpy_and_torch_arrays_and_tuples_are_the_numbers_they_are() -> None:
    code, mask = RESULTS[0]["segmentations"][0], np.array([[True, False, False]])
    plain = read(GT, RESULTS)
    for same in (
        {"score": np.float64(0.5)},
        {"score": np.float32(0.5)},
        {"score": torch.tensor(0.5)},
        {"category_id": np.int64(1), "video_id": np.int32(1)},
        {"category_id": 1.0, "video_id": torch.tensor(1)},
        {"segmentations": tuple(RESULTS[0]["segmentations"])},
        {"segmentations": np.array(RESULTS[0]["segmentations"], object)},
        {"segmentations": [mask, ~mask & False]},
        {"segmentations": np.stack([mask, ~mask & False])},
        {"segmentations": torch.from_numpy(np.stack([mask, ~mask & False]))},
        {"segmentations": [{**code, "size": np.array(code["size"])}, RESULTS[0]["segmentations"][1]]},
        {"segmentations": [{**code, "size": tuple(map(np.int64, code["size"]))}, RESULTS[0]["segmentations"][1]]},
    ):
        assert read(GT, [RESULTS[0] | same]) == plain, same
    assert read(GT, tuple(RESULTS)) == plain
    for key, value in (("score", True), ("category_id", np.True_), ("video_id", "1"), ("score", np.array([0.5]))):
        with pytest.raises(DataError, match=key):
            read(GT, [RESULTS[0] | {key: value}])


def test_the_truth_may_hold_arrays_and_tuples_too() -> None:
    gt = changed(changed(GT, "videos.0.height", np.int64(1)), "videos.0.file_names", ("v1/0.jpg", "v1/1.jpg"))
    gt = changed(changed(gt, "annotations.0.id", np.int64(1)), "annotations", tuple(gt["annotations"]))
    assert read_truth(gt) == read_truth(GT)


def test_ids_in_results_are_ignored() -> None:
    results = [r | {"id": 7, "track_id": 7} for r in (*RESULTS, *RESULTS)]
    assert len(read(GT, results)[1]) == 2


def test_codes_may_be_text_bytes_lists_or_polygons_under_paper() -> None:
    text = RESULTS[0]["segmentations"][0]["counts"]
    for code in (text, text.encode(), [0, 1, 2]):
        masks = read(GT, changed(RESULTS, "0.segmentations", [{"size": [1, 3], "counts": code}, None]))[1][0].masks
        assert masks[0]["counts"] in (text, text.encode()) and masks[1] is None
    assert read(GT, changed(RESULTS, "0.segmentations", [SQUARE, None]))[1][0].masks[0] is not None


def test_results_may_be_the_object_that_the_kit_writes() -> None:
    assert len(read(GT, {"fps": 1.0, "results": RESULTS})[1]) == 1
    with pytest.raises(DataError, match="list of tracks"):
        read(GT, {"fps": 1.0})


def test_a_category_name_decides_over_the_number_and_lists_may_be_joined() -> None:
    """`to_dict` counts the weights' own classes: the numbers of a data set are others."""
    named = [{**RESULTS[0], "category_id": 5, "category_name": GT["categories"][0]["name"]}]
    assert read(GT, named) == read(GT, RESULTS)
    assert read(GT, [{"class_names": ["x"], "results": named}, {"class_names": ["x"], "results": []}]) == read(
        GT, RESULTS
    )
    with pytest.raises(DataError, match=r"results\[0\]: the class 'walrus' is none of the ground truth's categories"):
        read(GT, [{**RESULTS[0], "category_name": "walrus"}])


def test_sources_may_be_paths(tmp_path: Path) -> None:
    gt, results = tmp_path / "gt.json", tmp_path / "results.json"
    gt.write_text(json.dumps(GT)), results.write_text(json.dumps(RESULTS))
    assert evaluate(gt, str(results)) == pytest.approx(evaluate(GT, RESULTS), nan_ok=True)


def test_the_error_names_a_file_that_is_missing_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ground truth .*gone.json cannot be opened"):
        evaluate(tmp_path / "gone.json", [])
    for text in ("{", "", "[" * 100_000, "9" * 10_000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=r"results .*bad.json is not JSON"):
            evaluate(GT, tmp_path / "bad.json")
    with pytest.raises(DataError, match="cannot be opened"):
        evaluate(GT, tmp_path)


def test_files_are_named_before_their_entries(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(changed(RESULTS, "0.score", 2)))
    with pytest.raises(DataError, match=r"r\.json: results\[0\]: score 2"):
        evaluate(GT, tmp_path / "r.json")
    (tmp_path / "t.json").write_text(json.dumps(changed(GT, "videos.0.id", [])))
    with pytest.raises(DataError, match=r"t\.json: videos\[0\]: the id"):
        evaluate(tmp_path / "t.json", [])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.json").write_text(json.dumps(GT), encoding=encoding)
    assert read_truth(tmp_path / "t.json") == read_truth(GT)


def test_reading_does_not_change_the_arguments() -> None:
    gt, results, _ = golden("b")
    before = json.dumps([gt, results])
    evaluate(gt, results, protocol="official"), evaluate(gt, results, protocol="paper")
    assert json.dumps([gt, results]) == before


# Input that crashes the published evaluator.


def test_official_rejects_null_and_names_the_remedy() -> None:
    gt = changed(GT, "annotations.0.segmentations", [SQUARE, None])
    with pytest.raises(DataError, match=r"results\[0\], frame 1: .*null.*empty RLE.*'counts': '3'.*protocol=\"paper\""):
        read(gt, changed(RESULTS, "0.segmentations.1", None), "official")


def test_official_rejects_codes_in_the_truth_and_names_the_remedy() -> None:
    with pytest.raises(DataError, match=r"annotations\[0\] \(id 1\), frame 0: an RLE.*polygons.*protocol=\"paper\""):
        read_truth(GT, "official")


def test_official_rejects_uncompressed_codes_and_names_the_remedy() -> None:
    gt = changed(GT, "annotations.0.segmentations", [SQUARE, None])
    with pytest.raises(DataError, match=r"results\[0\], frame 0: uncompressed.*frPyObjects"):
        read(gt, changed(RESULTS, "0.segmentations.0", {"size": [1, 3], "counts": [0, 1, 2]}), "official")


def test_official_needs_a_folder_for_each_video() -> None:
    gt = changed(GT, "annotations", [])
    with pytest.raises(DataError, match=r"videos\[1\] \(id 2\): the folder 'v1' belongs to another video"):
        read_truth(changed(gt, "videos.1.file_names", ["v1/0.jpg", "v1/1.jpg"]), "official")
    with pytest.raises(DataError, match="no file names"):
        read_truth(changed(gt, "videos.1.file_names", ...), "official")
    shared = read_truth(changed(gt, "videos.1.file_names", ["v1/0.jpg", "v1/1.jpg"]))
    assert [v.name for v in shared.videos.values()] == ["v1", "v1 (2)"]
    assert [v.name for v in read_truth(changed(gt, "videos.1.file_names", ...)).videos.values()] == ["v1", "2"]


def test_official_takes_areas_from_the_file_and_paper_from_the_masks() -> None:
    gt = changed(GT, "annotations.0.segmentations", [SQUARE, None])
    gt["annotations"][0]["areas"] = [30000, None]
    assert read_truth(gt, "official").videos[1].tracks[0].mean_area == 30000
    assert read_truth(gt, "paper").videos[1].tracks[0].mean_area is None


def test_an_unknown_protocol_is_an_error_that_names_both_protocols() -> None:
    with pytest.raises(ConfigError, match='"official" or "paper"'):
        evaluate(GT, RESULTS, protocol="published")
