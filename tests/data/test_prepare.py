"""A folder of videos is converted to a data set that the rest of the kit reads."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from acvis_kit.clip import Clip
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.prepare import prepare_videos
from acvis_kit.errors import ConfigError, DataError, MediaError
from acvis_kit.evaluation.dataset import predict_split
from acvis_kit.inference.predictor import Predictor
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from tests.data.rectangles import Rectangle, write_rectangles

pytestmark = pytest.mark.filterwarnings("ignore")  # notes of load_clip


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, seconds in (("song.mp4", 3), ("walk.mp4", 2)):
        levels = np.linspace(20, 220, seconds * 4).astype(np.uint8)
        time = torch.arange(seconds * 16000) / 16000
        sound = 0.3 * torch.sin(2 * torch.pi * 440 * time) * (time >= 1)
        write_video(folder / name, (np.full((48, 64, 3), level) for level in levels), 4.0, sound)
    return folder


def test_frames_and_sound_are_those_of_the_clip(videos: Path, tmp_path: Path) -> None:
    prepared = prepare_videos(videos, tmp_path / "out", "test")
    assert prepared.videos == ("song", "walk") and not prepared.failed
    split = AVISegSplit(tmp_path / "out", "test")
    assert len(split) == 2 and len(split.categories) == 26 and not split.tracks(split.videos[0])
    clip, original = split.clip(split.videos[0]), load_clip(videos / "song.mp4")
    assert clip.frames.shape == original.frames.shape == (3, 3, 48, 64)
    assert (clip.frames.int() - original.frames.int()).abs().max() <= 3
    assert torch.allclose(clip.waveform, original.waveform, atol=1e-4)
    assert clip.waveform[:15000].abs().max() < 0.01 < clip.waveform[17000:].abs().max()


def test_a_model_runs_on_prepared_videos(videos: Path, tmp_path: Path, tiny_model: ACVIS) -> None:
    prepare_videos(videos, tmp_path / "out", "test")
    predicted = predict_split(Predictor(tiny_model), AVISegSplit(tmp_path / "out", "test"))
    assert [video["name"] for video in predicted["videos"]] == ["song", "walk"]
    assert {entry["video_id"] for entry in predicted["results"]} == {1, 2}


def test_a_cut_at_another_rate_is_said_to_be_replaced(videos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    prepare_videos(videos, tmp_path / "out", "test")
    prepare_videos(videos, tmp_path / "out", "test", fps=2.0, say=said.append)
    assert said == [
        "[1/2] song.mp4: 6 frames, in place of those at 1.0 frames per second",
        "[2/2] walk.mp4: 4 frames, in place of those at 1.0 frames per second",
    ]


def test_a_full_disk_is_no_surprise(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    prepared = prepare_videos(videos, tmp_path / "out", "test")
    assert all("the disk is full: make room" in reason for reason in prepared.failed.values())
    assert not (tmp_path / "out" / "errors.log").exists()


def test_at_other_rates_every_frame_has_the_second_around_it(videos: Path, tmp_path: Path) -> None:
    prepare_videos(videos, tmp_path / "out", "test", fps=2.0)
    split = AVISegSplit(tmp_path / "out", "test")
    clip = split.clip(split.videos[1])
    assert len(clip) == 4 and len(clip.waveform) == 4 * 16000
    # seconds -0.25..0.75, 0.25..1.25, 0.75..1.75 and 1.25..2.25 of a video that is silent for one second
    loud = clip.waveform.reshape(4, 16000).abs() > 0.02
    assert not loud[0].any() and not loud[1, :11500].any() and loud[1, 12500:].any() and loud[2, 5000:].any()
    assert not clip.waveform[-3000:].abs().gt(0.02).any()


def test_a_file_that_fails_is_reported_and_skipped(videos: Path, tmp_path: Path) -> None:
    (videos / "broken.mp4").write_text("no video")
    lines: list[str] = []
    prepared = prepare_videos(videos, tmp_path / "out", "test", say=lines.append)
    assert prepared.videos == ("song", "walk") and set(prepared.failed) == {"broken.mp4"}
    assert "FAILED" in lines[0] and "3 frames" in lines[1]
    assert not (tmp_path / "out" / "errors.log").exists()  # the message says all
    assert [video["id"] for video in AVISegSplit(tmp_path / "out", "test").truth["videos"]] == [1, 2]


def test_nothing_half_written_stays_of_a_video_that_fails(videos: Path, tmp_path: Path, monkeypatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wavfile, "write", fill)
    prepared = prepare_videos(videos, tmp_path / "out", "test")
    assert "song.wav cannot be written: the disk is full, 0.1 MB are needed" in prepared.failed["song.mp4"]
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file() or path.name.startswith("song")]


def test_a_name_that_no_json_can_hold_fails_alone(videos: Path, tmp_path: Path) -> None:
    """A name of other bytes than UTF-8 would make the whole data set unreadable."""
    os.rename(videos / "song.mp4", os.fsencode(videos) + b"/bad\xff.mp4")
    prepared = prepare_videos(videos, tmp_path / "out", "train")
    (reason,) = prepared.failed.values()
    assert "rename the file" in reason and prepared.videos == ("walk",)
    assert len(AVISegSplit(tmp_path / "out", "train")) == 1


@pytest.mark.parametrize("theirs", ["JPEGImages/song/mine.jpg", "WAVAudios/song.wav"])
def test_frames_and_sounds_of_others_are_not_replaced(videos: Path, tmp_path: Path, theirs: str) -> None:
    """Of which neither a record nor a JSON of an earlier call says anything."""
    own = tmp_path / "out" / "test" / theirs
    own.parent.mkdir(parents=True)
    own.write_text("cut by hand", encoding="utf-8")
    prepared = prepare_videos(videos, tmp_path / "out", "test")
    assert "is not from acvis prepare" in prepared.failed["song.mp4"] and prepared.videos == ("walk",)
    assert own.read_text(encoding="utf-8") == "cut by hand"


def test_a_data_set_whose_record_is_lost_is_cut_again(videos: Path, tmp_path: Path) -> None:
    prepare_videos(videos, tmp_path / "out", "test")
    (tmp_path / "out" / "test" / "prepared.jsonl").unlink()
    assert prepare_videos(videos, tmp_path / "out", "test").videos == ("song", "walk")


def test_files_that_are_no_clips_are_left_out(videos: Path, tmp_path: Path) -> None:
    (videos / "notes.txt").write_text("no video")
    wavfile.write(videos / "dog.wav", 16000, np.zeros(16000, np.int16))
    lines: list[str] = []
    prepared = prepare_videos(videos, tmp_path / "out", "test", say=lines.append)
    assert prepared.videos == ("song", "walk") and not prepared.failed
    assert lines[0] == "not clips, left out: dog.wav, notes.txt"


def test_an_error_that_nobody_foresaw_is_logged_and_the_other_clips_are_done(videos, tmp_path, monkeypatch) -> None:
    def load(path: Path, **options: object) -> Clip:
        if path.name == "song.mp4":
            raise ZeroDivisionError("a fault of the kit")
        return load_clip(path, **options)

    monkeypatch.setattr("acvis_kit.data.prepare.load_clip", load)
    prepared = prepare_videos(videos, tmp_path / "out", "test")
    assert prepared.videos == ("walk",)
    log = (tmp_path / "out" / "errors.log").read_text()
    assert "ZeroDivisionError: a fault of the kit (traceback in" in prepared.failed["song.mp4"]
    assert "song.mp4\nTraceback" in log and "in load\n" in log


def test_a_number_outside_its_range_is_refused_once(videos: Path, tmp_path: Path) -> None:
    for wrong in ({"fps": 1e-9}, {"fps": float("nan")}, {"max_seconds": float("inf")}):
        with pytest.raises(ConfigError, match="must lie between"):
            prepare_videos(videos, tmp_path / "out", "test", **wrong)
    assert not (tmp_path / "out").exists()


def test_a_video_may_have_the_longest_name(videos: Path, tmp_path: Path) -> None:
    name = "x" * 251
    (videos / "walk.mp4").rename(videos / f"{name}.mp4")
    assert prepare_videos(videos, tmp_path / "out", "test").videos == ("song", name)


def test_finished_files_are_kept_and_changed_files_are_cut_again(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare_videos(videos, out, "test")
    record = out / "test" / "prepared.jsonl"
    record.write_text(record.read_text() + '{"name": "broken')  # a call that was killed in the middle of a line
    (videos / "walk.mp4").write_bytes((videos / "song.mp4").read_bytes())
    (videos / "more.mp4").write_bytes((videos / "song.mp4").read_bytes())
    lines: list[str] = []
    prepared = prepare_videos(videos, out, "test", say=lines.append)
    assert [line.rsplit(": ")[-1] for line in lines] == ["3 frames", "done before", "3 frames"]
    assert prepared.videos == ("more", "song", "walk")
    assert [len(video.frames) for video in AVISegSplit(out, "test").videos] == [3, 3, 3]
    (out / "test" / "JPEGImages" / "song" / "00001.jpg").unlink()
    lines.clear()
    prepare_videos(videos, out, "test", say=lines.append)
    assert [line.rsplit(": ")[-1] for line in lines] == ["done before", "3 frames", "done before"]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_cut_of_a_video_that_fails_now_stays(videos: Path, tmp_path: Path) -> None:
    """The JSON does not list it, unless nothing succeeded: then that of the earlier call stays as well."""
    out, lines = tmp_path / "out", list[str]()
    prepare_videos(videos, out, "test")
    before = files_in(out)
    prepared = prepare_videos(videos, out, "test", fps=4, max_seconds=1)
    assert not prepared.videos and len(prepared.failed) == 2 and files_in(out) == before
    prepared = prepare_videos(videos, out, "test", fps=2, max_seconds=2)
    assert prepared.videos == ("walk",) and set(prepared.failed) == {"song.mp4"}
    assert {name for name in before if "song" in name} == {name for name in files_in(out) if "song" in name}
    assert [len(video.frames) for video in AVISegSplit(out, "test").videos] == [4]
    prepare_videos(videos, out, "test", say=lines.append)
    assert [line.rsplit(": ")[-1] for line in lines] == [
        "done before",
        "2 frames, in place of those at 2 frames per second",
    ]
    assert {name: data for name, data in files_in(out).items() if "jsonl" not in name} == {
        name: data for name, data in before.items() if "jsonl" not in name
    }


def test_an_earlier_cut_stays_where_the_new_one_cannot_be_written(videos: Path, tmp_path: Path, monkeypatch) -> None:
    prepare_videos(videos, tmp_path / "out", "test")
    before = files_in(tmp_path / "out")

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wavfile, "write", fill)
    assert len(prepare_videos(videos, tmp_path / "out", "test", fps=2).failed) == 2
    assert files_in(tmp_path / "out") == before


def test_a_call_that_ends_while_a_cut_is_replaced_is_not_mistaken_for_done(videos, tmp_path, monkeypatch) -> None:
    """The frames of two per second have the names of those of one per second, and three more."""
    out, lines = tmp_path / "out", list[str]()
    prepare_videos(videos, out, "test")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> None:
        rename(self, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_videos(videos, out, "test", fps=2)
    monkeypatch.setattr(Path, "rename", rename)
    assert not (out / "test.json").exists()
    prepare_videos(videos, out, "test", say=lines.append)
    assert [line.rsplit(": ")[-1] for line in lines] == ["3 frames", "done before"]


def test_frames_that_another_rate_replaced_are_cut_again(videos: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "out", list[str]()
    frame = out / "test" / "JPEGImages" / "song" / "00001.jpg"
    prepare_videos(videos, out, "test")
    first = frame.read_bytes()
    prepare_videos(videos, out, "test", fps=2)
    assert frame.read_bytes() != first
    prepare_videos(videos, out, "test", say=lines.append)
    assert frame.read_bytes() == first and not any("done before" in line for line in lines)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: None,
        lambda entry: entry | {"file_names": 5},
        lambda entry: entry | {"file_names": []},
        lambda entry: entry | {"height": "48"},
        lambda entry: {},
    ],
)
def test_a_damaged_record_is_not_trusted(videos: Path, tmp_path: Path, damage) -> None:
    out, lines = tmp_path / "out", list[str]()
    prepare_videos(videos, out, "test")
    record = out / "test" / "prepared.jsonl"
    first, second = (line for line in map(json.loads, filter(None, record.read_text().splitlines())) if line["key"])
    first["entry"] = damage(first["entry"])
    record.write_bytes(json.dumps(first).encode() + b"\n\xff\n" + b"[" * 100_000 + b"\n" + json.dumps(second).encode())
    prepare_videos(videos, out, "test", say=lines.append)
    assert sorted(line.rsplit(": ")[-1] for line in lines) in (["2 frames", "done before"], ["3 frames", "done before"])


@pytest.mark.parametrize("text", ["[]", "[" * 100_000, '{"info": 5}', "7"])
def test_what_is_no_data_set_is_not_overwritten(videos: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "test.json").write_text(text)
    with pytest.raises(DataError, match="not made by acvis prepare"):
        prepare_videos(videos, tmp_path / "out", "test")


def test_files_with_one_stem_get_different_names(videos: Path, tmp_path: Path) -> None:
    (videos / "song.mov").write_bytes((videos / "song.mp4").read_bytes())
    assert prepare_videos(videos, tmp_path / "out", "test").videos == ("song.mov", "song.mp4", "walk")
    assert len(list(AVISegSplit(tmp_path / "out", "test").clips())) == 3


def test_an_annotated_data_set_is_never_overwritten(videos: Path, tmp_path: Path) -> None:
    out = write_rectangles(tmp_path / "out", [[Rectangle("dog", (0, 0, 9, 9))]])
    before = (out / "train.json").read_bytes()
    with pytest.raises(DataError, match="not made by acvis prepare"):
        prepare_videos(videos, out, "train")
    assert (out / "train.json").read_bytes() == before


def test_without_videos_no_data_set_is_written(videos: Path, tmp_path: Path) -> None:
    for folder, message in ((tmp_path / "nowhere", "not a folder"), (tmp_path, "holds no clips")):
        with pytest.raises(MediaError, match=message):
            prepare_videos(folder, tmp_path / "out", "test")
    with pytest.raises(MediaError, match="folder of the videos"):
        prepare_videos(videos, videos, "test")
    with pytest.raises(DataError, match="split"):
        prepare_videos(videos, tmp_path / "out", "../test")
    for video in videos.iterdir():
        video.write_bytes(b"broken")
    assert not prepare_videos(videos, tmp_path / "out", "test").videos
    assert not (tmp_path / "out" / "test.json").exists()


def test_the_json_records_who_made_it_and_lists_the_frames(videos: Path, tmp_path: Path) -> None:
    truth = json.loads(prepare_videos(videos, tmp_path / "out", "test").truth_file.read_text())
    assert truth["info"] == {"made_by": "acvis prepare", "fps": 1.0} and truth["annotations"] == []
    assert truth["videos"][0]["file_names"] == ["song/00000.jpg", "song/00001.jpg", "song/00002.jpg"]


@pytest.mark.parametrize("change", [{"annotations": [{"id": 1}]}, {"categories": [{"id": 1, "name": "owl"}]}])
def test_a_split_that_was_annotated_since_is_not_written_again(videos: Path, tmp_path: Path, change: dict) -> None:
    file = prepare_videos(videos, tmp_path / "out", "test").truth_file
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    before = file.read_bytes()
    with pytest.raises(DataError, match="was annotated"):
        prepare_videos(videos, tmp_path / "out", "test")
    assert file.read_bytes() == before
