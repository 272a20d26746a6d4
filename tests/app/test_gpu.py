"""With the package `spaces` installed the model runs on ZeroGPU, with a duration that depends on the clip."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

from acvis_kit.app import gpu
from acvis_kit.app.sound_settings import SoundSettings
from acvis_kit.app.studio import Studio, TakeView
from tests.app.conftest import quiet


def test_without_spaces_there_is_no_runner(studio) -> None:
    assert gpu.runner(studio.predictor, 120) is None


def test_a_run_requests_the_gpu_for_as_long_as_the_clip_needs(loaded, clip, monkeypatch) -> None:
    requested = []

    def fake_gpu(duration):
        def decorate(function):
            def run(*arguments):
                requested.append(duration(*arguments))
                pickle.dumps(arguments)  # arguments and result pass between processes
                return pickle.loads(pickle.dumps(function(*arguments)))

            return run

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=fake_gpu))
    studio = Studio(loaded)
    take = studio.run("s", Path(clip), SoundSettings("mute"), TakeView(0.0), quiet)
    assert requested == [16]
    assert take.videos[TakeView(0.0)].is_file() and len(take.prediction.tracks) == 3 and len(take.stills) == 2


def test_no_clip_requests_more_than_the_limit(clip) -> None:
    assert gpu.duration_of(clip, 120) == 16
    assert gpu.START + gpu.PER_SECOND * 120 <= gpu.LONGEST
