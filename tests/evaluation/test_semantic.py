"""A semantic system's scores on a data set: of predictors whose scores can be worked out, and as a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from acvis_kit.cli import main
from acvis_kit.clip import Clip
from acvis_kit.data.avsbench import AVSSSplit
from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.data.semantic_layouts import open_split
from acvis_kit.data.soundtracks import load_scenes
from acvis_kit.data.synth.writer import write_dataset
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.evaluation.listening import soundtracks
from acvis_kit.evaluation.other_sounds import OtherSounds, shown_masks
from acvis_kit.evaluation.semantic import evaluate_semantic
from acvis_kit.evaluation.semantic_report import semantic_table
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticFeatures, SemanticPredictor
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.config import RAVS_PRESETS
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights.load import save_model
from tests.data.semantic_folders import CLASSES, box_mask, write_avss, write_ms3, write_s4, write_vpo

Maps = Callable[[Clip, Tensor | None], np.ndarray]  # (clip, other sound) -> class maps (T, H, W) of the model's classes


@dataclass
class Told:
    """A predictor whose class maps a function gives; certain of them, or with one probability wherever they are."""

    maps: Maps
    class_names: tuple[str, ...]
    threshold: float = 0.5
    probability: float = 1.0
    uncertainty: Callable[[int], float] | None = None

    @property
    def model(self) -> Any:
        return SimpleNamespace(config=SimpleNamespace(class_names=self.class_names))

    def encode(self, clip: Clip) -> SemanticFeatures:
        return SemanticFeatures(clip)

    def decode(
        self, features: SemanticFeatures, sound: Tensor | None = None, output_size: tuple[int, int] | None = None
    ) -> SemanticPrediction:
        maps = torch.from_numpy(np.asarray(self.maps(features.clip, sound))).to(torch.int16)
        if output_size is not None:
            maps = torch.nn.functional.interpolate(maps[None].float(), output_size)[0].to(torch.int16)
        unsure = None
        if self.uncertainty is not None:
            unsure = torch.stack([torch.full(maps.shape[1:], self.uncertainty(t)) for t in range(len(maps))]).half()
        probabilities = (maps > 0).half() * self.probability
        return SemanticPrediction(maps, probabilities, self.class_names, uncertainty=unsure)


def perfect(split: SemanticSplit, **options: Any) -> Told:
    """Knows the truth of the split under its own sound; blank under every other sound."""
    truth = {hash_of(sample.clip): sample.targets.class_maps.numpy() for sample in split.samples()}

    def maps(clip: Clip, sound: Tensor | None) -> np.ndarray:
        blank = np.zeros((len(clip), *clip.size), int)
        return truth.get(hash_of(clip), blank) if sound is None else blank

    return Told(maps, split.class_names, **options)


def hash_of(clip: Clip) -> tuple[int, int]:
    return hash(clip.frames.numpy().tobytes()), hash(clip.waveform.numpy().tobytes())


def scores_of(split: SemanticSplit, predictor: Any, **options: Any) -> dict[str, Any]:
    return evaluate_semantic(predictor, split, **options).to_dict()


def test_perfect_masks_score_full_marks_by_every_protocol(tmp_path: Path) -> None:
    split = open_split(write_avss(tmp_path), "test")
    found = scores_of(split, perfect(split))
    assert (found["videos"], found["frames"], found["annotated_frames"]) == (3, 20, 20)
    assert found["tpavi"]["sounding"] == {"j": 1, "f": pytest.approx(1), "j_and_f": pytest.approx(1), "batches": 3}
    assert found["tpavi"]["classes"]["miou"] == found["dataset"]["classes"]["cavp"]["miou"] == 1
    assert found["dataset"]["sounding"]["ddeseg"]["miou"] == 1
    assert {name: part["frames"] for name, part in found["sources"].items()} == {
        "silent": 0, "one class": 17, "several classes": 3,
    }  # fmt: skip
    assert found["sources"]["silent"]["j"] is None and found["sources"]["one class"]["j"] == 1
    assert found["robustness"]["silent"] == {"miou": 1, "ra": 1, "fpr": 0, "frames": 20}
    assert found["robustness"]["unmatched"]["frames"] == 20 and found["control"] is None


def test_j_of_half_a_mask_is_a_half(tmp_path: Path) -> None:
    """Box 0 has 16 rows; the upper half of it is predicted. Published J averages frames, the other one pools pixels."""
    split = open_split(write_s4(tmp_path), "test")
    half = np.zeros((40, 56), int)
    half[4:12, 6:24] = 1
    found = scores_of(split, Told(lambda clip, _: np.repeat(half[None], len(clip), 0), ("dog_barking",)))
    assert found["tpavi"]["sounding"]["j"] == pytest.approx(1 / 2)
    area, whole = 8 * 18, 40 * 56
    background = (whole - 2 * area) / (whole - area)
    assert found["dataset"]["sounding"]["cavp"]["miou"] == pytest.approx((background + 1 / 2) / 2)
    # deaf: the same mask whatever sounds
    assert found["robustness"]["silent"]["ra"] == 0
    assert found["robustness"]["unmatched"]["fpr"] == pytest.approx(area / whole)


def test_a_right_place_with_a_wrong_class_counts_only_without_classes(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path), "test")  # male_speech (2) and race_car (3)
    dogs = Told(lambda clip, _: np.repeat(box_mask(0)[None].astype(int), len(clip), 0), split.class_names)
    found = scores_of(split, dogs, robustness=False)
    assert found["tpavi"]["sounding"]["j"] == 1 and found["robustness"] == {}
    classes = found["tpavi"]["classes"]["class_iou"]
    assert classes[0] == 1 and classes[1:] == [0, 0, 0]


def test_labels_are_matched_by_name(tmp_path: Path) -> None:
    split = open_split(write_avss(tmp_path), "test", "v2")  # video u3: only "man"
    names = ("man", "dog")
    told = Told(lambda clip, _: np.repeat(box_mask(2)[None].astype(int), len(clip), 0), names)
    found = scores_of(split, told, robustness=False)
    assert found["dataset"]["classes"]["ddeseg"]["miou"] == 1
    assert found["dataset"]["classes"]["cavp"]["class_iou"] == [1, 0, 0, 1]
    other = scores_of(split, Told(told.maps, ("unicorn",)), robustness=False)
    assert other["tpavi"]["classes"] is None and other["tpavi"]["sounding"]["j"] == 1
    assert other["notes"] == ["Classes are not scored: the data set lacks a class of the model."]


def test_padding_of_short_videos_counts_in_avsbenchs_own_score_alone(tmp_path: Path) -> None:
    """Two videos of 5 frames are padded to 10. A predictor that marks everything as "dog" is wrong there, too."""
    split = open_split(write_avss(tmp_path), "test")
    assert isinstance(split, AVSSSplit)
    everything = Told(lambda clip, _: np.ones((len(clip), *clip.size), int), CLASSES)
    found = scores_of(split, everything, robustness=False)
    assert found["tpavi"]["classes"]["class_frames"][1] == 5 + 5 + 10 + 5 + 5
    blank = scores_of(split, Told(lambda clip, _: np.zeros((len(clip), *clip.size), int), CLASSES), robustness=False)
    share = [1 - len(np.flatnonzero(s.targets.class_maps)) / s.targets.class_maps.numel() for s in split.samples()]
    expected = (5 * share[0] + 5 * share[1] + 10 * share[2] + 10) / 30
    assert blank["tpavi"]["classes"]["class_iou"][0] == pytest.approx(expected)
    assert blank["dataset"]["sounding"]["cavp"]["accuracy"] == pytest.approx((share[0] + share[1] + 2 * share[2]) / 4)


def test_f_depends_on_the_batch_and_j_does_not(tmp_path: Path) -> None:
    """With batches of one video each has its best threshold; two videos share one."""
    split = open_split(write_s4(tmp_path), "test")
    certain = {video.name: p for video, p in zip(split.videos, (0.6, 0.9), strict=True)}
    maps = {}
    for sample in split.samples():
        scores = np.zeros((40, 56), np.float32)
        scores[box_mask(0)], scores[box_mask(1)] = certain[sample.name], certain[sample.name] - 0.2
        maps[hash_of(sample.clip)] = scores

    @dataclass
    class Soft(Told):
        def decode(self, features: SemanticFeatures, *_: Any, **__: Any) -> SemanticPrediction:
            soft = torch.from_numpy(np.repeat(maps[hash_of(features.clip)][None], 5, 0))
            return SemanticPrediction((soft > 0.5).to(torch.int16), soft.half(), self.class_names)

    soft = Soft(lambda *_: np.zeros(0), split.class_names)
    one, two = (scores_of(split, soft, robustness=False, batch_videos=n)["tpavi"]["sounding"] for n in (1, 2))
    assert one["f"] == pytest.approx(1) and two["f"] < 0.95 and (one["batches"], two["batches"]) == (2, 1)
    assert one["j"] == pytest.approx(two["j"])


def test_masks_can_be_compared_at_another_size(tmp_path: Path) -> None:
    split = open_split(write_ms3(tmp_path), "test")
    found = scores_of(split, perfect(split), size=80, robustness=False)
    assert found["tpavi"]["sounding"]["j"] > 0.97 and found["sources"] == {}
    assert found["tpavi"]["classes"] is None  # MS3 has no classes


def test_only_annotated_frames_are_scored(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path), "train")
    found = scores_of(split, perfect(split))
    assert (found["frames"], found["annotated_frames"], found["tpavi"]["sounding"]["j"]) == (10, 2, 1)
    assert found["robustness"]["silent"]["frames"] == 10


def test_unknown_pixels_are_left_out_or_taken_for_background(tmp_path: Path) -> None:
    split = open_split(write_vpo(tmp_path), "train", "ss")  # the first row is unknown
    everywhere = perfect(split)
    truth = next(split.samples()).targets.class_maps.numpy()
    everywhere.maps = lambda *_: np.where(truth == 255, 3, truth)
    found = scores_of(split, everywhere, robustness=False)
    assert found["dataset"]["classes"]["cavp"]["accuracy"] == 1 == found["tpavi"]["sounding"]["j"]
    assert found["tpavi"]["classes"] is None and "unknown pixels" in found["notes"][0]


def test_the_unmatched_sound_is_that_of_the_next_video_of_other_classes(tmp_path: Path) -> None:
    videos = [("a", "dog", "test"), ("b", "dog", "test"), ("c", "cat", "test"), ("d", "dog", "test")]
    split = open_split(write_s4(tmp_path, videos), "test")
    others = OtherSounds(perfect(split), split, 0)
    names = [(video.name, found and found.name) for video in split.videos for found in [others.unmatched(video)]]
    assert names == [("a", "c"), ("b", "c"), ("c", "d"), ("d", "c")]
    heard = []
    told = perfect(split)
    told.maps = lambda clip, sound: heard.append(sound) or np.zeros((5, *clip.size), int)
    evaluate_semantic(told, split)
    assert not heard[1].any() and np.array_equal(heard[2].numpy(), split.sound(split.videos[2]).reshape(-1))


def test_what_has_no_unmatched_sound_is_said(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path / "s4", [("a", "dog", "test"), ("b", "dog", "test")]), "test")
    found = scores_of(split, perfect(split))
    assert found["robustness"]["unmatched"]["frames"] == 0 and found["robustness"]["unmatched"]["ra"] is None
    assert found["notes"] == ["2 videos have no unmatched sound: no other video is of other classes alone."]
    split = open_split(write_ms3(tmp_path / "ms3", [("x", "test"), ("y", "test")]), "test")
    found = scores_of(split, perfect(split))
    assert found["robustness"]["unmatched"]["frames"] == 10 and "may match" in found["notes"][0]


@pytest.fixture(scope="module")
def synth(tmp_path_factory: pytest.TempPathFactory) -> SemanticSplit:
    root = tmp_path_factory.mktemp("synth")
    write_dataset(root, {"test": 3}, seed=4, size=64, seconds=(4, 4), layout="avsbench", progress=False)
    return open_split(root, "test")


def listener(split: SemanticSplit) -> Told:
    """Knows which object sounds under AVIS-Synth's soundtracks, too."""
    told, scenes, drawn = perfect(split), load_scenes(split), {}
    for video in split.videos:
        clip, rng = split.sample(video).clip, np.random.default_rng([0, scenes[video.id].video_id])
        drawn[hash_of(clip)] = soundtracks(scenes[video.id], clip.waveform, rng)

    def maps(clip: Clip, sound: Tensor | None) -> np.ndarray:
        own, tracks = told.maps(clip, sound), drawn[hash_of(clip)]
        if sound is not None and tracks.swap is not None and torch.equal(sound, tracks.waveforms["swapped"]):
            _, new, seconds = tracks.swap
            for t in np.flatnonzero(seconds):
                own[t][new.mask(int(t))] = split.class_names.index(new.class_name) + 1
        return own

    return replace(told, maps=maps)


def test_robustness_and_control_agree_on_scenes(synth: SemanticSplit) -> None:
    """Silent objects are visible there, so the unmatched sound is of no class in the picture."""
    found = scores_of(synth, listener(synth))
    assert found["robustness"]["silent"]["ra"] == found["control"]["silent_when_muted"] == 1
    assert found["robustness"]["unmatched"] == {"miou": 1, "ra": 1, "fpr": 0, "frames": 12}
    assert found["control"]["follows_swap"] == 1 and found["control"]["sums"]["swap_frames"] > 0
    assert found["control"]["iou_swapped"] < 0.2 < 0.9 < found["control"]["iou_original"]
    assert found["tpavi"]["sounding"]["j"] == 1
    truth = perfect(synth)
    deaf = scores_of(synth, replace(truth, maps=lambda clip, _: truth.maps(clip, None)))
    sounding = np.mean([s.targets.class_maps[t].any().item() for s in synth.samples() for t in range(4)])
    assert deaf["robustness"]["silent"]["ra"] == pytest.approx(1 - sounding)
    assert deaf["control"]["silent_when_foreign"] == pytest.approx(1 - sounding)
    assert deaf["control"]["follows_swap"] < 0.3 and deaf["control"]["iou_change"] == 0


def test_uncertainty_is_compared_between_frames_that_change_and_others(tmp_path: Path) -> None:
    """In video u2 another set of classes sounds in each frame; in u3 the same one in all."""
    split = open_split(write_avss(tmp_path), "test", "v1m,v2")
    uncertain = perfect(split, uncertainty=lambda t: 0.5)
    report = evaluate_semantic(uncertain, split, robustness=False)
    assert report.uncertainty_auc == 0.5 and report.uncertainty_frames == (4, 9)
    assert evaluate_semantic(perfect(split), split, robustness=False).uncertainty_auc is None


def test_masks_are_ranked_by_their_mean_probability() -> None:
    maps = torch.zeros(2, 4, 4, dtype=torch.int16)
    maps[0, 0], maps[0, 1] = 1, 2
    probabilities = torch.zeros(2, 4, 4).half()
    probabilities[0, 0], probabilities[0, 1] = 0.6, 0.8
    shown = shown_masks(SemanticPrediction(maps, probabilities, ("a", "b")))
    assert [round(score, 2) for score, _ in shown.frames[0]] == [0.8, 0.6] and shown.frames[1] == ()


def test_wrong_options_are_named(tmp_path: Path) -> None:
    split = open_split(write_s4(tmp_path), "test")
    for options, message in (({"protocols": ["paper"]}, "'paper' is unknown"), ({"batch_videos": 0}, "batch_videos=0")):
        with pytest.raises(ConfigError, match=message):
            evaluate_semantic(perfect(split), split, **options)


def test_videos_of_several_sizes_are_no_batch(tmp_path: Path) -> None:
    split = open_split(write_vpo(tmp_path), "test", "msmi")
    for path in (split.videos[1].frames[0], split.videos[1].labels[0]):
        Image.open(path).resize((30, 30), Image.Resampling.NEAREST).save(path)
    with pytest.raises(DataError, match=r"sizes \[\(30, 30\), \(40, 56\)\]: compare them at one size"):
        evaluate_semantic(perfect(split), split, batch_videos=2, robustness=False)
    assert evaluate_semantic(perfect(split), split, batch_videos=2, size=64, robustness=False).tpavi.j > 0.9


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, synth: SemanticSplit) -> dict[str, Path]:
    """Random ones of both systems, with the classes of AVIS-Synth."""
    names, folder = synth.class_names, tmp_path_factory.mktemp("weights")
    config = replace(RAVS_PRESETS["ravs-synth-tiny"], task="semantic", class_names=names, input_size=64)
    torch.manual_seed(0)
    models = {
        "avsc": AVSC(replace(AVSC_PRESETS["avsc-synth-tiny"], class_names=names, input_size=64)),
        "ravs": RAVS(replace(config, groups=(4, 3, 2), neighbours=3, decoder_dim=32, temporal_dim=32)),
    }
    return {name: save_model(model, folder / name) for name, model in models.items()}


@pytest.mark.parametrize("name", ["avsc", "ravs"])
def test_the_command_scores_weights(
    synth: SemanticSplit, weights: dict[str, Path], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.json"
    command = ["evaluate", "--task", "avs", "--weights", str(weights[name]), "--data", str(synth.root)]
    assert main([*command, "--out", str(out), "--json", "--threshold", "0.3"]) == 0
    found = json.loads(out.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert found["data"] == {"layout": "avsbench-semantic", "split": "test", "subset": None}
    assert found["settings"]["threshold"] == 0.3 and "threshold 0.3" in found["notes"][-1]
    assert (found["videos"], found["frames"]) == (3, 12) and found["weights"]["sha256"]
    assert 0 <= found["tpavi"]["sounding"]["j"] <= 1 and len(found["tpavi"]["classes"]["class_iou"]) == 13
    assert set(found["robustness"]) == {"silent", "unmatched"} and found["control"]["clips"] == 3
    assert (found["candidates_per_frame"] is None) == (name == "ravs") == (found["uncertainty"] is not None)
    again = evaluate_semantic(SemanticPredictor(weights[name], 0.3), synth, protocols=["tpavi"], robustness=False)
    assert again.to_dict()["tpavi"] == found["tpavi"]


def test_the_command_prints_a_table(
    synth: SemanticSplit, weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--task", "avs", "--weights", str(weights["avsc"]), "--data", str(synth.root)]
    assert main([*command, "--protocol", "tpavi", "--no-robustness"]) == 0
    printed = capsys.readouterr().out
    assert (
        "| tpavi | J, F, J&F: what sounds |" in printed and "dataset" not in printed and "silent sound" not in printed
    )
    assert "candidates per frame" in printed


def test_the_table_names_every_score(synth: SemanticSplit) -> None:
    table = semantic_table(evaluate_semantic(listener(synth), synth))
    for text in ("dataset, CAVP", "J by source | silent", "| unmatched sound |", "| 100.00, 100.00 |", "swapped sound"):
        assert text in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "x"], "needs --weights of an AVSC or RAVS and --data"),
        (["--weights", "random", "--data", "x"], "needs --weights of an AVSC"),
        (["--weights", "x", "--data", "x", "--listen"], "--listen cannot be used with --task avs"),
        (["--weights", "x", "--data", "x", "--top-k", "3"], "--top-k cannot be used with --task avs"),
        (["--weights", "x", "--data", "x", "--protocol", "paper"], "--protocol paper is not of --task avs"),
        (["--weights", "x", "--data", "nowhere"], "nowhere has no table"),
    ],
)
def test_wrong_combinations_of_options_are_reported(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--task", "avs", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_options_of_the_semantic_task_need_it(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--resize", "224"], ["--no-robustness"], ["--protocol", "tpavi"]):
        assert main(["evaluate", "--gt", "a.json", "--results", "b.json", *flags]) == 1
        assert "--task avis" in capsys.readouterr().err


def test_weights_of_an_instance_model_are_refused(synth: SemanticSplit, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--task", "avs", "--weights", "acvis-synth-tiny", "--data", str(synth.root)]) == 1
    assert "leave --task avs out, or give weights of AVSC or RAVS" in capsys.readouterr().err
