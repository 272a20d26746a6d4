"""The page's theme; its CSS and JavaScript are in page.css and page.js."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import gradio as gr

from acvis_kit.app.clips import poster
from acvis_kit.files import read_text
from acvis_kit.media.folder import CLIP_SUFFIXES, PICTURE_SUFFIXES, SOUND_SUFFIXES
from acvis_kit.viz.pixels import image_file

FOLDER = Path(__file__).parent


def theme() -> gr.themes.Base:
    """Greys, orange, and system fonts: the page requests nothing from other hosts."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Soft(
        primary_hue="orange",
        secondary_hue="sky",
        neutral_hue="slate",
        font=fonts,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size="lg",
    ).set(
        button_primary_background_fill="#c2410c",
        button_primary_background_fill_hover="#9a3412",
        button_primary_background_fill_dark="#c2410c",
        button_primary_background_fill_hover_dark="#9a3412",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        body_background_fill="#f5f6f8",
        block_border_width="1px",
        block_border_color="#e2e8f0",
        block_shadow="none",
        block_label_background_fill="rgba(255, 255, 255, 0.85)",
        block_label_background_fill_dark="rgba(30, 41, 59, 0.85)",
        block_label_text_color="#475569",
        block_label_text_color_dark="#cbd5e1",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="#334155",
        block_title_text_color_dark="#e2e8f0",
        block_title_padding="0",
        body_text_color_subdued="#475569",
        body_text_color_subdued_dark="#a3b1c6",
        checkbox_label_background_fill="#f1f5f9",
        checkbox_label_background_fill_selected="#c2410c",
        checkbox_label_background_fill_selected_dark="#c2410c",
        checkbox_label_text_color_selected="#ffffff",
        checkbox_border_width="1px",
        checkbox_border_color="#94a3b8",
        checkbox_border_color_dark="#94a3b8",
        checkbox_background_color_selected="#c2410c",
        checkbox_background_color_selected_dark="#c2410c",
        slider_color="#c2410c",
        slider_color_dark="#ea580c",
        input_border_color="#cbd5e1",
        input_border_color_dark="#475569",
        input_border_width="1px",
        button_secondary_border_color="#cbd5e1",
        button_secondary_border_color_dark="#475569",
        button_border_width="1px",
        button_secondary_background_fill_hover_dark="#64748b",
    )


CSS = read_text(FOLDER / "page.css")


def posters(paths: Iterable[Path]) -> str:
    """CSS that puts a picture of each example on its button. The pictures are inline: no file can be deleted."""
    rules = []
    for i, path in enumerate(paths, start=1):
        data = base64.b64encode(image_file(poster(path), "JPEG", quality=80)).decode()
        rules.append(f"#example-{i}::before {{ background-image: url(data:image/jpeg;base64,{data}) !important; }}")
    return "\n".join(rules)


SUFFIXES = [*CLIP_SUFFIXES.split(), *SOUND_SUFFIXES.split()]  # of files that can be uploaded, whatever their type
# The page takes pictures as clips too: some move, and of the others the server says what is wrong.
CONSTANTS = f"const ACVIS_SUFFIXES = {SUFFIXES}, ACVIS_PICTURES = {PICTURE_SUFFIXES.split()};"
HEAD = f"<script>{CONSTANTS}\n{read_text(FOLDER / 'page.js')}</script>"
# Of page.js, for events: a run begins, finishes or is cancelled, a new second is shown, both videos play.
BEGIN, FINISH, GO = "() => acvis.begin()", "(t) => acvis.finish(t)", "(t) => acvis.go(t)"
PLAY_BOTH, PLAY_FROM_BEGINNING = "() => acvis.playBoth()", "() => acvis.playFromBeginning()"
TOKEN, CANCEL = "() => acvis.token()", "() => acvis.cancel()"
