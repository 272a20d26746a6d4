"""Sounding logits of queries and tracks."""

from __future__ import annotations

import math

import torch

from acvis_kit.models.acvis.sounding import SoundingHead, TrackSounding

C, K = 16, 3


def test_agreement_adds_the_audio_logit_of_the_query_s_class() -> None:
    head = SoundingHead(C, agreement=True)
    states = torch.randn(2, 4, C, generator=torch.Generator().manual_seed(0))
    sure = torch.full((2, 4, K + 1), -40.0)
    sure[:, :, 1] = 40  # every query is of class 1
    audio = torch.tensor([[5.0, 2.0, -7.0], [5.0, -3.0, 1.0]])
    change = head(states, sure, audio) - head(states, sure, None)
    torch.testing.assert_close(change, torch.tensor([[2.0], [-3.0]]).expand(2, 4))


def test_a_query_of_class_none_does_not_depend_on_audio_classes() -> None:
    head = SoundingHead(C, agreement=True)
    states, nothing = torch.zeros(1, 1, C), torch.tensor([[[-40.0] * K + [40.0]]])
    assert torch.allclose(head(states, nothing, torch.full((1, K), 9.0)), head(states, nothing, None))


def test_agreement_gives_no_gradient_to_the_class_head() -> None:
    head = SoundingHead(C, agreement=True)
    visual, audio = torch.zeros(1, 2, K + 1, requires_grad=True), torch.ones(1, K, requires_grad=True)
    head(torch.randn(1, 2, C), visual, audio).sum().backward()
    assert visual.grad is None and audio.grad is not None
    assert math.isclose(audio.grad.sum().item(), 2 * K / (K + 1), rel_tol=1e-5)  # 2 queries, probability 3/4 each


def test_a_track_attends_to_each_frame_alone() -> None:
    torch.manual_seed(0)
    module = TrackSounding(C, 4, agreement=False)
    states, tokens, slots = torch.randn(2, 1, 5, C), torch.randn(1, 6, 7, C), torch.randn(7, C)
    logits = torch.randn(2, 1, 5, K + 1)
    before = module(states, tokens, slots, logits, None)
    assert before.shape == (2, 1, 6, 5)
    tokens[:, 2] += 1
    changed = (module(states, tokens, slots, logits, None) - before).abs().amax((0, 1, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, False, False, False]
