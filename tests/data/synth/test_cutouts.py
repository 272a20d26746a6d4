import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.synth.counterfactual import counterfactual
from acvis_kit.data.synth.cutouts import CutOuts, OwnMaterial
from acvis_kit.data.synth.records import load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.listening import soundtracks
from acvis_kit.masks import encode
from tests.conftest import SHARED

NAMES = ["person", "dog", "car", "horse", "lawn mover", "toaster"]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three photographs with six objects each, of which one is small, one a crowd and one a toaster."""
    folder = tmp_path_factory.mktemp("coco")
    rng, images, annotations = np.random.default_rng(0), [], []
    for number in range(3):
        pixels = rng.integers(0, 255, (240, 320, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 240, "width": 320})
        for k in range(6):
            left, top = 20 + 100 * (k % 3), 10 + 110 * (k // 3)
            entry = {"id": len(annotations), "image_id": number, "category_id": k, "iscrowd": 0, "area": 6000}
            if k == 2:
                mask = np.zeros((240, 320), bool)
                mask[top : top + 100, left : left + 60] = True
                entry["segmentation"] = encode(mask)
            else:
                entry["segmentation"] = [[left, top, left + 60, top, left + 60, top + 100, left, top + 100]]
            annotations.append(entry)
    annotations[0]["iscrowd"] = 1
    annotations[1]["area"] = 900
    categories = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path, folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(1)
    for name in ("person", "dog", "car", "horse", "flute"):
        (folder / name).mkdir()
        for k in range(2):
            wave = (rng.standard_normal(32000) * 3000).astype(np.int16)
            wavfile.write(folder / name / f"{k}.wav", 16000, wave)
    return folder


def test_usable_instances_are_found_by_name(coco: tuple[Path, Path]) -> None:
    source = CutOuts(*coco)
    assert {name: len(found) for name, found in source.instances.items()} == {
        "person": 2, "car": 3, "dog": 2, "lawn_mover": 3, "horse": 3,
    }  # fmt: skip
    assert source.unknown == ("toaster",)


@pytest.mark.parametrize("class_name", ["horse", "car"])  # a polygon, run lengths
def test_a_cut_out_is_the_photograph_inside_its_mask(coco: tuple[Path, Path], class_name: str) -> None:
    sprite = CutOuts(*coco).cut(class_name, 1, 400)
    left, top, right, bottom = (int(v) for v in sprite.box)
    assert abs(right - left - 60) <= 1 and abs(bottom - top - 100) <= 1
    photo = np.asarray(Image.open(coco[1] / "1.png"))
    x, y = (220, 10) if class_name == "car" else (20, 120)
    cut = np.asarray(sprite.picture.convert("RGB"))[top + 5 : top + 95, left + 5 : left + 55]
    assert np.array_equal(cut, photo[y + 5 : y + 95, x + 5 : x + 55])


def test_cut_outs_are_no_larger_than_asked_for(coco: tuple[Path, Path]) -> None:
    assert max(CutOuts(*coco).cut("dog", 0, 56).picture.size) == 56


def test_photographs_of_fragments_are_not_cut_out(coco: tuple[Path, Path], tmp_path: Path) -> None:
    data = json.loads(coco[0].read_text())
    data["images"][1]["cutout_ok"], data["images"][2]["cutout_ok"] = False, True
    (tmp_path / "some.json").write_text(json.dumps(data))
    found = CutOuts(tmp_path / "some.json", coco[1]).instances["horse"]
    assert [photograph.path.name for photograph, _ in found] == ["0.png", "2.png"]


def test_all_objects_of_a_photograph_are_in_one_part(coco: tuple[Path, Path]) -> None:
    parts = [CutOuts(*coco, share).instances for share in ((0, 0.5), (0.5, 1))]
    files = [{photograph.path.name for own in part.values() for photograph, _ in own} for part in parts]
    assert not files[0] & files[1] and files[0] | files[1] == {"0.png", "1.png", "2.png"}


@pytest.mark.filterwarnings("ignore:left out")
def test_shares_have_nothing_in_common(coco: tuple[Path, Path], sounds: Path) -> None:
    first, second = (CutOuts(*coco, share).instances["horse"] for share in ((0, 0.67), (0.67, 1)))
    assert len(first) == 2 and len(second) == 1 and second[0] not in first
    train, test = (OwnMaterial(None, sounds, share).voice_files["dog"] for share in ((0, 0.5), (0.5, 1)))
    assert len(train) == len(test) == 1 and train != test


def test_only_classes_with_pictures_and_voices_are_used(coco: tuple[Path, Path], sounds: Path) -> None:
    with pytest.warns(UserWarning, match="left out") as notes:
        material = OwnMaterial(coco, sounds)
    assert material.classes == ("person", "car", "dog", "horse")
    assert set(material.voiced) == {"person", "car", "dog", "horse", "flute"}
    messages = " ".join(str(note.message) for note in notes)
    assert "lawn_mover" in messages and "toaster" in messages


@pytest.mark.filterwarnings("ignore:left out")
def test_a_data_set_is_made_of_own_material(tmp_path: Path, coco: tuple[Path, Path], sounds: Path) -> None:
    def material() -> OwnMaterial:
        return OwnMaterial(coco, sounds)

    write_dataset(tmp_path, {"train": 3}, size=64, seconds=(4, 5), material=material, progress=False)
    truth = json.loads((tmp_path / "train.json").read_text())
    assert [entry["name"] for entry in truth["categories"]] == ["person", "car", "dog", "horse"]
    for scene in load_scenes(tmp_path / "train_scenes.json").values():
        assert {thing.class_name for thing in scene.objects} <= set(material().classes)
        assert all(thing.voice.source for thing in scene.objects)
        _, samples = wavfile.read(tmp_path / "train" / "WAVAudios" / f"{scene.name}.wav")
        assert np.abs(samples / 32767 - scene.soundtrack.render(recordings=scene.recordings)).max() < 1e-4
        soundtrack, _ = counterfactual(scene, "foreign", np.random.default_rng(0))
        assert {part.voice.class_name for part in soundtrack.parts} <= {"flute", *material().classes}
        assert np.abs(soundtrack.render_seconds([0], scene.recordings)).max() > 1e-3


@pytest.mark.filterwarnings("ignore:left out")
def test_drawn_objects_can_sound_with_recordings(sounds: Path) -> None:
    material = OwnMaterial(None, sounds)
    assert set(material.classes) == {"person", "dog", "car", "horse", "flute"}
    assert material.sprite("flute", np.random.default_rng(0), 64).area > 50
    assert material.voice("flute", np.random.default_rng(0)).source.startswith("flute/")


@pytest.mark.filterwarnings("ignore:left out")
def test_cut_outs_can_sound_with_synthetic_voices(coco: tuple[Path, Path]) -> None:
    material = OwnMaterial(coco, None)
    assert material.classes == ("person", "car", "dog", "horse") and material.recordings is None
    assert material.voice("dog", np.random.default_rng(0)).source is None


def test_unusable_input_is_named(tmp_path: Path, coco: tuple[Path, Path], sounds: Path) -> None:
    with pytest.raises(ConfigError, match="neither"):
        OwnMaterial(None, None)
    with pytest.raises(DataError, match="not there"):
        CutOuts(tmp_path / "no.json", tmp_path)
    (tmp_path / "bad.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="not in COCO's format"):
        CutOuts(tmp_path / "bad.json", tmp_path)
    with pytest.raises(DataError, match="no instance"):
        CutOuts(coco[0], tmp_path)  # its images are elsewhere
    data = json.loads(coco[0].read_text())
    data["images"][0]["width"] = 100
    (tmp_path / "size.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"0\.png.*\(240, 320\).*\(240, 100\)"):
        CutOuts(tmp_path / "size.json", coco[1]).cut("horse", 0, 64)
    for name in ("../0.png", str(coco[1] / "0.png")):
        (tmp_path / "away.json").write_text(json.dumps({**data, "images": [data["images"][0] | {"file_name": name}]}))
        with pytest.raises(DataError, match="leaves the folder of the images"):
            CutOuts(tmp_path / "away.json", coco[1])
    for damage in ({"image_id": [0]}, {"category_id": {}}, {"area": "x"}, {"segmentation": ...}):
        kept = {key: value for key, value in (data["annotations"][2] | damage).items() if value is not ...}
        (tmp_path / "bad.json").write_text(json.dumps({**data, "annotations": [kept]}))
        with pytest.raises(DataError, match="not in COCO's format"):
            CutOuts(tmp_path / "bad.json", coco[1])
    far = data["annotations"][3] | {"segmentation": [[1e18, 0, 9, 9, 0, 9]]}
    images = [data["images"][0] | {"width": 320}]
    (tmp_path / "far.json").write_text(json.dumps({**data, "annotations": [far], "images": images}))
    with pytest.raises(DataError, match=r"annotation 3 of 0\.png: a polygon is"):
        CutOuts(tmp_path / "far.json", coco[1]).cut(NAMES[3], 0, 64)
    for path in (tmp_path / "flute", tmp_path / "dog"):
        path.mkdir()
        (path / "0.wav").write_bytes((sounds / path.name / "0.wav").read_bytes())
    with pytest.raises(ConfigError, match=r"only flute, dog"):
        OwnMaterial(None, tmp_path)
    with pytest.raises(ConfigError, match="share"):
        OwnMaterial(None, sounds, (0.5, 0.5))


@pytest.mark.filterwarnings("ignore:left out")
def test_recorded_voices_are_used_in_training_and_in_listening_tests(
    coco: tuple[Path, Path], sounds: Path, tmp_path: Path
) -> None:
    """Also in scenes that show every class that has a voice and thus have no foreign sound."""
    material = partial(OwnMaterial, coco, sounds)
    write_dataset(tmp_path, {"train": 6}, seed=3, material=material, size=64, seconds=(4, 6), progress=False)
    split = AVISegSplit(tmp_path, "train")
    clips = TrainingClips(split, targets="visible", clip_frames=2, counterfactual_audio=1.0)
    kinds = {clips.sample(draw).sound for draw in range(48)}
    assert {"swap", "foreign", "offscreen", "mute"} <= kinds
    for scene in load_scenes(split.scenes_file).values():
        original = split.clip(next(v for v in split.videos if v.id == scene.video_id)).waveform
        for number in range(3):
            waveforms = soundtracks(scene, original, np.random.default_rng(number)).waveforms
            assert all(len(waveform) == len(original) for waveform in waveforms.values())


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared reference material is not beside the checkout")
def test_scenes_are_made_of_real_masks_and_recordings(tmp_path: Path) -> None:
    photographs = SHARED / "masks" / "coco_by"
    material = partial(OwnMaterial, (photographs / "instances.json", photographs / "images"), SHARED / "sounds/berklee")
    write_dataset(tmp_path, {"train": 4}, seed=0, material=material, seconds=(4, 6), progress=False)
    split = AVISegSplit(tmp_path, "train")
    assert set(split.categories.values()) <= set(AVISEG_CLASSES) and len(split.categories) >= 3
    for video in split.videos:
        clip, tracks = split.clip(video), split.tracks(video)
        assert clip.frames.float().std() > 10 and clip.waveform.abs().max() > 0.01
        assert any(mask is not None for track in tracks for mask in track.segmentations) or not tracks
    assert any(split.tracks(video) for video in split.videos)
