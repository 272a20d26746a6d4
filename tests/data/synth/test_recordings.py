"""Recorded voices: found by folder names, audible in every second, independent of where rendering begins."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from acvis_kit.clip import SAMPLE_RATE
from acvis_kit.data.synth.acoustics import Acoustics
from acvis_kit.data.synth.recordings import RecordedVoices, audible_loop, recording_of
from acvis_kit.data.synth.sounds import Voice, render_voice
from acvis_kit.data.synth.soundtrack import Part, Soundtrack
from acvis_kit.errors import ConfigError, DataError


def tone(hertz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two tubas, a dog with long pauses, in a collection's spelling."""
    sounds = {
        "tuba/low.wav": tone(110, 2.5),
        "tuba/high.wav": tone(220, 1.5),
        "esc/001 - Dog bark/a.wav": np.concatenate(
            [silence(1), tone(500, 0.3), silence(3), tone(600, 0.2), silence(1)]
        ),
    }
    for name, sound in sounds.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        wavfile.write(tmp_path / name, SAMPLE_RATE, sound)
    return tmp_path


def pitch(wave: np.ndarray) -> int:
    return int(np.abs(np.fft.rfft(wave[:SAMPLE_RATE])).argmax())


def test_folders_are_classes(folder: Path) -> None:
    voices = RecordedVoices(folder)
    assert voices.files == {"dog": ("esc/001 - Dog bark/a.wav",), "tuba": ("tuba/high.wav", "tuba/low.wav")}
    assert voices.classes == ("dog", "tuba") and voices.unknown == ()


def test_a_voice_sounds_like_its_file(folder: Path) -> None:
    voices = RecordedVoices(folder)
    assert pitch(render_voice(Voice("tuba", 3, "tuba/low.wav"), 0, 1, voices)) == pytest.approx(110, abs=2)
    assert pitch(render_voice(Voice("tuba", 3, "tuba/high.wav"), 4, 5, voices)) == pytest.approx(220, abs=2)
    drawn = {voices.voice("tuba", np.random.default_rng(seed)).source for seed in range(10)}
    assert drawn == set(voices.files["tuba"])


def test_any_second_is_the_slice_of_the_whole(folder: Path) -> None:
    voice = Voice("dog", 8, "esc/001 - Dog bark/a.wav")
    whole = render_voice(voice, 0, 5, RecordedVoices(folder))
    np.testing.assert_array_equal(
        render_voice(voice, 3, 4, RecordedVoices(folder)), whole[3 * SAMPLE_RATE :][:SAMPLE_RATE]
    )


def test_the_seed_sets_the_starting_point(folder: Path) -> None:
    voices = RecordedVoices(folder)
    source = "esc/001 - Dog bark/a.wav"
    a, b = render_voice(Voice("dog", 1, source), 0, 1, voices), render_voice(Voice("dog", 2, source), 0, 1, voices)
    assert not np.allclose(a, b)


def test_pauses_are_cut_so_that_every_second_is_audible(folder: Path) -> None:
    seconds = render_voice(Voice("dog", 5, "esc/001 - Dog bark/a.wav"), 0, 6, RecordedVoices(folder)).reshape(6, -1)
    np.testing.assert_allclose(np.sqrt((seconds**2).mean(axis=1)), 1, atol=0.01)
    active = np.sqrt((seconds.reshape(6, 50, 320) ** 2).mean(axis=2)) > 0.1
    assert active.mean(axis=1).min() > 0.5


def test_a_loop_keeps_short_pauses_and_cuts_long_ones() -> None:
    kept = audible_loop(np.concatenate([tone(300, 1), silence(0.1), tone(300, 1)]))
    cut = audible_loop(np.concatenate([tone(300, 1), silence(2), tone(300, 1)]))
    assert kept is not None and cut is not None
    assert len(kept) == pytest.approx(2.1 * SAMPLE_RATE, abs=640)
    assert len(cut) == pytest.approx(2.16 * SAMPLE_RATE, abs=640)


def test_a_quiet_recording_is_as_loud_as_a_loud_one() -> None:
    quiet, loud = audible_loop(tone(300, 2, 0.002)), audible_loop(tone(300, 2, 0.9))
    assert quiet is not None and loud is not None
    np.testing.assert_allclose(quiet, loud, atol=1e-3)


def test_the_loop_closes_without_a_click() -> None:
    loop = audible_loop(tone(301.7, 1.234))
    assert loop is not None
    assert np.abs(np.diff(np.concatenate([loop[-2:], loop[:2]]))).max() <= np.abs(np.diff(loop)).max()


def test_a_very_short_sound_is_followed_by_a_pause() -> None:
    loop = audible_loop(tone(400, 0.1))
    assert loop is not None and len(loop) == pytest.approx(0.15 * SAMPLE_RATE, abs=400)


def test_silence_makes_no_loop(folder: Path) -> None:
    assert audible_loop(silence(1)) is None
    wavfile.write(folder / "tuba/none.wav", SAMPLE_RATE, silence(1))
    with pytest.raises(DataError, match=r"none\.wav is silent"):
        RecordedVoices(folder).second(Voice("tuba", 0, "tuba/none.wav"), 0)


def test_a_soundtrack_of_recordings_survives_json_and_processes(folder: Path) -> None:
    voices = RecordedVoices(folder)
    track = Soundtrack(3, (Part(voices.voice("tuba", np.random.default_rng(0)), (True, False, True), -20.0, 0),))
    again = Soundtrack.from_dict(json.loads(json.dumps(track.to_dict())))
    rendered = track.render(recordings=voices)
    np.testing.assert_array_equal(again.render(recordings=pickle.loads(pickle.dumps(voices))), rendered)
    assert not rendered[SAMPLE_RATE : 2 * SAMPLE_RATE].any() and rendered.any()
    with pytest.raises(ConfigError, match="RecordedVoices"):
        track.render()


def test_shares_have_no_file_in_common_and_together_have_all(folder: Path) -> None:
    for number in range(9):
        wavfile.write(folder / f"tuba/{number}.wav", SAMPLE_RATE, tone(100, 0.5))
    parts = [set(RecordedVoices(folder, share=s).files["tuba"]) for s in ((0, 0.6), (0.6, 1))]
    assert not parts[0] & parts[1] and parts[0] | parts[1] == set(RecordedVoices(folder).files["tuba"])
    assert len(parts[0]) == 7


def test_folders_that_name_no_class_are_reported_and_can_be_given_one(folder: Path) -> None:
    (folder / "gong").mkdir()
    wavfile.write(folder / "gong/a.wav", SAMPLE_RATE, tone(100, 0.5))
    with pytest.warns(UserWarning, match=r"gong.*tuba.*Rename the folders"):
        voices = RecordedVoices(folder)
    assert voices.unknown == ("gong",)
    assert RecordedVoices(folder, folder_names={"gong": "bass"}).files["bass"] == ("gong/a.wav",)


def test_mistakes_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        RecordedVoices(folder / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no sound of a class"):
        RecordedVoices(tmp_path / "empty")
    with pytest.raises(ConfigError, match="unicorn"):
        RecordedVoices(folder, folder_names={"tuba": "unicorn"})
    with pytest.raises(ConfigError, match="share"):
        RecordedVoices(folder, share=(0.5, 0.5))
    voices = RecordedVoices(folder)
    with pytest.raises(DataError, match=r"cat.*dog, tuba"):
        voices.voice("cat", np.random.default_rng(0))
    for source in ("tuba/lost.wav", "../outside.wav"):
        with pytest.raises(DataError, match="no sound"):
            voices.second(Voice("tuba", 0, source), 0)


def test_files_of_one_recording_are_in_one_part(folder: Path) -> None:
    rows = ["file\tseconds\trecording (hold out by this)"]
    for number in range(8):
        wavfile.write(folder / f"tuba/take_{number}.wav", SAMPLE_RATE, tone(100, 0.5))
        rows.append(f"tuba/take_{number}.wav\t0.5\ttuba player {number // 4}")
    (folder / "SOURCES_takes.tsv").write_text("\n".join(rows) + "\n")
    parts = [set(RecordedVoices(folder, share=s).files["tuba"]) for s in ((0, 0.5), (0.5, 1))]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 10
    players = [{int(f[10]) // 4 for f in part if "take" in f} for part in parts]
    assert not players[0] & players[1]


def test_names_of_recordings_agree_however_they_are_written(folder: Path) -> None:
    table = {"a.wav": "freesound 100032", "b.wav": "https://freesound.org/s/100032/", "c.wav": "speaker 12"}
    names = [recording_of(f, table) for f in ("a.wav", "b.wav", "esc/dog/1-100032-A.ogg", "esc/dog/2-100032-B.ogg")]
    assert set(names) == {"freesound 100032"}
    assert recording_of("c.wav", table) == "speaker 12" and recording_of("d/e.wav", table) == "d/e.wav"


def test_a_table_without_recordings_is_refused(folder: Path) -> None:
    (folder / "SOURCES.tsv").write_text("file\tlicence\n")
    with pytest.raises(DataError, match=r"SOURCES\.tsv has columns file, licence.*recording"):
        RecordedVoices(folder)


def test_sounds_of_no_class_are_others_or_backgrounds(folder: Path) -> None:
    for name in ("gong/a", "city/heavy_rain", "choir/aah"):
        (folder / name).parent.mkdir()
        wavfile.write(folder / f"{name}.wav", SAMPLE_RATE, tone(100, 0.5))
    files = RecordedVoices(folder, others=True).files
    assert (files["other"], files["background"]) == (("gong/a.wav",), ("city/heavy_rain.wav",))
    assert not any("choir" in file for own in files.values() for file in own)


def test_pauses_may_stay_longer_and_the_level_is_even_without_them() -> None:
    sound = np.concatenate([tone(300, 1), silence(2), tone(300, 1, 0.1), silence(1)])
    loop = audible_loop(sound, pause=0.5)
    assert loop is not None and len(loop) == pytest.approx(2.75 * SAMPLE_RATE, abs=1000)
    quiet = np.sqrt((loop.reshape(-1, 320) ** 2).mean(1)) < 0.05
    assert quiet.mean() == pytest.approx(0.75 / 2.75, abs=0.06)


def test_the_acoustics_of_a_voice_change_its_sound_and_any_second_is_still_the_slice(folder: Path) -> None:
    room = Acoustics(reverberation=0.6, high=4000, coarse_db=12, direct_db=0, rate=1.03)
    dry, wet = (Voice("tuba", 3, "tuba/low.wav", acoustics) for acoustics in (None, room))
    assert Voice.from_dict(json.loads(json.dumps(wet.to_dict()))) == wet
    whole = render_voice(wet, 0, 4, RecordedVoices(folder))
    assert not np.allclose(whole, render_voice(dry, 0, 4, RecordedVoices(folder)), atol=0.1)
    np.testing.assert_array_equal(
        render_voice(wet, 2, 3, RecordedVoices(folder)), whole[2 * SAMPLE_RATE :][:SAMPLE_RATE]
    )
