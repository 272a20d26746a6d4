"""The page: a clip goes in, a sound is chosen, and the picture comes back with what sounds marked in it.

`acvis demo` opens it. Files stay on the machine that runs it, and the page asks no other host for anything.
"""

from __future__ import annotations

import html
import logging
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it on import, and tells its makers otherwise

import gradio as gr

from acvis_kit.audio import AudioEdit
from acvis_kit.errors import AcvisError, ConfigError, MediaError
from acvis_kit.features import VisualFeatures
from acvis_kit.media import load_clip
from acvis_kit.models.acvis import ACVIS
from acvis_kit.predict import Predictor
from acvis_kit.prediction import Prediction
from acvis_kit.viz import count_figure, sounding_spans, track_name, write_overlay

MAX_SECONDS = 120  # longer clips are trimmed
OVERLAY_SHORT_SIDE = 720  # pixels; two cores write about as many pictures a second as such a clip has
FEATURES_MB = 512  # of one clip in memory, the rest goes to disk
SESSIONS_KEPT = 3  # whose last clip's features are kept
MAX_UPLOAD = "1gb"
ERROR_SECONDS = 20  # an error stays on the page: long enough to read, gone before it hides a result
KEEP_FILES = (3600, 3600)  # seconds: how often to look for files to delete, and how old they are then

FILES = ("overlay.mp4", "result.json", "counts.csv")
SOUNDS = [("its own sound", "original"), ("mute", "mute"), ("another sound", "swap")]
DOING = {"look": "Looking at the picture", "listen": "Listening", "draw": "Drawing", "write": "Writing the video"}
RANDOM_WEIGHTS = "random"  # the name under which an untrained model is shown

logger = logging.getLogger(__name__)


def launch(
    model: ACVIS,
    weights_name: str,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    open_browser: bool = False,
    block: bool = True,
) -> gr.Blocks:
    """Serve the page until interrupted.

    Args:
        model: runs on the device it is on.
        weights_name: what the page says is loaded; "random" makes it say that the masks mean nothing.
        host, port: where to listen; 0.0.0.0 lets other machines in.
        share: ask gradio for a public address; then everything goes through its servers.
        open_browser: open the page in the default browser.
        block: False returns at once; `close()` of what is returned ends the server, `local_url` says where it is.

    Raises:
        ConfigError: the port is taken.
    """
    app = build_app(model, weights_name=weights_name)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none to be fetched
    try:
        app.launch(
            server_name=host,
            server_port=port,
            share=share,
            inbrowser=open_browser,
            prevent_thread_lock=not block,
            theme=gr.themes.Default(**fonts),
            max_file_size=MAX_UPLOAD,
            run_history=False,  # would keep clips in the browser's storage
            footer_links=["api"],
            ssr_mode=False,
        )
    except OSError as error:
        if "port" not in str(error):
            raise
        raise ConfigError(f"port {port} on {host} is taken: choose another with port= (--port)") from None
    return app


def build_app(model: ACVIS, *, weights_name: str, max_seconds: float = MAX_SECONDS) -> gr.Blocks:
    """The page, not yet served. Its one public endpoint is `/predict`, see `Page.predict`.

    Args:
        model: runs on the device it is on.
        weights_name: what the banner says is loaded; "random" makes it say that the masks mean nothing.
        max_seconds: where longer clips are trimmed.
    """
    page = Page(model, max_seconds)
    with gr.Blocks(title="Which objects sound?", analytics_enabled=False, delete_cache=KEEP_FILES) as app:
        gr.HTML(banner(weights_name), elem_id="banner", padding=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                clip = gr.Video(label="Clip", sources=["upload"], height=320, elem_id="clip")
                sound = gr.Radio(SOUNDS, value="original", label="What the model hears", elem_id="sound")
                other = gr.File(
                    label="The other sound (or a video)",
                    file_types=["audio", "video"],
                    height=120,
                    visible=False,
                    elem_id="other",
                )
                run = gr.Button("Run", variant="primary", elem_id="run")
            with gr.Column(scale=3, min_width=300):
                summary = gr.Markdown("Choose a clip, then run.", min_height=96, container=True, elem_id="summary")
                # No label and no buttons: they would lie on the count in the picture's corner.
                overlay = gr.Video(
                    label="What sounds", show_label=False, interactive=False, buttons=[], height=400, elem_id="overlay"
                )
                with gr.Row():
                    files = [
                        gr.DownloadButton(
                            name, interactive=False, size="sm", min_width=90, elem_id=f"save-{Path(name).stem}"
                        )
                        for name in FILES
                    ]
        gr.Markdown("### How many sound")
        counts_plot = gr.Plot(label="How many sound", show_label=False, elem_id="counts-plot")
        with gr.Row():
            counts = gr.Dataframe(
                headers=COUNT_COLUMNS,
                label="Second by second",
                max_height=320,
                wrap=True,
                column_widths=["20%", "22%", "58%"],
                elem_id="counts",
            )
            tracks = gr.Dataframe(headers=TRACK_COLUMNS, label="Objects", max_height=320, wrap=True, elem_id="tracks")

        sound.change(
            lambda choice: gr.File(visible=choice == "swap"), sound, other, queue=False, api_visibility="private"
        )
        run.click(
            page.predict,
            inputs=[clip, sound, other],
            outputs=[overlay, summary, counts_plot, counts, tracks, *files],
            api_name="predict",
            concurrency_limit=1,
            show_progress_on=summary,  # next to the button, on a narrow screen too
        ).success(
            lambda: [gr.DownloadButton(interactive=True)] * len(files),
            outputs=files,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        app.unload(page.forget)
    return app


def banner(weights_name: str) -> str:
    """HTML that says which weights are loaded, loudly if they are random."""
    title = "<h1 style='margin: 0; font-size: 1.6em'>Which objects sound, second by second?</h1>"
    if weights_name == RANDOM_WEIGHTS:
        style = "margin-top: .5em; padding: .6em 1em; border-radius: 6px; background: #b91c1c; color: #ffffff"
        text = "The weights are random: nothing was learned, and the masks mean nothing."
        return f"{title}<p role='alert' style='{style}'><strong style='color: inherit'>{text}</strong></p>"
    return f"{title}<p style='margin-top: .3em'>Weights: <code>{html.escape(weights_name)}</code></p>"


@dataclass(frozen=True)
class Seen:
    """A clip that was looked at: the file, as it then was, and the features of its picture."""

    file: tuple[str, int]
    features: VisualFeatures


class Page:
    """What the page does, apart from how it looks.

    A session's last clip stays encoded, so that another soundtrack costs no second look; `SESSIONS_KEPT` sessions at a
    time. The features stay here and not in a `gr.State`, which would copy them.
    """

    def __init__(self, model: ACVIS, max_seconds: float = MAX_SECONDS) -> None:
        self.predictor = Predictor(model, feature_budget_mb=FEATURES_MB)
        self.max_seconds = max_seconds
        self._seen: OrderedDict[str | None, Seen] = OrderedDict()  # by session, the latest last
        self._lock = threading.Lock()  # sessions end in other threads

    def predict(
        self,
        clip: str | None,
        sound: str = "original",
        other_sound: str | None = None,
        request: gr.Request = None,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio finds it by its default)
    ) -> tuple[Any, ...]:
        """Mark the objects that sound in a clip, second by second.

        Args:
            clip: a video file; trimmed to its first 120 s.
            sound: what the model is to hear: "original", "mute" or "swap".
            other_sound: a sound or video file, for "swap".

        Returns:
            The clip with its masks and the sound heard (MP4); a summary in Markdown; the counts as a figure; a row per
            second; a row per object; the files overlay.mp4, result.json and counts.csv.

        Raises:
            gr.Error: with the sentence to show, for whatever went wrong.
        """
        with _spoken_errors(clip, other_sound):
            if clip is None:
                raise MediaError("There is no clip yet: choose one, wait until it is uploaded, then run.")
            edit = _edit(sound, other_sound)
            progress(0, desc="Reading the clip")

            def report(what: str, done: int, total: int) -> None:
                progress((done, total), desc=DOING[what], unit="frames")

            features = self._features(Path(clip), request.session_hash if request else None, report)
            prediction = self.predictor.decode(features, edit, progress=report)
            files = _write_files(prediction, report)
            shown = _without_folders(prediction)
            summary = describe(shown, sound)
            paths = [str(file) for file in files]
            return paths[0], summary, count_figure(shown), count_rows(shown), track_rows(shown), *paths

    def forget(self, request: gr.Request) -> None:
        """Let go of what is kept for a session that has ended."""
        with self._lock:
            self._seen.pop(request.session_hash, None)

    def _features(self, path: Path, session: str | None, report: Any) -> VisualFeatures:
        """Of the clip's picture: kept ones, if it is the session's last clip."""
        if not path.is_file():
            raise MediaError("The clip is no longer here, files are deleted after an hour: choose it again.")
        file = (str(path), path.stat().st_mtime_ns)
        with self._lock:
            seen = self._seen.pop(session, None)
        if seen is None or seen.file != file:
            seen = None  # lets go of the last clip's features before the next one's need the room
            clip = load_clip(path, max_seconds=self.max_seconds, too_long="trim")
            seen = Seen(file, self.predictor.encode(clip, progress=report))
            # The frames, up to 4 GB, have done their work: the overlay reads the file again. Only their shape is kept.
            blank = clip.frames.new_zeros(1).expand(clip.frames.shape)
            seen.features.clip = replace(clip, frames=blank)
        with self._lock:
            self._seen[session] = seen
            while len(self._seen) > SESSIONS_KEPT:
                self._seen.popitem(last=False)
        return seen.features


def describe(prediction: Prediction, sound: str) -> str:
    """The summary above the details, in Markdown: what was heard, what was found, and all notes."""
    name = prediction.clip.source.name
    heard = {"original": "with its own sound", "mute": "muted", "swap": "with another sound"}[sound]
    objects = len(prediction.tracks)
    found = {0: "Nothing is marked.", 1: "1 object is marked."}.get(objects, f"{objects} objects are marked.")
    lines = [f"**{html.escape(name)}**, {heard}, {len(prediction) / prediction.fps:g} s. **{found}**"]
    return "\n".join([*lines, "", *(f"* {html.escape(note)}" for note in prediction.notes)])


COUNT_COLUMNS = ["from", "count", "sounding"]


def count_rows(prediction: Prediction) -> list[list[str]]:
    """A row per frame: when, how many sound, and which."""
    areas = [track.areas() for track in prediction.tracks]
    rows = []
    for t in range(len(prediction)):
        names = [track_name(prediction, track) for track, area in zip(prediction.tracks, areas, strict=True) if area[t]]
        rows.append([f"{t / prediction.fps:g} s", prediction.count_text(t), ", ".join(names)])
    return rows


TRACK_COLUMNS = ["object", "score", "sounds, in seconds"]


def track_rows(prediction: Prediction) -> list[list[str]]:
    """A row per track: its name, its score, and the stretches in which it sounds."""
    return [
        [
            track_name(prediction, track),
            f"{track.score:.2f}",
            ", ".join(f"{start:g} to {end:g}" for start, end in sounding_spans(track, prediction.fps)),
        ]
        for track in prediction.tracks
    ]


def _edit(sound: str, other_sound: str | None) -> AudioEdit:
    if sound == "original":
        return AudioEdit.original()
    if sound == "mute":
        return AudioEdit.mute()
    if sound != "swap":
        raise ConfigError(f'sound="{sound}" is not known: choose "original", "mute" or "swap".')
    if other_sound is None:
        raise MediaError("There is no other sound yet: choose a file, wait until it is uploaded, then run.")
    return AudioEdit.swap(other_sound)


def _write_files(prediction: Prediction, report: Any) -> list[Path]:
    """overlay.mp4, result.json and counts.csv in a folder of their own in gradio's cache, where gradio deletes them."""
    cache = Path(gr.utils.get_upload_folder())
    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="acvis-", dir=cache))
    try:
        video, result, counts = (folder / name for name in FILES)
        write_overlay(prediction, video, max_short_side=OVERLAY_SHORT_SIDE, progress=report)
        public = _without_folders(prediction)
        return [video, public.to_json(result), public.to_csv(counts)]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # gradio knows only of what is returned
        raise


def _without_folders(prediction: Prediction) -> Prediction:
    """The prediction with files named as the user named them: the server's folders are nobody's business."""
    source = prediction.clip.source
    notes = tuple(note.replace(str(source), source.name) for note in prediction.notes)
    return replace(prediction, notes=notes, clip=replace(prediction.clip, source=Path(source.name)))


@contextmanager
def _spoken_errors(*paths: str | None) -> Iterator[None]:
    """Turns errors into sentences on the page, in which the files at `paths` go by their names alone."""
    try:
        yield
    except AcvisError as error:
        sentence = str(error)
        for path in filter(None, paths):
            sentence = sentence.replace(path, Path(path).name)
    except Exception:
        logger.exception("the page failed")
        sentence = "This is a fault of the page, not of your clip. The server's log has the details."
    else:
        return
    raise gr.Error(html.escape(sentence, quote=False), duration=ERROR_SECONDS, print_exception=False)
