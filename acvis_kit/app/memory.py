"""A limit on the heaps of the C library."""

from __future__ import annotations

import ctypes

M_ARENA_MAX = -8  # of glibc's malloc.h
ARENAS = 2


def limit_arenas() -> bool:
    """Let all threads share a few heaps; whether the C library, glibc, can do that.

    Glibc gives each thread a heap of its own, up to 8 per core, and returns little of them. The page's requests run in
    many threads, with one model: with a heap for each, the page grew by 20 % in three minutes of runs, with two by 5 %.
    """
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS))
    except (OSError, AttributeError, TypeError):  # musl, macOS, Windows
        return False
