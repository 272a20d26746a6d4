"""Several visitors for minutes, on the page of the command: nothing is mixed, nothing grows, nothing stays.

It runs with `pytest -m load` alone. Variables: ACVIS_LOAD_CLIENTS (6), ACVIS_LOAD_MINUTES (30), and ACVIS_LOAD_LOG, a
file to which the samples of memory and disk are written as they are taken, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.media.load import load_clip
from acvis_kit.media.write import write_video
from acvis_kit.weights.published import ASSETS
from tests.app.pages import PageProcess, page_process, resident_bytes

CLIENTS = int(os.environ.get("ACVIS_LOAD_CLIENTS", "6"))
MINUTES = float(os.environ.get("ACVIS_LOAD_MINUTES", "30"))
LOG = os.environ.get("ACVIS_LOAD_LOG")
SAMPLED = 30  # seconds from one sample of memory and disk to the next
GROWTH = 100e6  # bytes from a third of the time to its end
PATIENCE = 600  # seconds that a visitor waits for one answer, at most
FPS = 5
# The page keeps files for less than an hour; here for a third of the run, so that it deletes some.
KEPT, SWEPT = max(60.0, 20 * MINUTES), max(5.0, 2 * MINUTES)
SOONER = f"from acvis_kit.app import server; server.KEEP_SECONDS, server.SWEEP_EVERY = {KEPT}, {SWEPT}"


@dataclass
class OwnClip:
    """A clip that no other visitor and no other round has: by name, size, duration and tone.

    Attributes:
        number: of the visitor.
        round: of the visitor's clips.
        folder: for the file.
    """

    number: int
    round: int
    folder: Path
    path: Path = field(init=False)
    other: Path = field(init=False)

    def __post_init__(self) -> None:
        self.size = (96 + 16 * self.number, 160)
        self.seconds = 2 + self.number % 3
        self.tone = 300 + 200 * self.number  # Hz
        self.other_tone = self.tone + 100
        name = f"visitor-{self.number}-round-{self.round}"
        source = load_clip(sorted((ASSETS / "clips").glob("*.mp4"))[self.round % 3], end=self.seconds).frames
        frames = source[:, :, : self.size[0], : self.size[1]].permute(0, 2, 3, 1).repeat_interleave(FPS, 0).clone()
        frames[:, :8, :8] = self.round % 256  # other content in every round
        self.path = write_video(self.folder / f"{name}.mp4", frames.numpy(), FPS, self._sine(self.tone))
        self.other = write_video(
            self.folder / f"{name}-other.mp4", frames[:5].numpy(), FPS, self._sine(self.other_tone)
        )

    def _sine(self, tone: float) -> torch.Tensor:
        return 0.3 * torch.sin(torch.arange(self.seconds * SAMPLE_RATE) * (2 * torch.pi * tone / SAMPLE_RATE))

    def differences(self, overlay: Path, sound: str) -> list[str]:
        """What in an overlay is not of this clip with this sound."""
        clip = load_clip(overlay)
        wrong = []
        if clip.size != self.size:
            wrong.append(f"size {clip.size}, not {self.size}")
        if abs(clip.duration - self.seconds) > 0.3:
            wrong.append(f"{clip.duration} s, not {self.seconds}")
        heard = clip.waveform
        if sound == "mute":
            return [*wrong, "a sound"] if float(heard.abs().max()) > 1e-3 else wrong
        if sound == "keep":
            if float(heard[int(1.5 * SAMPLE_RATE) :].abs().max()) > 0.01:
                wrong.append("a sound beyond the part that was kept")
            heard = heard[: SAMPLE_RATE // 2]
        expected = self.other_tone if sound == "swap" else self.tone
        spectrum = torch.fft.rfft(heard[: SAMPLE_RATE // 2]).abs()
        if abs(found := float(spectrum.argmax()) * SAMPLE_RATE / (SAMPLE_RATE // 2) - expected) > 10:
            wrong.append(f"a tone of {found + expected} Hz, not {expected}")
        return wrong


class Visitor:
    """A browser with the page open, and a program that calls `/predict`.

    Args:
        page: the page.
        number: from 0.
        folder: for clips and results.
    """

    def __init__(self, page: PageProcess, number: int, folder: Path) -> None:
        import httpx

        self.page, self.number, self.folder = page, number, folder
        folder.mkdir()
        self.web = httpx.Client(base_url=page.url, timeout=PATIENCE)
        self.session = f"session{number}"
        self.functions = {each["api_name"]: each["id"] for each in self.web.get("config").json()["dependencies"]}
        self.random = random.Random(number)
        self.answers, self.faults = 0, list[str]()

    def until(self, deadline: float) -> None:
        """Run clips until then; what goes wrong is noted."""
        number = 0
        while time.monotonic() < deadline:
            clip = OwnClip(self.number, number, self.folder)
            try:
                self.visit(clip)
            except Exception as error:
                self.faults.append(f"visitor {self.number}, round {number}: {error!r:.500}")
                time.sleep(1)
            for path in self.folder.iterdir():
                path.unlink()
            number += 1

    def visit(self, clip: OwnClip) -> None:
        """One clip with two sounds: by the endpoint, then in the page with everything that it shows."""
        for by in (self.by_endpoint, self.in_page):
            sound = self.random.choice(("original", "mute", "swap", "keep"))
            for wrong in by(clip, sound):
                self.faults.append(f"{clip.path.name}, {sound}, {by.__name__}: {wrong}")
            self.answers += 1

    def by_endpoint(self, clip: OwnClip, sound: str) -> Iterator[str]:
        uploaded, other = self.upload(clip.path), self.upload(clip.other) if sound == "swap" else None
        overlay, summary, _, result, counts, masks = self.event(
            "predict", uploaded, sound, other, 0, 0, 0, 1 if sound == "keep" else 0, 0.1, False
        )
        yield from self.of_clip(clip, sound, summary, overlay, result, counts, masks)

    def in_page(self, clip: OwnClip, sound: str) -> Iterator[str]:
        uploads = [self.upload(clip.path), self.upload(clip.other)]
        view = [0.1, False, 0.5]
        part = [0, 1 if sound == "keep" else 0]
        status, _, right, _, video, summary, *_, overlay, result, counts, masks = self.event(
            "run", uploads[0], sound, "", uploads[1], 0, 0, *part, *view, 0
        )
        if status and "Dropped to make room" not in status:
            yield status
        files = [update["value"] for update in (overlay, result, counts, masks)]
        yield from self.of_clip(clip, sound, summary, *files)
        yield from clip.differences(self.fetched(video), sound)
        take, view[2] = right["value"], 0.8
        summary, *_ = self.event("show", take, *view, 1)
        if clip.path.name not in summary:
            yield f"the summary {summary:.100}"
        self.event("second", take, *view, 1)
        _, video, _ = self.event("redraw", 0, take, *view)
        yield from clip.differences(self.fetched(video), sound)

    def of_clip(self, clip: OwnClip, sound: str, summary: str, *files: dict[str, Any]) -> Iterator[str]:
        overlay, result, counts, masks = (self.fetched(file) for file in files)
        if clip.path.name not in summary:
            yield f"the summary {summary:.100}"
        yield from clip.differences(overlay, sound)
        content = json.loads(result.read_text(encoding="utf-8"))
        if clip.path.name not in json.dumps(content):
            yield "the result does not name the clip"
        if len(counts.read_text(encoding="utf-8").splitlines()) != 1 + clip.seconds:
            yield "the counts are not of the clip's seconds"
        if clip.path.name.encode() not in masks.read_bytes():
            yield "the masks do not name the clip"

    def upload(self, path: Path) -> dict[str, Any]:
        with path.open("rb") as file:
            answer = self.web.post("gradio_api/upload", files={"files": (path.name, file)})
        assert answer.status_code == 200, answer.text
        return {"path": answer.json()[0], "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def event(self, name: str, *values: Any) -> list[Any]:
        """What a function of the page answers, as a browser asks it."""
        body = {"fn_index": self.functions[name], "data": values, "session_hash": self.session, "event_data": None}
        answer = self.web.post("gradio_api/queue/join", json=body)
        assert answer.status_code == 200, answer.text
        event = answer.json()["event_id"]
        with self.web.stream("GET", "gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message["event_id"] == event:
                    assert message["success"], message["output"]
                    return message["output"]["data"]
        raise AssertionError(f"{name} was not answered")

    def fetched(self, file: dict[str, Any]) -> Path:
        """The file of an answer, downloaded."""
        answer = self.web.get(f"gradio_api/file={file['path']}")
        assert answer.status_code == 200, answer.status_code
        path = self.folder / f"fetched-{Path(file['path']).name}"
        path.write_bytes(answer.content)
        return path


def sample(page: PageProcess, began: float) -> dict[str, float]:
    """Memory and disk of the page at this moment."""
    ages, size = [0.0], 0
    (visitors,) = page.folder.glob("acvis-page-*/visitors")
    for parent, _, names in os.walk(visitors):
        for name in names:
            with suppress(OSError):  # deleted in the meantime
                found = os.stat(os.path.join(parent, name))
                ages.append(time.time() - found.st_ctime)
                size += found.st_size
    return {
        "seconds": round(time.monotonic() - began),
        "resident_mb": round(resident_bytes(page.process.pid) / 1e6, 1),
        "disk_mb": round(size / 1e6, 1),
        "files": len(ages) - 1,
        "oldest_s": round(max(ages)),
    }


@pytest.mark.load
def test_visitors_get_their_own_results_and_the_page_stays_as_large_as_it_is(tmp_path: Path) -> None:
    samples: list[dict[str, float]] = []
    with page_process(tmp_path / "page", before=SOONER) as page:
        visitors = [Visitor(page, n, tmp_path / f"visitor-{n}") for n in range(CLIENTS)]
        began = time.monotonic()
        deadline = began + 60 * MINUTES
        threads = [threading.Thread(target=visitor.until, args=(deadline,), daemon=True) for visitor in visitors]
        for thread in threads:
            thread.start()
        while time.monotonic() < deadline and page.alive:
            samples.append(sample(page, began) | {"answers": sum(visitor.answers for visitor in visitors)})
            if LOG:
                with Path(LOG).open("a", encoding="utf-8") as log:
                    log.write(json.dumps(samples[-1]) + "\n")
            time.sleep(min(SAMPLED, max(0.0, deadline - time.monotonic())))
        for thread in threads:
            thread.join(2 * PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        assert page.alive and page.answers()
        samples.append(sample(page, began))
        faults = [fault for visitor in visitors for fault in visitor.faults]
        assert not faults, "\n".join(faults)
        assert min(visitor.answers for visitor in visitors) >= 4

        memory = [each["resident_mb"] for each in samples]
        third = len(memory) // 3
        settled, last = statistics.median(memory[third - 1 : third + 2]), statistics.median(memory[-3:])
        print(f"resident memory: {settled:.0f} MB after a third of the time, {last:.0f} MB at its end, {samples[-1]}")
        assert 1e6 * (last - settled) < GROWTH, memory
        assert max(each["oldest_s"] for each in samples) < KEPT + SWEPT + 60, samples
        assert samples[-1]["files"] < 12 * sum(visitor.answers for visitor in visitors)
        assert page.end() == []
    log = page.log.read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in log, log[-3000:]


def test_the_result_of_another_visitor_or_sound_would_be_noticed(tmp_path: Path) -> None:
    one, other = (OwnClip(number, 0, tmp_path) for number in (1, 2))
    assert one.differences(one.path, "original") == [] == other.differences(other.path, "original")
    assert len(one.differences(other.path, "original")) == 3
    for sound, wrong in (("mute", "a sound"), ("keep", "beyond the part"), ("swap", "a tone of 500.0 Hz, not 600")):
        (found,) = one.differences(one.path, sound)
        assert wrong in found
