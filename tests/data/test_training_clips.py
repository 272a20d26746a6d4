"""Training samples: drawn by number, equal to the annotations, cropped as in the paper."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.collate import collate
from acvis_kit.data.soundtracks import Counterfactual, as_stored, load_scenes
from acvis_kit.data.training_clips import Draws, TrainingClips, TrainingSample, draw_seconds
from acvis_kit.data.transforms import PAPER, SYNTH, Augmentation
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.media.mel import log_mel
from tests.data.rectangles import Rectangle, tone_of, write_rectangles

VIOLIN = Rectangle("violin", (8, 10, 40, 42), (1, 2, 5))
DOG = Rectangle("dog", (20, 50, 60, 90))
PLAIN = Augmentation()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_rectangles(tmp_path / "data", [[VIOLIN, DOG], [DOG], [VIOLIN]])


def same(one: TrainingSample, other: TrainingSample) -> bool:
    targets = all(torch.equal(a, b) for a, b in zip(*(list(vars(s.targets).values())[:4] for s in (one, other))))  # noqa: B905
    return targets and torch.equal(one.frames, other.frames) and torch.equal(one.log_mel, other.log_mel)


def test_a_sample_depends_on_its_number_alone(folder: Path) -> None:
    """Also in another process, and in another order."""
    options = {"augmentation": SYNTH, "counterfactual_audio": 0.5, "seed": 3}
    clips = TrainingClips(AVISegSplit(folder, "train"), **options)
    forwards = [clips.sample(draw) for draw in range(8)]
    again = TrainingClips(AVISegSplit(folder, "train"), **options)
    assert all(same(again.sample(draw), forwards[draw]) for draw in (7, 0, 4))
    loader = DataLoader(clips, batch_size=2, sampler=Draws(2), num_workers=1, collate_fn=list)
    for batch, numbers in zip(islice(loader, 2), ((2, 3), (4, 5)), strict=True):
        assert all(same(sample, forwards[number]) for sample, number in zip(batch, numbers, strict=True))
    other = TrainingClips(AVISegSplit(folder, "train"), **(options | {"seed": 4}))
    assert not all(same(other.sample(draw), forwards[draw]) for draw in range(8))


def test_an_epoch_has_every_video_once_in_a_new_order(folder: Path) -> None:
    clips = TrainingClips(AVISegSplit(folder, "train"), augmentation=PLAIN)
    shown = [clips.sample(draw).video_id for draw in range(30)]
    epochs = [tuple(shown[n : n + 3]) for n in range(0, 30, 3)]
    assert all(sorted(epoch) == [1, 2, 3] for epoch in epochs) and len(set(epochs)) > 1


def test_processes_share_the_stream() -> None:
    """In every step two processes with batches of 2 get the samples of one process with a batch of 4."""
    one = list(islice(Draws(), 12))
    first, second = list(islice(Draws(0, 2), 6)), list(islice(Draws(1, 2), 6))
    for step in range(3):
        together = first[2 * step : 2 * step + 2] + second[2 * step : 2 * step + 2]
        assert sorted(together) == one[4 * step : 4 * step + 4]


def test_targets_are_those_of_the_drawn_frames(folder: Path) -> None:
    clips = TrainingClips(AVISegSplit(folder, "train"), augmentation=PLAIN)
    sizes = set()
    for draw in range(12):
        sample = clips.sample(draw)
        things = {1: [VIOLIN, DOG], 2: [DOG], 3: [VIOLIN]}[sample.video_id]
        sounding = np.array([[thing.sounds(t) for t in sample.seconds] for thing in things])
        kept = sounding.any(axis=1)
        targets = sample.targets
        assert targets.labels.tolist() == [
            AVISEG_CLASSES.index(t.category) for t, k in zip(things, kept, strict=True) if k
        ]
        assert targets.counts.tolist() == sounding.sum(axis=0).tolist()
        assert np.array_equal(targets.sounding.numpy(), sounding[kept])
        masks = np.stack([thing.mask((64, 96)) for thing in things])[:, None] & sounding[..., None, None]
        assert np.array_equal(targets.masks.numpy(), masks[kept]) and targets.audio_labels is None
        levels = torch.tensor([tone_of(sample.video_id - 1, t) for t in sample.seconds])
        assert torch.allclose(sample.log_mel, log_mel(levels[:, None].expand(-1, 16000)), atol=2e-2)
        sizes.add(tuple(sample.frames.shape))
    assert sizes == {(5, 3, 64, 96)}


@pytest.mark.parametrize("augmentation", [PAPER, SYNTH])
def test_masks_and_frames_are_cropped_alike(folder: Path, augmentation: Augmentation) -> None:
    """Rectangles are red, so the red must lie where the mask is."""
    clips = TrainingClips(AVISegSplit(folder, "train"), augmentation=augmentation)
    checked = 0
    for draw in range(12):
        sample = clips.sample(draw)
        red = sample.frames[:, 0].int() - sample.frames[:, 1].int() > 100  # (T, H, W)
        for masks in sample.targets.masks:
            for t in range(len(masks)):
                if masks[t].sum() > 100:
                    assert (red[t] & masks[t]).sum() > 0.9 * masks[t].sum()
                    checked += 1
    assert checked > 20


def test_counts_are_of_the_whole_frame_and_cropped_objects_are_no_targets(tmp_path: Path) -> None:
    corner = Rectangle("cat", (0, 0, 4, 4))
    data = AVISegSplit(write_rectangles(tmp_path, [[corner, DOG]]), "train")
    clips = TrainingClips(data, augmentation=Augmentation(zoom=(2.0, 2.0)))
    found = [clips.sample(draw).targets for draw in range(20)]
    assert all(targets.counts.tolist() == [2] * 5 for targets in found)
    assert {len(targets.labels) for targets in found} >= {1, 2}
    assert all(targets.masks.flatten(1).any(dim=1).all() for targets in found)


def test_scattered_frames_lie_around_one_of_them() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_seconds(200, 5, "scattered", rng) for _ in range(2000)]
    assert all((np.diff(seconds) >= 0).all() and np.ptp(seconds) <= 40 for seconds in drawn)
    assert any((np.diff(seconds) == 0).any() for seconds in drawn)  # with replacement
    assert max(np.ptp(seconds) for seconds in drawn) > 30
    assert draw_seconds(1, 5, "scattered", rng).tolist() == [0] * 5
    assert len(set(draw_seconds(2, 5, "scattered", rng).tolist())) == 2


def test_consecutive_frames_are_in_a_row_and_a_short_video_repeats_its_last() -> None:
    rng = np.random.default_rng(0)
    firsts = set()
    for _ in range(100):
        seconds = draw_seconds(8, 5, "consecutive", rng)
        assert np.diff(seconds).tolist() == [1] * 4
        firsts.add(int(seconds[0]))
    assert firsts == {0, 1, 2, 3}
    assert draw_seconds(3, 5, "consecutive", rng).tolist() == [0, 1, 2, 2, 2]


def test_precomputed_features_replace_the_sound(folder: Path) -> None:
    features = folder / "train" / "FEATAudios"
    features.mkdir()
    for n in range(3):
        np.save(features / f"video{n}.npy", np.arange(8)[:, None] + 10 * n + np.zeros((8, 128)))
    clips = TrainingClips(AVISegSplit(folder, "train"), augmentation=SYNTH, features="FEATAudios")
    sample = clips.sample(0)
    assert sample.log_mel is None and sample.audio_features.dtype == torch.float32
    assert sample.audio_features[:, 7].tolist() == [10 * (sample.video_id - 1) + t for t in sample.seconds]
    assert collate([sample, clips.sample(1)]).audio_features.shape == (2, 5, 128)
    np.save(features / "video1.npy", np.zeros((7, 128)))
    with pytest.raises(DataError, match=r"video1\.npy .* \(7, 128\).*8 frames"):
        [clips.sample(draw) for draw in range(3)]


def test_targets_of_visible_objects_need_scenes(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train_scenes\.json.*acvis synth.*targets='sounding'"):
        TrainingClips(AVISegSplit(folder, "train"), targets="visible")


def test_labels_are_the_classes_of_the_network(folder: Path) -> None:
    clips = TrainingClips(AVISegSplit(folder, "train"), ("dog", "cat", "violin"), augmentation=PLAIN)
    assert {label for draw in range(6) for label in clips.sample(draw).targets.labels.tolist()} <= {0, 2}
    with pytest.raises(DataError, match="annotates violin"):
        TrainingClips(AVISegSplit(folder, "train"), ("dog", "cat"))


def test_wrong_values_and_empty_splits_are_refused(folder: Path) -> None:
    split = AVISegSplit(folder, "train")
    for wrong in ({"clip_frames": 0}, {"targets": "all"}, {"counterfactual_audio": 1.5}, {"frame_sampling": "random"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            TrainingClips(split, **wrong)
    truth = json.loads((folder / "train.json").read_text())
    (folder / "train.json").write_text(json.dumps(truth | {"videos": [], "annotations": []}))
    with pytest.raises(DataError, match="lists no videos"):
        TrainingClips(AVISegSplit(folder, "train"))


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> AVISegSplit:
    """Six clips of the real generator."""
    from acvis_kit.data.synth.writer import write_dataset

    folder = tmp_path_factory.mktemp("synth")
    write_dataset(folder, {"train": 6}, seed=5, size=64, seconds=(10, 12), progress=False)
    return AVISegSplit(folder, "train")


def of_kind(kind: str, **options: Any) -> dict[str, Any]:
    return {"augmentation": PLAIN, "counterfactual_audio": Counterfactual(1.0, {kind: 1.0})} | options


def test_scenes_and_annotations_give_the_same_targets(synth: AVISegSplit, tmp_path: Path) -> None:
    """Without its scenes an AVIS-Synth folder is read like recordings; only the audio labels are missing."""
    (tmp_path / "train.json").symlink_to(synth.truth_file)
    (tmp_path / "train").symlink_to(synth.folder)
    with_scenes, without = TrainingClips(synth), TrainingClips(AVISegSplit(tmp_path, "train"))
    objects = 0
    for draw in range(12):
        one, other = with_scenes.sample(draw), without.sample(draw)
        assert same(one, other) and one.targets.audio_labels is not None and other.targets.audio_labels is None
        objects += len(one.targets.labels)
    assert objects > 6


def test_every_visible_object_is_a_target_and_only_some_sound(synth: AVISegSplit) -> None:
    clips, scenes = TrainingClips(synth, augmentation=PLAIN, targets="visible"), load_scenes(synth)
    silent = 0
    for draw in range(6):
        sample = clips.sample(draw)
        scene, seconds, targets = scenes[sample.video_id], list(sample.seconds), sample.targets
        masks = np.stack([thing.masks(seconds) for thing in scene.objects])
        kept = masks.any(axis=(1, 2, 3))
        assert np.array_equal(targets.masks.numpy(), masks[kept])
        assert np.array_equal(targets.sounding.numpy(), scene.sounding[kept][:, seconds])
        assert targets.counts.tolist() == scene.sounding[:, seconds].sum(axis=0).tolist()
        assert [clips.class_names[n] for n in targets.labels] == [
            thing.class_name for thing, k in zip(scene.objects, kept, strict=True) if k
        ]
        for row, t in zip(targets.audio_labels, seconds, strict=True):
            audible = {part.voice.class_name for part in scene.soundtrack.parts if part.seconds[t]}
            assert {clips.class_names[n] for n in row.nonzero().flatten()} == audible
        # sounds read from a file and rendered sounds must not differ
        assert torch.equal(
            log_mel(torch.from_numpy(as_stored(scene.soundtrack.render_seconds(seconds)))), sample.log_mel
        )
        silent += int((targets.masks.flatten(2).any(dim=2) & ~targets.sounding).sum())
    assert silent > 30


def test_a_muted_scene_has_masks_and_no_sound(synth: AVISegSplit) -> None:
    clips, plain = TrainingClips(synth, **of_kind("mute", targets="visible")), TrainingClips(synth, augmentation=PLAIN)
    for draw in range(6):
        targets, before = clips.sample(draw).targets, plain.sample(draw)
        assert len(targets.labels) >= len(before.targets.labels) and clips.sample(draw).seconds == before.seconds
        assert not (targets.sounding.any() or targets.counts.any() or targets.audio_labels.any())
    muted = TrainingClips(synth, **of_kind("mute"))
    assert not any(len(muted.sample(draw).targets.labels) for draw in range(6))
    silence = log_mel(torch.zeros(1, 16000))
    assert any((clips.sample(draw).log_mel == silence).all() for draw in range(6))


def test_a_foreign_sound_is_of_no_class_in_the_picture(synth: AVISegSplit) -> None:
    clips, scenes = TrainingClips(synth, **of_kind("foreign", targets="visible")), load_scenes(synth)
    for draw in range(6):
        sample = clips.sample(draw)
        assert not (sample.targets.sounding.any() or sample.targets.counts.any()) and len(sample.targets.labels)
        assert sample.targets.audio_labels.any(dim=1).all()
        audible = {clips.class_names[n] for n in sample.targets.audio_labels.any(dim=0).nonzero().flatten()}
        assert not audible & {thing.class_name for thing in scenes[sample.video_id].objects}


def test_a_swapped_sound_has_its_own_ground_truth(synth: AVISegSplit) -> None:
    clips, plain = TrainingClips(synth, **of_kind("swap", targets="visible")), TrainingClips(synth, augmentation=PLAIN)
    changed = sounding = 0
    for draw in range(12):
        targets, before = clips.sample(draw).targets, plain.sample(draw).targets
        visible = targets.masks.flatten(2).any(dim=2)
        assert not (targets.sounding & ~visible).any() and torch.equal(targets.sounding.sum(dim=0), targets.counts)
        for n, t in targets.sounding.nonzero().tolist():
            assert targets.audio_labels[t, targets.labels[n]]
        changed += not torch.equal(targets.audio_labels, before.audio_labels)
        sounding += int(targets.sounding.sum())
    assert changed > 6 and sounding > 12


def test_an_offscreen_voice_adds_audio_labels_and_changes_no_object(synth: AVISegSplit) -> None:
    options = {"targets": "visible", "augmentation": PLAIN}
    clips, plain = TrainingClips(synth, **of_kind("offscreen", **options)), TrainingClips(synth, **options)
    more = 0
    for draw in range(6):
        targets, before = clips.sample(draw).targets, plain.sample(draw).targets
        assert torch.equal(targets.sounding, before.sounding) and torch.equal(targets.counts, before.counts)
        assert not (before.audio_labels & ~targets.audio_labels).any()
        more += int((targets.audio_labels & ~before.audio_labels).sum())
    assert more > 6


def test_scenes_of_other_data_are_refused(synth: AVISegSplit, tmp_path: Path) -> None:
    truth = json.loads(synth.truth_file.read_text())
    for video in truth["videos"]:
        video["id"] += 100
    (tmp_path / "train.json").write_text(json.dumps(truth | {"annotations": []}))
    (tmp_path / "train_scenes.json").symlink_to(synth.scenes_file)
    with pytest.raises(DataError, match="has no scene of"):
        TrainingClips(AVISegSplit(tmp_path, "train"))


def test_scenes_of_another_length_are_refused(synth: AVISegSplit, tmp_path: Path) -> None:
    truth = json.loads(synth.truth_file.read_text())
    truth["videos"][0]["length"] += 1
    truth["videos"][0]["file_names"] += truth["videos"][0]["file_names"][:1]
    (tmp_path / "train.json").write_text(json.dumps(truth | {"annotations": []}))
    (tmp_path / "train_scenes.json").symlink_to(synth.scenes_file)
    with pytest.raises(DataError, match=r"the scene of train_00000 has \d+ frames of .*, the video \d+ of"):
        TrainingClips(AVISegSplit(tmp_path, "train"))


@pytest.mark.parametrize("sound", [{}, of_kind("mute"), of_kind("foreign")], ids=["original", "mute", "foreign"])
def test_cue_labels_do_not_depend_on_the_sound(synth: AVISegSplit, sound: dict[str, Any]) -> None:
    clips, scenes = TrainingClips(synth, **{"augmentation": PLAIN, "targets": "visible", **sound}), load_scenes(synth)
    shown = 0
    for draw in range(24):
        sample = clips.sample(draw)
        scene, seconds = scenes[sample.video_id], list(sample.seconds)
        kept = np.stack([thing.masks(seconds) for thing in scene.objects]).any(axis=(1, 2, 3))
        cues = np.stack([thing.cue[seconds] for thing in scene.objects])[kept]
        assert np.array_equal(sample.targets.auxiliary["cue"].numpy(), cues)
        shown += int(cues.sum())
    assert shown
