"""AVISeg's layout on disk: what is read, and what is said when it does not fit."""

import json
from pathlib import Path

import pytest
from PIL import Image

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import DataError, MediaError


def test_videos_come_as_clips_with_their_sound(aviseg_folder: Path) -> None:
    split = AVISegSplit(aviseg_folder)
    assert len(split) == 2 and split.categories[2] == "violin"
    (first, clip), (second, other) = split.clips()
    assert (first.name, first.size, len(clip), clip.size) == ("video001", (72, 128), 3, (72, 128))
    assert (second.name, len(other)) == ("video002", 4)
    assert len(clip.waveform) == 3 * 16000 and 0.1 < clip.waveform.abs().max() < 0.3 and not clip.notes


def test_a_sound_that_is_too_short_is_said(aviseg_folder: Path) -> None:
    sounds = aviseg_folder / "test" / "WAVAudios"
    split = AVISegSplit(aviseg_folder)
    data = (sounds / "video002.wav").read_bytes()
    (sounds / "video002.wav").write_bytes(data[: 44 + 2 * 16000])
    clip = split.clip(split.videos[1])
    assert "ends 3.0 s before its picture" in clip.notes[0]
    assert clip.waveform[16000:].abs().max() == 0


def test_what_does_not_fit_is_named(aviseg_folder: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json is not there"):
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


@pytest.mark.parametrize("damage", [lambda t: t.pop("videos"), lambda t: t["videos"][0].update(length=9)])
def test_a_broken_json_is_refused(aviseg_folder: Path, damage) -> None:
    truth = json.loads((aviseg_folder / "test.json").read_text())
    damage(truth)
    (aviseg_folder / "test.json").write_text(json.dumps(truth))
    with pytest.raises(DataError, match=r"AVISeg's format|says length 9"):
        AVISegSplit(aviseg_folder)
