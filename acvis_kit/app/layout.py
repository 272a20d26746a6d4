"""The page's components, and which of them talk to what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from acvis_kit.app import about, style
from acvis_kit.app.clips import example_title
from acvis_kit.app.downloads import NAMES
from acvis_kit.app.handlers import ORIGINAL, Handlers
from acvis_kit.app.sound_settings import NEEDS, SOUNDS
from acvis_kit.app.studio import MAX_SECONDS, Studio
from acvis_kit.weights.load import Loaded

LEVELS = {"noise": "Noise: dB below the clip's sound", "mix": "The other sound: dB louder"}
# Not the 1920 x 1440 that gradio asks for: what the browser has not yet encoded when Stop is pressed is lost.
CAMERA = {"width": {"ideal": 640}, "height": {"ideal": 480}, "frameRate": {"ideal": 25}}
UPLOADED = ""  # the value of the list of other sounds that means the uploaded file


def build_app(
    loaded: Loaded, *, max_seconds: float = MAX_SECONDS, examples: Path | None = None, studio: Studio | None = None
) -> gr.Blocks:
    """The page, not yet served. Its public endpoint is `/predict`, see `Handlers.predict`.

    Args:
        loaded: the model, on the device it is to run on, and where it is from.
        max_seconds: where longer clips are trimmed.
        examples: a folder of clips instead of the bundled ones.
        studio: what runs the model; made here if it is not given.
    """
    studio = studio or Studio(loaded, max_seconds, examples)
    handlers = Handlers(studio)
    with gr.Blocks(title=about.TITLE, analytics_enabled=False, delete_cache=(600, 3000)) as app:
        gr.HTML(about.header(loaded), elem_id="banner", padding=False)
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                controls = _controls(studio)
            with gr.Column(scale=5, min_width=320):
                results = _results(studio)
        with gr.Accordion("About these weights", open=False, elem_id="about"):
            gr.HTML(about.panel(loaded), padding=False)
        _wire(handlers, controls, results)
        _endpoint(handlers)
        app.unload(handlers.leave)
    app.studio = studio
    return app


def _controls(studio: Studio) -> dict[str, gr.components.Component]:
    """The left column: which clip, which sound, go."""
    made = {}
    if studio.examples:
        with gr.Row(elem_id="examples"):
            made["examples"] = [
                gr.Button(example_title(path), size="sm", elem_id=f"example-{i}")
                for i, path in enumerate(studio.examples.values(), start=1)
            ]
    made["clip"] = gr.Video(
        label="Clip",
        sources=["upload", "webcam"],
        webcam_options=gr.WebcamOptions(mirror=False, constraints={"video": CAMERA}),
        height=240,
        elem_id="clip",
    )
    made["sound"] = gr.Radio([*SOUNDS], value="original", label="What the model hears", elem_id="sound")
    with gr.Group(visible=False) as other_group:
        choices = [(f"of the example: {example_title(path)}", name) for name, path in studio.examples.items()]
        made["other_example"] = gr.Dropdown(
            [("of a file, below", UPLOADED), *choices], value=UPLOADED, label="The other sound", elem_id="other-example"
        )
        made["other"] = gr.File(label="A sound or a video", file_types=["audio", "video"], height=130, elem_id="other")
    made["level"] = gr.Slider(-20, 40, value=0, step=1, label="Level in dB", visible=False, elem_id="level")
    made["shift"] = gr.Slider(-10, 10, value=2, step=0.5, label="Seconds later", visible=False, elem_id="shift")
    with gr.Row(visible=False) as range_row:
        made["start"] = gr.Number(0, label="From second", minimum=0, elem_id="keep-from")
        made["end"] = gr.Number(0, label="To second (0: the end)", minimum=0, elem_id="keep-to")
    made["groups"] = {"other": other_group, "level": made["level"], "shift": made["shift"], "range": range_row}
    with gr.Row():
        made["run"] = gr.Button("Run", variant="primary", scale=3, elem_id="run")
        made["cancel"] = gr.Button("Cancel", variant="secondary", scale=1, min_width=90, elem_id="cancel")
    return made


def _results(studio: Studio) -> dict[str, gr.components.Component]:
    """The right column: two videos beside each other, what was seen, and what can be taken home."""
    made = {}
    made["summary"] = gr.Markdown(
        "Choose a clip, then run. Each run adds a take: the clip with its masks and **the sound that the model "
        "heard**.",
        min_height=88,
        container=True,
        elem_id="summary",
    )
    with gr.Row(elem_id="viewers"):
        for side, label in (("left", "Left"), ("right", "Right")):
            with gr.Column(min_width=280):
                made[f"{side}_choice"] = gr.Dropdown(
                    [("The original", ORIGINAL)],
                    value=ORIGINAL,
                    label=label,
                    interactive=True,
                    elem_id=f"{side}-choice",
                )
                made[f"{side}_video"] = gr.Video(
                    label=f"{label} video", show_label=False, interactive=False, buttons=[], height=300,
                    elem_id=f"{side}-video",
                )  # fmt: skip
    with gr.Column(elem_classes="of-a-take"):
        made["both"] = gr.Button("Play both from the beginning", size="sm", elem_id="both")
        with gr.Row():
            made["threshold"] = gr.Slider(
                round(studio.floor, 2),
                0.95,
                value=studio.view.threshold,
                step=0.01,
                label="Score above",
                elem_id="threshold",
            )
            made["opacity"] = gr.Slider(
                0, 1, value=studio.view.opacity, step=0.05, label="Mask opacity", elem_id="opacity"
            )
            counts = studio.loaded.model.config.count_head != "none"
            made["gate"] = gr.Checkbox(
                studio.view.gate, label="Let the count decide how many show", interactive=counts, elem_id="gate"
            )
        gr.Markdown("### Second by second")
        made["timeline"] = gr.Plot(label="Timeline: click a second", show_label=False, elem_id="timeline")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                made["second"] = gr.Slider(0, 1, value=0, step=1, label="Second", interactive=True, elem_id="second")
                made["frame"] = gr.AnnotatedImage(label="This second", show_label=False, height=300, elem_id="frame")
                made["caption"] = gr.Markdown("", elem_id="caption")
            with gr.Column(scale=4, min_width=300):
                made["tracks"] = gr.HTML("", elem_id="tracks", padding=False)
        with gr.Row(elem_id="files"):
            made["files"] = [
                gr.DownloadButton(name, interactive=False, size="sm", min_width=90, elem_id=f"save-{Path(name).stem}")
                for name in NAMES
            ]
        with gr.Accordion("This run in Python", open=False, elem_id="python"):
            made["code"] = gr.Code("", language="python", interactive=False, show_label=False, elem_id="code")
    return made


def _wire(handlers: Handlers, controls: dict, results: dict) -> None:
    """Events. Only `/predict` is public."""
    hidden = {"api_visibility": "private"}
    groups = controls["groups"]
    controls["sound"].change(
        lambda sound: [_group(name, sound) for name in groups],
        controls["sound"],
        [*groups.values()],
        queue=False,
        show_progress="hidden",
        **hidden,
    )
    settings = [controls[name] for name in ("sound", "other_example", "other", "level", "shift", "start", "end")]
    view = [results[name] for name in ("threshold", "gate", "opacity")]
    shown = [results[name] for name in ("summary", "timeline", "second", "frame", "caption", "tracks", "code")]
    viewers = [results[name] for name in ("left_choice", "right_choice", "left_video", "right_video")]
    run = {
        "outputs": [*viewers, *shown, *results["files"]],
        "concurrency_id": "network",
        "concurrency_limit": 1,
        "show_progress_on": results["summary"],  # beside the button, on a narrow screen too
        **hidden,
    }
    runs = [controls["run"].click(handlers.run, [controls["clip"], *settings, *view], **run)]
    for button, path in zip(controls.get("examples", []), handlers.studio.examples.values(), strict=True):
        chosen = button.click(
            handlers.choose(path),
            None,
            [controls["clip"], controls["sound"]],
            queue=False,
            show_progress="hidden",
            **hidden,
        )
        runs.append(chosen.then(handlers.run_example(path), view, **run))
    for each in runs:
        each.failure(handlers.failure, None, results["summary"], queue=False, show_progress="hidden", **hidden)
    controls["cancel"].click(handlers.cancel, None, results["summary"], cancels=runs, queue=False, **hidden)

    quick = {"queue": True, "show_progress": "hidden", "trigger_mode": "always_last", "concurrency_limit": 4, **hidden}
    again = [results["right_choice"], *view, results["second"]]
    for switch, event in (("threshold", "change"), ("opacity", "change"), ("gate", "input")):
        listener = getattr(results[switch], event)
        listener(handlers.show, again, [*shown, *results["files"][1:]], **quick).then(
            handlers.redraw,
            [results["left_choice"], results["right_choice"], *view],
            [results["left_video"], results["right_video"], results["files"][0]],
            concurrency_id="network",
            concurrency_limit=1,
            show_progress="minimal",
            **hidden,
        )
    results["right_choice"].input(handlers.show, again, [*shown, *results["files"][1:]], **quick)
    for side in ("left", "right"):
        file = [results["files"][0]] if side == "right" else []
        results[f"{side}_choice"].input(
            handlers.video if file else handlers.video_alone,
            [results[f"{side}_choice"], *view],
            [results[f"{side}_video"], *file],
            concurrency_id="network",
            concurrency_limit=1,
            show_progress="minimal",
            **hidden,
        )
    results["second"].change(handlers.second, again, [results["frame"], results["caption"]], **quick)
    results["both"].click(None, js=style.PLAY_BOTH, **hidden)


def _group(name: str, sound: str) -> dict[str, Any]:
    """Whether a sound needs this group of controls, and what its level means."""
    label = {"label": LEVELS[sound]} if name == "level" and sound in LEVELS else {}
    return gr.update(visible=name in NEEDS.get(sound, ()), **label)


def _endpoint(handlers: Handlers) -> None:
    """`/predict`, on components that are not shown: programs get names and types, not the page's layout."""
    clip = gr.Video(visible=False, label="clip")
    sound = gr.Textbox("original", visible=False, label="sound")
    other = gr.File(visible=False, label="other_sound")
    numbers = [gr.Number(0, visible=False, label=name) for name in ("level", "seconds", "start", "end")]
    threshold = gr.Number(handlers.studio.view.threshold, visible=False, label="threshold")
    gate = gr.Checkbox(handlers.studio.view.gate, visible=False, label="count_gate")
    files = [gr.File(visible=False, label=name) for name in NAMES]
    outputs = [files[0], gr.Textbox(visible=False, label="summary"), gr.JSON(visible=False, label="tracks"), *files[1:]]
    gr.Button(visible=False).click(
        handlers.predict,
        [clip, sound, other, *numbers, threshold, gate],
        outputs,
        api_name="predict",
        concurrency_id="network",
        concurrency_limit=1,
    )
