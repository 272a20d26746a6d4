"""Damaged inputs, one for each seed: tried within a time and a memory, and kept if they fail."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from acvis_kit.errors import AcvisError
from tests.app.pages import cpu_seconds, resident_bytes
from tests.media.videos import every, make_video, write_sound

SLOWEST = 10.0  # seconds that one input may take
GROWTH = 500e6  # bytes of resident memory, from the twentieth input on
WARM = 20  # inputs after which everything is imported and cached


@dataclass
class Trial:
    """A damaged input.

    Attributes:
        read: reads it.
        inputs: what it consists of: files, and values that are no files.
    """

    read: Callable[[], object]
    inputs: dict[str, Any] = field(default_factory=dict)

    def save(self, name: str) -> Path:
        """Keep the input in a new folder; returns that."""
        around = Path(os.environ.get("ACVIS_FUZZ_KEEP") or tempfile.gettempdir())
        around.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"acvis-fuzz-{name}-", dir=around))
        for key, value in self.inputs.items():
            if isinstance(value, Path):
                shutil.copy(value, folder / value.name)
            else:
                (folder / f"{key}.txt").write_text(repr(value), encoding="utf-8", errors="backslashreplace")
        return folder


class HangError(BaseException):
    """An input took longer than `SLOWEST`. No `except Exception` stops it."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Interrupt after `SLOWEST` seconds, and again each second: a handler of errors may go on with the work."""

    def interrupt(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


Attack = Callable[[random.Random], Trial]


def attacked(name: str, attack: Attack, seeds: range, until: float = float("inf"), reader: int | None = None) -> int:
    """Try the inputs of these seeds; returns how many were refused. Anything but an AcvisError fails the test.

    Args:
        name: of the kind of input.
        attack: makes the input of a seed.
        seeds: to try.
        until: when to stop, by the monotonic clock.
        reader: the process that reads the inputs; None: this one.
    """
    refused, tried, before, resident, slowest = 0, 0, 0, 0, 0.0
    for count, seed in enumerate(seeds):
        if time.monotonic() > until:
            break
        trial = attack(random.Random(seed))
        fault: BaseException | None = None
        began, worked = time.monotonic(), cpu_seconds(reader)
        try:
            with warnings.catch_warnings(), no_hang():
                warnings.simplefilter("ignore")
                trial.read()
        except AcvisError:
            refused += 1
        except (Exception, HangError) as error:
            fault = error
        if isinstance(fault, HangError):  # a busy machine gives few seconds of its processor
            worked = cpu_seconds(reader) - worked
            what = f"no answer in {time.monotonic() - began:.1f} s, of which {worked:.1f} s were spent computing"
        elif fault is not None:
            what = f"{fault!r:.500}"
        else:
            tried = count + 1
            slowest = max(slowest, time.monotonic() - began)
            resident = resident_bytes(reader)
            before = resident if count == WARM else before
            if count <= WARM or resident - before <= GROWTH:
                continue
            what = f"{(resident - before) / 1e6:.0f} MB more than after input {WARM}"
        raise AssertionError(f"{name}, seed {seed}: {what}; the input is in {trial.save(name)}") from fault
    print(
        f"{name}: {tried} inputs from seed {seeds[0]} on, {refused} refused, the slowest in {slowest:.1f} s, "
        f"{(resident - before) / 1e6:+.0f} MB of resident memory since input {WARM}"
    )
    return refused


def damaged(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut out, repeated, put in another place, or cut short; most often in the header."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 40))):
        at = rng.randrange(len(changed)) if rng.random() < 0.5 else rng.randrange(min(len(changed), 600))
        size = rng.choice((1, 2, 4, 8, 64))
        match rng.randrange(6):
            case 0:
                changed[at : at + size] = rng.randbytes(size)
            case 1:
                changed[at : at + size] = rng.choice((b"\xff", b"\x00", b"\x7f", b"\x80")) * size
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size]
            case 4:
                other = rng.randrange(len(changed))
                changed[at : at + size] = changed[other : other + size]
            case 5 if rng.random() < 0.2:
                del changed[rng.randrange(1, len(changed)) :]
        if len(changed) < 16:
            return data[:16]
    return bytes(changed)


def media_files(folder: Path) -> list[Path]:
    """Two seconds of video and sound in each of six containers."""
    tone = 0.3 * np.sin(np.arange(32_000) / 16_000 * 2 * np.pi * 440)
    videos = [
        make_video(folder / f"clip.{suffix}", every(0.2, 2), sound=tone, codec=codec, sound_codec=sound)
        for suffix, codec, sound in (
            ("mp4", "libx264", "aac"),
            ("mkv", "libx264", "pcm_s16le"),
            ("ts", "libx264", "mp2"),
            ("avi", "mpeg4", "pcm_s16le"),
        )
    ]
    return [
        *videos,
        write_sound(folder / "sound.ogg", tone, 48_000, "libopus"),
        write_sound(folder / "s.flac", tone, 16_000, "flac"),
    ]
