"""Helpers of the notebooks."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

from acvis_kit.data.synth.records import load_scenes
from acvis_kit.errors import ConfigError
from acvis_kit.media.mel import log_mel
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.viz import tutorial
from acvis_kit.weights.load import load_model


def test_the_scale_reduces_and_increases_work_but_not_below_the_least(monkeypatch) -> None:
    monkeypatch.delenv(tutorial.SCALE, raising=False)
    assert tutorial.scaled(40) == 40
    monkeypatch.setenv(tutorial.SCALE, "0.25")
    assert (tutorial.scaled(40), tutorial.scaled(2), tutorial.scaled(40, least=15)) == (10, 1, 15)
    monkeypatch.setenv(tutorial.SCALE, "4")
    assert tutorial.scaled(40) == 160


@pytest.mark.parametrize("text", ["0", "-1", "big", "nan", "inf"])
def test_a_scale_that_is_not_a_number_above_0_is_refused(monkeypatch, text: str) -> None:
    monkeypatch.setenv(tutorial.SCALE, text)
    with pytest.raises(ConfigError, match="ACVIS_TUTORIAL_SCALE"):
        tutorial.scaled(1)


def test_begin_seeds_the_random_generators() -> None:
    draws = []
    for _ in range(2):
        tutorial.begin(3)
        draws.append((torch.rand(2).tolist(), np.random.rand(2).tolist()))  # noqa: NPY002
    assert draws[0] == draws[1]


def test_clips_are_made_once(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tutorial, "FOLDER", tmp_path)
    split = tutorial.synth_split(1, seconds=(1, 1), size=64)
    written = split.truth_file.stat().st_mtime_ns
    again = tutorial.synth_split(1, seconds=(1, 1), size=64)
    assert again.truth_file.stat().st_mtime_ns == written
    assert len(load_scenes(again.scenes_file)) == len(again) == 1


def test_pictures_and_maps_are_side_by_side() -> None:
    picture = torch.zeros(3, 8, 12, dtype=torch.uint8)
    figure = tutorial.pictures([picture, np.arange(6.0).reshape(2, 3)], ["one", "two"])
    shown, heat, _ = figure.data  # the last one carries the colour bar
    assert (shown.type, heat.type) == ("image", "heatmap")
    assert shown.source.startswith("data:image/png") and shown.z is None
    assert [note.text for note in figure.layout.annotations] == ["one", "two"]
    with pytest.raises(ConfigError, match="float"):
        tutorial.pictures([np.zeros((4, 4, 3))])


def test_pictures_alone_have_neither_colour_bar_nor_axes() -> None:
    figure = tutorial.pictures([np.zeros((4, 6, 3), np.uint8)] * 2)
    assert [trace.type for trace in figure.data] == ["image", "image"] and not figure.layout.xaxis.visible


def bars(figure: go.Figure) -> list[tuple[str, float, float]]:
    """Title, least and greatest value of each colour bar."""
    markers = [trace.marker for trace in figure.data if trace.type == "scatter"]
    return [(marker.colorbar.title.text, marker.cmin, marker.cmax) for marker in markers]


@pytest.mark.parametrize("side", [2, 64], ids=["numbers", "a picture"])
def test_each_map_has_a_colour_bar_of_its_own_range(side: int) -> None:
    maps = [np.full((side, side), 1.0), np.full((side, side), 2.0)]
    for values, greatest in zip(maps, (5, 7), strict=True):
        values[0, 0] = greatest
    figure = tutorial.pictures(maps, maps=tutorial.Maps("distance", x="query", y="second"))
    assert bars(figure) == [("distance", 1, 5), ("distance", 2, 7)]
    assert [figure.layout[axis].title.text for axis in ("xaxis", "xaxis2")] == ["query", "query"]
    assert [figure.layout[axis].title.text for axis in ("yaxis", "yaxis2")] == ["second", ""]  # at the left alone
    assert figure.layout.xaxis.visible and figure.layout.yaxis.autorange == "reversed"


def test_maps_with_common_limits_share_a_colour_bar() -> None:
    figure = tutorial.pictures([np.zeros((2, 2))] * 3, maps=tutorial.Maps("probability", limits=(0, 3)))
    assert bars(figure) == [("probability", 0, 3)]
    assert [(trace.zmin, trace.zmax) for trace in figure.data[:3]] == [(0, 3)] * 3


def test_the_rows_of_a_map_can_have_names() -> None:
    figure = tutorial.pictures([np.zeros((2, 3))], maps=tutorial.Maps("probability", rows=["dog", "cat"]))
    assert figure.layout.yaxis.visible and list(figure.layout.yaxis.ticktext) == ["dog", "cat"]


def test_a_large_map_is_drawn_as_a_picture_from_its_least_to_its_greatest_value() -> None:
    values = np.linspace(-3, 5, 64 * 64).reshape(64, 64)
    figure = tutorial.pictures([values])
    assert figure.data[0].type == "image" and len(figure.data[0].source) < 8000
    coloured = tutorial._coloured(values, (-3, 5))
    assert coloured[0, 0].tolist() == [68, 1, 84] and coloured[-1, -1].tolist() == [253, 231, 37]  # Viridis' ends
    assert len(np.unique(tutorial._coloured(np.ones((4, 4)), (1, 1)).reshape(-1, 3), axis=0)) == 1


def test_a_plot_is_shown_with_titles_on_its_axes(monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda figure: shown.append(figure))
    tutorial.show(go.Figure(go.Scatter(x=[0, 1], y=[0, 1])), "second", "loss", height=200, yaxis_range=[0, 2])
    (layout,) = (figure.layout for figure in shown)
    assert (layout.xaxis.title.text, layout.yaxis.title.text, layout.height) == ("second", "loss", 200)
    assert layout.yaxis.range == (0, 2)


def test_lanes_have_a_bar_in_each_second_in_which_an_object_sounds() -> None:
    sounding = np.array([[True, False, True], [False, False, False]])
    dog, cat = tutorial.lanes(["dog", "cat"], sounding).data
    assert dog.base == (0, 2) and dog.x == (1, 1) and cat.y == ("cat",) and cat.x == (0,)  # silent, but with a lane
    (coloured, _) = tutorial.lanes(["dog", "cat"], sounding, [["red", "red", "blue"], ["red"] * 3]).data
    assert coloured.marker.color == ("red", "blue")


SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]


def test_a_child_process_ends_with_its_block_and_its_output_is_kept(tmp_path) -> None:
    messages = tmp_path / "messages.txt"
    with tutorial.child_process([sys.executable, "-c", "print('done')"], messages) as process:
        assert process.wait() == 0
    assert process.returncode == 0 and messages.read_text(encoding="utf-8") == "done\n"
    with pytest.raises(KeyboardInterrupt), tutorial.child_process(SLEEP, messages) as process:
        raise KeyboardInterrupt
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_child_process_ends_when_its_parent_is_killed(tmp_path) -> None:
    code = (
        "from pathlib import Path\nimport sys, time\nfrom acvis_kit.viz.tutorial import child_process\n"
        "with child_process(sys.argv[2:], Path(sys.argv[1])) as process:\n"
        "    print(process.pid, flush=True)\n    time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "messages.txt"), *SLEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    deadline = time.monotonic() + 30
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_spectrogram_has_seconds_to_the_right_and_bands_upwards() -> None:
    figure = tutorial.spectrogram(log_mel(torch.zeros(3, 16_000)))
    (trace,) = figure.data
    assert np.shape(trace.z) == (64, 3 * 96 // 2) and min(trace.x) > 0 and max(trace.x) < 3
    assert np.allclose(trace.z, np.log(0.01), atol=0.01)


@pytest.mark.slow
def test_visual_parts_are_copied_and_audio_parts_are_random(tmp_path) -> None:
    shipped = load_model("acvis-synth-tiny")
    own = shipped.state_dict()
    for audio in (False, True):
        initial = load_model(tutorial.initial_weights(shipped.config, tmp_path / str(audio), audio)).state_dict()
        changed = {".".join(name.split(".")[:2]) for name in own if not torch.equal(own[name], initial[name])}
        assert {"query_generator.layers", "tracker.sounding", "count_head.weight"} <= changed
        assert not {"query_generator.query_features", "frame_decoder.class_head", "tracker.class_head"} & changed
        assert ("audio_encoder.features" in changed) is not audio
        assert not any(name.startswith(("backbone", "pixel_decoder")) for name in changed)
    silent = replace(
        shipped.config, query_generator="none", frame_fusion=False, video_fusion=False, audio_classes=False
    )
    audio_names = {name for name in own if name not in ACVIS(silent).state_dict()}
    assert audio_names and all(name.startswith(tutorial.AUDIO_PATH) for name in audio_names)  # none is copied
    initial = load_model(tutorial.initial_weights(silent, tmp_path / "silent"))
    assert initial.config == silent and torch.equal(initial.backbone.stem[0].weight, shipped.backbone.stem[0].weight)
