"""The page in a browser: clips become takes, no other host gets a request, every control can be reached."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import numpy as np
import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.media.write import write_video
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.load import Loaded

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
    assert visit.get_by_role("table", name="Objects").get_by_role("row").count() == 4
    assert rms(download(visit, "overlay.mp4", tmp_path)) > 0.1
    assert hosts == {urlsplit(visit.url).netloc}


def test_takes_are_compared_and_each_has_its_sound(visit, clip, tmp_path):
    upload(visit, clip)
    run(visit, "with its original sound")
    choose_sound(visit, "mute")
    run(visit, "with silence")
    assert "encoding 0 s" in visit.locator("#summary").inner_text()
    assert rms(download(visit, "overlay.mp4", tmp_path)) == 0
    for name in ("result.json", "counts.csv", "masks.zip"):
        assert download(visit, name, tmp_path).stat().st_size > 0

    visit.get_by_label("Left", exact=True).click()
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
    visit.locator("#summary").get_by_text("There is no other sound yet").wait_for()
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
        visit.locator("#summary", has_text=f"{name} is ").get_by_role("alert").wait_for()
        assert "Traceback" not in visit.content()
    upload(visit, clip)
    run(visit, "disc.mp4")


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
    visit.locator("#summary", has_text="Cancelled").wait_for()
    while served.studio.running and time.monotonic() < clicked + 20:
        time.sleep(0.05)
    assert time.monotonic() - clicked < 3
    assert not visit.locator("#right-video video").count()
    visit.get_by_role("button", name="Red disc").click()
    visit.locator("#summary", has_text="red-disc.mp4 with its original sound").wait_for()


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
    assert again == first and len(first["results"]) == 3


def test_the_webcam_records_a_clip(visit):
    """Chromium's fake camera: a disc that grows, and a beep each second."""
    visit.get_by_role("button", name="Capture from camera").click()
    visit.get_by_text("Click to Access Webcam").click()
    visit.get_by_role("button", name="start recording").click()
    visit.wait_for_timeout(2500)
    visit.get_by_title("stop recording").click()  # the button's own name does not change
    visit.locator("#clip video[src*=file]").wait_for()
    run(visit, "with its original sound")
