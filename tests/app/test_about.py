"""The page states name, training and limits of its weights."""

from __future__ import annotations

from dataclasses import replace

from acvis_kit.app import about
from acvis_kit.weights.published import WEIGHTS


def test_random_weights_get_an_alert(loaded) -> None:
    assert "role='alert'" in about.header(loaded) and "weights are random" in about.header(loaded)
    named = replace(loaded, name="acvis-synth-tiny")
    assert "alert" not in about.header(named) and "acvis-synth-tiny" in about.header(named)
    assert "<b>" not in about.header(replace(loaded, name="<b>"))


def test_a_fall_back_gets_an_alert(loaded) -> None:
    text = about.header(replace(loaded, name="x", notice="user/repo could not be loaded <script>"))
    assert "user/repo could not be loaded &lt;script&gt;" in text and "role='alert'" in text


def test_the_panel_names_revision_training_and_limits_and_how_to_load_others(loaded) -> None:
    entry = WEIGHTS["acvis-synth-tiny"]
    bundled = about.panel(replace(loaded, name=entry.id, entry=entry, sha256="ab" * 32))
    assert "drawn scenes only" in bundled and "part of this installation" in bundled
    assert "acvis demo --weights ruohguo/avis" in bundled
    fetched = about.panel(replace(loaded, name="u/r", repository="u/r", commit="c" * 40))
    assert "c" * 40 in fetched and "not in the kit's table" in fetched
