"""The functions that the page's events call: from values of components to values of components."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from acvis_kit.app import downloads, views
from acvis_kit.app.clips import GONE, file_of
from acvis_kit.app.numbers import number_within
from acvis_kit.app.sound_settings import LABELS, SoundSettings
from acvis_kit.app.storage import shown_name
from acvis_kit.app.studio import Cancelled, Studio, Take, TakeView
from acvis_kit.errors import AcvisError, ConfigError, MediaError, without_advice

ORIGINAL = 0  # the viewers' choice of the original clip; takes are numbered from 1
SHOWN = 7  # outputs of `Handlers._shown`
OUTPUTS = 4 + SHOWN + len(downloads.NAMES)  # of a run, besides its status
ERROR_SECONDS = 8  # for which a notice covers a part of the page; a run's error stays in the page instead
LONGEST_MESSAGE = 600  # characters
NO_CLIP = "There is no clip yet: choose one, wait until it is uploaded, then run."
STOPPED = "Stopped. Press Run to start again."
ALERT = "role='alert'"  # of an error
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

    A run returns its error as the page's status. Other handlers turn it into a gr.Error with the message to show.
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
        left: int,
        request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio recognizes it by its default)
    ) -> list[Any]:
        """Run a take with the values of the controls."""
        example = self.studio.examples.get(other_example)
        other = str(example) if example else other

        def settings() -> list[SoundSettings]:
            return [SoundSettings.given(sound, other, level, shift, start, end, LABELS)]

        return self._run(clip, settings, (threshold, gate, opacity), left, request, progress, (clip, other))

    def run_all(
        self,
        clip: str | None,
        other_example: str,
        other: str | None,
        threshold: float,
        gate: bool,
        opacity: float,
        request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        """Run three takes: of the clip with its own sound, with silence, and with another sound.

        The other sound is the one that is chosen in the controls, else that of the first example that is another clip.
        """
        example = self.studio.examples.get(other_example)
        chosen = str(example) if example else other

        def settings() -> list[SoundSettings]:
            if clip is None:
                raise MediaError(NO_CLIP)
            swapped = chosen or next(iter(self.studio.examples_beside(Path(clip))), None)
            others = [SoundSettings("swap", str(swapped))] if swapped else []
            return [SoundSettings(), SoundSettings("mute"), *others]

        return self._run(clip, settings, (threshold, gate, opacity), None, request, progress, (clip, chosen))

    def choose(self, path: Path) -> Callable[..., list[Any]]:
        """A handler that selects an example as the clip, with its original sound."""

        def choose(request: gr.Request | None = None) -> list[Any]:
            self.keep_clip(str(path), request)
            return [str(path), "original"]

        return choose

    def keep_clip(self, clip: str | None, request: gr.Request | None = None) -> None:
        """Remember the clip in the controls, for a reload of the page."""
        self.studio.session(session_of(request)).chosen = Path(clip) if clip else None

    def run_example(self, path: Path) -> Callable[..., list[Any]]:
        """A handler that runs a take of an example with its original sound."""

        def run(
            threshold: float,
            gate: bool,
            opacity: float,
            left: int,
            request: gr.Request | None = None,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> list[Any]:
            view = (threshold, gate, opacity)
            return self._run(str(path), lambda: [SoundSettings()], view, left, request, progress, (str(path),))

        return run

    def _run(
        self,
        clip: str | None,
        settings: Callable[[], list[SoundSettings]],
        view: tuple[Any, Any, Any],
        left: int | None,
        request: gr.Request | None,
        progress: Any,
        paths: tuple[str | None, ...],
    ) -> list[Any]:
        """Run a take with each of the settings. An error belongs to this run: it is shown, and the page stays.

        Args:
            clip: the clip's file.
            settings: makes the settings of the sounds; it may raise an AcvisError.
            view: threshold, gate and opacity.
            left: the left viewer's choice, kept if it shows the same clip; None: the first of the takes.
            request: of the visitor.
            progress: a gr.Progress.
            paths: whose folders are not shown in messages.

        Returns:
            The status, both choices, both videos, what `_shown` returns, and the downloads.
        """
        key, takes, trouble = session_of(request), [], ""
        try:
            if clip is None:
                raise MediaError(NO_CLIP)
            shown, sounds = TakeView.given(*view), settings()
            with self.studio.cancellable(key) as cancelled:
                progress(0, desc=DOING["read"])
                for n, each in enumerate(sounds, start=1):
                    prefix = f"Sound {n} of {len(sounds)}: " if len(sounds) > 1 else ""
                    report = reporter(progress, prefix)
                    takes.append(self.studio.run(key, Path(clip), each, shown, report, cancelled))
        except Cancelled:
            trouble = note(STOPPED)
        except Exception as error:
            trouble = alert(spoken(error, *paths))
        try:
            if takes:
                status = trouble or self._news(key, takes, shown)
                return [status, *self._viewers(key, takes, shown, left), *self._take(takes[-1], shown)]
        except Exception as error:
            trouble = alert(spoken(error, *paths))
        return [trouble, *skipped(OUTPUTS)]

    def _news(self, key: str | None, takes: list[Take], view: TakeView) -> str:
        """What the takes do not show themselves: earlier ones that made room, and the others of a run of several."""
        session, news = self.studio.session(key), []
        if len(takes) > 1:
            news += [f"Take {take.number}, {take.settings.label()}: {views.found(take, view)}" for take in takes]
        if session.dropped:
            numbers = ", ".join(map(str, session.dropped))
            session.dropped.clear()
            kept = len(session.takes)
            news.append(f"Dropped to make room: take {numbers}. {kept} take{' is' if kept == 1 else 's are'} kept.")
        return note(*news) if news else ""

    def _viewers(self, key: str | None, takes: list[Take], view: TakeView, left: int | None) -> list[Any]:
        """Both choices and both videos. The left one stays as it is while it shows the same clip."""
        session, take = self.studio.session(key), takes[-1]
        choices = self._choices(key)
        if left is None:
            left = takes[0].number
        beside = session.takes.get(left)
        if beside is None or file_of(beside.source) != file_of(take.source):
            left = ORIGINAL
        left_video = self._video(left, view, key)
        return [
            gr.update(choices=choices, value=left),
            gr.update(choices=choices, value=take.number),
            left_video,
            str(take.videos[view]),
        ]

    def _choices(self, key: str | None) -> list[tuple[str, int]]:
        """What both lists of takes offer."""
        takes = self.studio.session(key).takes
        return [("The original", ORIGINAL), *((take.title, number) for number, take in [*takes.items()])]

    def _take(self, take: Take, view: TakeView) -> list[Any]:
        return [*self._shown(take, view, None), *self._files(take, view)]

    def restore(self, token: str, request: gr.Request | None = None) -> list[Any]:
        """What a reloaded page showed before: its clip and its latest take.

        Args:
            token: the page's secret, see `Studio.adopt`.
            request: of the visitor.

        Returns:
            The clip, then what `_run` returns.
        """
        key = session_of(request)
        session = self.studio.adopt(key, token)
        clip = str(session.chosen) if session.chosen and session.chosen.is_file() else gr.skip()
        if session.takes:
            take, view = session.takes[next(reversed(session.takes))], self.studio.view
            with suppress(AcvisError):  # its clip has been deleted: the page begins anew
                self.studio.video(take, view)
                return [clip, "", *self._viewers(key, [take], view, ORIGINAL), *self._take(take, view)]
        return [clip, *skipped(1 + OUTPUTS)]

    def show(
        self, choice: int, threshold: float, gate: bool, opacity: float, t: float, request: gr.Request | None = None
    ) -> list[Any]:
        """The right take in a changed view; the model does not run again."""
        with spoken_errors():
            take = self._right(choice, request)
            if take is None:
                return skipped(SHOWN + len(downloads.NAMES) - 1)
            view = TakeView.given(threshold, gate, opacity)
            return [*self._shown(take, view, int(t or 0)), *self._files(take, view, video=False)]

    def second(
        self, choice: int, threshold: float, gate: bool, opacity: float, t: float, request: gr.Request | None = None
    ) -> list[Any]:
        """Frame t of the right take."""
        with spoken_errors():
            take = self._right(choice, request)
            if take is None:
                return [gr.skip(), gr.skip()]
            return self._second(take, TakeView.given(threshold, gate, opacity), int(t or 0))

    def video(
        self, choice: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> list[Any]:
        """The right viewer's video, and the overlay to download."""
        with spoken_errors():
            path = self._video(choice, TakeView.given(threshold, gate, opacity), session_of(request))
            return [path, path if choice != ORIGINAL else gr.skip()]

    def video_alone(
        self, choice: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> Any:
        """The left viewer's video."""
        with spoken_errors():
            return self._video(choice, TakeView.given(threshold, gate, opacity), session_of(request))

    def redraw(
        self, left: int, right: int, threshold: float, gate: bool, opacity: float, request: gr.Request | None = None
    ) -> list[Any]:
        """Both viewers' videos in a changed view, and the overlay to download."""
        with spoken_errors():
            view, key = TakeView.given(threshold, gate, opacity), session_of(request)
            paths = [self._video(choice, view, key) if choice != ORIGINAL else gr.skip() for choice in (left, right)]
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
        threshold: float | None = None,
        count_gate: bool = False,
        request: gr.Request | None = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """Mark the objects, or with weights of a semantic system the pixels of classes, that sound in a clip.

        Args:
            clip: a video file; trimmed to its first 120 s.
            sound: the model's input: "original", "mute", "swap", "noise", "mix", "shift" or "keep". The arguments below
                that it does not use are refused.
            other_sound: a sound or video file, for "swap" and "mix".
            level: dB, -100..100; for "noise", how far it lies below the sound; for "mix", the gain of the other sound.
            seconds: delay for "shift", -3600..3600 and less than the clip's duration; negative is earlier.
            start: second of the clip at which "keep" begins, 0..3600.
            end: second of the clip at which "keep" ends, 0..3600; 0 is the end of the clip.
            threshold: tracks, or pixels of classes, score higher than this, 0.1..1 (from less if the weights'
                configuration has less); without it, as the configuration says.
            count_gate: limit the masks of each second to the predicted count; only with weights that have a count head.
            request: of the visitor, from gradio.
            progress: from gradio.

        Returns:
            overlay, the clip with its masks and the model's input sound (MP4); summary; tracks, a list of objects, or
            of classes; result (JSON, with these arguments and the weights under "settings"); counts (CSV); masks (zip
            of PNGs).

        Raises:
            gr.Error: with the message to show, for whatever went wrong.
        """
        with spoken_errors(clip, other_sound):
            if clip is None:
                raise MediaError("There is no clip yet: give a video file.")
            threshold = self.studio.view.threshold if threshold is None else threshold
            number_within("threshold", threshold, self.studio.floor, 1)  # lower scores are not kept
            if count_gate and not self.studio.has_count_head:
                raise ConfigError("count_gate: only with weights that have a count head. Leave it out.")
            view = TakeView.given(threshold, count_gate, self.studio.view.opacity)
            settings = SoundSettings.given(sound, other_sound, level, seconds, start, end)
            settings.check_used()
            take = self.studio.run(session_of(request), Path(clip), settings, view, reporter(progress))
            video, *others = (str(file) for file in self._written(take, view))
            return video, views.summary(take, view), views.track_rows(take, view), *others

    def cancel(self, waits: bool, request: gr.Request | None = None) -> list[Any]:
        """Stop the session's run, of one take or several; takes that it has finished stay.

        Args:
            waits: whether the page waits for a run, which the server may not have begun yet.
            request: of the visitor.

        Returns:
            The status and both choices, which stay as they are if there is no run.
        """
        key = session_of(request)
        stopped = self.studio.cancel(key)
        if not stopped:
            return [note(STOPPED) if waits else gr.skip(), *skipped(2)]
        session = self.studio.session(key)
        finished = [f"take {number}" for number in [*session.takes] if number > session.made_before]
        kept = [f"Finished before, and kept in the lists of videos: {', '.join(finished)}."] if finished else []
        return [note(STOPPED, *kept), *(gr.update(choices=self._choices(key)) for _ in range(2))]

    def forget_trouble(self, status: object) -> Any:
        """The status after another file or sound was given: without an error of an earlier run, or that it stopped."""
        return "" if isinstance(status, str) and (ALERT in status or STOPPED in status) else gr.skip()

    def leave(self, request: gr.Request) -> None:
        """Stop the run of a visitor who has closed or reloaded the page."""
        self.studio.forget(session_of(request))

    def _right(self, choice: int, request: gr.Request | None) -> Take | None:
        return None if choice in (ORIGINAL, None) else self.studio.take(session_of(request), choice)

    def _video(self, choice: int, view: TakeView, key: str | None) -> str | None:
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
        return [gr.AnnotatedImage((picture, [*masks]), color_map=colours), views.second_caption(take, view, t)]

    def _written(self, take: Take, view: TakeView) -> list[Path]:
        return downloads.write_files(take, view, take.videos.get(view, Path()), self.studio.loaded)

    def _files(self, take: Take, view: TakeView, video: bool = True) -> list[Any]:
        files = self._written(take, view)
        return [gr.DownloadButton(value=str(file), interactive=True) for file in (files if video else files[1:])]


def session_of(request: gr.Request | None) -> str | None:
    """The key of the request's session; None for a call without a request."""
    return request.session_hash if request else None


def reporter(progress: Any, prefix: str = "") -> Callable[[str, int, int], None]:
    """A `Progress` that reports to a gr.Progress."""

    def report(what: str, done: int, total: int) -> None:
        progress((done, total), desc=prefix + DOING[what], unit="frames")

    return report


def skipped(outputs: int) -> list[Any]:
    """Values that leave so many components as they are."""
    return [gr.skip() for _ in range(outputs)]  # gradio changes each of them


def alert(message: str) -> str:
    """An error for the page's status, HTML; the message is HTML."""
    return f"<p {ALERT} class='alert error'>{message}</p>"


def note(*lines: str) -> str:
    """Lines of text for the page's status, HTML."""
    return f"<p role='status' class='alert note'>{'<br>'.join(html.escape(line) for line in lines)}</p>"


def spoken(error: Exception, *paths: str | None) -> str:
    """The message of an error for a visitor, HTML, without folders of `paths` or of the page's files.

    Errors other than AcvisError are logged; the page shows no details of them.
    """
    if not isinstance(error, AcvisError):
        logger.error("the page failed", exc_info=error)
        return "This is a fault of the page, not of your clip. The server's log has the details."
    message = without_advice(str(error))
    for path in filter(None, paths):
        message = message.replace(path, shown_name(path))
    message = re.sub(re.escape(gr.utils.get_upload_folder()) + r"(/[\w-]+)*/", "", message)
    message = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}..."
    return html.escape(message, quote=False)


@contextmanager
def spoken_errors(*paths: str | None) -> Iterator[None]:
    """Turn errors into a gr.Error with the message that `spoken` gives; gradio shows it."""
    try:
        yield
    except Exception as error:
        raise gr.Error(spoken(error, *paths), duration=ERROR_SECONDS, print_exception=False) from None
