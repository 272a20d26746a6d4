"""AVIS-Synth in AVSBench-semantic's layout: what is written, and what is not overwritten."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.avsbench import AVSSSplit, palette
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.data.synth.classes import SYNTH_CLASSES
from acvis_kit.data.synth.records import load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.errors import ConfigError, DataError

SMALL = {"size": 64, "seconds": (4, 4), "progress": False}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same six clips in AVISeg's and in AVSBench's layout."""
    root = tmp_path_factory.mktemp("both")
    write_dataset(root / "aviseg", {"train": 6}, seed=3, **SMALL)
    write_dataset(root / "avsbench", {"train": 6}, seed=3, layout="avsbench", **SMALL)
    return root / "aviseg", root / "avsbench"


def test_the_files_are_those_of_avsbench_semantic(both: tuple[Path, Path]) -> None:
    root = both[1]
    assert sorted(path.name for path in root.iterdir()) == [
        "label2idx.json", "metadata.csv", "train_scenes.json", "v2",
    ]  # fmt: skip
    clip = root / "v2" / "train_00000"
    assert sorted(path.name for path in clip.iterdir()) == ["audio.wav", "frames", "labels_rgb", "labels_semantic"]
    assert sorted(path.name for path in (clip / "frames").iterdir()) == [f"{t}.jpg" for t in range(4)]
    classes = json.loads((root / "label2idx.json").read_text())
    assert set(classes) == {"background", *SYNTH_CLASSES} and sorted(classes.values()) == list(range(13))


def test_class_maps_show_the_objects_that_sound(both: tuple[Path, Path]) -> None:
    """Frames and sound are AVISeg's; the map of a frame is the union of its annotated masks by class."""
    old, new = AVISegSplit(both[0], "train"), open_split(both[1], "train")
    assert isinstance(new, AVSSSplit) and len(new) == 6
    shown, silent = set(), 0
    for video, sample in zip(old.videos, new.samples(), strict=True):
        clip = old.clip(video)
        assert torch.equal(clip.frames, sample.clip.frames) and torch.equal(clip.waveform, sample.clip.waveform)
        assert sample.targets.supervised.all()
        for t in range(4):
            expected = torch.zeros(64, 64, dtype=torch.int64)
            for track in old.tracks(video):
                mask = old.mask(video, track, t)
                if mask is not None:
                    name = old.categories[track.category_id]
                    expected[torch.from_numpy(mask)] = new.class_names.index(name) + 1
            assert torch.equal(sample.targets.class_maps[t], expected)
            shown |= set(expected.unique().tolist())
            silent += not expected.any()
        assert sample.classes == tuple(dict.fromkeys(old.categories[t.category_id] for t in old.tracks(video)))
    assert len(shown) > 4 and silent


def test_colours_and_indices_agree(both: tuple[Path, Path]) -> None:
    folder = both[1] / "v2" / "train_00001"
    for t in range(4):
        labels = np.asarray(Image.open(folder / "labels_semantic" / f"{t}.png"))
        assert np.array_equal(palette(13)[labels], np.asarray(Image.open(folder / "labels_rgb" / f"{t}.png")))


def test_the_scenes_are_the_same(both: tuple[Path, Path]) -> None:
    old, new = (load_scenes(root / "train_scenes.json") for root in both)
    assert [scene.name for scene in old.values()] == [scene.name for scene in new.values()]
    assert all(np.array_equal(old[n].sounding, new[n].sounding) for n in old)


def digests(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


def test_a_complete_split_is_kept_and_others_are_added(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"train": 2}, seed=3, layout="avsbench", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    write_dataset(tmp_path, {"train": 2, "val": 1}, seed=3, layout="avsbench", **SMALL)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    with (tmp_path / "metadata.csv").open(encoding="utf-8") as file:
        assert [row["split"] for row in csv.DictReader(file)] == ["train", "train", "val"]
    assert len(AVSSSplit(tmp_path, "val")) == 1


def test_an_interrupted_split_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acvis_kit.data.synth import writer

    made = writer.make_clip

    def fails(job: writer.ClipJob, *rest: object) -> writer.WrittenClip:
        if job.index == 1:
            raise KeyboardInterrupt
        return made(job, *rest)

    monkeypatch.setattr(writer, "make_clip", fails)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "one", {"train": 2}, seed=3, layout="avsbench", **SMALL)
    assert not (tmp_path / "one" / "metadata.csv").exists()
    monkeypatch.undo()
    for name in ("one", "two"):
        write_dataset(tmp_path / name, {"train": 2}, seed=3, layout="avsbench", **SMALL)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_what_is_there_is_not_overwritten(both: tuple[Path, Path], tmp_path: Path) -> None:
    for root, layout in zip(both, ("avsbench", "aviseg"), strict=True):
        with pytest.raises(DataError, match="holds 'train' with layout="):
            write_dataset(root, {"train": 6}, seed=3, layout=layout, **SMALL)
    with pytest.raises(DataError, match=r"seed=3, you asked for 4"):
        write_dataset(both[1], {"train": 6}, seed=4, layout="avsbench", **SMALL)
    foreign = tmp_path / "v2" / "train_00000"
    foreign.mkdir(parents=True)
    with pytest.raises(DataError, match="not AVIS-Synth's"):
        write_dataset(tmp_path, {"train": 1}, layout="avsbench", **SMALL)
    (tmp_path / "label2idx.json").write_text('{"background": 0, "unicorn": 1}')
    with pytest.raises(DataError, match="has other classes"):
        write_dataset(tmp_path, {"val": 1}, layout="avsbench", **SMALL)
    with pytest.raises(ConfigError, match="layout='coco' is unknown"):
        write_dataset(tmp_path, {"val": 1}, layout="coco", **SMALL)
