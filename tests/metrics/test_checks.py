from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

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


def test_sources_may_be_paths(tmp_path: Path) -> None:
    gt, results = tmp_path / "gt.json", tmp_path / "results.json"
    gt.write_text(json.dumps(GT)), results.write_text(json.dumps(RESULTS))
    assert evaluate(gt, str(results)) == pytest.approx(evaluate(GT, RESULTS), nan_ok=True)


def test_the_error_names_a_file_that_is_missing_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ground truth .*gone.json cannot be opened"):
        evaluate(tmp_path / "gone.json", [])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"results .*bad.json is not JSON"):
        evaluate(GT, tmp_path / "bad.json")


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
