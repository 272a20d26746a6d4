"""The page's state: sessions, their takes, and the one model that they share."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from acvis_kit.app import gpu
from acvis_kit.app.clips import (
    GONE,
    ClipCache,
    check_moves,
    clip_of,
    content_key,
    example_files,
    file_of,
    mask_size,
    original_for_browsers,
)
from acvis_kit.app.numbers import number_within
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.storage import bytes_in, check_room, new_folder, secret_path, shown_name, upload_folder
from acvis_kit.clip import Clip, Progress
from acvis_kit.errors import AcvisError, MediaError
from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.inference.semantic_predictor import SemanticPredictor
from acvis_kit.models.semantic_config import SemanticInference
from acvis_kit.viz.overlay import write_overlay
from acvis_kit.weights.load import Loaded

MAX_SECONDS = 120  # longer clips are trimmed
FEATURES_MB = 512  # of one clip in memory; the rest goes to disk
FLOOR = 0.1  # score; lower tracks or pixels are not kept, and the threshold's slider begins here
CANDIDATES = 40  # pairs of query and class whose masks are computed, at most
SESSIONS_KEPT = 16
TAKES_KEPT = 8  # per session; a take is run-length codes and videos
VIEWS_KEPT = 3  # per take: overlays and downloads in different views
SESSION_BYTES = 500 * 10**6  # of a session's results, on the disk and in memory; its oldest takes make room
TABS_KNOWN = 1000  # sessions that a reloaded page can find again
TOKEN = re.compile(r"[0-9a-f]{32}")  # the secret by which it finds its session
STOPPED = "The run was cancelled."
# When a clip was encoded, for `Take.when_encoded`.
ONCE, IN_ADVANCE, BEFORE = "once per clip", "done in advance", "this page has encoded the clip before"

logger = logging.getLogger(__name__)


class Cancelled(AcvisError):
    """The visitor pressed Cancel or closed the page."""


@dataclass(frozen=True)
class TakeView:
    """How a take is shown. Another view does not run the model again.

    Attributes:
        threshold: tracks, or pixels of classes, score higher than this.
        gate: limit the masks of each frame to the predicted count, of a model with a count head.
        opacity: of the masks, 0..1.
    """

    threshold: float
    gate: bool = False
    opacity: float = 0.5

    @classmethod
    def given(cls, threshold: Any, gate: Any, opacity: Any) -> TakeView:
        """A view from values of any kind.

        Raises:
            ConfigError: a value that is no number from 0 to 1.
        """
        return cls(number_within("threshold", threshold, 0, 1), bool(gate), number_within("opacity", opacity, 0, 1))


@dataclass
class Take:
    """One run of a clip with one sound.

    Attributes:
        number: from 1 within the session; 0 until the take is added to one.
        clip_name: name of the clip's file.
        settings: the sound.
        prediction: all that scores above `Studio.floor`; `shown` filters it.
        source: the clip with its original sound, without pixels.
        stills: T JPEGs, one of each frame.
        encoding: seconds that reading and encoding the clip took; 0 if it was encoded before.
        decoding: seconds that decoding took.
        drawing: seconds that drawing the first overlay took.
        at: when the take was run, by the monotonic clock.
        videos: overlays drawn so far.
        folder: of the files of this take; None until the take is added to a session.
        when_encoded: when the clip was encoded, in words for the visitor; may be empty.
    """

    number: int
    clip_name: str
    settings: SoundSettings
    prediction: Prediction | SemanticPrediction
    source: Clip
    stills: list[bytes]
    encoding: float
    decoding: float
    drawing: float = 0.0
    at: float = field(default_factory=time.monotonic)
    videos: dict[TakeView, Path] = field(default_factory=dict)
    folder: Path | None = None
    when_encoded: str = ""
    _folders: OrderedDict[TakeView, Path] = field(default_factory=OrderedDict)

    @property
    def title(self) -> str:
        return f"Take {self.number}: {self.clip_name} with {self.settings.label()}"

    def shown(self, view: TakeView) -> Prediction | SemanticPrediction:
        """The prediction above the view's threshold and, with `view.gate`, within the predicted count."""
        prediction = self.prediction.above(view.threshold)
        return prediction.gated() if view.gate else prediction

    @property
    def bytes_in_memory(self) -> int:
        """Of class maps, which are large; those of tracks are run-length codes."""
        if not isinstance(self.prediction, SemanticPrediction):
            return 0
        maps = (self.prediction.class_maps, self.prediction.probabilities, self.prediction.uncertainty)
        return sum(one.nbytes for one in maps if one is not None)

    def view_folder(self, view: TakeView) -> Path:
        """The folder of the files of this view, made if there is none; the last `VIEWS_KEPT` are kept.

        Raises:
            AcvisError: the page's disk is full.
        """
        assert self.folder is not None, "files are written of takes that belong to a session"
        folder = self._folders.get(view)
        if folder is None or not folder.is_dir():
            check_room(upload_folder())
            self._folders[view] = folder = new_folder(self.folder)
        self._folders.move_to_end(view)
        while len(self._folders) > VIEWS_KEPT:
            shutil.rmtree(self._folders.popitem(last=False)[1], ignore_errors=True)
        return folder

    def delete_files(self) -> None:
        """Delete the files of all views."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class Session:
    """The state of one visitor.

    Attributes:
        folder: of the session's results; it does not exist before the first.
        chosen: the clip in the page's controls.
        clip: file of the latest take's clip.
        original: a file of that clip that browsers play.
        takes: the last `TAKES_KEPT`, by number; fewer if they exceed `SESSION_BYTES`.
        made: number of takes so far.
        dropped: numbers of takes that made room, until the visitor is told.
        cancelled: set to stop the current run; None without one.
        made_before: number of takes when the current, or else the last, run began.
    """

    folder: Path = field(default_factory=lambda: secret_path(upload_folder()))
    chosen: Path | None = None
    clip: Path | None = None
    original: Path | None = None
    takes: OrderedDict[int, Take] = field(default_factory=OrderedDict)
    made: int = 0
    dropped: list[int] = field(default_factory=list)
    cancelled: threading.Event | None = None
    made_before: int = 0

    def make_room(self) -> None:
        """Drop the oldest takes, with their files, as long as there are too many or they are too large."""
        while len(self.takes) > 1 and (len(self.takes) > TAKES_KEPT or self._bytes() > SESSION_BYTES):
            number, take = self.takes.popitem(last=False)
            take.delete_files()
            self.dropped.append(number)

    def _bytes(self) -> int:
        return bytes_in(self.folder) + sum(take.bytes_in_memory for take in self.takes.values())

    def delete(self) -> None:
        """Delete the session's results."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Studio:
    """Runs the model for all sessions, one clip at a time, and caches encoded clips.

    Args:
        loaded: the model and where it is from.
        max_seconds: longer clips are trimmed to this.
        examples: a folder of clips instead of the bundled ones.
        home: a folder for the overlays of the examples; a temporary one if None.

    Attributes:
        semantic: whether the model marks pixels of classes (AVSC, RAVS) instead of tracks.
        has_count_head: whether the model predicts a count, to which masks can be limited.
    """

    def __init__(
        self,
        loaded: Loaded,
        max_seconds: float = MAX_SECONDS,
        examples: Path | None = None,
        home: Path | None = None,
    ) -> None:
        config = loaded.model.config
        self.loaded, self.max_seconds = loaded, max_seconds
        self.semantic = isinstance(config, SemanticInference)
        self.has_count_head = not self.semantic and config.count_head != "none"
        threshold = config.threshold if self.semantic else config.score_threshold
        self.floor = min(FLOOR, threshold)
        self.view = TakeView(threshold, self.has_count_head and config.count_gate)
        self.predictor: Predictor | SemanticPredictor
        if self.semantic:
            self.predictor = SemanticPredictor(loaded.model, threshold=self.floor)
        else:
            self.predictor = Predictor(
                loaded.model,
                score_threshold=self.floor,
                top_k=min(config.top_k, CANDIDATES),
                count_gate=False,
                feature_budget_mb=FEATURES_MB,
            )
        self.clip_cache = ClipCache(self.predictor, max_seconds)
        self.examples = {path.stem: path for path in example_files(examples, loaded.entry)}
        self._sessions: OrderedDict[str | None, Session] = OrderedDict()
        self._tokens: OrderedDict[str | None, str] = OrderedDict()  # of the open pages, by gradio's session hash
        self._lock = threading.Lock()  # of the sessions
        self._network = threading.Lock()  # the model processes one clip at a time
        self.running = 0  # runs in progress
        self._keys = {path: content_key(path) for path in self.examples.values()}
        self._warm: dict[Path, Take] = {}
        if home is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="acvis-examples-", ignore_cleanup_errors=True)
            home = Path(self._temporary.name)
        self._home = home
        self._run_on_gpu = gpu.runner(self.predictor, max_seconds)

    def session(self, key: str | None) -> Session:
        """The session with this key, made if there is none; the last `SESSIONS_KEPT` are kept."""
        with self._lock:
            key = self._tokens.get(key, key)
            session = self._sessions.pop(key, None) or Session()
            self._sessions[key] = session
            while len(self._sessions) > SESSIONS_KEPT:
                self._sessions.popitem(
                    last=False
                )  # its files stay for a visitor who is looking at them, until the sweep
            return session

    def adopt(self, key: str | None, token: object) -> Session:
        """The session of a page that has been opened or reloaded; it gets the one that it had before.

        Args:
            key: gradio's session hash, which is another one after a reload.
            token: the page's secret, 128 random bits in hexadecimal; anything else is ignored.
        """
        if isinstance(token, str) and TOKEN.fullmatch(token):
            with self._lock:
                self._tokens[key] = token
                while len(self._tokens) > TABS_KNOWN:
                    self._tokens.popitem(last=False)
        return self.session(key)

    def forget(self, key: str | None) -> None:
        """Cancel the session's run; delete the session, unless its page can come back (see `adopt`) for it."""
        self.cancel(key)
        with self._lock:
            if self._tokens.pop(key, None) is None and (session := self._sessions.pop(key, None)) is not None:
                session.delete()

    def cancel(self, key: str | None) -> bool:
        """Stop the session's run; the next run is not affected. Returns whether there was one."""
        with self._lock:
            session = self._sessions.get(self._tokens.get(key, key))
            cancelled = session.cancelled if session is not None else None
            if cancelled is not None:
                cancelled.set()  # with the lock: a take is added before it, or not at all
        return cancelled is not None

    @contextmanager
    def cancellable(self, key: str | None) -> Iterator[threading.Event]:
        """A run of the session, of one take or several, which `cancel` stops as a whole, between two takes too.

        Args:
            key: of the session.

        Yields:
            What `run` gets, for each take.
        """
        session = self.session(key)
        session.cancelled = cancelled = threading.Event()
        session.made_before = session.made
        try:
            yield cancelled
        finally:
            if session.cancelled is cancelled:
                session.cancelled = None

    def run(
        self,
        key: str | None,
        clip: Path,
        settings: SoundSettings,
        view: TakeView,
        report: Progress,
        cancelled: threading.Event | None = None,
    ) -> Take:
        """Add a take of a clip to the session, with its overlay drawn.

        Args:
            key: of the session.
            clip: a video file.
            settings: the sound.
            view: how to draw the overlay.
            report: called with ("wait", "read", "encode", "decode", "masks", "preview" or "write", done, total).
            cancelled: of a run of several takes, see `cancellable`; None: the take is a run of its own.

        Raises:
            AcvisError: files that cannot be read, or numbers out of range.
            Cancelled: the session was cancelled.
        """
        with nullcontext(cancelled) if cancelled else self.cancellable(key) as event, self._counted():
            return self._run(self.session(key), clip, settings, view, event, report)

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
                raise Cancelled(STOPPED)
            report(what, done, total)

        report_or_stop("wait", 0, 1)
        clip = self._example(clip) or clip
        ready = self._warm.get(clip) if settings == SoundSettings() else None
        take = ready or self._take(clip, settings, report_or_stop)
        check_room(upload_folder())
        take = replace(
            take,
            videos=dict(take.videos),
            at=time.monotonic(),
            folder=new_folder(session.folder),
            when_encoded=take.when_encoded or self._when_encoded(session, take, clip),
            _folders=OrderedDict(),
        )
        try:
            if session.clip != clip:
                session.original = original_for_browsers(take.source, new_folder(session.folder), report_or_stop)
                session.clip = clip
            if view not in take.videos:
                began = time.monotonic()
                self.video(take, view, report_or_stop)
                take.drawing = time.monotonic() - began
            with self._lock:
                if cancelled.is_set():  # since the last report: the visitor has been told that the run is stopped
                    raise Cancelled(STOPPED)
                session.made += 1
                take.number = session.made
                session.takes[take.number] = take
                session.make_room()
        except BaseException:
            take.delete_files()
            raise
        return take

    def _when_encoded(self, session: Session, take: Take, clip: Path) -> str:
        """When the clip of a take that did not encode it was encoded, in words; empty if it did encode it."""
        if take.encoding:
            return ""
        with self._lock:
            for number, other in session.takes.items():
                if other.stills is take.stills and other.when_encoded == ONCE:  # the stills of one `EncodedClip`
                    return f"done for take {number}"
        return IN_ADVANCE if clip in self._keys else BEFORE

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
            AcvisError: the page's disk is full.
        """
        ready = take.videos.get(view)
        if ready is not None and ready.is_file():
            return ready
        if not file_of(clip_of(take.prediction)).is_file():
            raise MediaError(GONE)
        if report is not None:
            report("write", 0, 1)
        path = take.view_folder(view) / "overlay.mp4"
        take.videos[view] = write_overlay(take.shown(view), path, opacity=view.opacity, progress=report)
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
                    session.takes.pop(number).delete_files()

    def warm_up(self) -> None:
        """Run the model on the examples and draw their overlays, so that a click shows them at once."""
        for name, path in self.examples.items():
            try:
                take = self._take(path, SoundSettings(), lambda *_: None, pin=True)
                take.when_encoded = IN_ADVANCE
                folder = self._home / name
                folder.mkdir(parents=True, exist_ok=True)
                began = time.monotonic()
                video = write_overlay(take.shown(self.view), folder / "overlay.mp4", opacity=self.view.opacity)
                take.drawing = time.monotonic() - began
                take.videos[self.view] = video
                self._warm[path] = take
            except Exception:  # the page works without it; a click on the example reports the error
                logger.exception("the example %s could not be prepared", path.name)

    def examples_beside(self, clip: Path) -> list[Path]:
        """The examples other than this clip.

        Raises:
            MediaError: the clip does not exist any more.
        """
        itself = self._example(clip)
        return [path for path in self.examples.values() if path != itself]

    def _example(self, clip: Path) -> Path | None:
        """The example of which this file is a copy (gradio copies files to its cache); None if there is none."""
        key = content_key(clip)
        return next((path for path in self.examples.values() if self._keys[path] == key), None)

    def _take(self, clip: Path, settings: SoundSettings, report: Progress, *, pin: bool = False) -> Take:
        edit = settings.edit()
        check_moves(clip)
        report("wait", 0, 1)
        while not self._network.acquire(timeout=0.25):
            report("wait", 0, 1)
        try:
            if self._run_on_gpu is not None:  # it checks the settings against the clip
                return Take(0, shown_name(clip), settings, *self._run_on_gpu(str(clip), settings))
            encoded, cached = self.clip_cache.get(clip, report, pin=pin)
            began = time.monotonic()
            size = mask_size(encoded.features.source_size, self.predictor)
            source = clip_of(encoded.features)
            settings.check_within(source.duration)
            report("decode", 0, len(source))
            decode: Any = self.predictor.decode  # it gets what its own `encode` returned
            prediction = decode(encoded.features, edit, output_size=size, progress=report)
        finally:
            self._network.release()
        decoding = time.monotonic() - began
        encoding = 0.0 if cached and not pin else encoded.seconds
        take = Take(0, shown_name(clip), settings, prediction, source, encoded.stills, encoding, decoding)
        take.when_encoded = "" if cached else ONCE
        return take


def without_folders(prediction: Prediction | SemanticPrediction) -> Prediction | SemanticPrediction:
    """The prediction with the names of files alone, so that visitors do not get the server's folders."""
    clip = clip_of(prediction)
    source = file_of(clip)
    notes = tuple(note.replace(str(source), shown_name(source)) for note in prediction.notes)
    return replace(prediction, notes=notes, clip=replace(clip, source=Path(shown_name(source))))
