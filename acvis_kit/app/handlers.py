"""The functions that the page's events call: from values of components to values of components."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from acvis_kit.app import downloads, views
from acvis_kit.app.clips import GONE
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import Studio, Take, TakeView
from acvis_kit.errors import AcvisError, MediaError

ORIGINAL = 0  # the viewers' choice of the original clip; takes are numbered from 1
ERROR_SECONDS = 8  # for which a notice covers a part of the page; a run's error stays in the summary's place
DOING = {  # the first argument of a `Progress` -> the page's text for it
    "wait": "Waiting for the model",
    "read": "Reading the clip",
    "encode": "Encoding the clip",
    "decode": "Decoding with the sound",
    "masks": "Computing masks",
    "preview": "Making a copy that browsers play",
    "write": "Drawing the video",
}

logger = logging.getLogger(__name__)


class Handlers:
    """The event handlers of one studio. gradio's session hash is the key of a session.

    Handlers that run or show a take turn every error into a gr.Error with the message to show.
    """

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def run(
        self,
        clip: str | None,
        sound: str,
        other_example: str,
        other: str | None,
        level: float,
        shift: float,
        start: float,
        end: float,
        threshold: float,
        gate: bool,
        opacity: float,
        request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio recognizes it by its default)
    ) -> list[Any]:
        """Run a take with the values of the controls."""
        with self._remembered_errors(request, clip, other):
            example = self.studio.examples.get(other_example)
            settings = SoundSettings(sound, str(example) if example else other, level, shift, start or 0, end or None)
            return self._run(clip, settings, TakeView(threshold, gate, opacity), request, progress)

    def choose(self, path: Path) -> Callable[[], list[Any]]:
        """A handler that selects an example as the clip, with its original sound."""
        return lambda: [str(path), "original"]

    def run_example(self, path: Path) -> Callable[..., list[Any]]:
        """A handler that runs a take of an example with its original sound."""

        def run(
            threshold: float,
            gate: bool,
            opacity: float,
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> list[Any]:
            with self._remembered_errors(request, str(path)):
                return self._run(str(path), SoundSettings(), TakeView(threshold, gate, opacity), request, progress)

        return run

    def _run(
        self, clip: str | None, settings: SoundSettings, view: TakeView, request: gr.Request | None, progress: Any
    ) -> list[Any]:
        if clip is None:
            raise MediaError("There is no clip yet: choose one, wait until it is uploaded, then run.")
        progress(0, desc="Reading the clip")
        key = session_of(request)
        take = self.studio.run(key, Path(clip), settings, view, reporter(progress))
        session = self.studio.session(key)
        choices = [("The original", ORIGINAL), *((kept.title, n) for n, kept in session.takes.items())]
        viewers = [
            gr.update(choices=choices, value=ORIGINAL),
            gr.update(choices=choices, value=take.number),
            str(session.original),
            str(take.videos[view]),
        ]
        return [*viewers, *self._shown(take, view, None), *self._files(take, view)]

    def show(
        self, choice: int, threshold: float, gate: bool, opacity: float, t: float, request: gr.Request | None = None
    ) -> list[Any]:
        """The right take in a changed view; the model does not run again."""
        with spoken_errors():
            take = self._right(choice, request)
            if take is None:
                return [gr.skip()] * (7 + len(downloads.NAMES) - 1)
            view = TakeView(threshold, gate, opacity)
            return [*self._shown(take, view, int(t or 0)), *self._files(take, view, video=False)]

    def second(
        self, choice: int, threshold: float, gate: bool, opacity: float, t: float, request: gr.Request | None = None
    ) -> list[Any]:
        """Frame t of the right take."""
        with spoken_errors():
            take = self._right(choice, request)
            if take is None:
                return [gr.skip(), gr.skip()]
            return self._second(take, TakeView(threshold, gate, opacity), int(t or 0))

    def video(
        self, choice: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> list[Any]:
        """The right viewer's video, and the overlay to download."""
        with spoken_errors():
            path = self._video(choice, TakeView(threshold, gate, opacity), request)
            return [path, path if choice != ORIGINAL else gr.skip()]

    def video_alone(
        self, choice: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> Any:
        """The left viewer's video."""
        with spoken_errors():
            return self._video(choice, TakeView(threshold, gate, opacity), request)

    def redraw(
        self, left: int, right: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> list[Any]:
        """Both viewers' videos in a changed view, and the overlay to download."""
        with spoken_errors():
            view = TakeView(threshold, gate, opacity)
            paths = [
                self._video(choice, view, request) if choice != ORIGINAL else gr.skip() for choice in (left, right)
            ]
            return [*paths, paths[1]]

    def predict(
        self,
        clip: str | None,
        sound: str = "original",
        other_sound: str | None = None,
        level: float = 0,
        seconds: float = 0,
        start: float = 0,
        end: float = 0,
        threshold: float = 0.3,
        count_gate: bool = False,
        request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Mark the objects that sound in a clip, second by second.

        Args:
            clip: a video file; trimmed to its first 120 s.
            sound: the model's input: "original", "mute", "swap", "noise", "mix", "shift" or "keep".
            other_sound: a sound or video file, for "swap" and "mix".
            level: dB; for "noise", how far it lies below the sound; for "mix", the gain of the other sound.
            seconds: delay for "shift"; negative is earlier.
            start: second at which "keep" begins.
            end: second at which "keep" ends; 0 is the end of the clip.
            threshold: tracks score higher than this, 0..1.
            count_gate: limit the masks of each second to the predicted count.
            request: of the visitor, from gradio.
            progress: from gradio.

        Returns:
            The clip with its masks and the model's input sound (MP4); a summary; a list of objects; the result (JSON),
            the counts (CSV) and the masks (zip of PNGs).

        Raises:
            gr.Error: with the message to show, for whatever went wrong.
        """
        with spoken_errors(clip, other_sound):
            if clip is None:
                raise MediaError("There is no clip yet: give a video file.")
            view = TakeView(threshold, count_gate, self.studio.view.opacity)
            settings = SoundSettings(sound, other_sound, level, seconds, start or 0, end or None)
            take = self.studio.run(session_of(request), Path(clip), settings, view, reporter(progress))
            video, *others = (str(file) for file in downloads.write_files(take, view, take.videos[view]))
            return video, views.summary(take, view), views.track_rows(take, view), *others

    def cancel(self, request: gr.Request | None = None) -> str:
        """Stop the session's run."""
        self.studio.cancel(session_of(request))
        return "Cancelled. Press Run to start again."

    def failure(self, request: gr.Request | None = None) -> str:
        """The session's last error, HTML, which stays on the page when its notice has closed."""
        return f"<p role='alert' class='alert error'>{self.studio.session(session_of(request)).error}</p>"

    @contextmanager
    def _remembered_errors(self, request: gr.Request | None, *paths: str | None) -> Iterator[None]:
        try:
            with spoken_errors(*paths):
                yield
        except gr.Error as error:
            self.studio.session(session_of(request)).error = error.message
            raise

    def leave(self, request: gr.Request) -> None:
        """Delete the session of a visitor who has closed the page."""
        self.studio.forget(session_of(request))

    def _right(self, choice: int, request: gr.Request | None) -> Take | None:
        return None if choice in (ORIGINAL, None) else self.studio.take(session_of(request), choice)

    def _video(self, choice: int, view: TakeView, request: gr.Request | None) -> str | None:
        key = session_of(request)
        if choice in (ORIGINAL, None):
            original = self.studio.session(key).original
            if original is not None and not original.is_file():
                raise MediaError(GONE)
            return str(original) if original else None
        return str(self.studio.video(self.studio.take(key, choice), view))

    def _shown(self, take: Take, view: TakeView, t: int | None) -> list[Any]:
        """Summary, timeline, slider, frame, caption, table, code; without t, of the first frame with the most masks."""
        last = len(take.prediction) - 1
        t = views.liveliest(take, view) if t is None else min(t, last)
        return [
            views.summary(take, view),
            views.timeline(take, view),
            gr.update(maximum=max(1, last), value=t),
            *self._second(take, view, t),
            views.track_table(take, view),
            downloads.python_lines(take, view, self.studio.loaded, self.studio.max_seconds),
        ]

    def _second(self, take: Take, view: TakeView, t: int) -> list[Any]:
        picture, masks, colours = views.second(take, view, t)
        return [gr.AnnotatedImage((picture, [*masks]), color_map=colours), views.second_caption(take, t)]

    def _files(self, take: Take, view: TakeView, video: bool = True) -> list[Any]:
        files = downloads.write_files(take, view, take.videos.get(view, Path()))
        return [gr.DownloadButton(value=str(file), interactive=True) for file in (files if video else files[1:])]


def session_of(request: gr.Request | None) -> str | None:
    """The key of the request's session; None for a call without a request."""
    return request.session_hash if request else None


def reporter(progress: Any) -> Callable[[str, int, int], None]:
    """A `Progress` that reports to a gr.Progress."""

    def report(what: str, done: int, total: int) -> None:
        progress((done, total), desc=DOING[what], unit="frames")

    return report


@contextmanager
def spoken_errors(*paths: str | None) -> Iterator[None]:
    """Turn errors into a gr.Error, which the page shows. Its message has no folders of `paths` or of the page's files.

    Errors other than AcvisError are logged; the page shows no details of them.
    """
    try:
        yield
    except AcvisError as error:
        message = str(error)
        for path in filter(None, paths):
            message = message.replace(path, Path(path).name)
        message = re.sub(re.escape(gr.utils.get_upload_folder()) + r"(/[\w-]+)*/", "", message)
    except Exception:
        logger.exception("the page failed")
        message = "This is a fault of the page, not of your clip. The server's log has the details."
    else:
        return
    raise gr.Error(html.escape(message, quote=False), duration=ERROR_SECONDS, print_exception=False)
