"""AVSBench's layouts: what is read from them, and which errors name what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from acvis_kit.data.avsbench import AVSSSplit, MS3Split, S4Split, objects_of, palette
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.errors import AcvisError, DataError
from tests.conftest import SHARED
from tests.data.semantic_folders import CLASSES, SIZE, box_mask, frame, label_map, write_avss, write_ms3, write_s4

TRIPLES = SHARED / "masks" / "avs_triples"
needs_triples = pytest.mark.skipif(not TRIPLES.is_dir(), reason="the real samples of AVSBench are not there")


def test_a_video_of_s4_is_five_frames_of_one_class(tmp_path: Path) -> None:
    split = S4Split(write_s4(tmp_path), "test")
    assert split.class_names == ("dog_barking", "male_speech", "race_car") and len(split) == 2
    sample = next(split.samples())
    assert (sample.name, sample.classes) == ("d", ("male_speech",))
    assert sample.clip.frames.shape == (5, 3, *SIZE) and sample.clip.frames.dtype == torch.uint8
    assert torch.equal(sample.clip.frames[3].permute(1, 2, 0), torch.from_numpy(frame([0])))
    assert sample.targets.supervised.all()
    assert torch.equal(sample.targets.class_maps, torch.from_numpy(box_mask(0) * 2).expand(5, -1, -1))
    assert len(sample.clip.waveform) == 5 * 16000 and 0.29 < sample.clip.waveform.max() < 0.31


def test_training_videos_of_s4_are_annotated_in_their_first_frame(tmp_path: Path) -> None:
    split = S4Split(write_s4(tmp_path), "train")
    for sample in split.samples():
        assert sample.targets.supervised.tolist() == [True, False, False, False, False]
        assert sample.targets.class_maps[0].any() and not sample.targets.class_maps[1:].any()


def test_masks_of_ms3_are_of_one_class_whatever_their_values(tmp_path: Path) -> None:
    split = MS3Split(write_ms3(tmp_path), "train")
    sample = split.sample(split.videos[0])
    assert split.class_names == ("sounding object",) and sample.classes == ()
    assert sample.targets.supervised.all()
    both = torch.from_numpy(box_mask(0) | box_mask(1)).long()
    for t in range(5):
        assert torch.equal(sample.targets.class_maps[t], both * (t not in (1, 2)))


@pytest.mark.parametrize("rgb", [False, True])
def test_labels_of_avsbench_semantic_are_indices_or_their_colours(tmp_path: Path, rgb: bool) -> None:
    root = write_avss(tmp_path, colours=palette(4) if rgb else None)
    split = AVSSSplit(root, "test")
    assert split.class_names == CLASSES and split.subsets == ("v1s", "v1m", "v2")
    single, multiple, long = split.samples()
    assert [len(s.clip) for s in (single, multiple, long)] == [5, 5, 10]
    assert all(s.targets.supervised.all() for s in (single, multiple, long))
    assert multiple.classes == ("dog", "lawn-mower")
    for t in range(5):
        expected = label_map([0, 1] if t % 2 == 0 else [0])
        assert torch.equal(multiple.targets.class_maps[t], torch.from_numpy(expected).long())


def test_only_the_first_frame_of_single_source_videos_is_annotated_in_training(tmp_path: Path) -> None:
    first, second = AVSSSplit(write_avss(tmp_path), "train").samples()
    assert first.targets.supervised.tolist() == [True] + [False] * 4
    assert second.targets.supervised.tolist() == [True] * 10


def test_subsets_of_avsbench_semantic_can_be_read_alone(tmp_path: Path) -> None:
    write_avss(tmp_path)
    assert [v.name for v in open_split(tmp_path, "test", "v1s,v2").videos] == ["u1", "u3"]
    with pytest.raises(DataError, match=r"no video of split 'train' in v1m"):
        open_split(tmp_path, "train", "v1m")
    with pytest.raises(DataError, match=r"subset 'v3' is unknown"):
        open_split(tmp_path, "train", "v3")


def test_the_palette_spreads_the_bits_of_an_index_over_three_colours() -> None:
    """Bit 0 is red's highest, bit 3 red's second; 14 = 0b1110 is the colour of the real sample below."""
    colours = palette(71).tolist()
    assert colours[:4] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert (colours[8], colours[14], colours[64]) == ([64, 0, 0], [64, 128, 128], [32, 0, 0])
    assert len({tuple(colour) for colour in palette(255).tolist()}) == 255


@pytest.mark.skipif(not (SHARED / "avs/goldens.npz").is_file(), reason="the golden data are not there")
def test_the_palette_is_the_published_one() -> None:
    with np.load(SHARED / "avs/goldens.npz") as goldens:
        assert np.array_equal(palette(71), goldens["avss/palette71"])


def test_names_of_objects_may_contain_what_joins_them() -> None:
    names = ("man", "lawn", "lawn_mover", "dog")
    assert objects_of("man_lawn_mover_dog", names) == ("man", "lawn_mover", "dog")
    assert objects_of("dog_unheard_dog", names) == ("dog",)
    assert objects_of("", names) == ()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,start,split\na,0,train\n", r"has no column category"),
        ("name,start,category,split\na,0,train\n", r"line 2: 3 fields, but the header has 4"),
        ("name,start,category,split\na,0,dog,val\n", r"no video of split 'train': it has val"),
        ("name,start,category,split\n../../a,0,dog,train\n", r"line 2: name '\.\./\.\./a' is no name of a file"),
        ("name,start,category,split\na,0,,train\n", r"line 2: category '' is no name"),
        ("name,start,category,split\na,0,dog,train\na,9,dog,train\n", r"lists 'a' twice"),
        ("", r"has no column category, split: its columns are none"),
        ("name,start,category,split\n\xff,0,dog,train\n", r"s4_meta_data\.csv cannot be read"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "s4_meta_data.csv").write_bytes(table.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        S4Split(tmp_path, "train")


def test_missing_and_wrong_files_are_named(tmp_path: Path) -> None:
    split = S4Split(write_s4(tmp_path), "test")
    video, data = split.videos[0], tmp_path / "s4_data"
    own = Path("test") / "male_speech"
    mask = data / "gt_masks" / own / "d" / "d_4.png"
    Image.new("L", (30, 40)).save(mask)
    with pytest.raises(DataError, match=r"d_4\.png is \(40, 30\), but d_1\.png is \(40, 56\)"):
        split.sample(video)
    mask.write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"label .*d_4\.png cannot be read"):
        split.sample(video)
    (data / "visual_frames" / own / "d" / "d_5.png").unlink()
    with pytest.raises(DataError, match=r"frame .*d_5\.png is not there"):
        split.sample(video)
    sound = data / "audio_wav" / "test" / "male_speech" / "e.wav"
    shutil.move(data / "audio_wav" / "test" / "race_car" / "e.wav", sound)
    with pytest.raises(DataError, match=r"e\.wav is not there"):
        split.sample(split.videos[1])
    pickled = data / "audio_log_mel" / "test" / "race_car" / "e.pkl"
    pickled.parent.mkdir(parents=True)
    pickled.touch()
    with pytest.raises(DataError, match=r"e\.pkl is a pickle"):
        split.sample(split.videos[1])


def test_damaged_videos_of_avsbench_semantic_are_named(tmp_path: Path) -> None:
    write_avss(tmp_path)
    folder = tmp_path / "v1m" / "u2"
    labels = label_map([0])
    labels[3, 4] = 9
    Image.fromarray(labels).save(folder / "labels_semantic" / "2.png")
    split = AVSSSplit(tmp_path, "test")
    with pytest.raises(DataError, match=r"2\.png: values \[9\] stand for no class"):
        split.sample(split.videos[1])
    shutil.move(folder / "labels_semantic", folder / "labels_rgb")
    Image.fromarray(np.full((*SIZE, 3), 7, np.uint8)).save(folder / "labels_rgb" / "0.png")
    split = AVSSSplit(tmp_path, "test")
    with pytest.raises(DataError, match=r"0\.png: colour \(7, 7, 7\) stands for no class"):
        split.sample(split.videos[1])
    (folder / "frames" / "1.jpg").unlink()
    split = AVSSSplit(tmp_path, "test")
    with pytest.raises(DataError, match=r"1\.jpg is not there"):
        split.sample(split.videos[1])
    shutil.rmtree(folder / "frames")
    with pytest.raises(DataError, match=r"frames holds no frames"):
        AVSSSplit(tmp_path, "test")


@pytest.mark.parametrize("text", ["[]", '{"background": 0}', '{"background": 0, "dog": 2}', '{"a": 0, "b": true}', "{"])
def test_damaged_classes_are_named(tmp_path: Path, text: str) -> None:
    write_avss(tmp_path)
    (tmp_path / "label2idx.json").write_text(text)
    with pytest.raises(DataError, match=r"label2idx\.json"):
        AVSSSplit(tmp_path, "test")


def test_a_row_of_an_unknown_subset_is_named(tmp_path: Path) -> None:
    write_avss(tmp_path)
    table = tmp_path / "metadata.csv"
    table.write_text(table.read_text().replace("test,v1m", "test,v9"))
    with pytest.raises(DataError, match=r"metadata\.csv, line 5: label 'v9' is none of v1s, v1m, v2"):
        AVSSSplit(tmp_path, "test")


def test_a_layout_is_recognised_by_its_table(tmp_path: Path) -> None:
    assert isinstance(open_split(write_s4(tmp_path / "a")), S4Split)
    assert isinstance(open_split(write_ms3(tmp_path / "b")), MS3Split)
    assert isinstance(open_split(write_avss(tmp_path / "c")), AVSSSplit)
    with pytest.raises(DataError, match="has no table"):
        open_split(tmp_path)
    write_ms3(tmp_path / "a")
    with pytest.raises(DataError, match=r"several tables \(s4_meta_data.csv, ms3_meta_data.csv\)"):
        open_split(tmp_path / "a")
    with pytest.raises(DataError, match="has no subsets"):
        open_split(tmp_path / "b", subset="v2")


def place(source: Path, *targets: Path) -> None:
    """Copies of a file of a real sample; a JPEG becomes a PNG where the layout says so."""
    for target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".jpg" and targets[0].suffix == ".png":
        Image.open(source).save(targets[0], compress_level=1)
        source, targets = targets[0], targets[1:]
    for target in targets:
        shutil.copy(source, target)


@needs_triples
def test_a_real_sample_of_s4_is_read(tmp_path: Path) -> None:
    """Its mask holds 45, which the published reader, at half of 255, would lose."""
    data, own = tmp_path / "s4_data", Path("test") / "race_car" / "real"
    place(TRIPLES / "s4/0.jpg", *(data / "visual_frames" / own / f"real_{k}.png" for k in range(1, 6)))
    place(TRIPLES / "s4/0.png", *(data / "gt_masks" / own / f"real_{k}.png" for k in range(1, 6)))
    place(TRIPLES / "s4/audio.wav", data / "audio_wav" / own.with_suffix(".wav"))
    (tmp_path / "s4_meta_data.csv").write_text("name,start,category,split\nreal,0,race_car,test\n")
    sample = next(S4Split(tmp_path).samples())
    assert sample.clip.frames.shape == (5, 3, 540, 720) and 0.01 < sample.clip.waveform.abs().max() <= 1
    assert 0.02 < (sample.targets.class_maps == 1).float().mean() < 0.9


@needs_triples
@pytest.mark.parametrize(("name", "number", "mask"), [("ms3", 1, "1.png"), ("ref-avs", 7, "00007.png")])
def test_a_real_sample_with_masks_of_no_class_is_read(tmp_path: Path, name: str, number: int, mask: str) -> None:
    """MS3's mask holds 9 and 41, that of Ref-AVS, which has the same shape, 255; its sound is stereo at 48 kHz."""
    data = tmp_path / "ms3_data"
    frames, masks = data / "visual_frames" / "real", data / "gt_masks" / "val" / "real"
    place(TRIPLES / name / f"{number}.jpg", *(frames / f"real.mp4_{k}.png" for k in range(1, 6)))
    place(TRIPLES / name / mask, *(masks / f"real_{k}.png" for k in range(1, 6)))
    place(TRIPLES / name / "audio.wav", data / "audio_wav" / "val" / "real.wav")
    (tmp_path / "ms3_meta_data.csv").write_text("video_id,split\nreal,val\n")
    sample = next(MS3Split(tmp_path, "val").samples())
    assert sample.clip.frames.shape == (5, 3, 720, 1280) and sample.clip.waveform.any()
    assert len(sample.clip.waveform) == 80_000 and sample.targets.class_maps.unique().tolist() == [0, 1]


@needs_triples
def test_a_real_sample_of_avsbench_semantic_is_read(tmp_path: Path) -> None:
    """Its label is a picture in the published colours; (64, 128, 128) is class 14, of index 14 in the palette."""
    folder = tmp_path / "v2" / "real"
    place(TRIPLES / "avss/0.jpg", folder / "frames" / "0.jpg")
    place(TRIPLES / "avss/0.png", folder / "labels_rgb" / "0.png")
    place(TRIPLES / "avss/audio.wav", folder / "audio.wav")
    classes = ["background", *(f"class {n}" for n in range(1, 71))]
    (tmp_path / "label2idx.json").write_text(json.dumps({name: n for n, name in enumerate(classes)}))
    (tmp_path / "metadata.csv").write_text("vid,uid,a_obj,split,label\nreal,real,class 14,test,v2\n")
    sample = next(AVSSSplit(tmp_path).samples())
    assert sample.clip.frames.shape == (1, 3, 720, 1280) and sample.clip.waveform.any()
    assert sample.targets.class_maps.unique().tolist() == [0, 14] and sample.classes == ("class 14",)


def test_a_sound_that_is_damaged_is_named(tmp_path: Path) -> None:
    split = MS3Split(write_ms3(tmp_path), "val")
    wavfile.write(split.sound_file(split.videos[0]), 16_000, np.zeros(0, np.int16))
    with pytest.warns(UserWarning, match=r"y\.wav: the sound ends after 0\.0 s"):
        assert not split.sample(split.videos[0]).clip.waveform.any()
    split.sound_file(split.videos[0]).write_bytes(b"RIFF")
    with pytest.raises(AcvisError, match=r"y\.wav"):
        split.sample(split.videos[0])
