"""`acvis train` from its arguments."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acvis_kit.cli import main
from acvis_kit.cli.settings import with_fields
from acvis_kit.config import PRESETS
from acvis_kit.errors import ConfigError
from acvis_kit.training.recipe import PAPER, SYNTH, Recipe, RuntimeConfig
from acvis_kit.weights.load import load_model
from tests.training.tiny import CONFIG, write_data

TINY = PRESETS["acvis-synth-tiny"]
SETTINGS = [
    f"{name}={','.join(value) if isinstance(value, tuple) else json.dumps(value).strip(chr(34))}"
    for name, value in vars(CONFIG).items()
    if value != getattr(TINY, name)
]


@pytest.fixture(autouse=True)
def same_generators() -> Iterator[None]:
    """Training sets the global generators."""
    with torch.random.fork_rng():
        yield


def test_one_command_trains_and_the_same_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "run"
    command = ["train", "--preset", "acvis-synth-tiny", "--data", str(data), "--out", str(out), "--batch", "2"]
    command += ["--steps", "2", "--clip-frames", "2", "--eval-clips", "1", "--workers", "0", "--device", "cpu"]
    command += ["--set", "augmentation=none", *(part for text in SETTINGS for part in ("--set", text))]
    assert main([*command, "--max-minutes", "0.000001"]) == 0, "stopping at --max-minutes is no failure"
    assert "step 1;" in capsys.readouterr().err
    assert main([*command, "--shard-mb", "1"]) == 0
    said = capsys.readouterr().err
    assert "step-000001" in said and "step 2: mAP" in said and str(out / "last") in said
    assert load_model(out / "best").config == replace(CONFIG, class_names=("person", "dog", "cat"))
    recipe = json.loads((out / "run.json").read_text())["same"]["recipe"]
    expected = {"steps": 2, "batch": 2, "augmentation": "none", "audio_pretraining_steps": 0}
    assert {name: recipe[name] for name in expected} == expected

    assert main([*command, "--lr", "0.1"]) == 1
    assert "lr was 0.001, is 0.1" in capsys.readouterr().err
    fine = ["train", "--init-from", str(out / "best"), "--data", str(data), "--out", str(tmp_path / "fine")]
    fine += ["--steps", "1", "--batch", "1", "--clip-frames", "2", "--eval-clips", "0", "--workers", "0"]
    assert main([*fine, "--device", "cpu", "--set", "augmentation=none"]) == 0, (
        "the configuration is that of the weights"
    )
    assert "3 of 3 classes" in capsys.readouterr().err


def test_weights_to_fine_tune_are_not_pretrained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Recipe] = []
    monkeypatch.setattr("acvis_kit.training.run.train", lambda config, recipe, *_, **__: asked.append(recipe))
    command = ["train", "--preset", "acvis-synth-tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    for more in ([], ["--init-from", "w"], ["--init-from", "w", "--set", "visual_pretraining_steps=7"]):
        assert main([*command, *more]) == 0
    stages = [(recipe.audio_pretraining_steps, recipe.visual_pretraining_steps) for recipe in asked]
    assert stages == [(SYNTH.audio_pretraining_steps, SYNTH.visual_pretraining_steps), (0, 0), (0, 7)]
    assert min(stages[0]) > 0


def test_weights_to_fine_tune_may_be_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        "acvis_kit.training.run.train", lambda config, *_, **more: asked.append((config, more["init_from"]))
    )
    assert main(["train", "--init-from", "acvis-synth-tiny", "--data", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert asked == [(load_model("acvis-synth-tiny").config, "acvis-synth-tiny")]


def test_settings_change_the_part_that_has_the_field() -> None:
    settings = ["hidden_dim=64", "lr=2e-3", "count_gate=true", "backbone=swin_t", "betas=0.9,0.95", "audio_folder=F"]
    settings += ["class_names=dog, cat", "pixel_std=[1, 2, 3]", "frozen=backbone", "drop_path=.1"]
    config, recipe = with_fields(settings, TINY, PAPER)
    assert (config.hidden_dim, config.count_gate, config.backbone) == (64, True, "swin_t")
    assert (config.class_names, config.pixel_std) == (("dog", "cat"), (1, 2, 3))
    assert (recipe.lr, recipe.betas, recipe.audio_folder) == (2e-3, (0.9, 0.95), "F")
    assert recipe.frozen == ("backbone",) and config.drop_path == 0.1


@pytest.mark.parametrize(
    "text", ["nothing=1", "lr", "hidden_dim=wide", "hidden_dim=1.5", "count_gate=1", "lr=true", "hidden_dim=30"]
)
def test_a_field_that_cannot_be_set_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        with_fields([text], TINY, PAPER)


def test_an_empty_tuple_and_none_can_be_set() -> None:
    config, recipe = with_fields(["auxiliary_targets=", "batch_per_process=3"], TINY, PAPER)
    assert config.auxiliary_targets == () and recipe.batch_per_process == 3
    assert with_fields(["batch_per_process=none"], TINY, recipe)[1] == PAPER


def test_the_help_is_made_of_the_fields_and_fits_on_two_screens(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for part in (Recipe, RuntimeConfig):
        for field in fields(part):
            assert f"--{field.name.replace('_', '-')} " in shown, field.name
            assert field.metadata["help"].split()[0] in shown
    assert len(shown.splitlines()) <= 80


def test_fewer_steps_shorten_pretraining_in_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Recipe] = []
    monkeypatch.setattr("acvis_kit.training.run.train", lambda config, recipe, *_, **__: asked.append(recipe))
    command = ["train", "--preset", "acvis-synth-tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    for more in (["--steps", "54"], ["--steps", "54", "--audio-pretraining-steps", "7"]):
        assert main([*command, *more]) == 0
    assert [(r.steps, r.audio_pretraining_steps, r.visual_pretraining_steps) for r in asked] == [
        (54, 120, 15),
        (54, 7, 15),
    ]
    assert "audio_pretraining_steps=120" in capsys.readouterr().err


def test_a_batch_that_does_not_fit_the_processes_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data folder does not even exist: nothing was read."""
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", 8)
    command = ["train", "--preset", "acvis-r50", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    assert main([*command, "--device", "cpu"]) == 1
    assert "--batch 2 cannot be divided among 8 processes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("audio_steps", "audio_pretraining_steps"),
        ("rest", "frozen_fraction"),
        ("pixel_signs", "auxiliary_targets"),
        ("pixel_sign_weight", "auxiliary_weight"),
    ],
)
def test_old_names_of_fields_cause_an_error_that_names_the_new_ones(tmp_path: Path, capsys, old: str, new: str) -> None:
    command = ["train", "--preset", "acvis-synth-tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*command, "--set", f"{old}=0"]) == 1
    said = capsys.readouterr().err.replace("-", "_")
    assert f"{old} is now called" in said and new in said


def test_a_run_that_ctrl_c_stopped_has_its_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every command: 128 + the number of the signal. A run that stops at --max-minutes has status 0."""

    def stopped_by(number: int | None) -> Any:
        def run(*_: Any, stop: Any, **__: Any) -> bool:
            stop.number = number
            return False

        return run

    command = ["train", "--preset", "acvis-synth-tiny", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (None, 0)):
        monkeypatch.setattr("acvis_kit.training.run.train", stopped_by(number))
        assert main(command) == status
