"""What the controls say, as an edit of the sound and as words."""

from __future__ import annotations

import pytest

from acvis_kit.app.recipe import NEEDS, SOUNDS, Recipe
from acvis_kit.errors import ConfigError, MediaError
from acvis_kit.media.edit import AudioEdit


@pytest.mark.parametrize(
    ("recipe", "edit", "words"),
    [
        (Recipe(), AudioEdit.original(), "its own sound"),
        (Recipe("mute"), AudioEdit.mute(), "silence"),
        (Recipe("swap", "/a/dog.wav"), AudioEdit.swap("/a/dog.wav"), "the sound of dog.wav"),
        (Recipe("mix", "/a/dog.wav", -6), AudioEdit.mix("/a/dog.wav", gain_db=-6), "that of dog.wav (-6 dB)"),
        (Recipe("noise", level=10), AudioEdit.noise(10), "noise 10 dB below it"),
        (Recipe("shift", seconds=-2), AudioEdit.shift(-2), "2 s earlier"),
        (Recipe("keep", start=1, end=3), AudioEdit.keep(1, 3), "from 1 s to 3 s"),
        (Recipe("keep", start=1), AudioEdit.keep(1, None), "from 1 s to the end"),
    ],
)
def test_a_recipe_is_an_edit_and_says_so_in_words(recipe: Recipe, edit: AudioEdit, words: str) -> None:
    assert recipe.edit() == edit
    assert words in recipe.label()


def test_every_sound_on_offer_is_known() -> None:
    for _, sound in SOUNDS:
        assert Recipe(sound, "x.wav", 1, 1, 0, 1).edit().steps
    assert set(NEEDS) < {sound for _, sound in SOUNDS}


def test_unknown_and_incomplete_recipes_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of original, mute"):
        Recipe("louder").edit()
    for sound in ("swap", "mix"):
        with pytest.raises(MediaError, match="no other sound yet"):
            Recipe(sound).edit()
    with pytest.raises(ConfigError, match="later than start"):
        Recipe("keep", start=3, end=2).edit()
