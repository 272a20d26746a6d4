"""The page's theme, CSS and JavaScript."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

import gradio as gr

from acvis_kit.app.clips import poster
from acvis_kit.viz.pixels import image_file


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
        button_primary_background_fill_hover_dark="#ea580c",
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
    )


CSS = """
.gradio-container { max-width: 1320px !important; margin: 0 auto !important; }
.head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .4em 1em; justify-content: space-between; }
.head h1 { margin: 0; font-size: 1.75rem; letter-spacing: -.02em; }
.badge { font-size: .85rem; padding: .15em .7em; border-radius: 99px; border: 1px solid var(--border-color-primary); }
.lead, .limits { margin: .35em 0 0; color: var(--body-text-color-subdued); font-size: 1.02rem; }
.limits { font-size: .9rem; }
.limits a { color: inherit; }
.alert { margin: .7em 0 0; padding: .6em 1em; border-radius: 8px; }
.alert.loud { background: #b91c1c; color: #fff; font-weight: 600; }
.alert.error { margin: 0; background: #fee2e2; color: #7f1d1d; }
.alert.notice { background: #fef3c7; color: #713f12; }
#examples { gap: 8px; flex-wrap: nowrap !important; }
#examples button { min-width: 0 !important; flex: 1 1 0; padding: 6px; flex-direction: column; gap: 5px;
  font-size: .82rem; line-height: 1.2; font-weight: 500; justify-content: flex-start;
  align-items: stretch; white-space: normal; }
#examples button::before { content: ""; height: 64px; border-radius: 6px; background: #94a3b8 center / cover; }
#clip button[aria-label^="Trim"], #clip button[aria-label^="Reset"] { display: none; }  /* they would download FFmpeg */
#clip .video-container { height: 238px; }
#clip .video-container > :is(.upload-container, .wrap) { height: 196px; min-height: 0; }  /* the choice of file or
  camera is below it */
#other [data-testid=upload-icon] { display: none; }
#viewers input { text-overflow: ellipsis; margin-right: 22px; }
#clip.unplayable .video-container > .wrap::after { position: absolute; inset: 35% 12% auto; text-align: center;
  color: var(--body-text-color-subdued);
  content: "This browser does not play the file. Run shows a copy that it plays."; }
#viewers .icon-button-wrapper:not(:has(button, a)) { display: none; }
#files { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); }
footer > .divider { display: none; }
#sound .wrap { display: grid; grid-template-columns: 1fr 1fr; gap: 6px; }
#sound label { padding: 5px 10px; line-height: 1.25; box-shadow: none; }
#viewers video { background: #000; }
#summary { padding: 10px 14px; }
#summary p { margin: .15em 0; }
#summary > .wrap:not(.hide):not(:has(.error)) { background: var(--block-background-fill) !important; opacity: 1; }
#caption { padding: 0 2px; }
#tracks { padding: 8px 14px; border: 1px solid var(--border-color-primary); border-radius: var(--block-radius);
  background: var(--block-background-fill); }
/* Hide a take's components until there is a take, but keep their width: the timeline is drawn to it. */
.gradio-container:not(:has(#frame img)) .of-a-take { visibility: hidden; height: 0; overflow: hidden; }
#timeline .modebar { display: none; }
.tracks { overflow-x: auto; width: 0; min-width: 100%; }  /* a table must not widen the page */
.tracks table, .about table, .tracks tr, .about tr { border: 0 !important; background: none !important; }
.tracks table, .about table { width: 100%; border-collapse: collapse; font-size: .92rem; }
.tracks th, .tracks td, .about th, .about td { text-align: left; padding: .42em .7em .42em 0; vertical-align: top;
  border: 0; border-bottom: 1px solid var(--border-color-primary); }
.tracks td:first-child { white-space: nowrap; font-weight: 600; }
.about th { white-space: nowrap; font-weight: 600; padding-right: 1.5em; }
.about pre { overflow-x: auto; padding: .7em 1em; border-radius: 8px; background: var(--background-fill-secondary); }
.chip { display: inline-block; width: .8em; height: .8em; border-radius: 3px; margin-right: .5em; }
.nothing { color: var(--body-text-color-subdued); }
#timeline { cursor: pointer; }
:focus-visible { outline: 3px solid #f97316 !important; outline-offset: 2px; }
.gradio-container .column, .gradio-container .row > * { max-width: 100%; }
#timeline .js-plotly-plot, #timeline .svg-container { max-width: 100%; }
@media (max-width: 640px) {
  .gradio-container, .gradio-container .app, .gradio-container .wrap, .gradio-container .contain,
  .gradio-container .column, .gradio-container .row, .gradio-container .form, .gradio-container .block {
    min-width: 0 !important; max-width: 100%; }
  .head h1 { font-size: 1.4rem; }
  .gradio-container { padding-left: 8px !important; padding-right: 8px !important; }
  .about th, .tracks td:first-child { white-space: normal; }
  .tracks table { font-size: .85rem; }
  #tracks { padding: 8px 10px; }
  .tracks th, .tracks td { padding-right: .5em; }
  .about td { word-break: break-word; }
}
"""


def posters(paths: Iterable[Path]) -> str:
    """CSS that puts a picture of each example on its button. The pictures are inline: no file can be deleted."""
    rules = []
    for i, path in enumerate(paths, start=1):
        data = base64.b64encode(image_file(poster(path), "JPEG", quality=80)).decode()
        rules.append(f"#example-{i}::before {{ background-image: url(data:image/jpeg;base64,{data}) !important; }}")
    return "\n".join(rules)


# A click on the timeline moves the slider and the paused videos to that second. Players get accessible names.
HEAD = """
<script>
(() => {
  const go = (seconds) => {
    const input = document.querySelector('#second input[type=number]');
    const second = Math.floor(seconds);  // a click within a second selects that second
    if (input && second >= 0 && second <= Number(input.max || 1e9)) {
      const set = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
      set.call(input, second);
      input.dispatchEvent(new Event('input', {bubbles: true}));
      input.dispatchEvent(new Event('change', {bubbles: true}));
    }
    document.querySelectorAll('#viewers video').forEach((video) => { if (video.paused) video.currentTime = seconds; });
  };
  document.addEventListener('click', (event) => {
    const plot = event.target.closest && event.target.closest('#timeline .js-plotly-plot');
    if (!plot || !plot._fullLayout) return;
    const axis = plot._fullLayout.xaxis;
    const drag = plot.querySelector('.nsewdrag');
    if (!drag) return;
    const seconds = axis.p2d(event.clientX - drag.getBoundingClientRect().left);
    if (seconds >= 0 && seconds < axis.range[1]) go(seconds);
  }, true);
  // A clip that the browser does not play is no error: Run makes a copy. So gradio's player must not get the event.
  document.addEventListener('error', (event) => {
    const clip = event.target.matches && event.target.matches('#clip video') && event.target.closest('#clip');
    if (!clip) return;
    event.stopImmediatePropagation();
    clip.classList.add('unplayable');
  }, true);
  document.addEventListener('loadedmetadata', (event) => {
    const clip = event.target.matches && event.target.matches('#clip video') && event.target.closest('#clip');
    if (clip) clip.classList.remove('unplayable');
  }, true);
  // gradio gives its players no accessible names.
  const names = {clip: 'The clip', 'left-video': 'The left video', 'right-video': 'The right video'};
  new MutationObserver(() => {
    for (const [id, name] of Object.entries(names)) {
      document.querySelectorAll(`#${id} video:not([aria-label])`).forEach((video) => {
        video.setAttribute('aria-label', name);
      });
      document.querySelectorAll(`#${id} [aria-label=play-pause-replay-button]`).forEach((button) => {
        button.setAttribute('aria-label', `Play or pause: ${name.toLowerCase()}`);
      });
    }
  }).observe(document.documentElement, {childList: true, subtree: true});
})();
</script>
"""

# Plays both videos from the beginning. Only the last one, on the right, has sound.
PLAY_BOTH = """
() => {
  const videos = [...document.querySelectorAll('#viewers video')];
  videos.forEach((video, i) => { video.currentTime = 0; video.muted = i < videos.length - 1; });
  videos.forEach((video) => video.play());
}
"""
