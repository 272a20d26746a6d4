"""Which files of a folder are opened: Linux's own count (inotify), whoever opens them."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN, IN_ISDIR = 0x20, 0x40000000


@contextmanager
def opened_files(folder: Path) -> Iterator[set[str]]:
    """A set that holds, after the block, the names of the files of a folder that were opened in it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert descriptor >= 0 and libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_OPEN) >= 0
    names: set[str] = set()
    try:
        yield names
    finally:
        try:
            events = os.read(descriptor, 2**20)
        except BlockingIOError:
            events = b""
        os.close(descriptor)
        while events:
            _, mask, _, length = struct.unpack_from("iIII", events)
            if not mask & IN_ISDIR:
                names.add(events[16 : 16 + length].rstrip(b"\0").decode())
            events = events[16 + length :]
