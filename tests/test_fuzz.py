"""Damaged inputs of every kind: only AcvisErrors come out, or sentences of the page, in seconds, with level memory.

A short seeded round runs with the other tests. `pytest -m fuzz` goes on with new seeds for twenty-four minutes in all
(ACVIS_FUZZ_MINUTES for each kind; the default is 4). An input that fails is saved; the message names the folder, which
is made in $ACVIS_FUZZ_KEEP or in the system's folder for temporary files.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from acvis_kit.data.aviseg import AVISegSplit
from acvis_kit.media.load import load_clip
from acvis_kit.media.sound import load_sound
from acvis_kit.media.wav import read_seconds
from acvis_kit.metrics import evaluate
from acvis_kit.weights.load import load_model, save_model
from tests import fuzzing
from tests.app.attacked import served
from tests.conftest import TINY, make_model
from tests.fuzzing import Attack, Trial, attacked, damaged, media_files
from tests.metrics.test_hostile_json import GT, RESULTS, mutated
from tests.weights.test_hostile import mutated_config, mutated_weights


def of_containers(folder: Path) -> Attack:
    sources = media_files(folder)
    whole = {path: path.read_bytes() for path in sources}

    def attack(rng: random.Random) -> Trial:
        source = rng.choice(sources)
        file = folder / f"damaged{source.suffix}"
        file.write_bytes(damaged(rng, whole[source]))
        start = rng.choice((0.0, 0.0, 1.0))
        read = rng.choice((lambda: load_clip(file, start=start), lambda: load_sound(file, start=start)))
        return Trial(read, {"file": file, "start": start})

    return attack


def of_wav(folder: Path) -> Attack:
    sources = []
    for number, samples in enumerate(
        (np.zeros((16_000, 2), np.int16), np.ones(32_000, np.float32), np.zeros(8_000, np.uint8))
    ):
        wavfile.write(folder / f"{number}.wav", 16_000, samples)
        sources.append((folder / f"{number}.wav").read_bytes())

    def attack(rng: random.Random) -> Trial:
        file = folder / "damaged.wav"
        file.write_bytes(damaged(rng, rng.choice(sources)))
        read = rng.choice((lambda: read_seconds(file, np.arange(3)), lambda: load_sound(file)))
        return Trial(read, {"file": file})

    return attack


def of_weights(folder: Path) -> Attack:
    small = replace(
        TINY, pixel_layers=1, pixel_feedforward_dim=32, feedforward_dim=32, num_frame_queries=4, num_video_queries=4,
        frame_layers=1, tracker_layers=1, video_layers=1,
    )  # fmt: skip
    save_model(make_model(small), folder)
    config, body = json.loads((folder / "config.json").read_text()), (folder / "model.safetensors").read_bytes()

    def attack(rng: random.Random) -> Trial:
        both = rng.random()
        (folder / "config.json").write_bytes(mutated_config(rng, config) if both < 0.6 else json.dumps(config).encode())
        (folder / "model.safetensors").write_bytes(mutated_weights(rng, body) if both > 0.4 else body)
        files = {"config": folder / "config.json", "weights": folder / "model.safetensors"}
        return Trial(lambda: load_model(folder), files)

    return attack


def of_data_sets(folder: Path) -> Attack:
    def attack(rng: random.Random) -> Trial:
        data = mutated(GT, rng)[0]
        text = json.dumps(data).encode("utf-8", "surrogatepass")
        (folder / "test.json").write_bytes(damaged(rng, text) if rng.random() < 0.3 else text)
        return Trial(lambda: AVISegSplit(folder, "test"), {"file": folder / "test.json"})

    return attack


def of_results(folder: Path) -> Attack:
    def attack(rng: random.Random) -> Trial:
        truth = GT if rng.random() < 0.5 else mutated(GT, rng)[0]
        results = mutated(RESULTS, rng)[0]
        return Trial(lambda: evaluate(truth, results, "paper"), {"truth": truth, "results": results})

    return attack


KINDS = (of_containers, of_wav, of_weights, of_data_sets, of_results)


def name_of(kind: Callable[[Path], Attack]) -> str:
    return kind.__name__.removeprefix("of_")


def minutes_of_seeds() -> tuple[range, float]:
    """The seeds of a long run, and when it ends."""
    first = int(os.environ.get("ACVIS_FUZZ_SEED", "1000"))
    return range(first, first + 10**9), time.monotonic() + 60 * float(os.environ.get("ACVIS_FUZZ_MINUTES", "4"))


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_damaged_files_are_read_or_refused(kind: Callable[[Path], Attack], tmp_path: Path) -> None:
    assert attacked(name_of(kind), kind(tmp_path), range(60)) >= 6


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_damaged_files_are_read_or_refused_for_minutes(kind: Callable[[Path], Attack], tmp_path: Path) -> None:
    assert attacked(name_of(kind), kind(tmp_path), *minutes_of_seeds()) > 100


@pytest.mark.slow
def test_the_page_answers_damaged_requests(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        assert page.attacked(range(40)) >= 10


@pytest.mark.fuzz
def test_the_page_answers_damaged_requests_for_minutes(tmp_path: Path) -> None:
    with served(tmp_path) as page:
        assert page.attacked(*minutes_of_seeds()) > 30


@pytest.mark.parametrize("fault", ["hang", "growth", "foreign error"])
def test_what_fails_is_reported_and_kept(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "SLOWEST", 0.2)
    monkeypatch.setenv("ACVIS_FUZZ_KEEP", str(tmp_path / "kept"))
    (tmp_path / "input.wav").write_bytes(b"RIFF")
    held = []

    def read() -> None:
        if fault == "hang":
            while True:
                with suppress(Exception):
                    time.sleep(0.01)
        if fault == "foreign error":
            raise TypeError("not ours")
        held.append(b"x" * 10**6)

    monkeypatch.setattr(fuzzing, "resident_bytes", lambda _: 10 * sum(map(len, held)))
    expected = {"hang": "no answer in 0.2 s", "growth": "MB more", "foreign error": "not ours"}[fault]
    with pytest.raises(AssertionError, match=expected) as caught:
        attacked("test", lambda _: Trial(read, {"f": tmp_path / "input.wav", "seconds": 3}), range(100))
    kept = Path(str(caught.value).rpartition(" ")[2])
    assert kept.parent == tmp_path / "kept" and (kept / "input.wav").read_bytes() == b"RIFF"
    assert (kept / "seconds.txt").read_text(encoding="utf-8") == "3"
