"""The downloads hold what the page shows, and the Python lines repeat the run."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from acvis_kit.app import downloads
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import Take, TakeView
from acvis_kit.weights.load import Loaded, save_model
from tests.app.conftest import make_clip, quiet

VIEW = TakeView(0.0)


@pytest.fixture
def take(studio, clip) -> Take:
    return studio.run("s", Path(clip), SoundSettings("keep", start=1), VIEW, quiet)


def test_files_have_fixed_names_and_no_folders_of_the_server_inside(take, loaded, cache) -> None:
    files = downloads.write_files(take, VIEW, take.videos[VIEW], loaded)
    assert tuple(file.name for file in files) == downloads.NAMES
    assert all(file.is_relative_to(cache) for file in files)
    result = json.loads(files[1].read_text())
    assert result["video"] == "a clip.mp4" and len(result["results"]) == 3
    assert str(cache.parent) not in files[1].read_text()
    assert [row["start"] for row in csv.DictReader(files[2].open())] == ["0", "1"]


def test_the_zip_holds_the_masks_as_pngs(take, loaded) -> None:
    *_, archive = downloads.write_files(take, VIEW, take.videos[VIEW], loaded)
    with zipfile.ZipFile(archive) as opened:
        pngs = [name for name in opened.namelist() if name.endswith(".png")]
        assert len(pngs) == sum(int((track.areas() > 0).sum()) for track in take.prediction.tracks)
        track = next(track for track in take.prediction.tracks if track.areas()[1])
        name = f"{take.prediction.class_names[track.label]}-{track.id}/00001.png"
        mask = np.asarray(Image.open(io.BytesIO(opened.read(name))))
    assert (mask == track.mask(1)).all()


def test_the_result_says_with_which_settings_it_was_made(studio, clip, loaded, tmp_path) -> None:
    """By the names of the endpoint's parameters, so that the call can be repeated; without folders of the server."""
    other = make_clip(tmp_path / "other.mp4", seconds=1)
    view, given = TakeView(0.25, gate=True), Loaded(loaded.model, "mine", sha256="0" * 64)
    settings = {"threshold": 0.25, "count_gate": True, "weights": "mine", "sha256": "0" * 64}
    for sound, used in (
        (SoundSettings(), {"sound": "original"}),
        (SoundSettings("mix", other, -3), {"sound": "mix", "other_sound": "other.mp4", "level": -3}),
        (SoundSettings("noise", level=5), {"sound": "noise", "level": 5}),
        (SoundSettings("shift", other, 3, 0.5), {"sound": "shift", "seconds": 0.5}),
        (SoundSettings("keep", start=1), {"sound": "keep", "start": 1, "end": 0.0}),
    ):
        take = studio.run("s", Path(clip), sound, view, quiet)
        _, result, _, masks = downloads.write_files(take, view, take.videos[view], given)
        assert json.loads(result.read_text())["settings"] == used | settings
        with zipfile.ZipFile(masks) as opened:
            assert json.dumps(used | settings) in opened.read("README.txt").decode()


def test_the_settings_name_the_revision_of_weights_of_the_hub(take, loaded) -> None:
    hub = Loaded(loaded.model, "ruohguo/avis", "ruohguo/avis", "c" * 40)
    assert downloads.settings_of(take, VIEW, hub)["weights"] == f"ruohguo/avis@{'c' * 40}"


def test_the_python_lines_repeat_the_run(take, loaded, tmp_path, monkeypatch) -> None:
    folder = save_model(loaded.model, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    code = downloads.python_lines(take, VIEW, Loaded(loaded.model, folder.name), 120)
    exec(code, {})
    files = downloads.write_files(take, VIEW, take.videos[VIEW], loaded)
    ours, theirs = (json.loads(path.read_text()) for path in (files[1], tmp_path / "result.json"))
    assert {key: value for key, value in ours.items() if key != "settings"} == theirs
    assert (tmp_path / "overlay.mp4").stat().st_size > 0


@pytest.mark.parametrize("sound", ["original", "mute", "swap", "mix", "noise", "shift", "keep"])
def test_the_python_line_of_the_sound_makes_the_same_edit(sound) -> None:
    import acvis_kit as ak

    settings = SoundSettings(sound, "dog.wav", 3, 2, 1, 4)
    assert eval(downloads._edit_code(settings), {"ak": ak}) == settings.edit()


def test_the_python_lines_of_a_bundled_clip_run_anywhere(studio, loaded, tmp_path, monkeypatch) -> None:
    """In a folder in which none of the page's files are."""
    clip, other = (path for name, path in studio.examples.items() if name in ("quartet", "twins"))
    take = studio.run("s", clip, SoundSettings("swap", str(other)), VIEW, quiet)
    folder = save_model(loaded.model, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    code = downloads.python_lines(take, VIEW, Loaded(loaded.model, folder.name), 120)
    assert code.count("files('acvis_kit') / 'assets/clips/") == 2
    exec(code, {})
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["video"] == clip.name
