"""What ships with the package: small enough, and the clips show what they are there to show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import acvis_kit as ak
from acvis_kit.inference.semantic_predictor import SemanticPredictor
from acvis_kit.weights.load import WEIGHTS_FILE
from acvis_kit.weights.published import ASSETS, CLASS_WEIGHTS, DEFAULT_WEIGHTS, DRAWN_WEIGHTS, FILMED_WEIGHTS, WEIGHTS

CLIPS = sorted((ASSETS / "clips").glob("*.mp4"))


@pytest.fixture(scope="module")
def predictor() -> ak.Predictor:
    return ak.Predictor(ak.load_model(DRAWN_WEIGHTS))


def test_the_weights_are_small(predictor: ak.Predictor) -> None:
    assert sum(parameter.numel() for parameter in predictor.model.parameters()) <= 5_000_000
    assert (WEIGHTS[DRAWN_WEIGHTS].bundled / WEIGHTS_FILE).stat().st_size <= 20e6


def test_the_weights_for_filmed_video_are_the_default_and_small() -> None:
    model = ak.load_model()
    assert DEFAULT_WEIGHTS == FILMED_WEIGHTS and model.config.backbone == "efficientnet_lite0"
    assert sum(parameter.numel() for parameter in model.parameters()) <= 12_000_000
    assert (WEIGHTS[FILMED_WEIGHTS].bundled / WEIGHTS_FILE).stat().st_size <= 25e6
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_the_weights_of_avsc_are_small_and_follow_the_sound() -> None:
    """On a drawn clip the classes that are marked change with the sound; a muted clip has none."""
    assert (WEIGHTS[CLASS_WEIGHTS].bundled / WEIGHTS_FILE).stat().st_size <= 10e6
    avsc = SemanticPredictor(ak.load_model(CLASS_WEIGHTS), device="cpu")
    clip, other = (ak.load_clip(path) for path in CLIPS[:2])
    features = avsc.encode(clip)
    own, muted = avsc.decode(features), avsc.decode(features, torch.zeros_like(clip.waveform))
    assert (own.class_maps > 0).any() and not (muted.class_maps > 0).any()
    swapped = avsc.decode(features, other.waveform[: len(clip.waveform)])
    assert not torch.equal(swapped.class_maps, own.class_maps)


FILMED = sorted(WEIGHTS[FILMED_WEIGHTS].examples.glob("*.mp4"))


def test_the_filmed_clips_are_two_and_short() -> None:
    assert len(FILMED) == 2 and sum(path.stat().st_size for path in FILMED) <= 2e6
    assert sum(ak.load_clip(path).duration for path in FILMED) <= 20.5
    credits = (WEIGHTS[FILMED_WEIGHTS].examples / "CREDITS.md").read_text(encoding="utf-8")
    assert all(path.name in credits for path in FILMED)


@pytest.mark.parametrize("path", FILMED, ids=lambda path: path.stem)
def test_in_every_filmed_clip_what_its_name_says_is_marked_and_nothing_when_muted(path: Path) -> None:
    clip, filmed = ak.load_clip(path), ak.Predictor(ak.load_model(FILMED_WEIGHTS))
    features = filmed.encode(clip)
    marked = {track.class_name for track in filmed.decode(features, clip).tracks}
    assert marked == {"dog", "piano", "saxophone"} & set(path.stem.split("-"))
    assert not any(frame.tracks for frame in filmed.decode(features, torch.zeros_like(clip.waveform)))


def test_the_clips_are_three_and_short() -> None:
    assert len(CLIPS) == 3 and sum(path.stat().st_size for path in CLIPS) <= 3e6
    assert sum(ak.load_clip(path).duration for path in CLIPS) <= 30.5


@pytest.mark.parametrize("path", CLIPS, ids=lambda path: path.stem)
def test_in_every_clip_at_least_two_objects_take_turns(predictor: ak.Predictor, path: Path) -> None:
    """By the shipped weights: each of two sounds alone of the two in some second."""
    tracks = predictor(ak.load_clip(path)).tracks
    shown = torch.stack([track.areas() > 0 for track in tracks])
    alone = [[bool((a & ~b).any()) for b in shown] for a in shown]
    pairs = [(n, m) for n in range(len(tracks)) for m in range(n) if alone[n][m] and alone[m][n]]
    assert any(tracks[n].label != tracks[m].label or path.stem == "twins" for n, m in pairs)
