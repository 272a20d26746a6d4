"""AVISeg's layout on disk: what is read, and which errors name what does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError, MediaError


def test_videos_are_read_as_clips_with_their_sound(aviseg_folder: Path) -> None:
    split = AVISegSplit(aviseg_folder)
    assert len(split) == 2 and split.categories[2] == "violin"
    (first, clip), (second, other) = split.clips()
    assert (first.name, first.size, len(clip), clip.size) == ("video001", (72, 128), 3, (72, 128))
    assert (second.name, len(other)) == ("video002", 4)
    assert len(clip.waveform) == 3 * 16000 and 0.1 < clip.waveform.abs().max() < 0.3 and not clip.notes


def test_a_note_names_a_sound_that_is_too_short(aviseg_folder: Path) -> None:
    sounds = aviseg_folder / "test" / "WAVAudios"
    split = AVISegSplit(aviseg_folder)
    data = (sounds / "video002.wav").read_bytes()
    (sounds / "video002.wav").write_bytes(data[: 44 + 2 * 16000])
    with pytest.warns(UserWarning, match=r"video002 ends 3\.0 s before its picture"):  # evaluations show no notes
        clip = split.clip(split.videos[1])
    assert "ends 3.0 s before its picture" in clip.notes[0]
    assert clip.waveform[16000:].abs().max() == 0


def test_missing_and_wrong_files_are_named(aviseg_folder: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json does not exist"):
        AVISegSplit(aviseg_folder, "train")
    split = AVISegSplit(aviseg_folder)
    frame = aviseg_folder / "test" / "JPEGImages" / "video001" / "00001.jpg"
    Image.new("RGB", (64, 64)).save(frame)
    with pytest.raises(DataError, match=r"00001\.jpg is \(64, 64\).*\(72, 128\)"):
        split.clip(split.videos[0])
    frame.unlink()
    with pytest.raises(DataError, match=r"00001\.jpg cannot be read"):
        split.clip(split.videos[0])
    (aviseg_folder / "test" / "WAVAudios" / "video002.wav").unlink()
    with pytest.raises(MediaError, match=r"video002\.wav"):
        split.clip(split.videos[1])


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000, "9" * 10_000, '{"videos": [], "categories": 1}'])
def test_a_broken_json_is_refused(aviseg_folder: Path, text: str) -> None:
    (aviseg_folder / "test.json").write_text(text)
    with pytest.raises(DataError, match=r"test\.json"):
        AVISegSplit(aviseg_folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_the_json_is_read_in_each_encoding_of_unicode(aviseg_folder: Path, encoding: str) -> None:
    change(aviseg_folder, lambda t: t["categories"][0].update(name="Käuzchen"))
    text = (aviseg_folder / "test.json").read_text().replace("K\\u00e4uzchen", "Käuzchen")
    assert "ä" in text
    (aviseg_folder / "test.json").write_text(text, encoding=encoding)
    assert AVISegSplit(aviseg_folder).categories[1] == "Käuzchen"
    (aviseg_folder / "test.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match="is not JSON"):
        AVISegSplit(aviseg_folder)


@pytest.mark.parametrize(
    "name", ["/tmp/secret/0.jpg", "../../secret/0.jpg", "video001/../../../0.jpg", "video001/\0.jpg"]
)
def test_frames_outside_the_folder_are_read_only_where_that_is_allowed(aviseg_folder: Path, name: str) -> None:
    change(aviseg_folder, lambda t: t["videos"][0]["file_names"].__setitem__(2, name))
    with pytest.raises(DataError, match=r"leaves the data set's folder: .*allow_outside=True"):
        AVISegSplit(aviseg_folder)
    assert AVISegSplit(aviseg_folder, allow_outside=True).videos[0].frames[2] == name


def test_an_allowed_frame_outside_is_the_one_that_is_named(aviseg_folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (128, 72), (255, 0, 0)).save(tmp_path / "outside.png")
    change(aviseg_folder, lambda t: t["videos"][0]["file_names"].__setitem__(2, str(tmp_path / "outside.png")))
    split = AVISegSplit(aviseg_folder, allow_outside=True)
    assert split.image(split.videos[0], 2).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("names", [None, [], ["0.jpg"] * 3, ["../0.jpg"] * 3])
def test_a_video_needs_frames_in_a_folder_that_names_its_sound(aviseg_folder: Path, names: list[str] | None) -> None:
    change(aviseg_folder, lambda t: t["videos"][0].update(file_names=names))
    with pytest.raises(DataError, match=r"video 1.* no (file_names|folder)"):
        AVISegSplit(aviseg_folder, allow_outside=True)


def test_a_picture_of_another_size_is_refused_before_it_is_decoded(
    aviseg_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (64, 64)).save(aviseg_folder / "test" / "JPEGImages" / "video001" / "00001.jpg")
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    split = AVISegSplit(aviseg_folder)
    with pytest.raises(DataError, match=r"\(64, 64\).*\(72, 128\)"):
        split.image(split.videos[0], 1)


@pytest.mark.parametrize(
    "data", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 128 72\n", b"\x89PNG\r\n\x1a\n" + bytes(40)]
)
def test_what_is_no_picture_is_refused(aviseg_folder: Path, data: bytes) -> None:
    (aviseg_folder / "test" / "JPEGImages" / "video001" / "00001.jpg").write_bytes(data)
    split = AVISegSplit(aviseg_folder)
    with pytest.raises(DataError, match=r"00001\.jpg cannot be read"):
        split.image(split.videos[0], 1)


def test_masks_are_decoded_one_by_one(aviseg_folder: Path) -> None:
    split = AVISegSplit(aviseg_folder)
    video = split.videos[1]
    (track,) = split.tracks(video)
    assert (track.category_id, len(track.segmentations)) == (2, 4)
    assert split.mask(video, track, 0) is None
    rows, columns = np.nonzero(split.mask(video, track, 1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 39, 10, 49)


def test_polygons_codes_and_nulls_may_stand_side_by_side(aviseg_folder: Path) -> None:
    half = 72 * 64
    codes = [{"size": [72, 128], "counts": [half, half]}, None, [[0, 0, 64, 0, 64, 72, 0, 72]], []]
    change(aviseg_folder, lambda t: t["annotations"][1].update(segmentations=codes))
    split = AVISegSplit(aviseg_folder)
    video = split.videos[1]
    masks = [split.mask(video, split.tracks(video)[0], t) for t in range(4)]
    assert masks[0][:, 64:].all() and not masks[0][:, :64].any() and np.array_equal(masks[2], ~masks[0])
    assert masks[1] is masks[3] is None


def test_a_broken_segmentation_is_named_when_it_is_read(aviseg_folder: Path) -> None:
    change(aviseg_folder, lambda t: t["annotations"][1]["segmentations"].__setitem__(1, [[1, 2, 3]]))
    split = AVISegSplit(aviseg_folder)
    with pytest.raises(DataError, match=r"test\.json, annotation 2, frame 1: a polygon is"):
        split.mask(split.videos[1], split.tracks(split.videos[1])[0], 1)


def test_a_split_without_annotations_has_no_tracks(aviseg_folder: Path) -> None:
    for annotations in ([], None):
        change(aviseg_folder, lambda t, given=annotations: t.update(annotations=given))
        split = AVISegSplit(aviseg_folder)
        assert all(split.tracks(video) == () for video in split.videos)


def test_missing_files_are_counted_and_the_first_is_named(aviseg_folder: Path) -> None:
    split = AVISegSplit(aviseg_folder)
    split.check_files()
    with pytest.raises(DataError, match=r"2 of the 9 frames and audio features of .*FEATAudios/video001\.npy"):
        split.check_files("FEATAudios")
    (aviseg_folder / "test" / "JPEGImages" / "video002" / "00003.jpg").unlink()
    (aviseg_folder / "test" / "WAVAudios" / "video001.wav").unlink()
    with pytest.raises(DataError, match=r"2 of the 9 frames and sounds .* first is .*video002/00003\.jpg"):
        split.check_files()
    shutil.rmtree(aviseg_folder / "test")
    with pytest.raises(DataError, match="9 of the 9 frames and sounds"):
        split.check_files()


def test_an_empty_sound_is_named_before_hours_of_work(aviseg_folder: Path) -> None:
    for name, said in (("video002", "has 0 bytes: copy"), ("video001", r"has 0 bytes \(one of 2 such files\)")):
        (aviseg_folder / "test" / "WAVAudios" / f"{name}.wav").write_bytes(b"")
        with pytest.raises(DataError, match=f"{name}.wav {said}"):
            AVISegSplit(aviseg_folder).check_files()


def test_features_are_read_beside_the_sounds(aviseg_folder: Path) -> None:
    folder = aviseg_folder / "test" / "FEATAudios"
    folder.mkdir()
    values = np.random.default_rng(0).random((4, 128), np.float32)
    np.save(folder / "video002.npy", values)
    split = AVISegSplit(aviseg_folder)
    assert np.array_equal(split.features(split.videos[1]), values)
    with pytest.raises(DataError, match=r"video001\.npy cannot be read"):
        split.features(split.videos[0])
    np.save(folder / "video001.npy", values[:2])
    with pytest.raises(DataError, match=r"\(2, 128\), but video video001 has 3 frames"):
        split.features(split.videos[0])
    np.save(folder / "video001.npy", np.full((3, 128), "x"))
    with pytest.raises(DataError, match="not floats"):
        split.features(split.videos[0])
    for data in (b"", b"PK\x03\x04", (folder / "video002.npy").read_bytes()[:90]):
        (folder / "video001.npy").write_bytes(data)
        with pytest.raises(DataError, match=r"video001\.npy cannot be read"):
            split.features(split.videos[0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t["videos"][1].update(id=1), "another video has the id 1"),
        (lambda t: t["categories"][1].update(id=1), "id 1 or name 'violin' occurs twice"),
        (lambda t: t["annotations"][0].update(video_id=7), r"annotations\[0\] \(id 1\): video_id 7 is not among"),
        (
            lambda t: t["annotations"][0].update(category_id=99),
            r"annotations\[0\] \(id 1\): category_id 99 is not among",
        ),
        (lambda t: t["annotations"][1]["segmentations"].pop(), "3 segmentations, .* 4 frames"),
        (lambda t: t["annotations"][1].update(height=99), r"height and width are \(99, 128\), .* \(72, 128\)"),
        (lambda t: t["annotations"][1].update(id=1, video_id=1, segmentations=[None] * 3), "another annotation"),
        (lambda t: t["annotations"][0].update(iscrowd=1), "crowd"),
        (
            lambda t: t["annotations"][0]["segmentations"].__setitem__(0, {"size": [1, 2], "counts": [2]}),
            r"frame 0: the mask's size is \[1, 2\]",
        ),
    ],
)
def test_inconsistent_entries_are_named_when_the_split_is_opened(aviseg_folder: Path, damage, message: str) -> None:
    change(aviseg_folder, damage)
    with pytest.raises(DataError, match=message):
        AVISegSplit(aviseg_folder)


def change(folder: Path, damage) -> None:
    truth = json.loads((folder / "test.json").read_text())
    damage(truth)
    (folder / "test.json").write_text(json.dumps(truth))
