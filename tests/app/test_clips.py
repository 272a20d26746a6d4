"""Each clip is encoded once, whatever its file's name, and browsers get files that they play."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from acvis_kit.app import clips
from acvis_kit.errors import MediaError
from acvis_kit.media.load import iter_source_frames, load_clip
from tests.app.conftest import make_clip, quiet


def test_a_copy_of_a_clip_is_not_encoded_again(studio, clip, tmp_path, encoded_lengths) -> None:
    first, cached = studio.clip_cache.get(Path(clip), quiet)
    copy = Path(shutil.copy(clip, tmp_path / "copy.mp4"))
    second, cached_then = studio.clip_cache.get(copy, quiet)
    assert encoded_lengths == [2] and (cached, cached_then) == (False, True)
    assert second is first and second.features.clip.source == copy
    assert next(iter_source_frames(second.features.clip))[1] == 0, "of the copy's own time of modification"


def test_a_file_that_changed_is_encoded_again(studio, clip, encoded_lengths) -> None:
    studio.clip_cache.get(Path(clip), quiet)
    make_clip(Path(clip), seconds=1)
    studio.clip_cache.get(Path(clip), quiet)
    assert encoded_lengths == [2, 1]


def test_files_that_differ_in_the_middle_alone_are_two_clips(tmp_path) -> None:
    """Of equal size, beginning and end: a sound muted in an editor, for example."""
    loud = bytes(4 * 2**20)
    (tmp_path / "loud.avi").write_bytes(loud)
    (tmp_path / "muted.avi").write_bytes(loud[: 2**21] + b"x" + loud[2**21 + 1 :])
    shutil.copy(tmp_path / "loud.avi", tmp_path / "copy.avi")
    loud_key, muted_key, copied_key = (clips.content_key(tmp_path / f"{n}.avi") for n in ("loud", "muted", "copy"))
    assert loud_key == copied_key != muted_key


def test_only_the_latest_and_the_pinned_clips_are_kept(studio, tmp_path, encoded_lengths) -> None:
    paths = [Path(make_clip(tmp_path / f"{n}.mp4", seconds=n)) for n in range(1, clips.CLIPS_KEPT + 3)]
    studio.clip_cache.get(paths[0], quiet, pin=True)
    for path in paths[1:]:
        studio.clip_cache.get(path, quiet)
    encoded_lengths.clear()
    studio.clip_cache.get(paths[0], quiet)
    studio.clip_cache.get(paths[-1], quiet)
    assert encoded_lengths == []
    studio.clip_cache.get(paths[1], quiet)
    assert encoded_lengths == [2]


def test_an_encoded_clip_keeps_stills_and_no_pixels(studio, clip) -> None:
    encoded, _ = studio.clip_cache.get(Path(clip), quiet)
    assert encoded.features.clip.frames.untyped_storage().nbytes() == 1
    assert encoded.features.clip.size == (64, 96)
    assert len(encoded.stills) == 2 and clips.picture_of(encoded.stills[1]).shape == (64, 96, 3)


def test_large_pictures_are_drawn_smaller_with_even_sides() -> None:
    assert clips.drawn_size((1920, 1080)) == (1280, 720)
    assert clips.drawn_size((63, 97)) == (63, 97)


def test_a_file_that_browsers_play_is_shown_as_it_is(clip) -> None:
    source = load_clip(clip)
    assert clips.plays_in_browsers(Path(clip))
    assert clips.original_for_browsers(source, Path("/nowhere"), quiet) == Path(clip)


def test_a_file_that_browsers_do_not_play_gets_a_copy_with_its_sound(clip, tmp_path) -> None:
    """The same streams in Matroska."""
    foreign = tmp_path / "a clip.mkv"
    remux(Path(clip), foreign)
    assert not clips.plays_in_browsers(foreign)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = load_clip(foreign)
    made = clips.original_for_browsers(source, tmp_path, quiet)
    assert clips.plays_in_browsers(made)
    copy = load_clip(made)
    assert len(copy) == 2 and copy.waveform.abs().max() > 0.2


def test_a_missing_file_raises_a_media_error(studio, tmp_path) -> None:
    with pytest.raises(MediaError, match="no longer here"):
        studio.clip_cache.get(tmp_path / "gone.mp4", quiet)


def test_examples_come_from_a_folder_with_readable_titles(examples, monkeypatch) -> None:
    assert [path.name for path in clips.example_files(examples)] == ["one.mp4", "two.mp4"]
    monkeypatch.setenv(clips.EXAMPLES_VARIABLE, str(examples))
    assert len(clips.example_files()) == 2
    assert clips.example_title(Path("dog-and_violin.mp4")) == "Dog and violin"


def test_a_poster_of_an_unreadable_file_is_grey(examples, tmp_path) -> None:
    assert clips.poster(examples / "one.mp4").size == (96, 64)
    (tmp_path / "fake.mp4").write_text("no")
    assert np.asarray(clips.poster(tmp_path / "fake.mp4")).std() == 0


def remux(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


def test_reading_reports_progress_and_can_be_stopped(clip) -> None:
    reports = []
    load_clip(clip, progress=lambda *at: reports.append(at))
    assert reports == [("read", 1, 2), ("read", 2, 2)]

    def stop(*_: object) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        load_clip(clip, progress=stop)
