"""The page as the command serves it, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 600  # that a page may take to start, on a busy machine
END_SECONDS = 120  # that it may take to end


class PageProcess:
    """`acvis demo` on a free port; its files lie below `folder`, which is made, and its output in `folder`.log.

    Args:
        folder: for all files of the page.
        options: of the command.
        before: Python that the process runs before the command.
    """

    def __init__(self, folder: Path, *options: str, before: str = "") -> None:
        folder.mkdir(parents=True)
        self.folder, port = folder, free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.log = folder.with_suffix(".log")
        code = f"{before}\nfrom acvis_kit.cli import main\nraise SystemExit(main())"
        command = [sys.executable, "-c", code, "demo", "--no-browser", "--port", str(port), *options]
        environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder), "TMPDIR": str(folder), "HF_HUB_OFFLINE": "1"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def answers(self) -> bool:
        import httpx

        try:
            return httpx.get(f"{self.url}gradio_api/info").status_code == 200
        except httpx.TransportError:
            return False

    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]

    def end(self, by: signal.Signals = signal.SIGTERM) -> list[Path]:
        """End the page; the files that it leaves."""
        self.process.send_signal(by)
        self.process.wait(END_SECONDS)
        return self.files()


@contextmanager
def page_process(folder: Path, *options: str, before: str = "") -> Iterator[PageProcess]:
    """A page that answers; it is ended at the end, if it has not been."""
    page = PageProcess(folder, *options, before=before)
    try:
        started = soon(lambda: page.answers() or not page.alive, START_SECONDS)
        assert started and page.alive, page.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        yield page
    finally:
        if page.alive:
            page.process.kill()
            page.process.wait(END_SECONDS)


def resident_bytes(process: int | None = None) -> int:
    """The resident memory of a process at this moment, of this one if None; Linux alone."""
    pages = Path(f"/proc/{process or 'self'}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(process: int | None = None) -> float:
    """The seconds of the processor that a process has had, this one if None; Linux alone."""
    fields = Path(f"/proc/{process or 'self'}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def soon(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether this becomes true within so many seconds."""
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    return condition()
