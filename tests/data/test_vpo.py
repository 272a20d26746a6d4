"""VPO's layout: samples of one or several sources, COCO's ids, and errors that name what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.data.vpo import COCO_IDS, VPOSplit, middle_of
from acvis_kit.errors import DataError
from acvis_kit.media.mel import frame_seconds
from tests.data.semantic_folders import SIZE, box_mask, write_vpo


def index_of(name: str) -> int:
    return list(COCO_IDS).index(name) + 1


def test_the_21_classes_are_in_alphabetical_order() -> None:
    assert list(COCO_IDS) == sorted(COCO_IDS) and len(COCO_IDS) == 21


def test_a_row_of_the_single_source_subset_is_a_sample(tmp_path: Path) -> None:
    split = VPOSplit(write_vpo(tmp_path), "train")
    assert len(split) == 1 and split.class_names == tuple(COCO_IDS)
    sample = next(split.samples())
    assert sample.name == "000000000007_000000000021" and sample.classes == ("dog",)
    assert sample.clip.frames.shape == (1, 3, *SIZE) and sample.targets.supervised.tolist() == [True]
    expected = box_mask(0) * index_of("dog")
    expected[0] = 255
    assert np.array_equal(sample.targets.class_maps[0], expected)


def test_the_split_that_tables_call_val_is_test(tmp_path: Path) -> None:
    split = VPOSplit(write_vpo(tmp_path), "test")
    assert [video.classes for video in split.videos] == [("male",)]
    with pytest.raises(DataError, match=r"no video of split 'val': it has test, train"):
        VPOSplit(tmp_path, "val")


def test_all_rows_of_an_image_are_a_sample_with_the_sum_of_their_sounds(tmp_path: Path) -> None:
    split = VPOSplit(write_vpo(tmp_path), "test", "ms")
    sample = next(split.samples())
    assert len(split) == 1 and sample.classes == ("dog", "cell phone")
    expected = box_mask(0) * index_of("dog") + box_mask(1) * index_of("cell phone")
    assert np.array_equal(sample.targets.class_maps[0], expected)
    audios = tmp_path / "VGGSound" / "audios"
    both = middle_of(audios / "dog_a.wav") + middle_of(audios / "phone_a.wav")
    assert np.array_equal(sample.clip.waveform, both.reshape(-1))


def test_images_with_one_instance_of_each_class_are_read_from_ms(tmp_path: Path) -> None:
    split = VPOSplit(write_vpo(tmp_path), "test", "msmi")
    assert [video.frames[0].parts[-3] for video in split.videos] == ["VPO-MS", "VPO-MSMI"]
    assert [sample.targets.class_maps.max().item() for sample in split.samples()] == [index_of("dog"), 21]


def test_a_sample_is_the_middle_of_its_sound(tmp_path: Path) -> None:
    """A ramp of 10 s: the middle 3 s begin at 3.5 s, and networks hear the second from 4.5 s on."""
    write_vpo(tmp_path)
    from scipy.io import wavfile

    path = tmp_path / "VGGSound" / "audios" / "dog_a.wav"
    wavfile.write(path, 16_000, (np.arange(160_000) / 16).astype(np.int16))
    sample = next(VPOSplit(tmp_path, "train").samples())
    assert len(sample.clip.waveform) == 48_000 and sample.clip.fps == pytest.approx(1 / 3)
    heard = frame_seconds(sample.clip.waveform, 1, sample.clip.fps)
    assert heard.shape == (1, 16_000)
    assert heard[0, 0].item() * 32768 == pytest.approx(4500, abs=1)
    split = VPOSplit(tmp_path, "train")
    assert torch.equal(torch.from_numpy(split.sound(split.videos[0], np.array([0]))), heard)


def test_a_short_sound_is_repeated(tmp_path: Path) -> None:
    write_vpo(tmp_path)
    sound = middle_of(tmp_path / "VGGSound" / "audios" / "man_a.wav").reshape(-1)
    assert sound.shape == (48_000,) and np.array_equal(sound[:20_000], sound[20_000:40_000]) and sound.any()


def test_a_value_that_is_no_class_is_named(tmp_path: Path) -> None:
    split = VPOSplit(write_vpo(tmp_path), "test")
    Image.fromarray(np.full(SIZE, 1, np.uint8)).save(split.videos[0].labels[0])
    with pytest.raises(DataError, match=r"000000000022\.png: values \[1\] stand for no class"):
        split.sample(split.videos[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("7,21,dog", "7,21,unicorn", "line 2: cateName 'unicorn' is none of airplane"),
        ("7,21,dog", "seven,21,dog", "line 2: img_Id 'seven' is no id of COCO"),
        ("dog_a", "../../dog_a", "line 2: vgg_file"),
        ("ann_Ids", "ann", "has no column ann_Ids"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_vpo(tmp_path)
    table = tmp_path / "VPO" / "VPO-SS" / "vpo_ss_data_stereo.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        VPOSplit(tmp_path, "train")


def test_subsets_are_chosen_by_name(tmp_path: Path) -> None:
    write_vpo(tmp_path)
    assert open_split(tmp_path, "test", "ms").layout == "vpo-ms"
    with pytest.raises(DataError, match="subsets ss, ms, msmi: choose one"):
        open_split(tmp_path, "test")
    for name in ("SS", "MSMI"):
        (tmp_path / "VPO" / f"VPO-{name}" / f"vpo_{name.lower()}_data_stereo.csv").unlink()
    table = tmp_path / "VPO" / "VPO-MS" / "vpo_ms_data_stereo.csv"
    table.rename(tmp_path / "VPO" / table.name)
    assert open_split(tmp_path, "test").layout == "vpo-ms"
    with pytest.raises(DataError, match="subset 'mono' is unknown"):
        VPOSplit(tmp_path, "test", "mono")
    (tmp_path / "VGGSound" / "audios" / "phone_a.wav").unlink()
    split = open_split(tmp_path, "test")
    with pytest.raises(DataError, match=r"phone_a\.wav is not there"):
        split.sample(split.videos[0])
