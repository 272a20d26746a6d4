"""The stages of a run: what each trains, on which samples, with which rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from acvis_kit.config import PRESETS
from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training import stages
from acvis_kit.training.optimizer import freeze
from acvis_kit.training.parallel import make_accelerator
from acvis_kit.training.recipe import FILMED, SYNTH, Recipe, RuntimeConfig
from acvis_kit.training.stages import Stage, audio_pretraining, stages_of, visual_pretraining, whole_network
from acvis_kit.training.trainer import Trainer
from tests.conftest import SEEING, TINY, make_model


@pytest.fixture(scope="module")
def clips(synth_data: Path) -> TrainingClips:
    return TrainingClips(AVISegSplit(synth_data, "train"), targets="visible", counterfactual_audio=0.4, seed=0)


def model_for(clips: TrainingClips) -> ACVIS:
    return make_model(replace(SEEING, backbone="compact", class_names=clips.class_names))


def run(model: ACVIS, stage: Stage, folder: Path, workers: int = 0) -> float:
    """Run one stage; returns its loss at the end. After one step, that is the loss of the initial weights."""
    trainer = Trainer(model, [stage], folder, make_accelerator(device="cpu"), RuntimeConfig(workers=workers))
    with torch.random.fork_rng():
        assert trainer.run()
    assert trainer.progress.loss is not None
    return trainer.progress.loss


def changed_parts(model: ACVIS, before: dict[str, torch.Tensor]) -> set[str]:
    return {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: ACVIS) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def audio(model: ACVIS, clips: TrainingClips, steps: int) -> Stage:
    return audio_pretraining(model, clips, steps)


def visual(model: ACVIS, clips: TrainingClips, steps: int) -> Stage:
    return visual_pretraining(model, clips, steps, batch=4)


@pytest.mark.slow
def test_the_audio_encoder_improves_and_nothing_else_changes(clips: TrainingClips, tmp_path: Path) -> None:
    model = model_for(clips)

    def loss() -> float:
        with torch.no_grad():
            pairs = [clips.sound(draw, Recipe.audio_pretraining_seconds) for draw in range(8)]
            logits = model.hear(torch.stack([sound.log_mel for sound in pairs])).class_logits
            labels = torch.stack([sound.audio_labels for sound in pairs]).float()
            return float(F.binary_cross_entropy_with_logits(logits, labels))

    before, initial = copied(model), loss()
    run(model, audio(model, clips, 24), tmp_path)
    assert changed_parts(model, before) == {"audio_encoder", "audio_class_head"}
    assert loss() < 0.8 * initial
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.slow
def test_the_visual_parts_improve_and_nothing_else_changes(
    clips: TrainingClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "WARMUP", 1)
    model = model_for(clips)
    before = copied(model)
    other = model_for(clips)
    initial = run(other, visual(other, clips, 1), tmp_path / "one")
    run(model, visual(model, clips, 12), tmp_path / "all")
    assert changed_parts(model, before) == {"backbone", "pixel_decoder", "pixel_class_head", "auxiliary_heads"}
    assert all(p.grad is None for p in model.parameters())
    assert run(model, visual(model, clips, 1), tmp_path / "after") < 0.9 * initial


@pytest.mark.parametrize("stage", [audio, pytest.param(visual, marks=pytest.mark.slow)])
def test_a_repeated_stage_ends_with_the_same_weights_with_and_without_workers(
    clips: TrainingClips, tmp_path: Path, stage: Callable[[ACVIS, TrainingClips, int], Stage]
) -> None:
    first, second = model_for(clips), model_for(clips)
    before = copied(first)
    run(first, stage(first, clips, 3), tmp_path / "first")
    run(second, stage(second, clips, 3), tmp_path / "second", workers=1)
    assert changed_parts(first, before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_classifier_of_masks_learns_from_annotated_masks(
    clips: TrainingClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "WARMUP", 1)
    small = replace(
        PRESETS["acvis-filmed-small"], hidden_dim=32, num_frame_queries=4, num_video_queries=4, feedforward_dim=32,
        class_names=clips.class_names,
    )  # fmt: skip
    model = freeze(make_model(small), ("backbone",))
    stage = visual(model, clips, 6)
    batch = stage.collate([stage.sample(draw) for draw in range(4)])

    def loss() -> float:
        return stage.losses(stage.network, batch, [0], lambda terms: terms)["mask_class"].item()

    before, initial = copied(model), loss()
    run(model, stage, tmp_path)
    assert changed_parts(model, before) == {"pixel_decoder", "pixel_class_head", "mask_classifier"}
    assert loss() < initial


def test_filmed_weights_without_the_teachers_head_can_be_trained_on(clips: TrainingClips) -> None:
    """The weights that ship have no such head; the recipe must not freeze what is not there."""
    config = replace(PRESETS["acvis-filmed-small"], class_names=clips.class_names, audio_teacher_dim=0)
    model = make_model(config)
    whole_network(model, clips, FILMED).prepare()
    assert not any(p.requires_grad for p in model.audio_encoder.parameters())


class Loudness:
    """A teacher whose embeddings are the level of each quarter of a second, about 0 to 6."""

    dim = 4

    def __call__(self, seconds: np.ndarray) -> np.ndarray:
        return 40 * np.abs(seconds).reshape(len(seconds), 4, -1).mean(-1, dtype=np.float32)


def test_the_audio_encoder_learns_to_predict_its_teacher(clips: TrainingClips, tmp_path: Path) -> None:
    model = make_model(replace(model_for(clips).config, audio_teacher_dim=4))
    stage = audio_pretraining(model, clips, 24, teacher=Loudness())
    batch = stage.collate([stage.sample(draw) for draw in range(4)])
    assert batch.teacher.shape == (4, Recipe.audio_pretraining_seconds, 4)

    def losses() -> dict[str, float]:
        found = stage.losses(stage.network, batch, [0], lambda terms: terms)
        return {name: loss.item() for name, loss in found.items()}

    before = losses()
    run(model, stage, tmp_path)
    after = losses()
    assert after["audio_teacher"] < 0.8 * before["audio_teacher"] and after["audio_class"] < before["audio_class"]
    # the mean squared error to standardised targets is about 1 where nothing is predicted
    assert before["audio_teacher"] == pytest.approx(model.config.audio_teacher_weight, rel=0.5)


def test_a_teacher_that_does_not_fit_is_refused(clips: TrainingClips) -> None:
    with pytest.raises(ConfigError, match="set audio_teacher_dim=4"):
        audio_pretraining(model_for(clips), clips, 1, teacher=Loudness())
    recipe = replace(SYNTH, audio_pretraining_steps=0)
    with pytest.raises(ConfigError, match="used in audio pretraining"):
        stages_of(model_for(clips), clips, recipe, teacher=Loudness())


@pytest.mark.slow
def test_a_part_can_be_frozen_after_its_pretraining(clips: TrainingClips, tmp_path: Path) -> None:
    """Its batch norms too: they use and keep the statistics of their pretraining."""
    model = make_model(replace(model_for(clips).config, audio_encoder="efficientnet_lite0"))
    heard = ("audio_encoder", "audio_class_head")
    recipe = replace(
        SYNTH, steps=2, batch=2, clip_frames=2, audio_pretraining_steps=2, visual_pretraining_steps=0,
        frozen_after_pretraining=heard,
    )  # fmt: skip
    first, second = stages_of(model, clips, recipe)
    initial = copied(model)
    run(model, first, tmp_path / "first")
    assert changed_parts(model, initial) == set(heard)
    before = copied(model)
    run(model, second, tmp_path / "second")
    changed = changed_parts(model, before)
    assert "tracker" in changed and not changed & set(heard)


def test_a_frozen_part_does_not_change(clips: TrainingClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "WARMUP", 1)
    model = freeze(model_for(clips), ("backbone",))
    before = copied(model)
    run(model, visual(model, clips, 2), tmp_path)
    changed = changed_parts(model, before)
    assert "pixel_decoder" in changed and "backbone" not in changed


def test_parts_of_a_step_have_the_gradient_of_the_whole_step(clips: TrainingClips, tmp_path: Path) -> None:
    """Of the audio stage, whose loss is a mean over equally large samples."""
    weights = []
    for parts in (1, 2):
        model = model_for(clips).double()
        run(model, replace(audio(model, clips, 3), accumulation=parts), tmp_path / str(parts))
        weights.append(copied(model))
    farthest = max((weights[0][name] - weights[1][name]).abs().max().item() for name in weights[0])
    assert farthest < 1e-12


def test_the_rate_warms_up_and_ends_at_zero(clips: TrainingClips) -> None:
    stage = audio(model_for(clips), clips, 1000)
    rates = [stage.rates(step)[0] for step in range(1000)]
    assert rates[0] == pytest.approx(1 / stages.WARMUP) and max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] < 1e-4 and rates.index(max(rates)) == pytest.approx(stages.WARMUP, abs=1)
    assert [group["base_lr"] for group in stage.groups] == [1.5e-3] and stage.clip_norm == 2.0


def test_a_recipe_lists_its_stages_in_order(clips: TrainingClips) -> None:
    def names(recipe: Recipe) -> list[tuple[str, int, int]]:
        return [(stage.name, stage.steps, stage.batch) for stage in stages_of(model_for(clips), clips, recipe)]

    whole = ("training", SYNTH.steps, SYNTH.batch)
    assert names(SYNTH) == [("audio pretraining", 12_000, 4), ("visual pretraining", 1500, 32), whole]
    assert names(replace(SYNTH, audio_pretraining_steps=0, visual_pretraining_batch=64)) == [
        ("visual pretraining", 1500, 64),
        whole,
    ]
    assert names(replace(SYNTH, audio_pretraining_steps=0, visual_pretraining_steps=0)) == [whole]


def test_parameters_without_a_loss_are_predicted_from_the_configuration(clips: TrainingClips) -> None:
    """The audio vector is read by the tracker, by the class head, or by queries that attend to it."""

    def idle(**changes: object) -> bool:
        patch = replace(TINY, audio_encoder="compact", audio_tokens="patch", class_names=clips.class_names)
        return whole_network(make_model(replace(patch, **changes)), clips, SYNTH).idle_parameters

    assert not idle()
    assert idle(video_fusion=False, audio_classes=False)
    assert not idle(video_fusion=False, audio_classes=True)
    assert not idle(video_fusion=False, audio_classes=False, audio_tokens="clip")
    assert all(config.video_fusion or config.audio_tokens == "clip" for config in PRESETS.values())


def test_networks_without_the_head_of_a_stage_are_refused(clips: TrainingClips) -> None:
    with pytest.raises(ConfigError, match="audio_classes=True"):
        audio(make_model(replace(TINY, class_names=clips.class_names)), clips, 1)
    with pytest.raises(ConfigError, match="pixel_classes=True"):
        visual(make_model(replace(SEEING, class_names=clips.class_names, pixel_classes=False)), clips, 1)


def test_a_stage_whose_parts_are_all_frozen_is_refused(clips: TrainingClips) -> None:
    model = freeze(model_for(clips), ("audio_encoder", "audio_class_head"))
    with pytest.raises(ConfigError, match="audio pretraining: all of its parts are frozen"):
        audio(model, clips, 1)


def test_data_without_the_labels_of_a_stage_are_refused(synth_data: Path) -> None:
    split = AVISegSplit(synth_data, "train")
    with pytest.raises(ConfigError, match="visual_pretraining_steps=0"):
        TrainingClips(split, targets="sounding").picture(0)
    split.scenes_file = synth_data / "none.json"
    with pytest.raises(DataError, match="audio_pretraining_steps=0"):
        TrainingClips(split).sound(0, 2)


def test_a_sample_depends_only_on_its_draw_number(clips: TrainingClips) -> None:
    (mel, labels, _), (again, *_), (other, *_) = clips.sound(5, 3), clips.sound(5, 3), clips.sound(6, 3)
    assert mel.shape == (3, 96, 64) and labels.shape == (3, len(clips.class_names)) and labels.dtype == torch.bool
    assert torch.equal(mel, again) and not torch.equal(mel, other)
    one, same, another = clips.picture(5), clips.picture(5), clips.picture(6)
    assert one.frames.shape[:2] == (1, 3) and one.log_mel is None
    assert one.targets.masks.shape[1] == 1 and one.targets.masks.any()
    assert torch.equal(one.frames, same.frames) and not torch.equal(one.frames, another.frames)
