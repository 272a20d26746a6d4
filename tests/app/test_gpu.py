"""With the package `spaces` installed the network runs on a lent card, for as long as the clip needs."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

from acvis_kit.app import gpu
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import Studio, TakeView
from tests.app.conftest import quiet


def test_without_spaces_nothing_is_lent(studio) -> None:
    assert gpu.runner(studio.predictor, 120) is None


def test_the_card_is_asked_for_as_long_as_the_clip_needs(loaded, clip, monkeypatch) -> None:
    asked = []

    def lend(duration):
        def decorate(function):
            def run(*arguments):
                asked.append(duration(*arguments))
                pickle.dumps(arguments)  # they go to another process, and so does what comes back
                return pickle.loads(pickle.dumps(function(*arguments)))

            return run

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=lend))
    studio = Studio(loaded)
    take = studio.run("s", Path(clip), SoundSettings("mute"), TakeView(0.0), quiet)
    assert asked == [16]
    assert take.videos[TakeView(0.0)].is_file() and len(take.prediction.tracks) == 3 and len(take.stills) == 2


def test_no_clip_asks_for_more_than_a_visitor_may(clip) -> None:
    assert gpu.duration_of(clip, 120) == 16
    assert gpu.START + gpu.PER_SECOND * 120 <= gpu.LONGEST
