"""Filmed clips: masks, who sounds, held-out material, other soundtracks, and training and listening with them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from acvis_kit import metrics
from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.synth.counterfactual import counterfactual
from acvis_kit.data.synth.filmed import CHOIR, HEARD, FilmedScene, PhotoMaterial
from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.data.synth.who_sounds import SOUNDS_FROM
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.listening import soundtracks
from tests.data.synth.photo_material import COLOURS
from tests.data.synth.test_writer import digests

Paths = tuple[Path, Path]


@pytest.fixture(scope="module")
def records(filmed: Path) -> dict[int, SceneRecord]:
    return load_scenes(filmed / "train_scenes.json")


@pytest.fixture(scope="module")
def material(photographs: Paths, recorded: Path) -> PhotoMaterial:
    return PhotoMaterial(photographs, recorded)


@pytest.fixture(scope="module")
def drawn(material: PhotoMaterial) -> list[FilmedScene]:
    return [material.film(np.random.default_rng(seed), 96, (5, 5)) for seed in range(80)]


def test_the_layout_is_avisegs_with_its_ids_and_others(filmed: Path) -> None:
    split = AVISegSplit(filmed, "train")
    assert len(split) == 16 and list(split.categories.values()) == [*AVISEG_CLASSES, "other"]
    clip = split.clip(split.videos[0])
    assert clip.frames.shape == (len(split.videos[0].frames), 3, 96, 96) and clip.has_audio


def test_perfect_results_score_full_marks(filmed: Path) -> None:
    truth = json.loads((filmed / "train.json").read_text())
    results = [
        {"score": 0.9, **{k: entry[k] for k in ("video_id", "category_id", "segmentations")}}
        for entry in truth["annotations"]
    ]
    scores = metrics.evaluate(truth, results, protocol="paper")
    assert {scores[name] for name in ("AP_all", "HOTA", "FA")} == {100.0}


def test_frames_show_objects_under_their_masks(filmed: Path, records: dict[int, SceneRecord]) -> None:
    """By their hue, which phones change little."""
    right = []
    for scene in records.values():
        for t in range(scene.length):
            frame = Image.open(filmed / "train/JPEGImages" / scene.name / f"{t:05d}.jpg")
            pixels = np.asarray(frame.convert("RGB"), float)
            if np.ptp(pixels, axis=2).mean() < 4:
                continue  # a clip without colour
            for thing in scene.objects:
                mask = thing.mask(t)
                if mask.sum() > 300:
                    colour = np.array(COLOURS["chair" if thing.class_name == "other" else thing.class_name])
                    others = [np.array(c) for c in COLOURS.values() if not np.array_equal(c, colour)]
                    mean = pixels[mask].mean(0)
                    hues = [(c - c.mean()) / np.linalg.norm(c - c.mean()) for c in (colour, *others)]
                    likeness = [float((mean - mean.mean()) @ hue) for hue in hues]
                    right.append(likeness[0] == max(likeness))
    assert len(right) > 60 and np.mean(right) > 0.97


def test_only_objects_in_view_with_a_voice_sound(drawn: list[FilmedScene]) -> None:
    sounds = 0
    for scene in drawn:
        boxes = np.array([[p.visible.size if p else 0 for p in row] for row in scene.patches])
        for flags in (scene.sounding, scene.may_sound):
            assert (scene.share[flags] >= SOUNDS_FROM).all() and (boxes[flags] >= HEARD * 96**2).all()
        named = np.array([thing.class_name for thing in scene.things])
        assert not scene.sounding[named == "other"].any() and not scene.may_sound[named == "other"].any()
        sounds += int(scene.sounding.sum())
    assert sounds > 150


def test_objects_of_a_class_that_look_alike_sound_together_or_not_at_all(drawn: list[FilmedScene]) -> None:
    """Otherwise neither picture nor sound would show which of them it is."""
    together = 0
    for scene in drawn:
        names = Counter(thing.class_name for thing in scene.things)
        areas = np.array([[p.area if p else 0 for p in row] for row in scene.patches])
        for name, number in names.items():
            own = [n for n, thing in enumerate(scene.things) if thing.class_name == name]
            size = areas[own].mean(1)
            alike = [n for n, s in zip(own, size, strict=True) if 3 * s > size.max()]
            assert number <= CHOIR or len(alike) <= CHOIR or not scene.sounding[alike].any()
            if 1 < len(alike) <= CHOIR:
                assert not scene.may_sound[alike].any()
                boxes = np.array([[p.visible.size if p else 0 for p in scene.patches[n]] for n in alike])
                audible = (scene.share[alike] >= SOUNDS_FROM) & (boxes >= HEARD * 96**2)
                seconds = scene.sounding[alike].any(0)
                assert np.array_equal(scene.sounding[alike][:, seconds], audible[:, seconds])
                together += int((scene.sounding[alike].sum(0) > 1).sum())
            small = [n for n in own if n not in alike]
            assert not scene.sounding[small].any()
    assert together > 10


def test_people_with_an_instrument_are_mostly_silent_while_it_sounds(drawn: list[FilmedScene]) -> None:
    players, instruments = [], []
    for scene in drawn:
        names = [thing.class_name for thing in scene.things]
        if "guitar" in names and "person" in names and scene.sounding[names.index("guitar")].any():
            person, guitar = (scene.patches[names.index(n)] for n in ("person", "guitar"))
            both = [a and b and (a.mask(96) | b.mask(96)).any() for a, b in zip(person, guitar, strict=True)]
            if any(both):
                instruments.append(scene.sounding[names.index("guitar")].mean())
                players.append(scene.sounding[names.index("person")].mean())
    assert len(players) > 5 and np.mean(players) < 0.6 * np.mean(instruments)


def test_silent_seconds_sounds_from_outside_and_real_backgrounds_occur(drawn: list[FilmedScene]) -> None:
    counts = np.concatenate([scene.sounding.sum(0) for scene in drawn])
    assert 0.1 < (counts == 0).mean() < 0.6 and (counts == 1).mean() > 0.2
    outside = [part.voice.class_name for s in drawn for part in s.soundtrack.parts if part.object is None]
    assert {"other", "flute"} <= set(outside)
    for scene in drawn:
        in_view = {thing.class_name for thing in scene.things} - {"other"}
        assert not in_view & {part.voice.class_name for part in scene.soundtrack.parts if part.object is None}
    noises = [s.soundtrack.noise for s in drawn]
    recorded = [noise.voice.source for noise in noises if noise is not None and noise.voice is not None]
    assert len(recorded) > 20 and all(file.startswith("rain/") for file in recorded)
    assert None in noises and len({noise.kind for noise in noises if noise is not None}) > 3


def test_all_sources_of_a_clip_are_in_one_room(drawn: list[FilmedScene]) -> None:
    for scene in drawn:
        voices = [part.voice for part in scene.soundtrack.parts]
        assert {voice.acoustics.echoes for voice in voices} <= {scene.room.echoes}


def test_the_sound_file_is_the_rendered_soundtrack(filmed: Path, records: dict[int, SceneRecord]) -> None:
    for scene in list(records.values())[:6]:
        _, samples = wavfile.read(filmed / "train/WAVAudios" / f"{scene.name}.wav")
        rendered = scene.soundtrack.render(recordings=scene.recordings)
        assert np.abs(samples / 32767 - rendered).max() < 1e-4


def test_training_and_test_material_have_nothing_in_common(photographs: Paths, recorded: Path) -> None:
    train, test = (PhotoMaterial(photographs, recorded, share) for share in ((0, 0.6), (0.6, 1)))

    def used(material: PhotoMaterial) -> tuple[set[Path], set[str]]:
        shown = {p.path for own in material.photographs.showing.values() for p in own}
        return shown, {file for files in material.voice_files.values() for file in files}

    (photos, files), (other_photos, other_files) = used(train), used(test)
    assert not photos & other_photos and len(photos | other_photos) == 12
    assert not files & other_files and len(files | other_files) == 18  # a choir's are left out
    assert set(train.sounding) == set(test.sounding) == {"person", "guitar", "dog"}


def test_clips_depend_on_seed_split_and_index_alone(
    tmp_path: Path, filmed: Path, photographs: Paths, recorded: Path
) -> None:
    material = partial(PhotoMaterial, photographs, recorded)
    write_dataset(tmp_path, {"train": 3}, 2, 96, (4, 8), material=material, progress=False)
    again = digests(tmp_path / "train")
    assert len(again) > 12 and again.items() <= digests(filmed / "train").items()


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, photographs: Paths, recorded: Path) -> None:
    material = partial(PhotoMaterial, photographs, recorded)
    for workers in (1, 2):
        write_dataset(tmp_path / str(workers), {"a": 5}, 1, 96, (3, 5), workers, material=material, progress=False)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


@pytest.mark.parametrize("kind", ["mute", "swap", "foreign", "offscreen"])
def test_other_soundtracks_follow_the_records(records: dict[int, SceneRecord], kind: str) -> None:
    changed = 0
    for number, scene in records.items():
        track, sounding = counterfactual(scene, kind, np.random.default_rng(number))
        rendered = track.render_seconds([0, scene.length - 1], scene.recordings)
        assert np.isfinite(rendered).all()
        foreign = {part.voice.class_name for part in track.parts if part.object is None}
        if kind in ("mute", "foreign"):
            assert not sounding.any() and bool(track.parts) == (kind == "foreign")
        if kind == "swap":
            assert not (sounding & ~scene.may_sound).any()
            changed += int((sounding & ~scene.sounding).sum())
        if kind in ("foreign", "offscreen"):
            assert foreign and not foreign & ({t.class_name for t in scene.objects} - {"other"})
            assert all(part.voice.acoustics.echoes == scene.room.echoes for part in track.parts)
    assert kind != "swap" or changed > 5


def test_filmed_clips_are_used_in_training_and_in_listening_tests(
    filmed: Path, records: dict[int, SceneRecord]
) -> None:
    split = AVISegSplit(filmed, "train")
    clips = TrainingClips(split, targets="visible", clip_frames=2, counterfactual_audio=0.8)
    samples = [clips.sample(draw) for draw in range(48)]
    assert {sample.sound for sample in samples} == {"original", "mute", "swap", "foreign", "offscreen"}
    labels = {int(label) for sample in samples for label in sample.targets.labels}
    assert AVISEG_CLASSES.index("person") in labels and len(AVISEG_CLASSES) in labels
    assert any((~sample.targets.sounding).any() for sample in samples)
    swaps = 0
    for scene in records.values():
        original = split.clip(next(v for v in split.videos if v.id == scene.video_id)).waveform
        tracks = soundtracks(scene, original, np.random.default_rng(0))
        assert all(len(waveform) == len(original) for waveform in tracks.waveforms.values())
        if tracks.swap is not None:
            swaps += 1
            assert tracks.swap[1].class_name != "other"
    assert swaps > 2


def test_chosen_classes_are_named_and_the_rest_becomes_other(photographs: Paths, recorded: Path) -> None:
    material = PhotoMaterial(photographs, recorded, named=("dog", "tuba"))
    assert material.classes == ("dog", "tuba", "other") and material.sounding == ("dog",)
    assert set(material.voice_files) == {"dog", "other", "background"}
    scenes = [material.film(np.random.default_rng(seed), 96, (3, 3)) for seed in range(8)]
    assert {thing.class_name for scene in scenes for thing in scene.things} == {"dog", "other"}
    with pytest.raises(ConfigError, match="AVISeg has no class chair"):
        PhotoMaterial(photographs, recorded, named=("chair",))


def test_photographs_may_sound_with_synthetic_voices(photographs: Paths) -> None:
    material = PhotoMaterial(photographs, None)
    scene = material.film(np.random.default_rng(1), 96, (4, 4))
    assert scene.room is None and scene.soundtrack.render().shape == (64000,)


def test_classes_without_a_voice_are_shown_and_silent(tmp_path: Path, photographs: Paths, recorded: Path) -> None:
    shutil.copytree(recorded / "dog", tmp_path / "dogs" / "dog")
    with pytest.warns(UserWarning, match="no voice: person, guitar"):
        material = PhotoMaterial(photographs, tmp_path / "dogs")
    assert material.sounding == ("dog",) and "guitar" in material.photographs.pictured
    with pytest.raises(ConfigError, match=r"no class has pictures and voices.*pictures of guitar; voices of none"):
        PhotoMaterial(photographs, tmp_path / "dogs", named=("guitar",))


def test_photographs_that_show_nothing_are_refused(material: PhotoMaterial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acvis_kit.data.synth.filmed.SEEN", {False: 2.0, True: 2.0})  # more than the whole frame
    with pytest.raises(DataError, match="showed no object at 96 x 96"):
        material.film(np.random.default_rng(0), 96, (1, 1))
