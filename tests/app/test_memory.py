"""Threads share a few heaps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

from acvis_kit.app import memory

HEAPS = """
import ctypes, runpy, sys, threading
if sys.argv[1] != "unlimited":
    assert runpy.run_path(sys.argv[1])["limit_arenas"]()
libc, gate = ctypes.CDLL(None), threading.Barrier(9)

def allocate():
    libc.malloc(1000)
    gate.wait()  # all threads live at the same time

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
gate.wait()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, file)
libc.fflush(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_threads_share_two_heaps() -> None:
    def heaps(argument: str) -> int:
        command = [sys.executable, "-c", HEAPS, argument]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap nr=")

    assert heaps(memory.__file__) <= memory.ARENAS < heaps("unlimited")


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not memory.limit_arenas()
