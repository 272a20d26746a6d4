"""Sound settings become an edit and a label."""

from __future__ import annotations

import pytest

from acvis_kit.app.sound_settings import NEEDS, SOUNDS, SoundSettings
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit


@pytest.mark.parametrize(
    ("settings", "edit", "words"),
    [
        (SoundSettings(), AudioEdit.original(), "its original sound"),
        (SoundSettings("mute"), AudioEdit.mute(), "silence"),
        (SoundSettings("swap", "/a/dog.wav"), AudioEdit.swap("/a/dog.wav"), "the sound of dog.wav"),
        (SoundSettings("mix", "/a/dog.wav", -6), AudioEdit.mix("/a/dog.wav", gain_db=-6), "that of dog.wav (-6 dB)"),
        (SoundSettings("noise", level=10), AudioEdit.noise(10), "noise 10 dB below it"),
        (SoundSettings("noise", level=-5), AudioEdit.noise(-5), "noise 5 dB above it"),
        (SoundSettings("shift", seconds=-2), AudioEdit.shift(-2), "2 s earlier"),
        (SoundSettings("keep", start=1, end=3), AudioEdit.keep(1, 3), "from 1 s to 3 s"),
        (SoundSettings("keep", start=1), AudioEdit.keep(1, None), "from 1 s to the end"),
    ],
)
def test_settings_become_an_edit_and_a_label(settings: SoundSettings, edit: AudioEdit, words: str) -> None:
    assert settings.edit() == edit
    assert words in settings.label()


def test_every_sound_of_the_page_has_an_edit() -> None:
    for _, sound in SOUNDS:
        assert SoundSettings(sound, "x.wav", 1, 1, 0, 1).edit().steps
    assert set(NEEDS) < {sound for _, sound in SOUNDS}


def test_unknown_and_incomplete_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of original, mute"):
        SoundSettings("louder").edit()
    for sound in ("swap", "mix"):
        with pytest.raises(MediaError, match="no other sound yet"):
            SoundSettings(sound).edit()
    with pytest.raises(ConfigError, match="later than start"):
        SoundSettings("keep", start=3, end=2).edit()
