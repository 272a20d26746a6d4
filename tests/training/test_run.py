"""From a data set to weights, in this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.data.training_clips import TrainingClips
from acvis_kit.errors import AcvisError, ConfigError, DataError
from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder
from acvis_kit.training.run import claim, train
from acvis_kit.training.trainer import Trainer
from acvis_kit.weights.load import load_model
from tests.training.tiny import CLASSES, CONFIG, RECIPE, RUNTIME, write_data

SHORT = replace(RECIPE, steps=3)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bit-identical results on any machine; restores the global generators."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of 8 steps."""
    out = tmp_path_factory.mktemp("run")
    assert train(CONFIG, RECIPE, data, out, runtime=RUNTIME, say=lambda _: None)
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "last").state_dict()


def assert_equal(run: Path, other: Path) -> None:
    first, second = weights(run), weights(other)
    assert all(torch.equal(first[key], second[key]) for key in first)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_run_leaves_weights_that_load_and_a_log(finished: Path) -> None:
    for name in ("last", "best"):
        assert load_model(finished / name).config.class_names == CLASSES
    steps = [line for line in log(finished) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 9))
    assert steps[0]["loss"] == pytest.approx(
        sum(v for k, v in steps[0].items() if "/" in k or k in ("count", "similarity")), rel=1e-4
    )
    assert min(line["grad_norm"] for line in steps) > 0 and steps[0]["lr"] == RECIPE.lr / 2
    assert [line["step"] for line in log(finished) if "evaluation" in line] == [4, 8]
    run = json.loads((finished / "run.json").read_text())
    assert run["same"]["recipe"]["steps"] == 8 and run["kit"] and len(run["same"]["data"]["truth"]) == 64


def test_training_lowers_the_loss(finished: Path) -> None:
    """Means over steps whose batches contain objects; the losses of empty batches are far lower."""
    losses = [line["loss"] for line in log(finished) if line.get("frame/mask")]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_a_finished_run_does_not_change(data: Path, finished: Path) -> None:
    before = weights(finished)
    said: list[str] = []
    assert train(CONFIG, RECIPE, data, finished, runtime=RUNTIME, say=said.append)
    assert any("0 steps" in text for text in said)
    assert all(torch.equal(before[key], value) for key, value in weights(finished).items())


def test_workers_change_nothing(data: Path, finished: Path, tmp_path: Path) -> None:
    assert train(CONFIG, RECIPE, data, tmp_path, runtime=replace(RUNTIME, workers=2, eval_clips=0), say=lambda _: None)
    assert_equal(finished, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_and_the_same_command_resumes_it(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Trainer, "step", calling(Trainer.step, 5, lambda: os.kill(os.getpid(), number)))
    said: list[str] = []
    assert not train(CONFIG, RECIPE, data, tmp_path, runtime=RUNTIME, say=said.append)
    assert "step 5" in said[-1]
    assert load_model(tmp_path / "last").config.class_names == CLASSES
    assert train(CONFIG, RECIPE, data, tmp_path, runtime=RUNTIME, say=said.append)
    assert_equal(finished, tmp_path)
    assert [line["step"] for line in log(tmp_path) if "loss" in line] == list(range(1, 9))


def calling(function: Callable[..., Any], calls: int, then: Callable[[], None]) -> Callable[..., Any]:
    """`function`, with `then` called after its `calls`-th call."""
    done = 0

    def wrapped(*args: Any) -> Any:
        nonlocal done
        done += 1
        result = function(*args)
        if done == calls:
            then()
        return result

    return wrapped


def test_max_minutes_stops_with_a_checkpoint(data: Path, finished: Path, tmp_path: Path) -> None:
    short = replace(RUNTIME, max_minutes=1e-9)
    for step in (1, 2):  # one step each time
        said: list[str] = []
        assert not train(CONFIG, RECIPE, data, tmp_path, runtime=short, say=said.append)
        assert f"step {step}; the same command resumes" in said[-1]
    assert train(CONFIG, RECIPE, data, tmp_path, runtime=RUNTIME, say=lambda _: None)
    assert_equal(finished, tmp_path)


def test_a_missed_evaluation_is_made_after_resuming(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "step", calling(Trainer.step, 2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    runtime = replace(RUNTIME, eval_every=2)
    assert not train(CONFIG, SHORT, data, tmp_path, runtime=runtime, say=lambda _: None)
    assert not (tmp_path / "best").exists()
    assert train(CONFIG, SHORT, data, tmp_path, runtime=runtime, say=lambda _: None)
    assert [line["step"] for line in log(tmp_path) if "evaluation" in line] == [2, 3]


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_that_are_no_runs_are_neither_removed_nor_replaced(overwrite: bool, data: Path, tmp_path: Path) -> None:
    own = [tmp_path / "mine" / name for name in ("best/model.safetensors", "checkpoints/mine.txt", "log.jsonl")]
    for file in own:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no run\.json.*holds checkpoints, best, log\.jsonl.*another --out"):
        train(CONFIG, SHORT, data, tmp_path / "mine", runtime=RUNTIME, overwrite=overwrite)
    assert [file.read_text(encoding="utf-8") for file in own] == ["mine"] * 3
    assert not (tmp_path / "mine" / "run.json").exists()


def test_another_recipe_in_the_same_folder_is_refused_and_overwrite_starts_again(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"another run: lr was 0\.001, is 0\.002.*--overwrite"):
        train(CONFIG, replace(RECIPE, lr=2e-3), data, out, runtime=RUNTIME)
    with pytest.raises(ConfigError, match=r"window_size was 6, is 3"):
        train(replace(CONFIG, window_size=3), RECIPE, data, out, runtime=RUNTIME)
    with pytest.raises(ConfigError, match=r"data\.truth"):
        train(CONFIG, RECIPE, write_data(tmp_path / "other", {"train": 4, "val": 1}), out, runtime=RUNTIME)
    quick = replace(SHORT, steps=1)
    assert train(CONFIG, quick, data, out, runtime=replace(RUNTIME, eval_clips=0), overwrite=True, say=lambda _: None)
    assert [line["step"] for line in log(out)] == [1] and not (out / "best").exists()
    said: list[str] = []  # with overwrite the same command would begin anew
    short = replace(RUNTIME, eval_clips=0, max_minutes=1e-9)
    assert not train(CONFIG, replace(SHORT, steps=2), data, out, runtime=short, overwrite=True, say=said.append)
    assert "the same command without --overwrite resumes the run" in said[-1]


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (AVSC_PRESETS["avsc-synth-tiny"], "it trains ACVIS, not AVSC"),
        (PRESETS["avism-r50"], "it trains the preset vita-r50, not avism-r50"),
        (replace(PRESETS["vita-r50"], window_size=3), "window_size was 6, is 3"),
    ],
)
def test_another_preset_or_system_in_the_same_folder_is_named(config: Any, named: str, tmp_path: Path) -> None:
    def run(config: Any) -> dict[str, Any]:
        same = {"recipe": RECIPE.to_dict(), "data": {}, "weights": {}}
        return {"same": same | {"config": replace(config, class_names=CLASSES).to_dict()}}

    claim(tmp_path, run(PRESETS["vita-r50"]), overwrite=False)
    claim(tmp_path, run(PRESETS["vita-r50"]), overwrite=False)
    with pytest.raises(ConfigError, match=f"holds another run: {named}\\. Repeat its command to resume it"):
        claim(tmp_path, run(config), overwrite=False, kind=type(config))


def test_fields_that_only_avsc_reads_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training ACVIS does not use proposal_steps=3: leave it out"):
        train(CONFIG, replace(SHORT, proposal_steps=3), data, tmp_path, runtime=RUNTIME)


def test_a_run_without_a_newer_field_can_be_resumed(data: Path, finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    run = json.loads((out / "run.json").read_text())
    del run["same"]["config"]["inference"]["count_gate"], run["same"]["recipe"]["drop"]
    (out / "run.json").write_text(json.dumps(run))
    assert train(CONFIG, RECIPE, data, out, runtime=RUNTIME, say=lambda _: None)


@pytest.mark.slow
def test_without_an_average_the_trained_weights_are_exported_and_evaluation_does_not_change_them(
    data: Path, tmp_path: Path
) -> None:
    plain = replace(SHORT, ema=0.0)
    runs = [tmp_path / "watched", tmp_path / "alone"]
    for out, clips in zip(runs, (1, 0), strict=True):
        runtime = replace(RUNTIME, eval_clips=clips, eval_every=1)
        assert train(CONFIG, plain, data, out, runtime=runtime, say=lambda _: None)
    assert_equal(*runs)
    tensors, state = read_checkpoint_folder(Checkpoints(runs[0] / "checkpoints").newest())
    assert set(tensors) == {"model", "optimizer"} and state["step"] == 3
    assert all(torch.equal(weights(runs[0])[key], value) for key, value in tensors["model"].items())


@pytest.mark.parametrize("precision", ["bf16", "float64"])
def test_other_precisions_can_be_used(data: Path, tmp_path: Path, precision: str) -> None:
    recipe = replace(SHORT, precision=precision)
    assert train(CONFIG, recipe, data, tmp_path, runtime=replace(RUNTIME, eval_clips=0), say=lambda _: None)
    assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_clips_and_losses(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingClips.sample

    def sample(clips: TrainingClips, draw: int) -> Any:
        found = original(clips, draw)
        return replace(found, log_mel=found.log_mel * float("nan")) if draw == 5 else found

    monkeypatch.setattr(TrainingClips, "sample", sample)
    runtime = replace(RUNTIME, checkpoint_every=0, eval_every=0)
    with pytest.raises(NotFiniteError, match=r"training, step 3 \(draw 4: video \d+, .*draw 5: video .*frame/class"):
        train(CONFIG, RECIPE, data, tmp_path, runtime=runtime, say=lambda _: None)
    assert (tmp_path / "checkpoints/step-000002/state.json").is_file()
    monkeypatch.undo()
    assert train(CONFIG, RECIPE, data, tmp_path, runtime=runtime, say=lambda _: None), "the run can be resumed"


def test_a_silent_split_can_be_trained_on(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    for split in ("train", "val"):
        truth = json.loads((data / f"{split}.json").read_text())
        truth["annotations"] = []
        (data / f"{split}.json").write_text(json.dumps(truth))
    assert train(CONFIG, SHORT, data, tmp_path / "run", runtime=RUNTIME, say=lambda _: None)
    assert all(line["frame/mask"] == 0 for line in log(tmp_path / "run") if "loss" in line)


def test_videos_shorter_than_a_clip_can_be_trained_on(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", length=2)
    five = replace(SHORT, clip_frames=5, steps=1)
    for sampling in ("scattered", "consecutive"):
        recipe = replace(five, frame_sampling=sampling)
        assert train(CONFIG, recipe, data, tmp_path / sampling, runtime=RUNTIME, say=lambda _: None)


@pytest.mark.parametrize("what", ["train_split", "val_split", "init_from", "backbone_weights", "audio_weights"])
def test_what_is_missing_is_named(data: Path, tmp_path: Path, what: str) -> None:
    with pytest.raises(AcvisError, match="nowhere"):
        train(CONFIG, SHORT, data, tmp_path, runtime=RUNTIME, say=lambda _: None, **{what: "nowhere"})


@pytest.mark.parametrize(
    "lost", ["train/JPEGImages/v003/00002.jpg", "train/WAVAudios/v002.wav", "val/JPEGImages/v001/00000.jpg"]
)
def test_a_file_that_is_missing_is_one_error_before_a_model_is_built(
    data: Path, tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(data, tmp_path / "data"))
    (root / lost).unlink()
    monkeypatch.setattr("acvis_kit.training.run.initial_model", None)
    with pytest.raises(DataError, match=f"are not there, the first is {root / lost}"):
        train(CONFIG, SHORT, root, tmp_path / "run", runtime=replace(RUNTIME, eval_clips=1), say=lambda _: None)
    assert not (tmp_path / "run").exists()


def test_frames_outside_the_folder_of_the_data_are_read_only_if_allowed(data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(data, tmp_path / "data"))
    truth = json.loads((root / "train.json").read_text())
    frame = truth["videos"][0]["file_names"][1]
    shutil.move(root / "train" / "JPEGImages" / frame, tmp_path / "elsewhere.jpg")
    truth["videos"][0]["file_names"][1] = str(tmp_path / "elsewhere.jpg")
    (root / "train.json").write_text(json.dumps(truth))
    with pytest.raises(DataError, match="allow_outside=True"):
        train(CONFIG, SHORT, root, tmp_path / "run", runtime=RUNTIME, say=lambda _: None)
    assert train(CONFIG, SHORT, root, tmp_path / "run", runtime=RUNTIME, allow_outside=True, say=lambda _: None)


def test_an_empty_split_is_refused(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    (root / "train.json").write_text('{"videos": [], "categories": [{"id": 1, "name": "dog"}], "annotations": []}')
    with pytest.raises(DataError, match="videos"):
        train(CONFIG, SHORT, root, tmp_path / "run", runtime=RUNTIME)


def test_a_fine_tuned_network_has_the_classes_of_the_data(data: Path, finished: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    for split in ("train", "val"):
        truth = (root / f"{split}.json").read_text().replace('"dog"', '"wolf"')
        (root / f"{split}.json").write_text(truth)
    said: list[str] = []
    assert train(CONFIG, SHORT, root, tmp_path / "run", runtime=RUNTIME, init_from=finished / "last", say=said.append)
    assert any("new classes: wolf" in text for text in said)
    assert load_model(tmp_path / "run/last").config.class_names == ("person", "wolf", "cat")


def test_frozen_parts_do_not_change(data: Path, finished: Path, tmp_path: Path) -> None:
    recipe = replace(SHORT, frozen=("backbone", "pixel_decoder"))
    assert train(CONFIG, recipe, data, tmp_path, runtime=RUNTIME, init_from=finished / "last", say=lambda _: None)
    before, after = weights(finished), weights(tmp_path)
    changed = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert "tracker" in changed and not changed & {"backbone", "pixel_decoder"}
    with pytest.raises(ConfigError, match="frozen='head'"):
        train(CONFIG, replace(SHORT, frozen=("head",)), data, tmp_path / "other", runtime=RUNTIME, say=lambda _: None)


def test_an_unfinished_run_of_an_earlier_version_is_refused_and_its_weights_load(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "old"))
    run = json.loads((folder / "run.json").read_text())
    recipe = run["same"]["recipe"]
    recipe["audio_steps"], recipe["rest"] = recipe.pop("audio_pretraining_steps"), recipe.pop("frozen_fraction")
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(ConfigError, match=r"audio_steps is now called audio_pretraining_steps.*--overwrite"):
        train(CONFIG, RECIPE, data, folder, runtime=RUNTIME, say=lambda _: None)
    assert load_model(folder / "last").config.class_names == CLASSES
    run["same"]["recipe"] = json.loads((finished / "run.json").read_text())["same"]["recipe"]
    del run["format"]
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(ConfigError, match=r"format is 1, .* version is 2.*--overwrite"):
        train(CONFIG, RECIPE, data, folder, runtime=RUNTIME, say=lambda _: None)


def test_precomputed_features_for_a_network_with_patch_tokens_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="audio_tokens=clip"):
        train(CONFIG, replace(RECIPE, audio_folder="FEATAudios"), data, tmp_path, runtime=RUNTIME, say=lambda _: None)


def test_a_damaged_run_file_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ConfigError, match=r"run\.json is damaged.*--overwrite"):
        train(CONFIG, RECIPE, data, tmp_path, runtime=RUNTIME, say=lambda _: None)


def test_damaged_checkpoints_do_not_start_a_run_again_without_a_word(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    for file in (folder / "checkpoints").rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(AcvisError, match=r"no checkpoint in .* is complete \(step-.*--overwrite"):
        train(CONFIG, RECIPE, data, folder, runtime=RUNTIME, say=lambda _: None)


def test_a_mistake_in_the_recipe_does_not_occupy_the_folder(data: Path, tmp_path: Path) -> None:
    for frozen, fine in (("bakbone", False), ("backbone", True)):
        recipe = replace(SHORT, steps=1, frozen=(frozen,))
        if fine:
            assert train(CONFIG, recipe, data, tmp_path, runtime=RUNTIME, say=lambda _: None)
        else:
            with pytest.raises(ConfigError, match="bakbone"):
                train(CONFIG, recipe, data, tmp_path, runtime=RUNTIME, say=lambda _: None)
