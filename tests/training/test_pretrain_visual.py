from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training import RuntimeConfig, recipe_of, stage, train
from acvis_kit.training import pretrain_visual as visual
from acvis_kit.training.checkpoint import read_checkpoint_folder
from acvis_kit.training.optimizer import freeze
from acvis_kit.training.pretrain_visual import pretrain_visual
from acvis_kit.training.recipe import VISUAL_PARTS
from acvis_kit.weights.load import load_model
from tests.conftest import SEEING, make_model

STEPS = 12


@pytest.fixture(autouse=True)
def few_frames_and_no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visual, "PICTURES", 4)
    monkeypatch.setattr(stage, "WARMUP", 1)


@pytest.fixture(scope="module")
def clips(synth_data: Path) -> TrainingClips:
    return TrainingClips(AVISegSplit(synth_data, "train"), targets="visible", seed=0)


def model_for(clips: TrainingClips) -> ACVIS:
    return make_model(replace(SEEING, backbone="compact", class_names=clips.class_names))


def pretrained(model: ACVIS, clips: TrainingClips, steps: int, workers: int = 0) -> float:
    """The loss that is reported at the end; after one step, that of the initial weights."""
    messages: list[str] = []
    pretrain_visual(model, clips, steps, workers=workers, say=messages.append)
    return float(messages[0].rpartition(" ")[2])


@pytest.mark.slow
def test_the_visual_parts_improve_and_nothing_else_changes(clips: TrainingClips) -> None:
    model = model_for(clips)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initial = pretrained(model_for(clips), clips, 1)
    pretrained(model, clips, STEPS)
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"backbone", "pixel_decoder", "pixel_class_head", "pixel_sign_head"}
    assert all(p.grad is None for p in model.parameters())
    assert pretrained(model, clips, 1) < 0.9 * initial


def test_a_frozen_part_does_not_change(clips: TrainingClips) -> None:
    model = freeze(model_for(clips), ("backbone",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pretrained(model, clips, 2)
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert "pixel_decoder" in changed and "backbone" not in changed


@pytest.mark.slow
def test_repeated_visual_pretraining_ends_with_the_same_weights(clips: TrainingClips) -> None:
    first, second = model_for(clips), model_for(clips)
    pretrained(first, clips, 2)
    pretrained(second, clips, 2, workers=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_resumed_run_does_not_repeat_visual_pretraining(
    synth_data: Path, clips: TrainingClips, tmp_path: Path
) -> None:
    config = replace(SEEING, backbone="compact", class_names=clips.class_names, pixel_classes=True)
    recipe = replace(
        recipe_of(config),
        steps=2,
        batch=2,
        clip_frames=2,
        audio_pretraining_steps=0,
        visual_pretraining_steps=1,
        warmup=0,
    )
    runtime = RuntimeConfig(workers=0, eval_clips=0, device="cpu")
    messages: list[str] = []
    assert not train(
        config, recipe, synth_data, tmp_path, runtime=replace(runtime, max_minutes=1e-6), say=messages.append
    )
    assert train(config, recipe, synth_data, tmp_path, runtime=runtime, say=messages.append)
    assert sum("visual pretraining finished" in text for text in messages) == 1


def test_pretrained_parts_stay_frozen_while_the_others_are_trained(synth_data: Path, tmp_path: Path) -> None:
    config = replace(SEEING, backbone="compact", pixel_classes=True)
    recipe = replace(
        recipe_of(config),
        steps=2,
        batch=2,
        clip_frames=2,
        audio_pretraining_steps=0,
        visual_pretraining_steps=1,
        warmup=0,
    )
    recipe = replace(recipe, frozen_fraction=1.0, ema=0.0)
    train(config, recipe, synth_data, tmp_path, runtime=RuntimeConfig(workers=0, eval_clips=0, device="cpu"))
    before, _ = read_checkpoint_folder(tmp_path / "checkpoints" / "step-000000")
    after = load_model(tmp_path / "last").state_dict()
    changed = {name for name, value in before["model"].items() if not torch.equal(value, after[name])}
    assert any(name.startswith("tracker.") for name in changed)
    assert not [name for name in changed if name.partition(".")[0] in VISUAL_PARTS]


def test_a_picture_depends_only_on_its_draw_number(clips: TrainingClips) -> None:
    one, again, other = clips.picture(5), clips.picture(5), clips.picture(6)
    assert one.frames.shape[:2] == (1, 3) and one.log_mel is None
    assert one.targets.masks.shape[1] == 1 and one.targets.masks.any()
    assert torch.equal(one.frames, again.frames) and not torch.equal(one.frames, other.frames)


def test_networks_without_pixel_classes_and_data_without_silent_objects_are_refused(
    synth_data: Path, clips: TrainingClips
) -> None:
    with pytest.raises(ConfigError, match="pixel_classes=True"):
        pretrain_visual(
            make_model(replace(SEEING, class_names=clips.class_names, pixel_classes=False)), clips, 1, workers=0
        )
    with pytest.raises(ConfigError, match="visual_pretraining_steps=0"):
        TrainingClips(AVISegSplit(synth_data, "train"), targets="sounding").picture(0)
