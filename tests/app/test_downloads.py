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
from tests.app.conftest import quiet

VIEW = TakeView(0.0)


@pytest.fixture
def take(studio, clip) -> Take:
    return studio.run("s", Path(clip), SoundSettings("keep", start=1), VIEW, quiet)


def test_files_have_fixed_names_and_no_folders_of_the_server_inside(take, cache) -> None:
    files = downloads.write_files(take, VIEW, take.videos[VIEW])
    assert tuple(file.name for file in files) == downloads.NAMES
    assert all(file.is_relative_to(cache) for file in files)
    result = json.loads(files[1].read_text())
    assert result["video"] == "a clip.mp4" and len(result["results"]) == 3
    assert str(cache.parent) not in files[1].read_text()
    assert [row["start"] for row in csv.DictReader(files[2].open())] == ["0", "1"]


def test_the_zip_holds_the_masks_as_pngs(take) -> None:
    *_, archive = downloads.write_files(take, VIEW, take.videos[VIEW])
    with zipfile.ZipFile(archive) as opened:
        pngs = [name for name in opened.namelist() if name.endswith(".png")]
        assert len(pngs) == sum(int((track.areas() > 0).sum()) for track in take.prediction.tracks)
        track = next(track for track in take.prediction.tracks if track.areas()[1])
        name = f"{take.prediction.class_names[track.label]}-{track.id}/00001.png"
        mask = np.asarray(Image.open(io.BytesIO(opened.read(name))))
    assert (mask == track.mask(1)).all()


def test_the_python_lines_repeat_the_run(take, loaded, tmp_path, monkeypatch) -> None:
    folder = save_model(loaded.model, tmp_path / "weights")
    monkeypatch.chdir(tmp_path)
    code = downloads.python_lines(take, VIEW, Loaded(loaded.model, folder.name), 120)
    exec(code, {})
    files = downloads.write_files(take, VIEW, take.videos[VIEW])
    ours, theirs = (json.loads(path.read_text()) for path in (files[1], tmp_path / "result.json"))
    assert ours == theirs
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
