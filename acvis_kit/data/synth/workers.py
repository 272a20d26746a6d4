"""Processes that make clips, with one thread each.

The libraries below choose their number of threads once, while they are loaded, and by default take one per core: n
workers on n cores would start n * n threads, which wait for each other. Only the environment reaches all of them
before that: torch.set_num_threads reaches neither NumPy's OpenBLAS nor SciPy's, which ask no other library.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

THREADS = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """Context in which libraries that are loaded, and processes that are started, take one thread each."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def pool(workers: int, begin: Callable[..., None], *arguments: Any) -> Iterator[ProcessPoolExecutor]:
    """A pool of processes of one thread each.

    Args:
        workers: number of processes.
        begin: called first in each process.
        *arguments: of `begin`.
    """
    # A fork of this process would copy locks that torch's threads hold. On Linux the workers are forks of a process
    # without threads that has imported `begin`'s module (3 s) once for all; elsewhere each is a fresh interpreter.
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload([begin.__module__])
    with one_thread(), ProcessPoolExecutor(workers, context, initializer=begin, initargs=arguments) as executor:
        yield executor
