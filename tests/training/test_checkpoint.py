"""Checkpoints are complete or do not exist."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

from acvis_kit.errors import AcvisError, WeightsError
from acvis_kit.training import checkpoint
from acvis_kit.training.checkpoint import Checkpoints, read_checkpoint_folder, read_pieces, write_pieces

TENSORS = {
    "model": {
        "big": torch.arange(6000, dtype=torch.float32).view(20, 300),
        "channels last": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "one number": torch.tensor(3.0),
        "empty": torch.zeros(0, 7),
        "half": torch.ones(9, dtype=torch.bfloat16),
        "exact": torch.full((2, 2), 1 / 3, dtype=torch.float64),
        "whole": torch.tensor([2**40, -1]),
    },
    "optimizer": {"big/exp_avg": torch.randn(20, 300), "big/step": torch.tensor(5.0)},
}


def assert_same(read: dict, written: dict = TENSORS) -> None:
    assert {kind: list(named) for kind, named in read.items()} == {k: list(v) for k, v in written.items()}
    for kind, named in written.items():
        for name, value in named.items():
            assert read[kind][name].dtype == value.dtype and torch.equal(read[kind][name], value), name


@pytest.mark.parametrize("shard_mb", [None, 1.0, 0.01, 0.003])
def test_what_is_read_is_what_was_written(tmp_path: Path, shard_mb: float | None) -> None:
    store = Checkpoints(tmp_path, shard_mb)
    folder = store.write(7, TENSORS, {"best": 1 / 3, "note": None})
    tensors, state = read_checkpoint_folder(folder)
    assert_same(tensors)
    assert folder.name == "step-000007" and state["step"] == 7 and state["best"] == 1 / 3 and state["note"] is None


def test_no_file_is_larger_than_asked_and_large_tensors_are_cut(tmp_path: Path) -> None:
    write_pieces(tmp_path, "model", TENSORS["model"], limit=10_000)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert len(sizes) == 3 and max(sizes) < 10_000 + 1000  # 10,000 bytes of tensors, and the header of the file
    assert len(json.loads((tmp_path / "model.index.json").read_text())["big"]["pieces"]) == 3
    assert_same({"model": read_pieces(tmp_path, "model")}, {"model": TENSORS["model"]})


def test_a_limit_of_fifteen_megabytes_gives_files_below_sixteen(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path, shard_mb=15).write(1, {"model": {"vggish": torch.zeros(12_288, 400)}}, {})
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert sum(sizes) > 19e6 and max(sizes) <= 15.1e6


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for step in (9, 10, 11, 1_000_000):
        store.write(step, {"model": {"x": torch.tensor(float(step))}}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000011", "step-1000000"]
    assert store.newest().name == "step-1000000"


def test_the_same_step_can_be_written_again(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for best in (1, 2):
        store.write(4, {"model": {"x": torch.zeros(1)}}, {"best": best})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]
    assert read_checkpoint_folder(store.newest())[1]["best"] == 2


@pytest.mark.parametrize("moment", range(1, 9))
def test_an_interrupted_checkpoint_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    """Writing fails at its first, second, ... sync: the previous checkpoint is the newest."""
    store = Checkpoints(tmp_path)
    store.write(1, TENSORS, {})
    calls = 0

    def cut(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "_sync", cut)
    try:
        store.write(2, TENSORS, {})
    except KeyboardInterrupt:
        newest = store.newest()
        assert newest.name == ("step-000002" if moment == 7 else "step-000001")  # by the 7th the folder has its name
        assert_same(read_checkpoint_folder(newest)[0])
        store.clean()
        assert all(path.name.startswith("step-") and "." not in path.name for path in tmp_path.iterdir())
    else:
        assert moment == 8  # there are seven syncs: two kinds with two files each, state, folder, parent


@pytest.mark.parametrize("damage", ["missing", "cut", "no state", "state cut"])
def test_a_damaged_checkpoint_is_skipped(tmp_path: Path, damage: str) -> None:
    store = Checkpoints(tmp_path)
    first, second = store.write(1, TENSORS, {}), store.write(2, TENSORS, {})
    file = second / ("state.json" if "state" in damage else "optimizer-00001.safetensors")
    if damage in ("missing", "no state"):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20])
    assert store.newest() == first
    with pytest.raises(WeightsError, match="step-000002"):
        read_checkpoint_folder(second)


def test_without_checkpoints_the_newest_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nothing").newest() is None


@pytest.mark.parametrize("seen", [True, False], ids=["before writing", "while writing"])
def test_a_full_disk_is_named_with_step_and_need_and_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: bool
) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    tensors = {"model": {"weight": torch.zeros(1000, 1000)}}
    checkpoints.write(1, tensors, {})
    if seen:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    else:
        sync = checkpoint._sync

        def full(path: Path) -> None:
            if path.name == "state.json":
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(path)

        monkeypatch.setattr(checkpoint, "_sync", full)
    with pytest.raises(AcvisError, match=r"checkpoint of step 2 .*make room.*last one is step-000001") as error:
        checkpoints.write(2, tensors, {})
    assert "4.0 MB are needed" in str(error.value) or not seen
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-000001"]
    monkeypatch.undo()
    assert checkpoints.write(2, tensors, {}) == checkpoints.newest()


def test_a_checkpoint_that_was_being_replaced_is_found_again(tmp_path: Path) -> None:
    """Killed between the two renames: the old folder has lost its name, the new one has none yet."""
    checkpoints = Checkpoints(tmp_path)
    folder = checkpoints.write(3, {"model": {"weight": torch.ones(2)}}, {})
    shutil.copytree(folder, folder.with_name(folder.name + checkpoint.PARTIAL))
    folder.rename(folder.with_name(folder.name + checkpoint.OLD))
    assert checkpoints.newest() is None
    checkpoints.clean()
    assert checkpoints.newest() == folder and [path.name for path in tmp_path.iterdir()] == ["step-000003"]
