from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import ConfigError, DataError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.training import RuntimeConfig, pretrain_visual, recipe_of, run, stage, train
from acvis_kit.training.pretrain_audio import SECONDS, pretrain_audio
from acvis_kit.weights.load import WEIGHTS_FILE
from tests.conftest import SEEING, TINY, make_model

STEPS = 24


@pytest.fixture(scope="module")
def clips(synth_data: Path) -> TrainingClips:
    return TrainingClips(AVISegSplit(synth_data, "train"), targets="visible", counterfactual_audio=0.4, seed=0)


def model_for(clips: TrainingClips) -> ACVIS:
    return make_model(replace(SEEING, class_names=clips.class_names))


def loss_on(model: ACVIS, clips: TrainingClips) -> float:
    with torch.no_grad():
        pairs = [clips.sound(draw, SECONDS) for draw in range(8)]
        logits = model.hear(torch.stack([log_mel for log_mel, _ in pairs])).class_logits
        return float(F.binary_cross_entropy_with_logits(logits, torch.stack([h for _, h in pairs]).float()))


@pytest.mark.slow
def test_the_audio_encoder_improves_and_nothing_else_changes(clips: TrainingClips) -> None:
    model = model_for(clips)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    initial = loss_on(model, clips)
    pretrain_audio(model, clips, STEPS, workers=0)
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"audio_encoder", "audio_class_head"}
    assert loss_on(model, clips) < 0.8 * initial
    assert all(p.grad is None for p in model.parameters())


def test_repeated_audio_pretraining_ends_with_the_same_weights(clips: TrainingClips) -> None:
    first, second = model_for(clips), model_for(clips)
    pretrain_audio(first, clips, 4, workers=0)
    pretrain_audio(second, clips, 4, workers=1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_resumed_run_does_not_repeat_audio_pretraining(
    synth_data: Path, clips: TrainingClips, tmp_path: Path
) -> None:
    config = replace(SEEING, class_names=clips.class_names)
    recipe = replace(
        recipe_of(config),
        steps=2,
        batch=2,
        clip_frames=2,
        audio_pretraining_steps=2,
        visual_pretraining_steps=0,
        warmup=0,
    )
    runtime = RuntimeConfig(workers=0, eval_clips=0, device="cpu")
    messages: list[str] = []
    assert not train(
        config, recipe, synth_data, tmp_path, runtime=replace(runtime, max_minutes=1e-6), say=messages.append
    )
    assert train(config, recipe, synth_data, tmp_path, runtime=runtime, say=messages.append)
    assert sum("audio pretraining finished" in text for text in messages) == 1


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 4, 6])  # of six: in audio pretraining, at the start and end of visual
@pytest.mark.parametrize("minutes", [10.0, 0.0])  # between checkpoints: only the last of a stage, or all
def test_a_run_killed_in_pretraining_ends_with_the_same_weights(
    synth_data: Path, clips: TrainingClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, minutes: float
) -> None:
    monkeypatch.setattr(pretrain_visual, "PICTURES", 2)
    config = replace(SEEING, backbone="compact", class_names=clips.class_names, pixel_classes=True)
    recipe = replace(
        recipe_of(config),
        steps=1,
        batch=2,
        clip_frames=2,
        audio_pretraining_steps=3,
        visual_pretraining_steps=3,
        warmup=0,
    )
    runtime = RuntimeConfig(workers=0, eval_clips=0, device="cpu", checkpoint_every=minutes)
    steps, rate = count(1), stage._rate

    def interrupted(*what: int) -> float:
        if next(steps) == step:
            raise KeyboardInterrupt
        return rate(*what)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, recipe, synth_data, tmp_path / "killed", runtime=runtime)
    torch.rand(3)  # the global generator is in another state now
    assert train(config, recipe, synth_data, tmp_path / "killed", runtime=runtime)
    assert not (tmp_path / "killed" / run.STAGES).exists()

    assert train(config, recipe, synth_data, tmp_path / "whole", runtime=runtime)
    killed, whole = (load_file(tmp_path / name / "last" / WEIGHTS_FILE) for name in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_max_minutes_stops_pretraining_too(synth_data: Path, clips: TrainingClips, tmp_path: Path) -> None:
    config = replace(SEEING, class_names=clips.class_names)
    recipe = replace(
        recipe_of(config),
        steps=1,
        batch=2,
        clip_frames=2,
        audio_pretraining_steps=3,
        visual_pretraining_steps=0,
        warmup=0,
    )
    runtime = RuntimeConfig(workers=0, eval_clips=0, device="cpu", max_minutes=1e-6)
    messages: list[str] = []
    pieces = [train(config, recipe, synth_data, tmp_path, runtime=runtime, say=messages.append) for _ in range(3)]
    assert pieces == [False, False, True]  # a step each; the last call does the third and the step of the whole network
    assert sum("stopped in pretraining" in text for text in messages) == 2
    assert sum("audio pretraining finished" in text for text in messages) == 1


def test_a_sound_depends_only_on_its_draw_number(clips: TrainingClips) -> None:
    (mel, labels), (again, _), (other, _) = clips.sound(5, 3), clips.sound(5, 3), clips.sound(6, 3)
    assert mel.shape == (3, 96, 64) and labels.shape == (3, len(clips.class_names)) and labels.dtype == torch.bool
    assert torch.equal(mel, again) and not torch.equal(mel, other)


def test_networks_without_audio_classes_and_data_without_scenes_are_refused(
    synth_data: Path, clips: TrainingClips
) -> None:
    with pytest.raises(ConfigError, match="audio_classes=True"):
        pretrain_audio(make_model(replace(TINY, class_names=clips.class_names)), clips, 1, workers=0)
    split = AVISegSplit(synth_data, "train")
    split.scenes_file = synth_data / "none.json"
    with pytest.raises(DataError, match="audio_pretraining_steps=0"):
        TrainingClips(split).sound(0, 2)
