"""Signals, sums, and accelerate's set-up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from acvis_kit.errors import AcvisError, ConfigError
from acvis_kit.training.parallel import Agreement, Stop, make_accelerator, total_over


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_sets_a_flag_and_the_second_interrupts(number: int) -> None:
    before = signal.getsignal(number)
    try:
        signal.signal(number, signal.default_int_handler)
        with Stop() as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_the_sum_over_one_process_is_the_value_itself() -> None:
    assert total_over(torch.tensor([1.0, 2.0]), 1).tolist() == [1, 2]


def test_one_process_agrees_with_itself() -> None:
    assert Agreement(1).largest(40, 50) == [40, 50]


def test_without_accelerate_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(AcvisError, match=r"acvis-kit\[train\]"):
        make_accelerator()


def test_one_run_after_another_may_have_another_precision() -> None:
    kinds = [make_accelerator(precision, "cpu").mixed_precision for precision in ("bf16", "float64")]
    assert kinds == ["bf16", "no"]


def test_the_device_of_one_run_does_not_hold_for_the_next() -> None:
    from accelerate.state import PartialState

    make_accelerator(device="cpu")
    PartialState._shared_state["device"] = torch.device("meta")  # as another device would be left behind
    assert make_accelerator(device="cpu").device.type == "cpu"
    with pytest.raises(ConfigError, match="device='gpu' must be cpu"):
        make_accelerator(device="gpu")


def test_torchrun_without_a_gpu_joins_its_processes(tmp_path: Path) -> None:
    """accelerate alone left them apart: each trained for itself, into one folder."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pathlib\nfrom acvis_kit.training.parallel import make_accelerator\njoined = make_accelerator()\n"
        "pathlib.Path(__file__).with_name(f'{joined.process_index}.txt').write_text(str(joined.num_processes))\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    told = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.txt")}
    assert told == {"0.txt": "2", "1.txt": "2"}, run.stderr
