"""The page's state: sessions, their takes, and the one model that they share."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr

from acvis_kit.app import gpu
from acvis_kit.app.clips import (
    GONE,
    ClipCache,
    clip_of,
    content_key,
    drawn_size,
    example_files,
    file_of,
    original_for_browsers,
)
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.clip import Clip, Progress
from acvis_kit.errors import AcvisError, MediaError
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.viz.overlay import write_overlay
from acvis_kit.weights.load import Loaded

MAX_SECONDS = 120  # longer clips are trimmed
FEATURES_MB = 512  # of one clip in memory; the rest goes to disk
FLOOR = 0.1  # score; lower tracks are not kept, and the threshold's slider begins here
CANDIDATES = 40  # pairs of query and class whose masks are computed, at most
SESSIONS_KEPT = 16
TAKES_KEPT = 8  # per session; a take is run-length codes and videos

logger = logging.getLogger(__name__)


class Cancelled(AcvisError):
    """The visitor pressed Cancel or closed the page."""


@dataclass(frozen=True)
class TakeView:
    """How a take is shown. Another view does not run the model again.

    Attributes:
        threshold: tracks score higher than this.
        gate: limit the masks of each frame to the predicted count.
        opacity: of the masks, 0..1.
    """

    threshold: float
    gate: bool = False
    opacity: float = 0.5


@dataclass
class Take:
    """One run of a clip with one sound.

    Attributes:
        number: from 1 within the session; 0 until the take is added to one.
        clip_name: name of the clip's file.
        settings: the sound.
        prediction: all tracks above `Studio.floor`; `shown` filters them.
        source: the clip with its original sound, without pixels.
        stills: T JPEGs, one of each frame.
        encoding: seconds that reading and encoding the clip took; 0 if it was encoded before.
        decoding: seconds that decoding took.
        drawing: seconds that drawing the first overlay took.
        at: when the take was run, by the monotonic clock.
        videos: overlays drawn so far.
    """

    number: int
    clip_name: str
    settings: SoundSettings
    prediction: Prediction
    source: Clip
    stills: list[bytes]
    encoding: float
    decoding: float
    drawing: float = 0.0
    at: float = field(default_factory=time.monotonic)
    videos: dict[TakeView, Path] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"Take {self.number}: {self.clip_name} with {self.settings.label()}"

    def shown(self, view: TakeView) -> Prediction:
        """The prediction above the view's threshold and, with `view.gate`, within the predicted count."""
        prediction = self.prediction.above(view.threshold)
        return prediction.gated() if view.gate else prediction


@dataclass
class Session:
    """The state of one visitor.

    Attributes:
        clip: file of the latest take's clip.
        original: a file of that clip that browsers play.
        takes: the last `TAKES_KEPT`, by number.
        made: number of takes so far.
        error: the last error's message, HTML.
        cancelled: set to stop the current run.
    """

    clip: Path | None = None
    original: Path | None = None
    takes: OrderedDict[int, Take] = field(default_factory=OrderedDict)
    made: int = 0
    error: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)


class Studio:
    """Runs the model for all sessions, one clip at a time, and caches encoded clips.

    Args:
        loaded: the model and where it is from.
        max_seconds: longer clips are trimmed to this.
        examples: a folder of clips instead of the bundled ones.
    """

    def __init__(self, loaded: Loaded, max_seconds: float = MAX_SECONDS, examples: Path | None = None) -> None:
        config = loaded.model.config
        self.loaded, self.max_seconds = loaded, max_seconds
        self.floor = min(FLOOR, config.score_threshold)
        self.view = TakeView(config.score_threshold, config.count_gate)
        self.predictor = Predictor(
            loaded.model,
            score_threshold=self.floor,
            top_k=min(config.top_k, CANDIDATES),
            count_gate=False,
            feature_budget_mb=FEATURES_MB,
        )
        self.clip_cache = ClipCache(self.predictor, max_seconds)
        self.examples = {path.stem: path for path in example_files(examples)}
        self._sessions: OrderedDict[str | None, Session] = OrderedDict()
        self._lock = threading.Lock()  # of the sessions
        self._network = threading.Lock()  # the model processes one clip at a time
        self.running = 0  # runs in progress
        self._keys = {path: content_key(path) for path in self.examples.values()}
        self._warm: dict[Path, Take] = {}
        self._home = tempfile.TemporaryDirectory(prefix="acvis-examples-", ignore_cleanup_errors=True)
        self._run_on_gpu = gpu.runner(self.predictor, max_seconds)

    def session(self, key: str | None) -> Session:
        """The session with this key, made if there is none; the last `SESSIONS_KEPT` are kept."""
        with self._lock:
            session = self._sessions.pop(key, None) or Session()
            self._sessions[key] = session
            while len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(last=False)
            return session

    def forget(self, key: str | None) -> None:
        """Cancel the session's run and delete the session."""
        self.cancel(key)
        with self._lock:
            self._sessions.pop(key, None)

    def cancel(self, key: str | None) -> None:
        """Stop the session's run; the next run is not affected."""
        with self._lock:
            session = self._sessions.get(key)
        if session is not None:
            session.cancelled.set()

    def run(self, key: str | None, clip: Path, settings: SoundSettings, view: TakeView, report: Progress) -> Take:
        """Add a take of a clip to the session, with its overlay drawn.

        Args:
            key: of the session.
            clip: a video file.
            settings: the sound.
            view: how to draw the overlay.
            report: called with ("wait", "read", "encode", "decode", "masks", "preview" or "write", done, total).

        Raises:
            AcvisError: files that cannot be read, or numbers out of range.
            Cancelled: the session was cancelled.
        """
        session = self.session(key)
        session.cancelled = cancelled = threading.Event()
        with self._counted():
            return self._run(session, clip, settings, view, cancelled, report)

    def _run(
        self,
        session: Session,
        clip: Path,
        settings: SoundSettings,
        view: TakeView,
        cancelled: threading.Event,
        report: Progress,
    ) -> Take:
        def report_or_stop(what: str, done: int, total: int) -> None:
            if cancelled.is_set():
                raise Cancelled("The run was cancelled.")
            report(what, done, total)

        clip = self._example(clip) or clip
        ready = self._warm.get(clip) if settings == SoundSettings() else None
        take = ready or self._take(clip, settings, report_or_stop)
        take = replace(take, videos=dict(take.videos), at=time.monotonic())
        if session.clip != clip:
            folder = new_folder()
            session.original = original_for_browsers(take.source, folder, report_or_stop)
            session.clip = clip
        if view not in take.videos:
            began = time.monotonic()
            self.video(take, view, report_or_stop)
            take.drawing = time.monotonic() - began
        with self._lock:
            session.made += 1
            take.number = session.made
            session.takes[take.number] = take
            while len(session.takes) > TAKES_KEPT:
                session.takes.popitem(last=False)
        return take

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.running += 1
        try:
            yield
        finally:
            with self._lock:
                self.running -= 1

    def video(self, take: Take, view: TakeView, report: Progress | None = None) -> Path:
        """The take's overlay in this view, drawn unless it exists.

        Raises:
            MediaError: the clip's file has been deleted.
        """
        ready = take.videos.get(view)
        if ready is not None and ready.is_file():
            return ready
        if not file_of(clip_of(take.prediction)).is_file():
            raise MediaError(GONE)
        folder = new_folder()
        try:
            if report is not None:
                report("write", 0, 1)
            path = write_overlay(take.shown(view), folder / "overlay.mp4", opacity=view.opacity, progress=report)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        take.videos[view] = path
        return path

    def take(self, key: str | None, number: int) -> Take:
        """The session's take with this number.

        Raises:
            MediaError: the take is not kept any more.
        """
        take = self.session(key).takes.get(number)
        if take is None:
            raise MediaError("This take is no longer kept: run it again.")
        return take

    def expire(self, older_than: float) -> None:
        """Drop takes and encoded clips older than `older_than` seconds; the examples stay."""
        self.clip_cache.expire(older_than)
        limit = time.monotonic() - older_than
        with self._lock:
            for session in self._sessions.values():
                for number in [number for number, take in session.takes.items() if take.at <= limit]:
                    del session.takes[number]

    def warm_up(self) -> None:
        """Run the model on the examples and draw their overlays, so that a click shows them at once."""
        for name, path in self.examples.items():
            try:
                take = self._take(path, SoundSettings(), lambda *_: None, pin=True)
                folder = Path(self._home.name) / name
                folder.mkdir(exist_ok=True)
                began = time.monotonic()
                video = write_overlay(take.shown(self.view), folder / "overlay.mp4", opacity=self.view.opacity)
                take.drawing = time.monotonic() - began
                take.videos[self.view] = video
                self._warm[path] = take
            except Exception:  # the page works without it; a click on the example reports the error
                logger.exception("the example %s could not be prepared", path.name)

    def _example(self, clip: Path) -> Path | None:
        """The example of which this file is a copy (gradio copies files to its cache); None if there is none."""
        key = content_key(clip)
        return next((path for path in self.examples.values() if self._keys[path] == key), None)

    def _take(self, clip: Path, settings: SoundSettings, report: Progress, *, pin: bool = False) -> Take:
        edit = settings.edit()
        report("wait", 0, 1)
        while not self._network.acquire(timeout=0.25):
            report("wait", 0, 1)
        try:
            if self._run_on_gpu is not None:
                return Take(0, clip.name, settings, *self._run_on_gpu(str(clip), settings))
            encoded, cached = self.clip_cache.get(clip, report, pin=pin)
            began = time.monotonic()
            size = drawn_size(encoded.features.source_size)
            source = clip_of(encoded.features)
            report("decode", 0, len(source))
            prediction = self.predictor.decode(encoded.features, edit, output_size=size, progress=report)
        finally:
            self._network.release()
        decoding = time.monotonic() - began
        encoding = 0.0 if cached else encoded.seconds
        return Take(0, clip.name, settings, prediction, source, encoded.stills, encoding, decoding)


def new_folder() -> Path:
    """A new folder in gradio's cache, where `server.sweep` deletes what is old."""
    cache = Path(gr.utils.get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="acvis-", dir=cache))


def without_folders(prediction: Prediction) -> Prediction:
    """The prediction with the names of files alone, so that visitors do not get the server's folders."""
    clip = clip_of(prediction)
    source = file_of(clip)
    notes = tuple(note.replace(str(source), source.name) for note in prediction.notes)
    return replace(prediction, notes=notes, clip=replace(clip, source=Path(source.name)))
