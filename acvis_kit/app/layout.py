"""The page's components and the events that connect them to the handlers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from acvis_kit.app import about, style
from acvis_kit.app.clips import example_title
from acvis_kit.app.downloads import NAMES
from acvis_kit.app.handlers import ORIGINAL, Handlers
from acvis_kit.app.inputs import Page
from acvis_kit.app.sound_settings import LABELS, NEEDS, SOUNDS
from acvis_kit.app.studio import MAX_SECONDS, Studio
from acvis_kit.app.views import GATE
from acvis_kit.weights.load import Loaded

LEVELS = {"noise": "Noise: dB below the clip's sound", "mix": "The other sound: dB louder"}
# Less than the 1920 x 1440 that gradio requests: what the browser has not encoded when Stop is pressed is lost.
CAMERA = {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 25}}
# side -> (label of its list, name of its video). On a narrow screen the right one is above the left one.
VIEWERS = {"left": ("Compare with", "Video to compare with"), "right": ("Main video", "Main video")}
UPLOADED = ""  # the uploaded file, as a value of the list of other sounds


class Controls(NamedTuple):
    """The left column. `groups`: the blocks that `NEEDS` names."""

    examples: list[gr.Button]
    clip: gr.Video
    sound: gr.Radio
    other_example: gr.Dropdown
    other: gr.File
    level: gr.Slider
    shift: gr.Slider
    start: gr.Number
    end: gr.Number
    groups: dict[str, gr.blocks.Block]
    run: gr.Button
    run_all: gr.Button
    cancel: gr.Button


class Results(NamedTuple):
    """The right column. `choices`, `videos`: left, to compare with, and right, of which all views below are.

    `status`: errors and news of the last run.
    """

    status: gr.HTML
    summary: gr.Markdown
    choices: list[gr.Dropdown]
    videos: list[gr.Video]
    both: gr.Button
    restart: gr.Button
    threshold: gr.Slider
    opacity: gr.Slider
    gate: gr.Checkbox
    timeline: gr.Plot
    second: gr.Slider
    frame: gr.AnnotatedImage
    caption: gr.Markdown
    tracks: gr.HTML
    files: list[gr.DownloadButton]
    code: gr.Code


def build_app(
    loaded: Loaded,
    *,
    max_seconds: float = MAX_SECONDS,
    examples: Path | None = None,
    studio: Studio | None = None,
    others: Sequence[Studio] = (),
) -> gr.Blocks:
    """The page, not yet served. Its public endpoint is `/predict`, see `Handlers.predict`.

    `server.launch` serves it and deletes old files; gradio's own `launch` deletes none.

    Args:
        loaded: the model, on the device it is to run on, and where it is from.
        max_seconds: longer clips are trimmed to this.
        examples: a folder of clips instead of the bundled ones.
        studio: a studio with this model; made from the other arguments if it is not given.
        others: studios with other weights, each on a page of its own, which the bar at the top names.
    """
    studio = studio or Studio(loaded, max_seconds, examples)
    with Page(title=about.TITLE, analytics_enabled=False) as app:
        if others:
            gr.Navbar(main_page_name=loaded.name)
        _endpoint(_page(app, studio, first_example=1))
    first = 1 + len(studio.examples)
    for other in others:
        name = other.loaded.name
        with app.route(name, name):
            gr.Navbar(main_page_name=loaded.name)  # of this page: without it the first page is called Home here
            _page(app, other, first)
        first += len(other.examples)
    app.studio = studio
    return app


def _page(app: gr.Blocks, studio: Studio, first_example: int) -> Handlers:
    """The page of one studio.

    Args:
        app: what it belongs to.
        studio: the model and its examples.
        first_example: number of its first example, over all pages.
    """
    handlers = Handlers(studio)
    gr.HTML(about.header(studio.loaded), elem_id="banner", padding=False)
    with gr.Row(elem_id="columns"):
        with gr.Column(scale=2, min_width=320, elem_id="controls"):
            controls = _controls(studio, first_example)
        with gr.Column(scale=5, min_width=320, elem_id="results"):
            results = _results(studio)
    with gr.Accordion("About these weights", open=False, elem_id="about"):
        gr.HTML(about.panel(studio.loaded), padding=False)
    _wire(handlers, controls, results)
    _restore(app, handlers, controls, results)
    app.unload(handlers.leave)
    return handlers


def _controls(studio: Studio, first_example: int) -> Controls:
    """The clip, its sound, and the buttons that run and cancel."""
    examples: list[gr.Button] = []
    if studio.examples:
        with gr.Row(elem_id="examples"):
            examples = [
                gr.Button(example_title(path), size="sm", elem_id=f"example-{i}")
                for i, path in enumerate(studio.examples.values(), start=first_example)
            ]
    clip = gr.Video(
        label="Clip",
        sources=["upload", "webcam"],
        webcam_options=gr.WebcamOptions(mirror=False, constraints={"video": CAMERA}),
        height=240,
        elem_id="clip",
    )
    sound = gr.Radio([*SOUNDS], value="original", label="Sound for the model", elem_id="sound")
    with gr.Group(visible=False) as other_group:
        choices = [(f"Sound of the example: {example_title(path)}", name) for name, path in studio.examples.items()]
        other_example = gr.Dropdown(
            [("Sound of the file below", UPLOADED), *choices],
            value=UPLOADED,
            label="The other sound",
            elem_id="other-example",
        )
        other = gr.File(
            label="A sound or video file", file_types=["audio", "video", *style.SUFFIXES], height=130, elem_id="other"
        )
    level = gr.Slider(-20, 40, value=0, step=1, label="Level in dB", visible=False, elem_id="level")
    shift = gr.Slider(
        -10, 10, value=2, step=0.5, label="Delay in seconds (negative: earlier)", visible=False, elem_id="shift"
    )
    with gr.Row(visible=False) as range_row:
        start = gr.Number(0, label=LABELS["start"], elem_id="keep-from")
        end = gr.Number(0, label=f"{LABELS['end']} (0: the end)", elem_id="keep-to")
    groups = {"other": other_group, "level": level, "shift": shift, "range": range_row}
    with gr.Row(elem_id="actions"):
        run = gr.Button("Run", variant="primary", scale=2, min_width=80, elem_id="run")
        run_all = gr.Button("Run all sounds", variant="secondary", scale=2, min_width=110, elem_id="run-all")
        cancel = gr.Button("Cancel", variant="secondary", scale=1, min_width=80, elem_id="cancel")
        gr.HTML("<p role='status'></p>", elem_id="busy", padding=False)  # its text is page.js'
    return Controls(examples, clip, sound, other_example, other, level, shift, start, end, groups, run, run_all, cancel)


def _results(studio: Studio) -> Results:
    """Two videos beside each other, the views of a take, and the downloads."""
    choices, videos = [], []
    status = gr.HTML("", elem_id="status", padding=False)
    summary = gr.Markdown(
        "Choose a clip and a sound, then press Run. Each run adds a **take**: the clip with the masks that the model "
        "predicts and the sound that it received. *Run all sounds* makes three takes: the clip's own sound, silence, "
        "and another sound.",
        min_height=88,
        container=True,
        elem_id="summary",
    )
    with gr.Row(elem_id="viewers"):
        for side, (label, name) in VIEWERS.items():
            with gr.Column(min_width=280):
                choice = gr.Dropdown(
                    [("The original", ORIGINAL)],
                    value=ORIGINAL,
                    label=label,
                    interactive=True,
                    elem_id=f"{side}-choice",
                )
                video = gr.Video(
                    label=name, show_label=False, interactive=False, buttons=[], height=300,
                    elem_id=f"{side}-video",
                )  # fmt: skip
                choices.append(choice)
                videos.append(video)
    with gr.Row(elem_id="play", elem_classes="of-a-take"):
        both = gr.Button("▶ Play both", variant="primary", size="sm", scale=2, elem_id="both")
        restart = gr.Button("From the beginning", size="sm", scale=1, elem_id="restart")
    with gr.Column(elem_classes="of-a-take"):
        with gr.Row():
            threshold = gr.Slider(
                round(studio.floor, 2),
                0.95,
                value=studio.view.threshold,
                step=0.01,
                label="Pixel score above" if studio.semantic else "Score above",
                elem_id="threshold",
            )
            opacity = gr.Slider(0, 1, value=studio.view.opacity, step=0.05, label="Mask opacity", elem_id="opacity")
            gate = gr.Checkbox(
                studio.view.gate,
                label=GATE,
                visible=studio.has_count_head,
                elem_id="gate",
            )
        gr.Markdown("## Second by second")
        timeline = gr.Plot(label="Timeline: click a second", show_label=False, elem_id="timeline")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                second = gr.Slider(0, 1, value=0, step=1, label="Second", interactive=True, elem_id="second")
                frame = gr.AnnotatedImage(label="This second", show_label=False, height=300, elem_id="frame")
                caption = gr.Markdown("", elem_id="caption")
            with gr.Column(scale=4, min_width=300):
                tracks = gr.HTML("", elem_id="tracks", padding=False)
        with gr.Row(elem_id="files"):
            files = [
                gr.DownloadButton(name, interactive=False, size="sm", min_width=90, elem_id=f"save-{Path(name).stem}")
                for name in NAMES
            ]
        with gr.Accordion("This run in Python", open=False, elem_id="python"):
            code = gr.Code("", language="python", interactive=False, show_label=False, elem_id="code")
    return Results(
        status, summary, choices, videos, both, restart, threshold, opacity, gate, timeline, second, frame, caption,
        tracks, files, code,
    )  # fmt: skip


def _wire(handlers: Handlers, controls: Controls, results: Results) -> None:
    """Connect the events. They are private: the public endpoint is `/predict`."""
    hidden: dict[str, Any] = {"api_visibility": "private"}
    at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", **hidden}
    groups = controls.groups
    controls.sound.change(
        lambda sound: [_group(name, sound) for name in groups],
        controls.sound,
        [*groups.values()],
        **at_once,
    )
    numbers = [controls.level, controls.shift, controls.start, controls.end]
    settings = [controls.sound, controls.other_example, controls.other, *numbers]
    view = [results.threshold, results.gate, results.opacity]
    shown = _shown(results)
    (left_choice, right_choice), (left_video, right_video) = results.choices, results.videos
    overlay, *other_files = results.files
    run: dict[str, Any] = {
        "outputs": [results.status, *results.choices, *results.videos, *shown, *results.files],
        "concurrency_id": "network",
        "concurrency_limit": 1,
        "show_progress_on": results.summary,  # beside the button, on a narrow screen too
        **hidden,
    }
    begun = {"outputs": results.status, "js": style.BEGIN, "queue": False, **hidden}
    others = [controls.other_example, controls.other]
    runs = [
        controls.run.click(None, **begun).then(handlers.run, [controls.clip, *settings, *view, left_choice], **run),
        controls.run_all.click(None, **begun).then(handlers.run_all, [controls.clip, *others, *view], **run),
    ]
    for button, path in zip(controls.examples, handlers.studio.examples.values(), strict=True):
        chosen = button.click(None, **begun).then(
            handlers.choose(path),
            None,
            [controls.clip, controls.sound],
            **at_once,
        )
        runs.append(chosen.then(handlers.run_example(path), [*view, left_choice], **run))
    for each in runs:
        each.then(None, results.second, None, js=style.FINISH, **hidden)
    waits = gr.Checkbox(visible=False)
    stopped = [results.status, *results.choices]
    controls.cancel.click(handlers.cancel, waits, stopped, cancels=[*runs], js=style.CANCEL, **at_once)
    controls.clip.change(handlers.keep_clip, controls.clip, None, **at_once)
    files = [controls.clip.upload, controls.clip.stop_recording, controls.clip.clear]
    files += [controls.other.upload, controls.other.clear]
    sounds = [controls.sound.input, controls.other_example.input]
    gr.on([*files, *sounds], handlers.forget_trouble, results.status, results.status, **at_once)

    quick: dict[str, Any] = {
        "queue": True,
        "show_progress": "hidden",
        "trigger_mode": "always_last",
        "concurrency_limit": 4,
        **hidden,
    }
    draw: dict[str, Any] = {"concurrency_id": "network", "concurrency_limit": 1, "show_progress": "minimal", **hidden}
    again = [right_choice, *view, results.second]
    for listener in (results.threshold.change, results.opacity.change, results.gate.input):
        listener(handlers.show, again, [*shown, *other_files], **quick).then(
            handlers.redraw,
            [*results.choices, *view],
            [*results.videos, overlay],
            **draw,
        )
    right_choice.input(handlers.show, again, [*shown, *other_files], **quick)
    left_choice.input(handlers.video_alone, [left_choice, *view], left_video, **draw)
    right_choice.input(handlers.video, [right_choice, *view], [right_video, overlay], **draw)
    results.second.change(handlers.second, again, [results.frame, results.caption], **quick)
    results.second.input(None, results.second, None, js=style.GO, **hidden)
    results.both.click(None, js=style.PLAY_BOTH, **hidden)
    results.restart.click(None, js=style.PLAY_FROM_BEGINNING, **hidden)


def _restore(app: gr.Blocks, handlers: Handlers, controls: Controls, results: Results) -> None:
    """Show what the page showed before it was reloaded."""
    token = gr.Textbox(visible=False)
    run = [results.status, *results.choices, *results.videos, *_shown(results), *results.files]
    app.load(
        handlers.restore, token, [controls.clip, *run], js=style.TOKEN, show_progress="hidden", api_visibility="private"
    ).then(None, results.second, None, js=style.GO, api_visibility="private")


def _shown(results: Results) -> list[gr.blocks.Block]:
    """The outputs that `Handlers.show` begins with."""
    second = [results.second, results.frame, results.caption]
    return [results.summary, results.timeline, *second, results.tracks, results.code]


def _group(name: str, sound: str) -> dict[str, Any]:
    """Show this group of controls if the sound uses it; set the label of its level."""
    label = {"label": LEVELS[sound]} if name == "level" and sound in LEVELS else {}
    return gr.update(visible=name in NEEDS.get(sound, ()), **label)


def _endpoint(handlers: Handlers) -> None:
    """Add `/predict` on hidden components of its own: its parameters do not depend on the page's layout."""
    clip = gr.Video(visible=False, label="clip")
    sound = gr.Textbox("original", visible=False, label="sound")
    other = gr.File(visible=False, label="other_sound")
    numbers = [gr.Number(0, visible=False, label=name) for name in ("level", "seconds", "start", "end")]
    threshold = gr.Number(handlers.studio.view.threshold, visible=False, label="threshold")
    gate = gr.Checkbox(handlers.studio.view.gate, visible=False, label="count_gate")
    files = [gr.File(visible=False, label=Path(name).stem) for name in NAMES]
    outputs = [files[0], gr.Textbox(visible=False, label="summary"), gr.JSON(visible=False, label="tracks"), *files[1:]]
    gr.Button(visible=False).click(
        handlers.predict,
        [clip, sound, other, *numbers, threshold, gate],
        outputs,
        api_name="predict",
        concurrency_id="network",
        concurrency_limit=1,
    )
