"""The page's folder: old files go, folders of killed pages go, and it does not fill the disk."""

from __future__ import annotations

import os
import shutil
import time

import pytest

from acvis_kit.app import server, storage
from acvis_kit.errors import AcvisError


def test_old_files_are_deleted_and_new_ones_stay(tmp_path):
    old, new = tmp_path / "a" / "old.mp4", tmp_path / "b" / "new.mp4"
    old.parent.mkdir()
    old.write_text("x")
    time.sleep(0.02)
    before = time.time()
    time.sleep(0.02)
    new.parent.mkdir()
    new.write_text("x")
    assert storage.sweep(tmp_path, before) == 1
    assert not old.exists() and new.exists()
    assert server.SWEEP_EVERY + server.KEEP_SECONDS < 3600


@pytest.mark.parametrize("gone", ["folder", "a", "b"])
def test_folders_may_be_deleted_while_they_are_counted_or_swept(tmp_path, monkeypatch, gone):
    """A visitor's takes make room, and closed pages go, at any moment."""
    folder = tmp_path / "folder"
    scandir = os.scandir

    def make():
        for name in ("a", "b"):
            (folder / name / "c").mkdir(parents=True)
            (folder / name / "c" / "file").write_bytes(b"x" * 100)

    def late(path):
        if not isinstance(path, int) and os.path.basename(path) == gone:  # shutil uses descriptors
            shutil.rmtree(path, ignore_errors=True)
        return scandir(path)

    make()
    with monkeypatch.context() as changed:
        changed.setattr(os, "scandir", late)
        assert storage.bytes_in(folder) == (0 if gone == "folder" else 100)
    shutil.rmtree(folder, ignore_errors=True)
    make()
    with monkeypatch.context() as changed:
        changed.setattr(os, "scandir", late)
        assert storage.sweep(folder, time.time() + 10) == (0 if gone == "folder" else 1)


def test_a_link_is_swept_and_what_it_leads_to_stays(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "visitors").mkdir()
    (tmp_path / "visitors" / "link").symlink_to(tmp_path / "kept")
    assert storage.sweep(tmp_path / "visitors", time.time() + 10) == 1
    assert (tmp_path / "kept" / "file").exists() and not (tmp_path / "visitors" / "link").is_symlink()


def test_a_new_copy_of_an_old_file_is_not_old(tmp_path):
    """gradio copies a chosen example with its time of modification."""
    copy = tmp_path / "example.mp4"
    copy.write_bytes(b"x")
    os.utime(copy, (0, 0))
    assert storage.sweep(tmp_path, time.time() - 10) == 0


def test_a_folder_is_removed_with_its_page_and_that_of_a_living_page_stays(tmp_path):
    living = storage.PageFolder(tmp_path)
    ended = storage.PageFolder(tmp_path)
    ended.remove()
    (tmp_path / f"{storage.PREFIX}killed").mkdir()
    (tmp_path / f"{storage.PREFIX}killed" / storage.LOCK).touch()
    assert storage.remove_stale(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [living.root]
    living.remove()


def test_names_of_folders_cannot_be_guessed(tmp_path):
    names = {storage.new_folder(tmp_path).name for _ in range(3)}
    assert len(names) == 3 and {len(name) for name in names} == {32}


def test_a_full_folder_takes_no_more(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"x" * 1000)
    storage.check_room(tmp_path)
    assert storage.bytes_in(tmp_path) == 1000
    monkeypatch.setattr(storage, "DISK_BYTES", 1500)
    assert storage.has_room(tmp_path, 500) and not storage.has_room(tmp_path, 501)
    monkeypatch.setattr(storage, "DISK_BYTES", 999)
    with pytest.raises(AcvisError, match="disk is full"):
        storage.check_room(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(storage, "SPARE_BYTES", 10**18)
    assert not storage.has_room(tmp_path)


def test_a_quotation_mark_in_a_name_is_shown_as_one():
    assert storage.shown_name("/somewhere/say %22hi%22, 5%2c.mp4") == 'say "hi", 5%2c.mp4'
