"""Signals, sums, parameters without a gradient, and accelerate's set-up."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

import pytest
import torch

from acvis_kit.config import PRESETS
from acvis_kit.errors import AcvisError
from acvis_kit.training import PAPER
from acvis_kit.training.parallel import Stop, has_idle_parameters, make_accelerator, total_over


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_sets_a_flag_and_the_second_interrupts(number: int) -> None:
    before = signal.getsignal(number)
    try:
        signal.signal(number, signal.default_int_handler)
        with Stop() as stop:
            assert not stop.asked
            os.kill(os.getpid(), number)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_the_sum_over_one_process_is_the_value_itself() -> None:
    assert total_over(torch.tensor([1.0, 2.0]), 1).tolist() == [1, 2]


def test_parameters_without_a_loss_are_predicted_from_the_configuration() -> None:
    """The audio vector is read by the tracker, by the class head, or by queries that attend to it."""
    tiny = PRESETS["acvis-synth-tiny"]
    assert not has_idle_parameters(tiny)
    assert has_idle_parameters(replace(tiny, video_fusion=False, audio_classes=False))
    assert not has_idle_parameters(replace(tiny, video_fusion=False))
    assert not any(has_idle_parameters(config) for config in PRESETS.values())


def test_without_accelerate_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(AcvisError, match=r"acvis-kit\[train\]"):
        make_accelerator(PAPER, PRESETS["acvis-r50"])


def test_one_run_after_another_may_have_another_precision() -> None:
    config = PRESETS["acvis-r50"]
    kinds = [make_accelerator(replace(PAPER, precision=p), config, "cpu").mixed_precision for p in ("bf16", "float64")]
    assert kinds == ["bf16", "no"]
