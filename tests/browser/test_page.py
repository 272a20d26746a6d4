"""The page in a browser: clips become takes, no other host gets a request, every control can be reached."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import torch
from PIL import Image

from acvis_kit.config import PRESETS
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import Loaded
from acvis_kit.weights.published import DEFAULT_WEIGHTS, WEIGHTS
from tests.app.test_clips import remux
from tests.conftest import unavailable
from tests.media.videos import write_sound

if TYPE_CHECKING:
    from gradio import Blocks
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SECONDS = 3
TIMEOUT = 60_000  # ms; a run takes one or two seconds


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disc that moves over grey, with a tone; H.264 and AAC."""
    return make_disc(tmp_path_factory.mktemp("clip") / "disc.mp4", (200, 60, 40))


@pytest.fixture(scope="module")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blocks]:
    """A page with two examples, and random weights that mark three objects in every clip."""
    from acvis_kit import app

    torch.manual_seed(0)
    model = ACVIS(replace(PRESETS["acvis-synth-tiny"], score_threshold=0.0, top_k=3)).eval()
    examples = tmp_path_factory.mktemp("examples")
    make_disc(examples / "red-disc.mp4", (220, 30, 30))
    make_disc(examples / "blue-disc.mp4", (30, 60, 220))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        served = app.launch(Loaded(model, "random"), port=port, block=False, examples=examples)
        yield served
        served.close()


def make_disc(path: Path, colour: tuple[int, int, int], seconds: int = SECONDS) -> Path:
    rows, columns = np.mgrid[:120, :160]
    pictures = []
    for i in range(seconds * 10):
        disc = (rows - 60) ** 2 + (columns - 40 - 3 * (i % 30)) ** 2 < 30**2
        pictures.append(np.where(disc[..., None], colour, (110, 110, 110)).astype(np.uint8))
    tone = 0.3 * torch.sin(torch.arange(seconds * 16000) * 2 * torch.pi * 440 / 16000)
    return write_video(path, pictures, 10, tone)


@pytest.fixture
def hosts() -> set[str]:
    """The hosts that got a request of the visit, of any scheme except inline data."""
    return set()


@pytest.fixture
def visit(browser: Browser, served: Blocks, hosts: set[str]) -> Iterator[Page]:
    """The page, just opened."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, permissions=["camera", "microphone"])
    page.set_default_timeout(TIMEOUT)
    for event in ("request", "websocket"):
        page.on(event, lambda request: add_host(hosts, request.url))
    page.goto(served.local_url)
    page.locator("#run").wait_for()
    yield page
    page.close()


def add_host(hosts: set[str], url: str) -> None:
    if not url.startswith("data:"):
        hosts.add(urlsplit(url.removeprefix("blob:")).netloc)


def upload(page: Page, file: Path) -> None:
    clear = page.locator("#clip button[aria-label=Clear]")
    if clear.count():
        clear.click()
    with page.expect_response("**/upload*"):
        page.locator("#clip input[type=file]").set_input_files(file)
    page.locator("#clip video").wait_for(state="attached")


def run(page: Page, summary: str) -> None:
    """Press the button and wait until the summary has this text."""
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator("#summary", has_text=summary).wait_for()
    page.locator("#right-video video").wait_for()


def choose_sound(page: Page, sound: str) -> None:
    """Choose a sound by its value."""
    from acvis_kit.app.sound_settings import SOUNDS

    label = {value: label for label, value in SOUNDS}[sound]
    page.get_by_role("radio", name=label, exact=True).check()


def download(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as started:
        page.get_by_role("button", name=name).click()
    assert started.value.suggested_filename == name
    path = folder / name
    started.value.save_as(path)
    return path


def rms(path: Path) -> float:
    """Root mean square of a file's sound."""
    with av.open(str(path)) as container:
        samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


def test_an_example_runs_with_one_click(visit, hosts, tmp_path):
    assert "weights are random" in visit.get_by_role("alert").inner_text()
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#summary", has_text="red-disc.mp4 with its original sound").wait_for()
    for side in ("left", "right"):
        video = visit.locator(f"#{side}-video video")
        video.wait_for()
        visit.wait_for_function("video => video.readyState >= 1", arg=video.element_handle())
        assert video.evaluate("video => [video.videoWidth, video.videoHeight]") == [160, 120]
        assert video.evaluate("video => video.duration") == pytest.approx(SECONDS, abs=0.1)
    visit.locator("#timeline .main-svg").first.wait_for()
    rows = visit.get_by_role("table", name="Objects").get_by_role("row")
    rows.nth(3).wait_for()
    assert rows.count() == 4
    assert rms(download(visit, "overlay.mp4", tmp_path)) > 0.1
    assert hosts == {urlsplit(visit.url).netloc}


def test_the_command_serves_the_overlay_of_an_example(browser: Browser, tmp_path: Path) -> None:
    """In a process of its own, as a user starts it: the page then has its own folder for temporary files."""
    from acvis_kit.app.clips import example_files

    examples = example_files(None, WEIGHTS[DEFAULT_WEIGHTS])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "acvis_kit.cli", "demo", "--no-browser", "--port", str(port)]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    environment.pop("GRADIO_TEMP_DIR", None)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with subprocess.Popen(command, env=environment, cwd=elsewhere, stdout=subprocess.DEVNULL) as running:
        page = browser.new_page()
        page.set_default_timeout(TIMEOUT)
        try:
            for _ in range(90):  # until the first page's overlays are made, which a later click then finds
                if len([*tmp_path.glob("acvis-page-*/examples/0/*/overlay.mp4")]) == len(examples):
                    break
                time.sleep(1)
            else:
                pytest.fail("the examples were not prepared")
            page.goto(f"http://127.0.0.1:{port}/")
            page.locator("#example-1").click()
            video = page.locator("#right-video video")
            video.wait_for()
            page.wait_for_function("video => video.readyState >= 1", arg=video.element_handle())
            assert "done in advance" in page.locator("#summary").inner_text()
        finally:
            page.close()
            running.terminate()
            running.wait(30)


def test_both_players_begin_at_the_liveliest_second(visit, monkeypatch):
    from acvis_kit.app import views

    monkeypatch.setattr(views, "liveliest", lambda *_: 2)
    visit.get_by_role("button", name="Red disc").click()
    stand_at(visit, 2)
    assert visit.locator("#second input[type=number]").input_value() == "2"
    visit.get_by_role("button", name="Play both").click()
    visit.wait_for_function(f"() => ({TIMES})().every(time => time > 2.1)")
    visit.get_by_role("button", name="From the beginning").click()
    visit.wait_for_function(f"() => ({TIMES})().every(time => time < 1)")


def test_players_stand_where_they_were_after_the_view_changed_and_the_left_one_keeps_its_take(visit, clip):
    upload(visit, clip)
    run(visit, "with its original sound")
    visit.get_by_label("Compare with", exact=True).click()
    visit.get_by_role("option", name="Take 1: disc.mp4").click()
    visit.wait_for_function("() => document.querySelector('#left-video video').currentSrc.includes('overlay')")
    number = visit.locator("#second input[type=number]")
    number.fill("1")
    number.press("Enter")
    stand_at(visit, 1)
    before = sources(visit)
    opacity = visit.locator("#opacity input[type=number]")
    opacity.fill("0.9")
    opacity.press("Enter")
    visit.wait_for_function(
        "before => [...document.querySelectorAll('#viewers video')].every((v, i) => v.src !== before[i])", arg=before
    )
    stand_at(visit, 1)
    choose_sound(visit, "mute")
    run(visit, "with silence")
    assert visit.get_by_label("Compare with", exact=True).input_value().startswith("Take 1:")
    assert "overlay" in sources(visit)[0]


TIMES = "() => [...document.querySelectorAll('#viewers video')].map(video => video.currentTime)"


def stand_at(page: Page, second: int) -> None:
    """Wait until both players stand in this second."""
    page.wait_for_function(
        f"second => {{ const t = ({TIMES})(); return t.length == 2 && t.every(x => Math.floor(x) == second); }}",
        arg=second,
    )


def sources(page: Page) -> list[str]:
    return page.evaluate("[...document.querySelectorAll('#viewers video')].map(video => video.src)")


def test_all_sounds_run_with_one_click(visit, clip):
    upload(visit, clip)
    visit.get_by_role("button", name="Run all sounds").click()
    visit.locator("#status", has_text="Take 3, the sound of blue-disc.mp4: 3 objects are marked.").wait_for()
    visit.locator("#summary", has_text="with the sound of blue-disc.mp4").wait_for()
    assert visit.get_by_label("Compare with", exact=True).input_value() == "Take 1: disc.mp4 with its original sound"


def test_a_reload_keeps_clip_and_takes_and_another_visitor_does_not_see_them(visit, browser, clip):
    upload(visit, clip)
    choose_sound(visit, "mute")
    run(visit, "disc.mp4 with silence")
    visit.reload()
    visit.locator("#summary", has_text="disc.mp4 with silence").wait_for()
    visit.locator("#clip video").wait_for()
    run(visit, "disc.mp4 with its original sound")
    assert "Take 2:" in visit.get_by_label("Main video", exact=True).input_value()
    other = browser.new_page()
    other.goto(visit.url)
    other.locator("#run").wait_for()
    other.wait_for_timeout(1000)
    assert "disc.mp4" not in other.content()
    other.close()


def test_takes_are_compared_and_each_has_its_sound(visit, clip, tmp_path):
    upload(visit, clip)
    run(visit, "with its original sound")
    choose_sound(visit, "mute")
    run(visit, "with silence")
    assert "encoding 0 s" in visit.locator("#summary").inner_text()
    assert rms(download(visit, "overlay.mp4", tmp_path)) == 0
    for name in ("result.json", "counts.csv", "masks.zip"):
        assert download(visit, name, tmp_path).stat().st_size > 0

    visit.get_by_label("Compare with", exact=True).click()
    visit.get_by_role("option", name="Take 1: disc.mp4 with its original sound").click()
    visit.wait_for_function(  # queried each time: the page may replace a player's element
        """() => {
            const [a, b] = ["left", "right"].map(side => document.querySelector(`#${side}-video video`));
            return a && b && a.currentSrc.includes("overlay") && a.currentSrc !== b.currentSrc;
        }"""
    )


def test_the_sound_of_another_example_can_be_chosen(visit, tmp_path):
    silent = write_video(tmp_path / "silent.mp4", [np.full((64, 64, 3), 90, np.uint8)] * 10, 10, torch.zeros(16000))
    upload(visit, silent)
    choose_sound(visit, "swap")
    visit.get_by_role("button", name="Run", exact=True).click()
    visit.locator("#status").get_by_text("There is no other sound yet").wait_for()
    visit.get_by_label("The other sound").first.click()
    visit.get_by_role("option", name="Blue disc").click()
    run(visit, "with the sound of blue-disc.mp4")
    assert rms(download(visit, "overlay.mp4", tmp_path)) > 0.1


def test_the_threshold_and_a_click_on_the_timeline_change_what_is_shown(visit, clip):
    upload(visit, clip)
    run(visit, "3 objects are marked")
    plot = visit.locator("#timeline .nsewdrag").first
    box = plot.bounding_box()  # the plot is below the window's edge: a locator scrolls, the mouse does not
    plot.click(position={"x": box["width"] * 0.9, "y": box["height"] / 2})
    visit.locator("#caption", has_text="Second 2 to 3").wait_for()

    number = visit.locator("#threshold input[type=number]")
    number.fill("0.9")
    number.press("Enter")
    visit.locator("#summary", has_text="Nothing is marked").wait_for()
    visit.locator("#tracks", has_text="No object scores").wait_for()


def test_a_file_that_is_no_video_gets_a_message_and_the_page_still_works(visit, clip, tmp_path):
    for name, content in (("fake.mp4", "not a video\n" * 20), ("empty.mp4", "")):
        fake = tmp_path / name
        fake.write_text(content)
        upload(visit, fake)
        visit.get_by_role("button", name="Run", exact=True).click()
        visit.locator("#status", has_text=f"{name} is ").get_by_role("alert").wait_for()
        assert "Traceback" not in visit.content()
    upload(visit, clip)
    run(visit, "disc.mp4")
    assert not visit.locator("#status").inner_text().strip()


def test_a_file_that_browsers_do_not_play_is_shown_as_a_copy(visit, clip, tmp_path):
    import imageio_ffmpeg

    old = tmp_path / "old.avi"
    encoder = ["-c:v", "mpeg4", "-c:a", "mp3"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", clip, *encoder, old], check=True)
    upload(visit, old)
    visit.locator("#clip.unplayable").wait_for()
    run(visit, "old.avi with its original sound")
    for side in ("left", "right"):
        visit.wait_for_function(f"() => document.querySelector('#{side}-video video').readyState >= 1")
    assert not visit.get_by_text("Video not playable").count()


def test_the_name_of_an_upload_is_text_and_no_markup(visit, clip, tmp_path):
    hostile = tmp_path / "<img src=x onerror=document.title=1>$(id);..%2f'.mp4"
    hostile.write_bytes(clip.read_bytes())
    title = visit.title()
    upload(visit, hostile)
    run(visit, "with its original sound")
    visit.get_by_role("button", name="This run in Python").click()
    visit.wait_for_timeout(300)
    assert visit.title() == title and not visit.locator("img[src=x]").count()


def test_a_file_is_taken_for_what_its_suffix_says_and_shown_by_its_own_name(visit, clip, tmp_path):
    """Many systems take .ts for a translation, and browsers write a quotation mark as %22."""
    stream, sound = tmp_path / 'say "hi".ts', tmp_path / "tone.ogg"
    remux(clip, stream)
    write_sound(sound, np.zeros(48_000), 48_000, "libopus")
    with visit.expect_response("**/upload*"):
        visit.locator("#clip input[type=file]").set_input_files(stream)
    visit.locator("#clip button[aria-label=Clear]").wait_for()
    choose_sound(visit, "swap")
    with visit.expect_response("**/upload*"):
        visit.locator("#other input[type=file]").set_input_files(sound)
    run(visit, 'say "hi".ts with the sound of tone.ogg')
    assert not visit.get_by_text("Invalid file type").count()


def test_a_sound_in_place_of_a_clip_is_answered_with_what_it_is_good_for(visit, tmp_path):
    write_sound(tmp_path / "tone.ogg", np.zeros(48_000), 48_000, "libopus")
    with visit.expect_response("**/upload*"):
        visit.locator("#clip input[type=file]").set_input_files(tmp_path / "tone.ogg")
    visit.locator("#clip button[aria-label=Clear]").wait_for()
    visit.locator("#run").click()
    visit.get_by_text("tone.ogg has sound but no picture: use it as the sound of another clip.").wait_for()


def test_a_picture_is_run_if_it_moves_and_else_answered_with_what_the_page_takes(visit, tmp_path):
    pictures = [Image.new("RGB", (64, 48), (20 * n, 0, 0)) for n in range(10)]
    pictures[0].save(tmp_path / "moves.gif", save_all=True, append_images=pictures[1:], duration=200)
    pictures[0].save(tmp_path / "photo.png")
    upload(visit, tmp_path / "photo.png")
    visit.get_by_role("button", name="Run", exact=True).click()
    visit.locator(
        "#status", has_text="photo.png is a still picture, and the page needs a clip: give a video"
    ).wait_for()
    upload(visit, tmp_path / "moves.gif")
    run(visit, "moves.gif with its original sound")
    assert not visit.get_by_text("Invalid file type").count()


WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize(("sound", "control"), [("swap", "#other"), ("keep", "#keep-from")])
def test_run_stays_in_reach(visit, size, sound, control):
    visit.set_viewport_size(size)
    choose_sound(visit, sound)
    visit.locator(control).wait_for()
    for place in ("scrollTo(0, 0)", f"document.querySelector('{control}').scrollIntoView({{block: 'center'}})"):
        visit.evaluate(place)
        assert all(in_view(visit, button) for button in ("#run", "#run-all", "#cancel")), place


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_result_comes_into_view(visit, size):
    visit.set_viewport_size(size)
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#summary", has_text="red-disc.mp4").wait_for()
    visit.locator("#right-video video").wait_for()
    visit.wait_for_timeout(500)
    for part in ("#summary", "#both", "#right-video video"):
        assert in_view(visit, part), part


def in_view(page: Page, selector: str) -> bool:
    """Whether the whole element is inside the window and nothing covers its middle."""
    return page.locator(selector).evaluate(
        """element => {
            const box = element.getBoundingClientRect();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return box.top >= 0 && box.bottom <= innerHeight && (element.contains(top) || top.contains(element));
        }"""
    )


@pytest.mark.parametrize(("scheme", "size"), [("light", WIDE), ("dark", NARROW)], ids=["light-wide", "dark-narrow"])
def test_axe_finds_nothing_serious(visit, clip, scheme, size):
    if find_spec("axe_playwright_python") is None:
        unavailable("axe-playwright-python is not installed: pip install acvis-kit[test]")
    visit.emulate_media(color_scheme=scheme)
    visit.set_viewport_size(size)
    visit.wait_for_timeout(500)
    assert serious_findings(visit) == []
    visit.get_by_role("button", name="Run", exact=True).click()
    visit.locator("#status").get_by_role("alert").wait_for()
    choose_sound(visit, "swap")
    visit.wait_for_timeout(500)  # colours fade
    assert serious_findings(visit) == []
    choose_sound(visit, "original")
    upload(visit, clip)
    run(visit, "disc.mp4")
    visit.get_by_role("button", name="This run in Python").click()
    visit.get_by_role("button", name="About these weights").click()
    visit.locator("#timeline .main-svg").first.wait_for()
    visit.wait_for_timeout(500)
    assert serious_findings(visit) == []
    levels = visit.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))


def serious_findings(page: Page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_of_the_timeline_and_buttons_under_the_mouse_have_enough_contrast(visit, clip, scheme):
    """What axe does not look at: drawn text and colours on hover."""
    visit.emulate_media(color_scheme=scheme)
    upload(visit, clip)
    run(visit, "disc.mp4")
    visit.locator("#timeline .main-svg text").first.wait_for()
    ground = visit.locator("#timeline").evaluate("element => getComputedStyle(element).backgroundColor")
    inks = visit.evaluate("[...document.querySelectorAll('#timeline text')].map(t => getComputedStyle(t).fill)")
    assert len(inks) > 5 and min(contrast(ink, ground) for ink in inks) >= 4.5
    for button in ("#run", "#run-all", "#cancel", "#example-1", "#both", "#restart", "#save-overlay"):
        visit.locator(button).hover()
        visit.wait_for_timeout(300)  # the colour fades in
        ink, ground = visit.locator(button).evaluate(
            "b => [getComputedStyle(b).color, getComputedStyle(b).backgroundColor]"
        )
        assert contrast(ink, ground) >= 4.5, (button, ink, ground)


def contrast(ink: str, ground: str) -> float:
    """The contrast ratio of two CSS colours, "rgb(r, g, b)", by WCAG 2."""
    lights = []
    for colour in (ink, ground):
        parts = [float(part) for part in re.findall(r"[\d.]+", colour)]
        assert len(parts) == 3, f"{colour} is not opaque"
        linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(visit, clip, scheme):
    visit.emulate_media(color_scheme=scheme)
    visit.set_viewport_size({"width": 390, "height": 844})
    upload(visit, clip)
    run(visit, "disc.mp4")
    visit.locator("#timeline .main-svg").first.wait_for()
    assert visit.evaluate("document.documentElement.scrollWidth") == 390


def test_every_control_can_be_reached_with_the_keyboard(visit, clip):
    upload(visit, clip)
    run(visit, "disc.mp4")
    wanted = {"run", "cancel", "example-1", "sound", "clip", "threshold", "opacity", "gate", "left-choice", "second"}
    wanted |= {"save-overlay", "python", "about"}
    reached = set()
    for _ in range(80):
        visit.keyboard.press("Tab")
        reached |= set(
            visit.evaluate(
                """() => { const ids = []; for (let e = document.activeElement; e; e = e.parentElement)
                if (e.id) ids.push(e.id); return ids; }"""
            )
        )
        if wanted <= reached:
            break
    assert wanted <= reached


def test_progress_is_shown_within_a_second_and_cancelling_stops_the_run_within_three(visit, served, tmp_path):
    from acvis_kit.app.handlers import DOING

    upload(visit, make_disc(tmp_path / "long.mp4", (90, 90, 20), seconds=90))
    visit.get_by_role("button", name="Run", exact=True).click()
    steps = "|".join(DOING.values())
    visit.wait_for_function(f"() => /{steps}/.test(document.querySelector('#summary').innerText)", timeout=1000)
    visit.get_by_role("button", name="Cancel", exact=True).click()
    clicked = time.monotonic()
    visit.locator("#status", has_text="Stopped").wait_for()
    while served.studio.running and time.monotonic() < clicked + 20:
        time.sleep(0.05)
    assert time.monotonic() - clicked < 3
    assert not visit.locator("#right-video video").count()
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#summary", has_text="red-disc.mp4 with its original sound").wait_for()
    assert not visit.get_by_role("alert").filter(has_not_text="weights are random").count()


def test_a_run_button_pressed_during_a_run_says_so_and_begins_nothing(visit, clip, tmp_path):
    upload(visit, make_disc(tmp_path / "long.mp4", (90, 20, 90), seconds=90))
    busy = visit.locator("#busy", has_text="A run is in progress: wait until it has finished, or press Cancel.")
    for _ in range(2):
        visit.get_by_role("button", name="Run", exact=True).click()
        visit.wait_for_timeout(2000)  # the end of a cancelled run must not be taken for that of the next
        for name in ("Run", "Run all sounds", "Red disc"):
            visit.get_by_role("button", name=name, exact=True).click()
            busy.wait_for()
            assert in_view(visit, "#busy") and in_view(visit, "#cancel")
        visit.get_by_role("button", name="Cancel", exact=True).click()
        assert not busy.count()
    visit.locator("#status", has_text="Stopped").wait_for()
    upload(visit, clip)
    for sound in ("with its original sound", "with silence"):  # each button works after a cancelled and a finished run
        run(visit, f"disc.mp4 {sound}")
        choose_sound(visit, "mute")
    shown = visit.get_by_label("Main video", exact=True)
    last = shown.input_value()
    assert not busy.count() and last.endswith("disc.mp4 with silence")
    visit.wait_for_timeout(1000)
    assert shown.input_value() == last  # no other run was waiting


def test_cancel_during_all_sounds_keeps_the_takes_that_are_finished(visit, served, clip, monkeypatch):
    one = served.studio.run

    def slow(*arguments):
        take = one(*arguments)
        if take.number == 1:
            time.sleep(3)  # between two takes
        return take

    monkeypatch.setattr(served.studio, "run", slow)
    upload(visit, clip)
    visit.get_by_role("button", name="Run all sounds").click()
    while not any(session.takes for session in served.studio._sessions.values() if session.cancelled):
        time.sleep(0.05)
    visit.get_by_role("button", name="Cancel", exact=True).click()
    visit.locator("#status", has_text="kept in the lists of videos: take 1.").wait_for()
    visit.wait_for_timeout(5000)
    assert not served.studio.running
    visit.get_by_label("Main video", exact=True).click()
    assert visit.get_by_role("option").count() == 2
    visit.get_by_role("option", name="Take 1: disc.mp4").click()
    visit.locator("#summary", has_text="disc.mp4 with its original sound").wait_for()
    visit.locator("#right-video video").wait_for()


def test_a_number_outside_the_range_of_its_box_is_no_bare_error(visit):
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#summary", has_text="red-disc.mp4 with its original sound").wait_for()
    visit.locator("#right-video video").wait_for()
    for box, numbers in (("second", ("999", "-5", "")), ("threshold", ("7", "")), ("opacity", ("-1",))):
        number = visit.locator(f"#{box} input[type=number]")
        for text in numbers:
            number.fill(text)
            number.press("Enter")
            visit.wait_for_timeout(700)
            assert not visit.get_by_text("Error", exact=True).count(), (box, text)
            if text == "999":
                visit.locator("#caption", has_text=f"Second {SECONDS - 1} to {SECONDS}").wait_for()
    choose_sound(visit, "keep")
    visit.locator("#keep-from input").fill("-50")
    visit.get_by_role("button", name="Run", exact=True).click()
    visit.locator("#status", has_text="From second=-50 must be a number from 0 to 3600").wait_for()
    assert not visit.get_by_text("Error", exact=True).count()


def test_cancel_with_nothing_running_changes_nothing(visit, clip):
    visit.get_by_role("button", name="Cancel", exact=True).click()
    upload(visit, clip)
    visit.get_by_role("button", name="Run all sounds").click()
    visit.locator("#status", has_text="Take 3, the sound of").wait_for()
    visit.locator("#summary", has_text="with the sound of").wait_for()
    before = [visit.locator(part).inner_text() for part in ("#status", "#summary")]
    visit.get_by_role("button", name="Cancel", exact=True).click()
    visit.wait_for_timeout(1000)
    assert [visit.locator(part).inner_text() for part in ("#status", "#summary")] == before
    assert "Stopped" not in before[0]


def test_a_new_clip_or_sound_clears_the_error_of_an_earlier_run(visit, clip, tmp_path):
    error = visit.locator("#status").get_by_role("alert")
    for change in (lambda: upload(visit, clip), lambda: choose_sound(visit, "mute")):
        fake = tmp_path / "fake.mp4"
        fake.write_text("not a video\n" * 20)
        upload(visit, fake)
        visit.get_by_role("button", name="Run", exact=True).click()
        error.wait_for()
        change()
        error.wait_for(state="detached")
    upload(visit, clip)
    run(visit, "disc.mp4 with silence")


def test_the_words_beside_the_videos_fit_a_narrow_screen(visit):
    """There the take is above the original, and no text says left or right."""
    visit.set_viewport_size(NARROW)
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#right-video video").wait_for()
    top = [visit.locator(f"#{side}-choice").bounding_box()["y"] for side in ("right", "left")]
    assert top[0] < top[1]
    words = visit.locator("#results").inner_text().lower().split()
    assert "left" not in words and "right" not in words and "compare" in words
    names = visit.evaluate("[...document.querySelectorAll('[aria-label]')].map(e => e.ariaLabel).join(' ')")
    assert not {"left", "right"} & set(names.lower().split())


def test_the_lines_of_python_repeat_the_run(visit, clip, tmp_path, monkeypatch):
    upload(visit, clip)
    choose_sound(visit, "shift")
    visit.locator("#shift input[type=number]").fill("1")
    run(visit, "1 s later")
    visit.get_by_role("button", name="This run in Python").click()
    lines = visit.locator("#code .cm-line").all_inner_texts()
    result = download(visit, "result.json", tmp_path)
    monkeypatch.chdir(clip.parent)
    exec("\n".join(lines).replace("overlay.mp4", "again.mp4"), {})
    again, first = (json.loads(path.read_text()) for path in (clip.parent / "result.json", result))
    assert first.pop("settings")["seconds"] == 1 and again == first and len(first["results"]) == 3


def test_the_webcam_records_a_clip(visit):
    """Chromium's fake camera: a disc that grows, and a beep each second."""
    visit.get_by_role("button", name="Capture from camera").click()
    visit.get_by_text("Click to Access Webcam").click()
    visit.get_by_role("button", name="start recording").click()
    visit.wait_for_timeout(2500)
    visit.get_by_title("stop recording").click()  # the button's own name does not change
    visit.locator("#clip video[src*=file]").wait_for()
    run(visit, "with its original sound")
