"""Criteria of the semantic systems: the distribution of a batch over processes has no effect, NaN is named."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from acvis_kit.clip import SemanticTargets
from acvis_kit.losses.avsc import AVSCCriterion
from acvis_kit.losses.criterion import NotFiniteError
from acvis_kit.losses.ravs import RAVSCriterion
from acvis_kit.models.avsc.config import AVSC_PRESETS
from acvis_kit.models.avsc.model import AVSCOutput
from acvis_kit.models.avsc.proposals import Proposals
from acvis_kit.models.ravs.alignment import Aligned
from acvis_kit.models.ravs.config import RAVS_PRESETS
from acvis_kit.models.ravs.model import RAVSOutput

CLIPS, FRAMES, SIDE, CLASSES = 2, 3, 16, 4


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets() -> list[SemanticTargets]:
    """Clips with different numbers of supervised frames and of classes."""
    maps = torch.zeros(CLIPS, FRAMES, SIDE, SIDE, dtype=torch.int64)
    maps[0, :, :8, :8], maps[0, 1, 8:, 8:], maps[1, 0, 4:12] = 1, 3, 2
    supervised = torch.tensor([[True, True, True], [True, False, False]])
    return [SemanticTargets(*one) for one in zip(maps, supervised, strict=True)]


def proposals(clips: slice) -> AVSCOutput:
    classes = random(2, CLIPS, FRAMES, 5, CLASSES + 1, seed=0)[:, clips].flatten(1, 2)
    masks = random(2, CLIPS, FRAMES, 5, 8, 8, seed=1)[:, clips].flatten(1, 2)
    return AVSCOutput(Proposals(classes, masks))


def correlated(clips: slice) -> AVSCOutput:
    return AVSCOutput(soft_mask=random(CLIPS, FRAMES, SIDE, SIDE, seed=2)[clips].sigmoid())


def segmented(clips: slice) -> RAVSOutput:
    logits = random(CLIPS, FRAMES, CLASSES + 1, SIDE, SIDE, seed=3)[clips]
    centres, audio = (random(CLIPS, FRAMES, *s, seed=4)[clips].flatten(0, 1) for s in ((3, 6), (6,)))
    last = Aligned(logits[:0], audio, centres)
    return RAVSOutput(logits, (logits * 0.9).softmax(2), torch.zeros_like(logits), last)


CASES = {
    "proposals": (AVSCCriterion, AVSC_PRESETS["avsc-synth-tiny"], proposals),
    "correlation": (AVSCCriterion, AVSC_PRESETS["avsc-synth-tiny"], correlated),
    "ravs": (RAVSCriterion, replace(RAVS_PRESETS["ravs-synth-tiny"], focal_weight=1.0), segmented),
}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_with_a_clip_each_have_the_loss_of_one_with_both(case: str) -> None:
    kind, config, output = CASES[case]
    whole = kind(config)(output(slice(None)), targets())
    terms: list[Tensor] = []

    def keep(given: Tensor) -> Tensor:
        terms.append(given)
        return given

    def on_both(reduce: Callable[[Tensor], Tensor]) -> list[dict[str, Tensor]]:
        return [
            kind(config, world_size=2)(output(slice(i, i + 1)), targets()[i : i + 1], reduce=reduce) for i in (0, 1)
        ]

    on_both(keep)
    halves = on_both(lambda _: terms[0] + terms[1])
    assert set(whole) == set(halves[0])
    for name, loss in whole.items():
        assert loss.dtype == torch.float64  # the precision of the output is kept
        torch.testing.assert_close((halves[0][name] + halves[1][name]) / 2, loss)


@pytest.mark.parametrize(("case", "name"), [("proposals", "proposals/class"), ("ravs", "segmentation/ce")])
def test_a_network_that_gives_nan_is_named(case: str, name: str) -> None:
    kind, config, output = CASES[case]
    broken = output(slice(None))
    first = broken.proposals.class_logits if case == "proposals" else broken.probabilities
    first[0, 0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=name):
        kind(config)(broken, targets())


WEIGHTED = {
    "proposals": {"silent_objects": "soas_weight"},  # the weights of the set losses change the matching, too
    "correlation": {"correlation": "correlation_weight"},
    "ravs": {
        "segmentation/ce": "ce_weight",
        "segmentation/dice": "dice_weight",
        "segmentation/iou": "iou_weight",
        "segmentation/focal": "focal_weight",
        "logits/ce": "ce_weight",
        "logits/iou": "aux_logit_loss",
        "contrast": "contrast_weight",
    },
}


@pytest.mark.parametrize(("case", "name", "field"), [(c, *pair) for c, d in WEIGHTED.items() for pair in d.items()])
def test_a_weight_multiplies_its_loss(case: str, name: str, field: str) -> None:
    kind, config, output = CASES[case]
    weight = getattr(config, field)
    once, twice = (
        kind(replace(config, **{field: w}))(output(slice(None)), targets())[name] for w in (weight, 2 * weight)
    )
    torch.testing.assert_close(twice, 2 * once)
    assert once > 0


def test_logits_have_the_losses_of_the_probabilities_without_uncertainty() -> None:
    """At equal probabilities they differ by `aux_logit_loss` alone."""
    _, config, output = CASES["ravs"]
    whole = output(slice(None))
    equal = whole._replace(probabilities=whole.mask_logits.softmax(2))
    losses = RAVSCriterion(replace(config, aux_logit_loss=0.5))(equal, targets())
    for kind in ("ce", "dice", "iou", "focal"):
        torch.testing.assert_close(losses[f"logits/{kind}"], losses[f"segmentation/{kind}"] / 2)


@pytest.mark.parametrize("is_object", [True, False])
def test_with_argmax_the_queries_classified_as_no_object_are_pushed(is_object: bool) -> None:
    kind, config, output = CASES["proposals"]
    classes, masks = output(slice(None)).proposals
    classes = torch.zeros_like(classes)
    classes[..., 0 if is_object else CLASSES] = 9.0
    losses = kind(replace(config, nonobj="argmax"))(AVSCOutput(Proposals(classes, masks)), targets())
    assert (losses["silent_objects"] > 0) != is_object
