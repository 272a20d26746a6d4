"""Damaged files of every kind: only AcvisErrors come out, in seconds, with level memory.

A short seeded round runs with the other tests. `pytest -m fuzz` goes on with new seeds for twenty minutes in all
(ACVIS_FUZZ_MINUTES for each kind of file; the default is 4).
"""

from __future__ import annotations

import json
import os
import random
import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.errors import AcvisError
from acvis_kit.media.load import load_clip
from acvis_kit.media.sound import load_sound
from acvis_kit.media.wav import read_seconds
from acvis_kit.metrics import evaluate
from acvis_kit.weights.load import load_model, save_model
from tests.conftest import TINY, make_model
from tests.media.videos import every, make_video, write_sound
from tests.metrics.test_hostile_json import GT, RESULTS, mutated
from tests.weights.test_hostile import mutated_config, mutated_weights

SLOWEST = 10.0  # seconds that one input may take
GROWTH = 500e6  # bytes
Attack = Callable[[random.Random], Callable[[], object]]  # makes a damaged input; the result reads it


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


def of_containers(folder: Path) -> Attack:
    tone = 0.3 * np.sin(np.arange(32_000) / 16_000 * 2 * np.pi * 440)
    sources = [
        make_video(folder / f"clip.{suffix}", every(0.2, 2), sound=tone, codec=codec, sound_codec=sound)
        for suffix, codec, sound in (
            ("mp4", "libx264", "aac"),
            ("mkv", "libx264", "pcm_s16le"),
            ("ts", "libx264", "mp2"),
            ("avi", "mpeg4", "pcm_s16le"),
        )
    ]
    sources += [
        write_sound(folder / "sound.ogg", tone, 48_000, "libopus"),
        write_sound(folder / "s.flac", tone, 16_000, "flac"),
    ]
    whole = {path: path.read_bytes() for path in sources}

    def attack(rng: random.Random) -> Callable[[], object]:
        source = rng.choice(sources)
        file = folder / f"damaged{source.suffix}"
        file.write_bytes(damaged(rng, whole[source]))
        start = rng.choice((0.0, 0.0, 1.0))
        return rng.choice((lambda: load_clip(file, start=start), lambda: load_sound(file, start=start)))

    return attack


def of_wav(folder: Path) -> Attack:
    sources = []
    for number, samples in enumerate(
        (np.zeros((16_000, 2), np.int16), np.ones(32_000, np.float32), np.zeros(8_000, np.uint8))
    ):
        wavfile.write(folder / f"{number}.wav", 16_000, samples)
        sources.append((folder / f"{number}.wav").read_bytes())

    def attack(rng: random.Random) -> Callable[[], object]:
        file = folder / "damaged.wav"
        file.write_bytes(damaged(rng, rng.choice(sources)))
        return rng.choice((lambda: read_seconds(file, np.arange(3)), lambda: load_sound(file)))

    return attack


def of_weights(folder: Path) -> Attack:
    small = replace(
        TINY, pixel_layers=1, pixel_feedforward_dim=32, feedforward_dim=32, num_frame_queries=4, num_video_queries=4,
        frame_layers=1, tracker_layers=1, video_layers=1,
    )  # fmt: skip
    save_model(make_model(small), folder)
    config, body = json.loads((folder / "config.json").read_text()), (folder / "model.safetensors").read_bytes()

    def attack(rng: random.Random) -> Callable[[], object]:
        both = rng.random()
        (folder / "config.json").write_bytes(mutated_config(rng, config) if both < 0.6 else json.dumps(config).encode())
        (folder / "model.safetensors").write_bytes(mutated_weights(rng, body) if both > 0.4 else body)
        return lambda: load_model(folder)

    return attack


def of_data_sets(folder: Path) -> Attack:
    def attack(rng: random.Random) -> Callable[[], object]:
        data = mutated(GT, rng)[0]
        text = json.dumps(data).encode("utf-8", "surrogatepass")
        (folder / "test.json").write_bytes(damaged(rng, text) if rng.random() < 0.3 else text)
        return lambda: AVISegSplit(folder, "test")

    return attack


def of_results(folder: Path) -> Attack:
    def attack(rng: random.Random) -> Callable[[], object]:
        truth = GT if rng.random() < 0.5 else mutated(GT, rng)[0]
        results = mutated(RESULTS, rng)[0]
        return lambda: evaluate(truth, results, "paper")

    return attack


KINDS = (of_containers, of_wav, of_weights, of_data_sets, of_results)


def attacked(attack: Attack, seeds: range, until: float = float("inf")) -> int:
    """Try the inputs of these seeds; returns how many were refused. Anything but an AcvisError fails the test."""
    refused, before = 0, 0
    for count, seed in enumerate(seeds):
        if time.monotonic() > until:
            break
        read = attack(random.Random(seed))
        began = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read()
            except AcvisError:
                refused += 1
            except BaseException as error:
                raise AssertionError(f"seed {seed}: {error!r:.300}") from error
        assert time.monotonic() - began < SLOWEST, f"seed {seed}"
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if count == 20:  # what is imported and cached at first
            before = peak
        assert count < 20 or peak - before < GROWTH, f"seed {seed}: {(peak - before) / 1e6:.0f} MB"
    return refused


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.removeprefix("of_"))
def test_damaged_files_are_read_or_refused(kind: Callable[[Path], Attack], tmp_path: Path) -> None:
    assert attacked(kind(tmp_path), range(60)) >= 6


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.removeprefix("of_"))
def test_damaged_files_are_read_or_refused_for_minutes(kind: Callable[[Path], Attack], tmp_path: Path) -> None:
    minutes = float(os.environ.get("ACVIS_FUZZ_MINUTES", "4"))
    first = int(os.environ.get("ACVIS_FUZZ_SEED", "1000"))
    assert attacked(kind(tmp_path), range(first, first + 10**9), time.monotonic() + 60 * minutes) > 100
