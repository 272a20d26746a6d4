"""A page and the requests with which it is attacked: damaged clips, odd values and names, broken requests."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from acvis_kit.errors import AcvisError
from tests.app.pages import PageProcess, page_process
from tests.fuzzing import SLOWEST, Trial, attacked, damaged, media_files
from tests.metrics.test_hostile_json import HOSTILE

SOUNDS: tuple[Any, ...] = ("original", "mute", "swap", "noise", "mix", "shift", "keep")
NUMBERS: tuple[Any, ...] = (0, 0, 1, 0.5, 1.5, -1, 100, 1e9, 1e308, -1e308, 1e-320, 10**30, "1", "x", True, None, [1])
UNSENDABLE: tuple[Any, ...] = (float("nan"), float("inf"), 10**400, "\ud800")  # not by gradio's client
TEXTS: tuple[str, ...] = (
    "",
    "Mute",
    "swap ",
    "x" * 10_000,
    "<b>bold</b>",
    "../..",
    "\0",
    "\n",
    "original\x1b[31m",
    "é" * 99,
)
NAMES: tuple[str, ...] = (
    "clip.mp4", "../../x.mp4", "/etc/passwd", "..", ".mp4", "a\0b.mp4", "a/b\\c.mp4", "x" * 300 + ".mp4", "名前.mp4",
    "<img src=x onerror=alert(1)>.mp4", "%2e%2e%2fx.mp4", 'a"b.mp4', "a\r\nb.mp4", "con.mp4", "x.m3u8", "x.html",
    " ", "",
)  # fmt: skip
FOREIGN = ("Traceback", 'File "', "Error:", "object at 0x", "fault of the page", "upstream Gradio app", "site-packages")
META = {"meta": {"_type": "gradio.FileData"}}
FUNCTIONS = (*range(40), 999, -1, None)  # indices, of which some stand for no function
PATHS = (
    "call/predict", "call/v2/predict", "run/predict", "api/predict", "queue/join", "cancel", "reset", "upload",
    "component_server", "stream/x", "heartbeat/x",
)  # fmt: skip


class NoSentenceError(Exception):
    """The page answered something that is neither a result nor a sentence."""


class AttackedPage:
    """A page and the requests with which it is attacked; each counts as refused if the page says so in a sentence."""

    def __init__(self, page: PageProcess, folder: Path) -> None:
        import httpx
        from gradio_client import Client

        self.page, self.folder = page, folder
        self.client = Client(page.url, verbose=False, download_files=folder / "answers")
        self.web = httpx.Client(base_url=f"{page.url}gradio_api/", timeout=3 * SLOWEST)
        self.files = media_files(folder)
        self.whole = {path: path.read_bytes() for path in self.files}

    def attacked(self, seeds: range, until: float = float("inf")) -> int:
        return attacked("predict", self.attack, seeds, until, self.page.process.pid)

    def attack(self, rng: random.Random) -> Trial:
        way = rng.choice((self._by_client, self._by_client, self._by_request, self._by_broken_request))
        trial = way(rng)
        read = trial.read

        def answered() -> None:
            try:
                read()
            finally:
                if not self.page.alive:
                    raise NoSentenceError("the page has ended") from None
                log = self.page.log.read_text(encoding="utf-8", errors="replace")
                if "Traceback" in log:
                    raise NoSentenceError(log[log.index("Traceback") :][-3000:])
                shutil.rmtree(self.folder / "answers", ignore_errors=True)

        return Trial(answered, {**trial.inputs, "way": way.__name__})

    def _file(self, rng: random.Random, name: str) -> Path:
        """A damaged file, or, once in three times, a whole one."""
        source = rng.choice(self.files[:4] if rng.random() < 0.8 else self.files)
        file = self.folder / f"{name}{source.suffix}"
        file.write_bytes(self.whole[source] if rng.random() < 0.33 else damaged(rng, self.whole[source]))
        return file

    def _values(self, rng: random.Random) -> dict[str, Any]:
        """Values of the parameters other than files, a few of them odd."""
        values: dict[str, Any] = {"sound": rng.choice(SOUNDS if rng.random() < 0.8 else TEXTS)}
        used = {"noise": ("level",), "mix": ("level",), "shift": ("seconds",), "keep": ("start", "end")}
        wanted = ("threshold", *used.get(values["sound"], ()))
        for name in ("level", "seconds", "start", "end", "threshold"):
            if rng.random() < (0.5 if name in wanted else 0.03):  # the endpoint refuses what a sound does not use
                values[name] = rng.choice(NUMBERS)
        return {**values, "count_gate": rng.choice((False, False, True, None, "x", 3))}

    def _by_client(self, rng: random.Random) -> Trial:
        """As a program of a visitor asks."""
        from gradio_client import handle_file
        from gradio_client.exceptions import AppError

        clip, other = self._file(rng, "clip"), self._file(rng, "other")
        values = self._values(rng)
        needs_other = values["sound"] in ("swap", "mix")
        files = {"clip": clip, **({"other_sound": other} if rng.random() < (0.9 if needs_other else 0.1) else {})}

        def read() -> None:
            try:
                answer = self.client.predict(
                    **{name: handle_file(str(path)) for name, path in files.items()}, **values, api_name="/predict"
                )
            except AppError as error:
                raise self._refused(str(error)) from None
            overlay, summary, tracks, *others = answer
            assert all(Path(path).stat().st_size for path in (overlay, *others)) and summary and tracks is not None

        return Trial(read, {"values": values, **files})

    def _by_request(self, rng: random.Random) -> Trial:
        """Values that no client sends, and files with odd names."""
        clip, name = self._file(rng, "clip"), rng.choice(NAMES)
        values = [*self._values(rng).items()]
        data = [None, *[value for _, value in values]]
        data = [None, data[1], None, 0, 0, 0, 0, 0.5, False]
        for place in rng.sample(range(9), rng.choice((0, 1, 1, 2))):
            data[place] = rng.choice(
                (*HOSTILE, *UNSENDABLE, *NUMBERS, {"path": rng.choice(NAMES)}, {"path": clip.name})
            )
        taken = rng.random() < 0.8

        def read() -> None:
            if taken:
                answer = self.web.post("upload", files={"files": (name, clip.read_bytes())})
                if answer.status_code != 200:
                    raise self._refused_request(answer)
                data[0] = {"path": answer.json()[0], "orig_name": name, **META}
            self._call("call/predict", json.dumps({"data": data}).encode())

        return Trial(read, {"clip": clip, "name": name, "data": data, "taken": taken})

    def _by_broken_request(self, rng: random.Random) -> Trial:
        """A request for a function, an upload or a stream, with bytes damaged."""
        data = [None, "mute", None, 0, 0, 0, 0, 0.5, False]
        session = {"session_hash": "s", "fn_index": rng.choice(FUNCTIONS), "event_data": None}
        body = json.dumps({"data": data, **(session if rng.random() < 0.7 else {})}).encode()
        if rng.random() < 0.7:
            body = damaged(rng, body)
        path = rng.choice(PATHS)

        def read() -> None:
            self._call(path, body)

        return Trial(read, {"path": path, "body": body})

    def _call(self, path: str, body: bytes) -> None:
        """Ask a function of the page, and wait for its answer."""
        answer = self.web.post(path, content=body, headers={"content-type": "application/json"})
        if answer.status_code != 200:
            raise self._refused_request(answer)
        if not path.startswith("call/"):
            return
        text = self.web.get(f"call/predict/{answer.json()['event_id']}").text
        event, _, data = text.strip().rpartition("event: ")[2].partition("\ndata: ")
        if event != "complete":
            error = json.loads(data)
            raise self._refused(str(error["error"] if isinstance(error, dict) else error))

    def _refused_request(self, answer: Any) -> Exception:
        """What a status other than 200 says: {"error" or "detail": a sentence}, or a text."""
        try:
            content = answer.json()
        except ValueError:
            content = answer.text
        message = str(content.get("error") or content.get("detail")) if isinstance(content, dict) else str(content)
        told = isinstance(content, dict) and content.get("error")  # with 500, gradio's status for all of them
        if answer.status_code >= 500 and answer.status_code != 507 and not told:
            return NoSentenceError(f"status {answer.status_code}: {message:.300}")
        return self._refused(message)

    def _refused(self, message: str) -> Exception:
        """What the page says, as an AcvisError if it is a clean sentence."""
        clean = len(message) <= 700 and len(message.split()) > 1 and str(self.page.folder) not in message
        if not clean or any(word in message for word in FOREIGN):
            return NoSentenceError(message[:1000])
        return AcvisError(message)


@contextmanager
def served(folder: Path) -> Iterator[AttackedPage]:
    """A page with an untrained model and without examples, to be attacked."""
    pytest.importorskip("gradio", reason="the page needs the extra: pip install acvis-kit[demo]")
    before = "import os; os.environ['ACVIS_EXAMPLES'] = 'none'"
    with page_process(folder / "page", "--weights", "random", "--preset", "acvis-synth-tiny", before=before) as page:
        yield AttackedPage(page, folder)
        assert page.alive and page.answers()
        assert page.end() == []
