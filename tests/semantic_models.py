"""Small AVSC and RAVS with random weights that mark classes in any clip, and a prediction made by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from acvis_kit.clip import Clip
from acvis_kit.inference.semantic import SemanticPrediction
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from tests.models.avsc.test_model import TINY as AVSC_TINY
from tests.models.ravs.test_model import SEMANTIC
from tests.models.ravs.test_model import TINY as RAVS_TINY

CLASSES = ("dog", "cat", "car")


def marking_avsc(**changes: Any) -> AVSC:
    """Its queries see "square" and "ring" in any picture; whatever the sound is, both are heard."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        model = AVSC(replace(AVSC_TINY, **changes)).eval()
        head = model.proposal_head.class_head
        head.weight.mul_(20)
        head.bias[-1] = -100.0
        last = model.sound_classifier.layers[2]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([3.0, -3.0, 1.0]))
        return model


def marking_ravs(**changes: Any) -> RAVS:
    """It marks pixels of "red" and "blue", or with task="binary" of its one class."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = RAVS(replace(RAVS_TINY, **{"audio_encoder": "compact", **SEMANTIC} | changes)).eval()
        model.mask_head.weight.mul_(10)
        model.mask_head.bias.copy_(torch.tensor([-0.3, 0.0, 0.0]) if model.config.task == "semantic" else torch.ones(1))
        return model


def dog_and_car(
    clip: bool = True, counts: bool = True, uncertain: bool = False, fps: float = 2.0
) -> SemanticPrediction:
    """Four frames of 40x60: a dog on the left in frames 0 to 2, in two parts, a car on the right in frames 2 and 3.

    The dog's pixels have the probability 0.75, those of the car 0.5625.
    """
    maps = torch.zeros(4, 40, 60, dtype=torch.int16)
    maps[:3, 25:30, 2:10] = maps[:3, 32:38, 2:26] = 1
    maps[2:, 24:36, 32:58] = 3
    probabilities = torch.where(maps == 1, 0.75, torch.where(maps == 3, 0.5625, 0.0)).half()
    shown = Clip.from_arrays(torch.full((4, 3, 40, 60), 90, dtype=torch.uint8), torch.ones(int(64000 / fps)), fps=fps)
    scores = torch.tensor([[0.75, 0, 0], [0.75, 0, 0], [0.75, 0, 0.5625], [0, 0, 0.5625]])
    seen = torch.tensor([[2, 0, 1]] * 4)
    return SemanticPrediction(
        maps,
        probabilities,
        CLASSES,
        counts=(seen * (scores > 0.5)).sum(1) if counts else None,
        class_scores=scores if counts else None,
        instances=seen if counts else None,
        uncertainty=torch.linspace(0.1, 0.4, 4)[:, None, None].expand(4, 40, 60).half() if uncertain else None,
        threshold=0.5,
        fps=fps,
        clip=shown if clip else None,
    )
