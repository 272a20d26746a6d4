from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from acvis_kit.cli import main
from acvis_kit.clip import Clip
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.synth.records import SceneRecord, load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.errors import DataError
from acvis_kit.evaluation.listening import (
    Proportion,
    Soundtracks,
    draw_swap,
    listen,
    listening_table,
    named_seconds,
    soundtracks,
    twin_seconds,
)
from acvis_kit.inference.prediction import Prediction, Track
from acvis_kit.inference.predictor import Predictor
from acvis_kit.masks import encode_masks
from acvis_kit.metrics.audio_control import ShownMasks
from acvis_kit.weights.download import sha256_of
from acvis_kit.weights.load import save_model
from tests.conftest import SEEING, make_model

SEED = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synth")
    write_dataset(folder, {"val": 16}, seed=11, size=64, seconds=(4, 8), progress=False)
    return folder


@pytest.fixture(scope="module")
def split(data: Path) -> AVISegSplit:
    return AVISegSplit(data, "val")


@pytest.fixture(scope="module")
def scenes(split: AVISegSplit) -> dict[int, SceneRecord]:
    return load_scenes(split.scenes_file)


class Oracle:
    """Predicts the truth under every soundtrack.

    With `ignores_sound` it predicts the truth of the original under every soundtrack; with `miscounts` its counts are
    wrong under the off-screen soundtrack in seconds with a voice from outside the picture.
    """

    def __init__(
        self,
        split: AVISegSplit,
        scenes: dict[int, SceneRecord],
        ignores_sound: bool = False,
        miscounts: bool = False,
    ) -> None:
        self.names = tuple(name for _, name in sorted(split.categories.items()))
        self.model = SimpleNamespace(config=replace(SEEING, class_names=self.names))
        self.count_gate, self.ignores_sound, self.miscounts = False, ignores_sound, miscounts
        self._scenes: Iterator[SceneRecord] = iter(scenes.values())

    def encode(self, clip: Clip) -> tuple[SceneRecord, Soundtracks, np.ndarray]:
        scene = next(self._scenes)
        tracks = soundtracks(scene, clip.waveform, np.random.default_rng([SEED, scene.video_id]))
        swapped = np.zeros_like(scene.sounding)
        if tracks.swap is not None:
            swapped[tracks.swap[1].id] = tracks.swap[2]
        return scene, tracks, swapped

    def decode(self, features: tuple, waveform: Tensor) -> Prediction:
        scene, tracks, swapped = features
        (name, *_) = [name for name, known in tracks.waveforms.items() if torch.equal(known, waveform)]
        silence = np.zeros_like(scene.sounding)
        truth = {"muted": silence, "foreign": silence, "swapped": swapped}
        sounding = scene.sounding if self.ignores_sound else truth.get(name, scene.sounding)
        masks = (
            torch.from_numpy(np.stack([thing.masks() for thing in scene.objects]))
            & torch.from_numpy(sounding)[:, :, None, None]
        )
        shown = masks.flatten(2).any(-1)
        found = tuple(
            Track(n, self.names.index(thing.class_name), 0.9, tuple(encode_masks(masks[n])), shown[n].float())
            for n, thing in enumerate(scene.objects)
            if shown[n].any()
        )
        counts = shown.sum(0).clamp(max=2)
        if self.miscounts and name == "off-screen":
            counts = torch.where(torch.from_numpy(tracks.outside), (counts + 1) % 3, counts)
        probabilities = torch.nn.functional.one_hot(counts, 3).double()
        return Prediction(found, counts, probabilities, self.names, scene.size)


def test_a_model_that_predicts_the_truth_passes_every_row(split: AVISegSplit, scenes: dict[int, SceneRecord]) -> None:
    for listened in listen(Oracle(split, scenes), split, SEED).values():
        rows = {row["name"]: row["value"] for row in listened.rows()}
        loss = rows.pop("noise 10 dB below: loss of FSLA, points")
        assert loss == 0 and set(rows.values()) == {100.0}, rows
        assert listened.control.iou_original == 1 and listened.control.iou_swapped == 0


def test_a_model_that_ignores_the_sound_fails_under_other_soundtracks(
    split: AVISegSplit, scenes: dict[int, SceneRecord]
) -> None:
    """Its scores under the original soundtrack are perfect."""
    listened = listen(Oracle(split, scenes, ignores_sound=True), split, SEED)[False]
    silent = 1 - np.concatenate([scene.sounding.any(0) for scene in scenes.values()]).mean()
    assert listened.report.scores["HOTA"] == pytest.approx(100) and listened.counted.value == 1
    assert listened.control.silent_when_muted == pytest.approx(silent)
    assert listened.control.silent_when_foreign == pytest.approx(silent)
    assert listened.control.follows_swap < 0.5 and listened.control.iou_change == 0


def test_the_class_of_the_best_mask_counts_where_one_object_sounds(scenes: dict[int, SceneRecord]) -> None:
    """Four seconds: a dog, a dog and a cat, nothing, a cat. Named right in one of the two seconds with one sound."""
    scene = next(iter(scenes.values()))
    dog, cat = (
        replace(
            scene.objects[0], voice=replace(scene.objects[0].voice, class_name=name), sounding=np.array(sounds, bool)
        )
        for name, sounds in (("dog", [1, 1, 0, 0]), ("cat", [0, 1, 0, 1]))
    )
    assert named_seconds(["dog", "dog", "dog", "dog"], replace(scene, objects=(dog, cat))) == (1, 2)
    assert named_seconds([None] * 4, replace(scene, objects=(dog, cat))) == (0, 2)


@pytest.mark.slow
def test_off_screen_counts_are_scored_where_a_voice_comes_from_outside(
    split: AVISegSplit, scenes: dict[int, SceneRecord]
) -> None:
    listened = listen(Oracle(split, scenes, miscounts=True), split, SEED)[False]
    assert listened.counted.value == 1 and listened.counted_offscreen.value == 0
    assert 0 < listened.counted_offscreen.seconds < listened.counted.seconds


def test_if_every_class_with_a_voice_is_in_view_there_is_no_foreign_soundtrack(scenes: dict[int, SceneRecord]) -> None:
    scene = next(iter(scenes.values()))
    crowded = replace(scene, voices={thing.class_name: ["a.wav"] for thing in scene.objects})
    tracks = soundtracks(crowded, torch.from_numpy(scene.soundtrack.render()), np.random.default_rng(0))
    assert {"original", "muted", "noisy"} <= set(tracks.waveforms)
    assert not {"foreign", "off-screen"} & set(tracks.waveforms) and not tracks.outside.any()


def test_a_swap_is_to_an_object_in_view_silent_and_alone_of_its_class(
    scenes: dict[int, SceneRecord],
) -> None:
    swaps = [(scene, draw_swap(scene, np.random.default_rng(n))) for n, scene in enumerate(scenes.values())]
    assert sum(swap is not None for _, swap in swaps) > len(scenes) / 2
    for scene, swap in swaps:
        if swap is None:
            continue
        former, new, seconds = swap
        names = [thing.class_name for thing in scene.objects]
        assert former.class_name != new.class_name and names.count(new.class_name) == 1
        assert seconds.any() and former.sounding[seconds].all() and not new.sounding[seconds].any()
        assert all(new.segmentations[t] is not None for t in np.flatnonzero(seconds))


def test_the_swapped_soundtrack_is_silent_outside_its_seconds(scenes: dict[int, SceneRecord]) -> None:
    for n, scene in enumerate(scenes.values()):
        original = torch.from_numpy(scene.soundtrack.render())
        tracks = soundtracks(scene, original, np.random.default_rng(n))
        if tracks.swap is not None and scene.soundtrack.noise is None:
            loud = tracks.waveforms["swapped"].view(scene.length, -1).abs().amax(1) > 0
            assert loud.tolist() == tracks.swap[2].tolist()
            return
    raise AssertionError("no scene without noise among these: choose another seed")


def test_noise_lies_ten_decibels_below_the_sounding_seconds(scenes: dict[int, SceneRecord]) -> None:
    scene = next(scene for scene in scenes.values() if scene.sounding.any())
    original = torch.from_numpy(scene.soundtrack.render())
    noise = soundtracks(scene, original, np.random.default_rng(0)).waveforms["noisy"] - original
    sounding = original.view(scene.length, -1)[torch.from_numpy(scene.sounding.any(0))]
    ratio = sounding.square().mean() / noise.square().mean()
    assert 10 * torch.log10(ratio).item() == pytest.approx(10, abs=0.1)


def test_twin_seconds_of_a_scene_are_counted(scenes: dict[int, SceneRecord]) -> None:
    scene = next(scene for scene in scenes.values() if scene.twins)
    n = next(n for n in scene.pair if (scene.objects[n].sounding & scene.objects[n].cue).any())
    right, wrong = scene.objects[n], scene.objects[sum(scene.pair) - n]
    judged = right.sounding & right.cue & ~wrong.sounding & np.array([m is not None for m in wrong.segmentations])
    judged |= wrong.sounding & wrong.cue & ~right.sounding & np.array([m is not None for m in right.segmentations])
    masks = np.stack([right.masks(), wrong.masks()])
    first = ShownMasks.from_tracks(masks, [0.9, 0.8], scene.length)
    second = ShownMasks.from_tracks(masks, [0.8, 0.9], scene.length)
    nothing = ShownMasks.from_tracks([], [], scene.length)
    total = int(judged.sum())
    on_top, on_top_reversed = twin_seconds(first, scene)[0], twin_seconds(second, scene)[0]
    assert total > 0 and on_top + on_top_reversed == total
    assert twin_seconds(nothing, scene) == (0, total)
    assert twin_seconds(nothing, replace(scene, twins=False)) == (0, 0)


def test_a_proportion_pools_seconds_over_clips() -> None:
    pooled = Proportion.of([(1, 2), (3, 3), (0, 0)])
    assert (pooled.value, pooled.seconds) == (4 / 5, 5)
    assert 0.5 <= pooled.low <= pooled.value <= pooled.high <= 1
    assert np.isnan(Proportion.of([(0, 0)]).value)


@pytest.mark.slow
def test_evaluate_listen_prints_the_table_and_writes_it(
    data: Path, split: AVISegSplit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(name for _, name in sorted(split.categories.items()))
    save_model(make_model(replace(SEEING, class_names=names)), tmp_path / "w")
    out = tmp_path / "listening.json"
    command = ["evaluate", "--weights", tmp_path / "w", "--data", data, "--split", "val", "--listen", "--out", out]
    assert main([str(part) for part in command]) == 0
    printed = capsys.readouterr().out
    assert "| muted: seconds without a mask | 99.5 |" in printed
    found = json.loads(out.read_text())
    assert set(found) == {"weights", "no_gate", "count_gate"} and len(found["no_gate"]["rows"]) == 10
    assert found["weights"] == {"name": "w", "sha256": sha256_of(tmp_path / "w" / "model.safetensors")}


@pytest.mark.slow
def test_the_table_has_a_column_without_and_with_the_gate(split: AVISegSplit, scenes: dict[int, SceneRecord]) -> None:
    lines = listening_table(listen(Oracle(split, scenes), split, SEED)).splitlines()
    assert lines[2].startswith("| mAP | 60 | 100.0 (") and len(lines) == 2 + 10
    assert all(line.count("|") == 5 for line in lines)


def test_data_without_scenes_or_a_gated_predictor_is_refused(data: Path, split: AVISegSplit, tmp_path: Path) -> None:
    names = tuple(name for _, name in sorted(split.categories.items()))
    model = make_model(replace(SEEING, class_names=names))
    with pytest.raises(DataError, match="without and with the count gate"):
        listen(Predictor(model, count_gate=True), split)
    without_encoder = replace(SEEING, class_names=names, audio_encoder="precomputed", audio_tokens="clip")
    with pytest.raises(DataError, match="contains its audio encoder"):
        listen(Predictor(make_model(without_encoder), count_gate=False), split)
    (tmp_path / "val.json").write_text((data / "val.json").read_text())
    with pytest.raises(DataError, match=r"val_scenes\.json is not there"):
        listen(Predictor(model), AVISegSplit(tmp_path, "val"))
