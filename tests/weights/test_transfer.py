"""Weights of one network for another."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights.transfer import copy_weights
from tests.conftest import make_model
from tests.training.tiny import CONFIG

CATS = replace(CONFIG, class_names=("cat", "dog", "violin"))
BIRDS = replace(CONFIG, class_names=("violin", "bird", "cat"))


def test_the_audio_class_head_has_no_row_for_none() -> None:
    source, target = make_model(replace(CATS, audio_classes=True), 5), make_model(replace(BIRDS, audio_classes=True), 6)
    fresh = target.audio_class_head.weight.detach().clone()
    copy_weights(source, target)
    rows = target.audio_class_head.weight
    assert torch.equal(rows[[0, 2]], source.audio_class_head.weight[[2, 0]]) and torch.equal(rows[1], fresh[1])


def test_a_new_head_keeps_its_random_weights_and_a_superfluous_one_is_not_copied() -> None:
    with_head = replace(CATS, targets="visible", audio_classes=True)
    assert "new modules: audio_class_head" in copy_weights(make_model(CATS, 5), make_model(with_head, 6))
    assert "not copied: audio_class_head" in copy_weights(make_model(with_head, 5), make_model(CATS, 6))


def test_weights_of_another_width_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"shapes differ.*\(32,\) given, \(64,\) expected"):
        copy_weights(make_model(CATS), ACVIS(replace(CATS, hidden_dim=64)))


def test_the_pixel_class_head_is_copied_by_class_name_too() -> None:
    source, target = (
        make_model(replace(config, targets="visible", pixel_classes=True), seed)
        for config, seed in ((CATS, 5), (BIRDS, 6))
    )
    copy_weights(source, target)
    assert torch.equal(target.pixel_class_head.weight[[0, 2, 3]], source.pixel_class_head.weight[[2, 0, 3]])


def test_parts_can_be_chosen_and_beginnings_left_out() -> None:
    source, target = make_model(CATS, 5), make_model(CATS, 6)
    fresh = {name: value.clone() for name, value in target.state_dict().items()}
    copy_weights(source, target, only=("backbone", "tracker"), without=("tracker.feed_forward.",))
    changed = {name for name, value in target.state_dict().items() if not torch.equal(value, fresh[name])}
    assert {name.partition(".")[0] for name in changed} == {"backbone", "tracker"}
    assert not [name for name in changed if name.startswith("tracker.feed_forward.")]


def test_the_classifier_of_masks_is_copied_by_class_name_and_the_objectness_as_it_is() -> None:
    """With class_head="backbone" the class heads of queries have one row: whether there is an object."""
    small = replace(
        PRESETS["acvis-filmed-small"], hidden_dim=32, num_frame_queries=4, num_video_queries=4, feedforward_dim=32,
        audio_encoder="compact",
    )  # fmt: skip
    source, target = (
        make_model(replace(small, class_names=names, voiceless=()), seed)
        for names, seed in ((CATS.class_names, 5), (BIRDS.class_names, 6))
    )
    torch.nn.init.normal_(source.mask_classifier.learned.weight)
    copy_weights(source, target)
    rows = target.mask_classifier.learned.weight
    assert torch.equal(rows[[0, 2]], source.mask_classifier.learned.weight[[2, 0]]) and not rows[1].any()
    assert torch.equal(target.tracker.class_head.weight, source.tracker.class_head.weight)


def test_many_new_modules_are_counted() -> None:
    said = copy_weights(
        make_model(CATS, 5), make_model(replace(CATS, audio_encoder="efficientnet_lite0"), 6),
        without=("audio_encoder.", "query_generator."),
    )  # fmt: skip
    assert re.search(r"new modules: audio_encoder \(\d+ modules\)", said) and "body" not in said
