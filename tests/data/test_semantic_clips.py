"""Training samples of semantic systems: drawn by number, equal to the class maps, whatever sounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.data.semantic_clips import (
    COLOUR,
    SemanticBatch,
    SemanticClips,
    SemanticTrainingSample,
    collate_semantic,
    draw_annotated,
)
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.data.soundtracks import Counterfactual, load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.data.training_clips import Draws
from acvis_kit.data.transforms import SYNTH, Augmentation
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.losses.avsc import AVSCCriterion
from acvis_kit.losses.ravs import RAVSCriterion
from acvis_kit.media.mel import log_mel
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.config import RAVS_PRESETS
from acvis_kit.models.ravs.model import RAVS
from tests.data.semantic_folders import box_mask, write_avss, write_ms3, write_s4, write_vpo

PLAIN = Augmentation()
OPTIONS = {"augmentation": PLAIN, "size": 64, "clip_frames": 3}


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> SemanticSplit:
    root = tmp_path_factory.mktemp("synth")
    write_dataset(root, {"train": 8}, seed=4, size=64, seconds=(6, 6), layout="avsbench", progress=False)
    return open_split(root, "train")


def same(one: SemanticTrainingSample, other: SemanticTrainingSample) -> bool:
    pairs = [(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True) if torch.is_tensor(a)]
    pairs += list(zip(vars(one.targets).values(), vars(other.targets).values(), strict=True))
    return len(pairs) == 5 and all(torch.equal(a, b) for a, b in pairs)


def test_a_sample_depends_on_its_number_alone(synth: SemanticSplit) -> None:
    """Also in another process, and in another order."""
    options = OPTIONS | {"augmentation": SYNTH, "counterfactual_audio": 0.5, "seed": 3}
    clips = SemanticClips(synth, **options)
    forwards = [clips.sample(draw) for draw in range(8)]
    again = SemanticClips(synth, **options)
    assert all(same(again.sample(draw), forwards[draw]) for draw in (7, 0, 4))
    loader = DataLoader(clips, batch_size=2, sampler=Draws(2), num_workers=1, collate_fn=list)
    for batch, numbers in zip(islice(loader, 2), ((2, 3), (4, 5)), strict=True):
        assert all(same(sample, forwards[number]) for sample, number in zip(batch, numbers, strict=True))
    other = SemanticClips(synth, **(options | {"seed": 4}))
    assert not all(same(other.sample(draw), forwards[draw]) for draw in range(8))


def test_an_epoch_has_every_video_once_in_a_new_order(tmp_path: Path) -> None:
    clips = SemanticClips(open_split(write_s4(tmp_path), "train"), **OPTIONS)
    shown = [clips.sample(draw).video for draw in range(16)]
    epochs = [tuple(shown[n : n + 2]) for n in range(0, 16, 2)]
    assert all(sorted(epoch) == ["a_0", "b-1"] for epoch in epochs) and len(set(epochs)) == 2


def test_targets_are_the_class_maps_of_the_drawn_frames(synth: SemanticSplit) -> None:
    clips = SemanticClips(synth, **OPTIONS)
    of_name = {video.name: synth.sample(video) for video in synth.videos}
    starts = set()
    for draw in range(16):
        sample, whole = clips.sample(draw), of_name[clips.sample(draw).video]
        chosen = list(sample.seconds)
        assert chosen == list(range(chosen[0], chosen[0] + 3)) and sample.sound == "original"
        assert torch.equal(sample.targets.class_maps, whole.targets.class_maps[chosen])
        assert torch.equal(sample.frames, whole.clip.frames[chosen]) and sample.valid.all()
        sound = whole.clip.waveform.unflatten(0, (6, 16_000))[chosen]
        assert torch.equal(sample.spectrogram, log_mel(sound))
        starts.add(chosen[0])
    assert starts == {0, 1, 2, 3}


def test_maps_and_frames_are_cropped_alike(tmp_path: Path) -> None:
    """Boxes are red, so the red must lie where the map is."""
    split = open_split(write_s4(tmp_path), "test")
    clips = SemanticClips(split, size=96, clip_frames=2, augmentation=Augmentation(zoom=(0.7, 1.4), flip=0.5))
    found = set()
    for draw in range(12):
        sample = clips.sample(draw)
        red = sample.frames[:, 0].int() - sample.frames[:, 1].int() > 100  # (T, H, W)
        inside = sample.targets.class_maps > 0
        assert sample.frames.shape[-2:] == (96, 96)
        assert (red & inside).sum() > 0.93 * (red | inside).sum()
        found.add(inside.sum().item())
    assert len(found) > 4


def test_every_sample_has_an_annotated_frame(tmp_path: Path) -> None:
    """In training only the first of five frames of S4 is annotated."""
    split = open_split(write_s4(tmp_path), "train")
    for frames in (1, 3, 5):
        clips = SemanticClips(split, **(OPTIONS | {"clip_frames": frames}))
        for draw in range(4):
            sample = clips.sample(draw)
            assert sample.seconds[0] == 0
            assert sample.targets.supervised.tolist() == [True] + [False] * (frames - 1)


def test_drawn_frames_contain_an_annotated_one_wherever_it_is() -> None:
    rng, annotated = np.random.default_rng(0), np.zeros(10, bool)
    annotated[[6, 9]] = True
    drawn = [draw_annotated(annotated, 3, rng) for _ in range(300)]
    assert all(annotated[frames].any() and np.array_equal(np.diff(frames), [1, 1]) for frames in drawn)
    assert {int(frames[0]) for frames in drawn} == {4, 5, 6, 7}
    assert draw_annotated(annotated, 20, rng).tolist() == list(range(10))


def test_shorter_videos_are_padded_with_frames_that_do_not_count(tmp_path: Path) -> None:
    split = open_split(write_avss(tmp_path), "test", "v1m")
    sample = SemanticClips(split, **(OPTIONS | {"clip_frames": 10})).sample(0)
    assert sample.valid.tolist() == [True] * 5 + [False] * 5 == sample.targets.supervised.tolist()
    assert not sample.frames[5:].any() and not sample.targets.class_maps[5:].any()
    assert torch.equal(sample.spectrogram[5:], log_mel(torch.zeros(5, 16_000)))


def of_kind(kind: str) -> dict[str, object]:
    return OPTIONS | {"counterfactual_audio": Counterfactual(1.0, {kind: 1.0})}


@pytest.mark.parametrize("kind", ["mute", "foreign"])
def test_nothing_sounds_in_the_picture_under_silence_and_foreign_sound(synth: SemanticSplit, kind: str) -> None:
    clips = SemanticClips(synth, **of_kind(kind))
    samples = [clips.sample(draw) for draw in range(8)]
    assert all(sample.sound == kind and sample.targets.supervised.all() for sample in samples)
    assert not any(sample.targets.class_maps.any() for sample in samples)
    assert {bool((s.spectrogram > -3).any()) for s in samples} >= ({True} if kind == "foreign" else {False})


def test_a_swapped_sound_has_the_maps_of_the_objects_that_now_sound(synth: SemanticSplit) -> None:
    clips, scenes = SemanticClips(synth, **of_kind("swap")), load_scenes(synth)
    of_name = {scene.name: scene for scene in scenes.values()}
    changed = 0
    for draw in range(16):
        sample = clips.sample(draw)
        scene = of_name[sample.video]
        assert sample.sound == "swap" and sample.targets.supervised.all()
        for n, t in enumerate(sample.seconds):
            labels = sample.targets.class_maps[n].numpy()
            shown = set(np.unique(labels).tolist()) - {0}
            for value in shown:
                masks = [o.mask(t) for o in scene.objects if o.class_name == synth.class_names[value - 1]]
                assert any(np.array_equal(labels == value, mask) for mask in masks)
            original = {synth.class_names.index(o.class_name) + 1 for o in scene.objects if o.sounding[t]}
            changed += shown != original
    assert changed > 10


def test_an_off_screen_sound_changes_nothing_in_the_maps(synth: SemanticSplit) -> None:
    plain, more = SemanticClips(synth, **OPTIONS), SemanticClips(synth, **of_kind("offscreen"))
    heard = 0
    for draw in range(8):
        one, other = plain.sample(draw), more.sample(draw)
        assert other.sound == "offscreen"
        heard += not torch.equal(one.spectrogram, other.spectrogram)
        whole = synth.sample(next(v for v in synth.videos if v.name == other.video))
        assert torch.equal(other.targets.class_maps, whole.targets.class_maps[list(other.seconds)])
    assert heard > 4  # the voice sounds in some seconds only


def test_recordings_get_silence_or_the_sound_of_another_class(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path), "train")
    sounds = Counterfactual(1.0, {"foreign": 1.0})
    clips = SemanticClips(split, **(OPTIONS | {"counterfactual_audio": sounds}))
    for draw in range(4):
        sample = clips.sample(draw)
        assert sample.sound == "foreign" and sample.targets.supervised.all()
        assert not sample.targets.class_maps.any()
    unnamed = SemanticClips(
        open_split(write_ms3(tmp_path / "ms3"), "train"), **(OPTIONS | {"counterfactual_audio": sounds})
    )
    assert unnamed.sample(0).sound == "mute"  # MS3 does not say which videos are of other classes


def test_labels_are_those_of_the_network(tmp_path: Path) -> None:
    split = open_split(write_avss(tmp_path), "test", "v1m")  # dog and lawn-mower
    names = ("man", "cat", "dog", "lawn-mower")
    maps = SemanticClips(split, names, **(OPTIONS | {"clip_frames": 5})).sample(0).targets.class_maps
    assert maps.unique().tolist() == [0, 3, 4]
    binary = SemanticClips(split, ("sounding object",), **(OPTIONS | {"clip_frames": 5})).sample(0).targets
    assert torch.equal(binary.class_maps, (maps > 0).long())
    with pytest.raises(DataError, match="has the classes lawn-mower"):
        SemanticClips(split, ("man", "dog"), **OPTIONS)


def test_unknown_pixels_stay_unknown(tmp_path: Path) -> None:
    """VPO's masks have them; here the first row."""
    sample = SemanticClips(open_split(write_vpo(tmp_path), "train", "ss"), **(OPTIONS | {"clip_frames": 1})).sample(0)
    assert (sample.targets.class_maps[0, 0] == 255).all()
    assert set(sample.targets.class_maps.unique().tolist()) == {0, 9, 255}


@pytest.mark.parametrize(("encoder", "shape"), [("beats", (98, 128)), ("compact", (96, 64))])
def test_the_spectrogram_is_of_the_encoders_front_end(tmp_path: Path, encoder: str, shape: tuple[int, int]) -> None:
    clips = SemanticClips(open_split(write_s4(tmp_path), "train"), audio_encoder=encoder, **OPTIONS)
    assert clips.sample(0).spectrogram.shape == (3, *shape)


def test_wrong_options_are_named(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path), "train")
    for options, message in (
        ({"clip_frames": 0}, "clip_frames=0"),
        ({"audio_encoder": "precomputed"}, "audio_encoder='precomputed' has no front end"),
        ({"augmentation": Augmentation(short_sides=(300,))}, "short_sides"),
        ({"counterfactual_audio": Counterfactual(1.0, {"swap": 1.0})}, "cannot be made from this data"),
    ):
        with pytest.raises(ConfigError, match=message):
            SemanticClips(split, **(OPTIONS | options))


def batch_of(synth: SemanticSplit, encoder: str) -> SemanticBatch:
    clips = SemanticClips(
        synth, audio_encoder=encoder, size=64, clip_frames=2, augmentation=COLOUR, counterfactual_audio=0.5
    )
    return collate_semantic([clips.sample(draw) for draw in range(4)])


def test_both_systems_take_a_batch_and_its_targets(synth: SemanticSplit) -> None:
    batch = batch_of(synth, "compact")
    assert batch.frames.shape == (4, 2, 3, 64, 64) and len(batch) == 4 and len(batch.samples) == 4
    maps = torch.stack([target.class_maps for target in batch.targets])
    assert torch.equal(batch.sounding, maps > 0)
    names = synth.class_names
    avsc = AVSC(replace(AVSC_PRESETS["avsc-synth-tiny"], class_names=names, input_size=64))
    losses = AVSCCriterion(avsc.config)(avsc(batch.frames), batch.targets)
    assert losses and all(value.isfinite() for value in losses.values())
    avsc.train_stage("correlation")
    losses = AVSCCriterion(avsc.config)(avsc(batch.frames, batch.spectrogram), batch.targets)
    assert losses["correlation"].isfinite()
    config = replace(RAVS_PRESETS["ravs-synth-tiny"], task="semantic", class_names=names, input_size=64)
    ravs = RAVS(replace(config, groups=(4, 3, 2), neighbours=3))
    output = ravs(batch.frames, batch.spectrogram, valid=batch.valid, token_filter=batch.sounding)
    losses = RAVSCriterion(ravs.config)(output, batch.targets)
    assert losses and all(value.isfinite() for value in losses.values())


def test_a_red_box_is_where_the_map_says(tmp_path: Path) -> None:
    """Without augmentation the map at the size of the source is the mask itself."""
    split = open_split(write_ms3(tmp_path), "test")
    sample = SemanticClips(split, size=56, clip_frames=5, augmentation=PLAIN).sample(0)
    rows = (np.arange(56) + 0.5) * 40 / 56
    expected = (box_mask(0) | box_mask(1))[rows.astype(int)]
    assert np.array_equal(sample.targets.class_maps[0].numpy(), expected)
