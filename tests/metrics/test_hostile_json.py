"""Whatever ground truth and results hold, only AcvisErrors come out, and the same for scores as for data."""

from __future__ import annotations

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import AcvisError
from acvis_kit.masks import encode
from acvis_kit.metrics import evaluate
from tests.metrics.tables import pixels

FRAME = ".##....#/.##...../....##../........"
CODE = encode(pixels(FRAME))
SQUARE = [[1, 0, 3, 0, 3, 2, 1, 2]]
GT: dict[str, Any] = {
    "info": {"year": 2024},
    "videos": [
        {"id": n, "file_names": [f"v{n}/{t}.jpg" for t in range(2)], "length": 2, "height": 4, "width": 8}
        for n in (1, 2)
    ],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [
        {"id": 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "height": 4, "width": 8, "areas": [4, None],
         "segmentations": [SQUARE, None]},
        {"id": 2, "video_id": 1, "category_id": 2, "segmentations": [CODE, {"size": [4, 8], "counts": [3, 5, 24]}]},
        {"id": 3, "video_id": 2, "category_id": 2, "segmentations": [[], [*SQUARE, [4, 1, 7, 1, 7, 3, 4, 3]]]},
    ],
}  # fmt: skip
RESULTS: list[dict[str, Any]] = [
    {"video_id": 1, "category_id": 1, "score": 0.9, "segmentations": [CODE, None]},
    {"video_id": 2, "category_id": 2, "score": 0.4, "segmentations": [CODE, CODE]},
]
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, 1.0, 1.5, -0.0, 1e-320, 1e18, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    10**30, 10**400, "", "1", "x", "../x", "/etc/x", "a/../../x", "\ud800", "\0", "o" * 10_000, "P" * 9 + "0", "PPTl0",
    [], {}, [[]], [{}], [None], [0], [1, 2], ["x"], [[1, 2]], [[1e18, 1, 20, 1, 20, 20]], [-4000, 0, 4000, 1] * 99,
    [10**400] * 6, [True] * 6, [[1, 1, 2, 2, "3", 3]], {"id": [1], "name": {}}, DEEP,
    {"size": [4, 8], "counts": "0"}, {"size": [10**9] * 2, "counts": [1]}, {"size": [8, 4], "counts": [32]},
    {"size": [4, 8], "counts": [33, -1]}, {"size": [4, 8], "counts": "o" * 10_000 + "0"}, {"counts": "3"},
    {"size": [4.0, 8.0], "counts": [32]}, {"size": None, "counts": None},
)  # fmt: skip


def places(data: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys and indices that lead to each value."""
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield (*way, key)
        yield from places(data[key], (*way, key))


def mutated(data: Any, rng: random.Random) -> tuple[Any, tuple[Any, ...]]:
    """A copy in which one value is another, gone, or twice there; and the way to it."""
    out = copy.deepcopy(data)
    ways = list(places(data))
    way, other = rng.choice(ways), rng.choice(ways)
    place = at(out, way[:-1])
    chance = rng.random()
    if chance < 0.1:
        del place[way[-1]]
    elif chance < 0.2 and isinstance(place, list):
        place.append(copy.deepcopy(at(data, way)))
    else:
        place[way[-1]] = rng.choice([*HOSTILE, *[copy.deepcopy(at(data, other))] * 20])
    return out, way


def at(data: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        data = data[step]
    return data


def refusal(work: Callable[[], object]) -> str | None:
    """The message with which input is refused; None if it is taken. Other errors are not caught."""
    try:
        work()
    except AcvisError as error:
        return str(error)
    return None


def scored(gt: Any, results: Any = (), protocol: str = "paper") -> str | None:
    return refusal(lambda: evaluate(gt, results, protocol))


def read(root: Path) -> str | None:
    """The refusal of `root`/test.json as a data set with all of its masks."""

    def every_mask() -> None:
        split = AVISegSplit(root)
        for video in split.videos:
            for track in split.tracks(video):
                for t in range(len(video.frames)):
                    split.mask(video, track, t)

    return refusal(every_mask)


def test_a_mutated_ground_truth_has_one_verdict_for_scores_and_data(tmp_path: Path) -> None:
    rng, verdicts = random.Random(0), []
    file = tmp_path / "test.json"
    for _ in range(500):
        gt, way = mutated(GT, rng)
        file.write_text(json.dumps(gt))
        as_data, as_truth = read(tmp_path), scored(file)
        needs_files = "file_names" in way  # scores need neither frames nor folders
        unlabelled = isinstance(gt, dict) and gt.get("annotations") is None  # can be predicted, not scored
        assert (as_data is None) == (as_truth is None) or needs_files or unlabelled, (way, as_data, as_truth)
        assert (scored(gt) is None) == (as_truth is None), way  # a path and its object
        for message in (as_data, as_truth):
            assert message is None or ("test.json" in message and len(message) < 600 and "\n" not in message), way
        verdicts.append(as_truth is None)
    assert 50 < sum(verdicts) < 350


@pytest.mark.parametrize("protocol", ["paper", "official"])
def test_mutated_results_and_truths_are_scored_or_refused(protocol: str) -> None:
    rng, verdicts = random.Random(1), []
    polygons = copy.deepcopy(GT)
    polygons["annotations"][1]["segmentations"] = [SQUARE, SQUARE]
    codes = [{**entry, "segmentations": [CODE, CODE]} for entry in RESULTS]
    assert scored(polygons, codes, protocol) is None
    for _ in range(150):
        refusals = (
            scored(polygons, mutated(codes, rng)[0], protocol),
            scored(mutated(polygons, rng)[0], codes, protocol),
        )
        assert all(message is None or len(message) < 600 for message in refusals)
        verdicts += [message is None for message in refusals]
    assert 20 < sum(verdicts) < 200


def test_damaged_bytes_have_one_verdict_for_scores_and_data(tmp_path: Path) -> None:
    rng, verdicts = random.Random(2), []
    whole, file = json.dumps(GT).encode(), tmp_path / "test.json"
    pieces = [b"[", b"{", b"1", b"e9", b"NaN", b"\xff", b"\0", b'"', b",", b"-"]
    for _ in range(300):
        start = rng.randrange(len(whole))
        gone, new = rng.choice([0, 1, 1, 1, 40, 10**6]), rng.choice([bytes([rng.randrange(128)]), *pieces])
        file.write_bytes(whole[:start] + new * rng.choice([1, 1, 1, 500]) + whole[start + gone :])
        as_data, as_truth = read(tmp_path), scored(file)
        assert (as_data is None) == (as_truth is None) or not has_files(file), (as_data, as_truth)
        verdicts.append(as_truth is None)
    assert 10 < sum(verdicts) < 200


def has_files(file: Path) -> bool:
    """Whether the JSON lists annotations and, for each video, frames in a folder."""
    data = json.loads(file.read_bytes())
    names = [name for video in data["videos"] for name in video.get("file_names") or [""]]
    return data.get("annotations") is not None and all(name.startswith("v") and "/" in name for name in names)


def test_results_of_predict_are_matched_by_the_names_of_their_classes() -> None:
    """predict counts its own class names from 1; the ground truth has other ids for them."""
    truth = copy.deepcopy(GT)
    own = {"results": copy.deepcopy(RESULTS), "class_names": ["cat", "dog"]}  # the truth has dog 1, cat 2
    for entry in own["results"]:
        entry["category_id"] = 3 - entry["category_id"]
    assert evaluate(truth, own, "paper") == pytest.approx(evaluate(truth, RESULTS, "paper"), nan_ok=True)
    own["class_names"] = ["cat", "wolf"]
    with pytest.raises(AcvisError, match="wolf"):
        evaluate(truth, own, "paper")


def test_results_of_predict_are_matched_by_the_names_of_their_videos() -> None:
    """predict counts the files of its folder from 1, a single clip is 1; the truth's folders are v1 and v2."""
    right = evaluate(GT, RESULTS, "paper")
    moved = [{**entry, "video_id": 3 - entry["video_id"]} for entry in RESULTS]
    videos = [{"id": 1, "file": "v2.mp4"}, {"id": 2, "file": "v1.mp4"}]
    assert evaluate(GT, {"results": moved, "videos": videos}, "paper") == pytest.approx(right, nan_ok=True)
    second = [{**RESULTS[1], "video_id": 1}]
    alone = evaluate(GT, {"results": second, "video": "v2.mkv"}, "paper")
    assert alone == pytest.approx(evaluate(GT, [RESULTS[1]], "paper"), nan_ok=True)
    unknown = [{"id": 1, "file": "x.mp4"}, {"id": 2, "file": "y.mp4"}]
    with pytest.warns(UserWarning, match=r"results are of .x\.mp4., and no video of the ground truth has this name"):
        assert evaluate(GT, {"results": RESULTS, "videos": unknown}, "paper") == pytest.approx(right, nan_ok=True)
    with pytest.warns(UserWarning, match="matched by their ids"):
        evaluate(GT, {"results": [], "video": "x.mp4"}, "paper")
    with pytest.raises(AcvisError, match=r"x\.mp4. too"):
        evaluate(GT, {"results": RESULTS, "videos": [unknown[0], {"id": 2, "file": "v1.mp4"}]}, "paper")


def test_saved_results_of_another_split_are_noted() -> None:
    """`evaluate --save-results` names the folder of each video; two splits count their videos alike."""
    right = evaluate(GT, RESULTS, "paper")
    saved = {"results": RESULTS, "videos": [{"id": 1, "name": "v1"}, {"id": 2, "name": "v2"}]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(GT, saved, "paper") == pytest.approx(right, nan_ok=True)
    moved = [{**entry, "video_id": 3 - entry["video_id"]} for entry in RESULTS]
    swapped = {"results": moved, "videos": [{"id": 1, "name": "v2"}, {"id": 2, "name": "v1"}]}
    assert evaluate(GT, swapped, "paper") == pytest.approx(right, nan_ok=True)
    other = {"results": RESULTS, "videos": [{"id": 1, "name": "w1"}, {"id": 2, "name": "w2"}]}
    with pytest.warns(UserWarning, match=r"results are of 'w1', and no video of the ground truth has this name"):
        evaluate(GT, other, "paper")


def test_saved_results_of_videos_whose_folders_have_one_name_keep_their_ids() -> None:
    truth = copy.deepcopy(GT)
    for video in truth["videos"]:
        video["file_names"] = [f"set{video['id']}/v/{t}.jpg" for t in range(len(video["file_names"]))]
    saved = {"results": RESULTS, "videos": [{"id": 1, "name": "v"}, {"id": 2, "name": "v"}]}
    assert evaluate(truth, saved, "paper") == pytest.approx(evaluate(truth, RESULTS, "paper"), nan_ok=True)


@pytest.mark.parametrize("number", [[1], {}, None, "1", float("nan")])
def test_a_damaged_video_id_in_a_file_of_predict_is_an_error_of_the_data(number: Any) -> None:
    own = {"results": [{**RESULTS[0], "video_id": number}], "video": "v1.mp4", "class_names": ["dog", "cat"]}
    with pytest.raises(AcvisError, match="video_id"):
        evaluate(GT, own, "paper")
