import ast
import errno
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from acvis_kit import metrics
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.synth import writer
from acvis_kit.data.synth.classes import SYNTH_CLASSES
from acvis_kit.data.synth.records import load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.errors import ConfigError, DataError

SMALL = {"size": 64, "seconds": (3, 5), "progress": False}


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_layout_is_avisegs(dataset: Path) -> None:
    assert sorted(p.name for p in dataset.iterdir()) == ["train", "train.json", "train_scenes.json"]
    assert sorted(p.name for p in (dataset / "train").iterdir()) == ["JPEGImages", "WAVAudios"]
    split = AVISegSplit(dataset, "train")
    assert len(split) == 24 and set(split.categories.values()) == set(SYNTH_CLASSES)
    video = split.videos[0]
    assert video.frames[:2] == ("train_00000/00000.jpg", "train_00000/00001.jpg")
    clip = split.clip(video)
    assert clip.frames.shape == (len(video.frames), 3, 64, 64) and clip.has_audio and not clip.notes
    assert clip.frames.float().std() > 10


def test_perfect_results_score_full_marks(dataset: Path) -> None:
    truth = json.loads((dataset / "train.json").read_text())
    keys = ("video_id", "category_id", "segmentations")
    results = [{"score": 0.9, **{key: entry[key] for key in keys}} for entry in truth["annotations"]]
    scores = metrics.evaluate(truth, results, protocol="paper")
    assert {scores[name] for name in ("AP_all", "HOTA", "FA", "FAn", "FAm")} == {100.0}


def test_a_frame_shows_its_masks(dataset: Path) -> None:
    """The picture has edges where masks end."""
    scenes, gains = load_scenes(dataset / "train_scenes.json"), []
    for scene in list(scenes.values())[:6]:
        picture = Image.open(dataset / "train" / "JPEGImages" / scene.name / "00002.jpg").convert("L")
        change = np.abs(np.diff(np.asarray(picture, float), axis=1))
        border = np.any([np.diff(thing.mask(2).astype(int), axis=1) != 0 for thing in scene.objects], axis=0)
        gains.append(change[border].mean() / change[~border].mean())
    assert np.median(gains) > 1.5


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), {"train": 4, "val": 2}, seed=9, workers=workers, **SMALL)
    one = digests(tmp_path / "1")
    assert one == digests(tmp_path / "2") and len(one) > 24


def test_clips_depend_on_seed_split_and_index_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path / "few", {"train": 2}, seed=1, **SMALL)
    write_dataset(tmp_path / "more", {"val": 2, "train": 3}, seed=1, **SMALL)
    write_dataset(tmp_path / "other", {"train": 2}, seed=2, **SMALL)
    few, more, other = (digests(tmp_path / name / "train" / "WAVAudios") for name in ("few", "more", "other"))
    assert few.items() <= more.items() and len(more) == 3
    assert not set(few.values()) & set(other.values())
    assert not set(few.values()) & set(digests(tmp_path / "more" / "val" / "WAVAudios").values())


def stopped_after(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next data set is interrupted in its clip number `count`."""
    whole = writer.make_clip

    def make_clip(job, material):
        if job.index == count:
            raise KeyboardInterrupt
        return whole(job, material)

    monkeypatch.setattr(writer, "make_clip", make_clip)


def test_an_interrupted_split_has_no_json_and_can_be_made_again(tmp_path: Path, monkeypatch) -> None:
    stopped_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "a", {"train": 4}, **SMALL)
    assert not (tmp_path / "a" / "train.json").exists() and (tmp_path / "a" / "train").is_dir()
    monkeypatch.undo()
    write_dataset(tmp_path / "a", {"train": 4}, **SMALL)
    write_dataset(tmp_path / "b", {"train": 4}, **SMALL)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_a_full_disk_is_an_error_of_the_data_set(tmp_path: Path, monkeypatch) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wavfile, "write", fill)
    with pytest.raises(DataError, match=r"val_00000\.wav cannot be written: the disk is full, .* MB are needed"):
        write_dataset(tmp_path, {"val": 1}, seed=3, size=64, seconds=(1, 1), progress=False)
    assert not (tmp_path / "val.json").exists()


def test_a_complete_split_is_left_as_it_is_and_another_can_be_added(tmp_path: Path, monkeypatch) -> None:
    write_dataset(tmp_path, {"train": 2}, **SMALL)
    before = digests(tmp_path)
    stopped_after(0, monkeypatch)
    write_dataset(tmp_path, {"train": 2}, **SMALL)  # nothing is made
    monkeypatch.undo()
    write_dataset(tmp_path, {"train": 2, "val": 1}, **SMALL)
    assert before.items() <= digests(tmp_path).items() and (tmp_path / "val.json").exists()


def test_another_data_set_is_never_overwritten(tmp_path: Path, dataset: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    before = digests(copy)
    for changes in ({"seed": 4}, {"size": 72}, {"seconds": (8, 17)}):
        wanted = {"seed": 3, "size": 64, "seconds": (8, 16), "progress": False} | changes
        with pytest.raises(DataError, match=rf"{next(iter(changes))}="):
            write_dataset(copy, {"train": 24}, **wanted)
    for text in ("[]", "7", "[" * 100_000):
        (copy / "train_scenes.json").write_text(text)
        with pytest.raises(DataError, match="not AVIS-Synth's"):
            write_dataset(copy, {"train": 24}, seed=3, **SMALL)
    (copy / "train_scenes.json").unlink()
    with pytest.raises(DataError, match="not AVIS-Synth's"):
        write_dataset(copy, {"train": 24}, seed=3, **SMALL)
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "mine" / "train" / "notes.txt").write_text("not ours")
    with pytest.raises(DataError, match="not AVIS-Synth's"):
        write_dataset(tmp_path / "mine", {"train": 1}, **SMALL)
    assert {**before, "train_scenes.json": ""} == {**digests(copy), "train_scenes.json": ""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {}}, "no split"),
        ({"splits": {"train": 0}}, "0 clips"),
        ({"splits": {"../train": 1}}, r"'\.\./train'"),
        ({"seed": -1}, "seed=-1"),
        ({"size": 32}, r"size=32.*64 to 1024"),
        ({"seconds": (9, 3)}, "9 to 3"),
        ({"workers": 0}, "workers=0"),
    ],
)
def test_numbers_out_of_range_are_named(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_dataset(tmp_path, **{"splits": {"train": 1}} | changes)
    assert not list(tmp_path.iterdir())


def test_five_clips_a_second(tmp_path: Path) -> None:
    """Clips of 10 s at 128 x 128 with sound, in processor time, so that other programs do not count."""
    import time

    write_dataset(tmp_path / "warm", {"train": 2}, seconds=(10, 10), progress=False)
    begin = time.process_time()
    write_dataset(tmp_path / "timed", {"train": 15}, seconds=(10, 10), progress=False)
    assert 15 / (time.process_time() - begin) > 5


def test_drawing_needs_few_packages() -> None:
    """torch, numpy, scipy and pillow; only the progress bar needs another one."""
    needed = set()
    for path in Path(writer.__file__).parent.glob("*.py"):
        for node in ast.parse(path.read_text()).body:  # what is imported with the module
            if isinstance(node, ast.ImportFrom):
                needed.add(node.module.partition(".")[0])
            elif isinstance(node, ast.Import):
                needed |= {name.name.partition(".")[0] for name in node.names}
    installed = needed - set(sys.stdlib_module_names) - {"acvis_kit"}
    assert {"numpy", "scipy", "PIL"} <= installed <= {"torch", "numpy", "scipy", "PIL"}
