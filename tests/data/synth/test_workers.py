import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.data.synth.workers import THREADS, one_thread

ROOT = Path(__file__).parents[3]


def begin() -> None:
    pass


def threads_after_work() -> tuple[int, int]:
    """The process, and how many threads it has after products that NumPy and torch would share among threads."""
    import torch

    many = np.ones((512, 512))
    assert (many @ many)[0, 0] == 512 and (torch.ones(512, 512) @ torch.ones(512, 512))[0, 0] == 512
    return os.getpid(), len(os.listdir("/proc/self/task"))


def test_limits_hold_only_inside_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert {os.environ[name] for name in THREADS} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7" and "MKL_NUM_THREADS" not in os.environ


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_every_worker_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: multiprocessing keeps the process that forks workers, with its libraries."""
    code = f"""
from acvis_kit.data.synth.workers import pool
from tests.data.synth.test_workers import {begin.__name__}, {threads_after_work.__name__}
with pool(2, {begin.__name__}) as processes:
    for work in [processes.submit({threads_after_work.__name__}) for _ in range(6)]:
        print(work.result()[1])
"""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == ["1"] * 6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_the_command_alone_has_one_thread(tmp_path: Path) -> None:
    code = f"""
from acvis_kit.cli import main
flags = "--split a:1 --size 64 --seconds 1 1 --workers 1".split()
assert main(["synth", {str(tmp_path)!r}, *flags]) == 0
from tests.data.synth.test_workers import {threads_after_work.__name__}
print({threads_after_work.__name__}()[1])
"""
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    assert int(done.stdout.split()[-1]) <= 2  # and the progress bar's, which waits
