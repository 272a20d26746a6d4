"""The criterion against the reference's numbers, by itself, and on several processes."""

from __future__ import annotations

import threading
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from acvis_kit.clip import Targets
from acvis_kit.config import LossConfig
from acvis_kit.errors import AcvisError, DataError
from acvis_kit.losses.criterion import Criterion, NotFiniteError
from acvis_kit.models.acvis.model import ModelOutput
from tests.losses.samples import CONFIG, Golden, generators, leaves, random_output, random_targets, shuffled
from tests.parity import FULL, SMALL

BESIDE = pytest.mark.skipif(not FULL.is_dir(), reason="the shared golden data is not beside the checkout")


@pytest.fixture(scope="module", params=[SMALL, pytest.param(FULL, marks=BESIDE)], ids=["fixture", "whole file"])
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def one_layer(output: ModelOutput, frame: int, video: int) -> ModelOutput:
    """The output as if the network had one frame prediction and one video prediction."""
    return output._replace(
        frame_class_logits=output.frame_class_logits[frame : frame + 1],
        frame_mask_logits=output.frame_mask_logits[frame : frame + 1],
        video_mask_logits=output.video_mask_logits[video : video + 1],
        video=output.video._replace(class_logits=output.video.class_logits[video : video + 1], frame_similarity=None),
    )


def test_every_set_loss_of_every_layer_equals_the_reference_s(golden: Golden) -> None:
    criterion = Criterion(golden.config)
    compared = 0
    for number, layer in enumerate(golden.frame_layers):
        video = min(number, len(golden.video_layers) - 1)
        got = criterion(one_layer(golden.output, number, video), golden.targets, generators=generators(2))
        for level, name in (("frame", layer), ("video", golden.video_layers[video])):
            for kind, ours, weight in (("ce", "class", 2), ("mask", "mask", 5), ("dice", "dice", 5)):
                mean, std = golden.loss(kind, level, name)
                tolerance = 1e-5 * mean if kind == "ce" else 4 * std
                assert abs(got[f"{level}/{ours}"].item() / weight - mean) < tolerance, (level, name, kind)
                compared += 1
    assert compared == 24


def test_the_similarity_loss_equals_the_reference_s(golden: Golden) -> None:
    got = Criterion(replace(golden.config, similarity_weight=1.0))(golden.output, golden.targets)
    assert got["similarity"].item() == pytest.approx(golden.file["loss.loss_clip_sim"][0], rel=1e-5)


def test_layers_add_up(golden: Golden) -> None:
    whole = Criterion(golden.config)(golden.output, golden.targets, generators=generators(2))
    frame = sum(golden.loss("ce", "frame", layer)[0] for layer in golden.frame_layers)
    video = sum(golden.loss("ce", "video", layer)[0] for layer in golden.video_layers)
    assert whole["frame/class"].item() == pytest.approx(2 * frame, rel=1e-5)
    assert whole["video/class"].item() == pytest.approx(2 * video, rel=1e-5)


def test_every_part_of_the_output_gets_a_gradient() -> None:
    output = random_output()
    losses = Criterion(CONFIG)(output, [random_targets(3), random_targets(2, seed=1)], generators=generators(2))
    assert set(losses) == {
        "frame/class", "frame/mask", "frame/dice", "video/class", "video/mask", "video/dice", "similarity", "count",
        "frame/sounding", "video/sounding", "audio_class", "pixel_class", "auxiliary/cue",
    }  # fmt: skip
    sum(losses.values()).backward()
    for name, leaf in leaves(output).items():
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0, name
        if name != "video.video_similarity":  # of the last layer only
            per_layer = leaf.grad.abs().flatten(1).sum(1)
            assert (per_layer > 0).all(), name


def test_weights_of_the_configuration_scale_their_losses() -> None:
    output, targets = random_output(), [random_targets(3), random_targets(2, seed=1)]
    before = Criterion(CONFIG)(output, targets, generators=generators(2))
    for kind in ("similarity", "count", "sounding", "audio_class", "pixel_class", "auxiliary"):
        doubled = replace(CONFIG, **{f"{kind}_weight": 2 * getattr(CONFIG, f"{kind}_weight")})
        after = Criterion(doubled)(output, targets, generators=generators(2))
        for name in before:
            torch.testing.assert_close(
                after[name], before[name] * (2 if kind in name.split("/")[-1:] + name.split("/")[:1] else 1)
            )


def test_the_order_of_objects_has_no_effect() -> None:
    output, targets = random_output(), [random_targets(4), random_targets(3, seed=1)]
    before = Criterion(CONFIG)(output, targets, generators=generators(2))
    turned = [shuffled(targets[0], [2, 0, 3, 1]), shuffled(targets[1], [1, 2, 0])]
    after = Criterion(CONFIG)(output, turned, generators=generators(2))
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=1e-12, atol=0)


def test_the_same_generators_give_the_same_losses_and_others_do_not() -> None:
    output, targets = random_output(), [random_targets(3), random_targets(2, seed=1)]
    first, again, other = (
        Criterion(CONFIG)(output, targets, generators=generators(2, seed))["frame/mask"].item() for seed in (0, 0, 1)
    )
    assert first == again != other


class Processes:
    """Two threads in the role of two processes: `reduce` sums the vectors of both."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=20)
        self.terms: dict[int, Tensor] = {}
        self.failed: dict[int, BaseException] = {}

    def run(self, outputs: list[ModelOutput], targets: list[list[Targets]]) -> None:
        def work(rank: int) -> None:
            def reduce(terms: Tensor) -> Tensor:
                self.terms[rank] = terms
                self.barrier.wait()
                return self.terms[0] + self.terms[1]

            criterion = Criterion(CONFIG, world_size=2)
            own = generators(2 * len(targets[0]))[rank * len(targets[0]) :][: len(targets[0])]
            try:
                sum(criterion(outputs[rank], targets[rank], generators=own, reduce=reduce).values()).backward()
            except AcvisError as error:
                self.failed[rank] = error

        threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(self.terms) == {0, 1}, "both must have reached the sum"


def split(output: ModelOutput, rank: int, clips: int, supervised: int) -> ModelOutput:
    """A process' part of a batch: clip `rank`, as leaves of its own."""

    def cut(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: cut(name, one) for key, one in value.items()}
        value = value.detach()
        if name == "video.mask_embeds":
            return value
        if name in ("count_logits", "audio_class_logits", "pixel_class_logits", "auxiliary_logits"):
            value = value[rank : rank + 1]
        elif name == "video.frame_similarity":
            value = value.unflatten(0, (supervised, clips))[:, rank]
        elif name.startswith("video"):
            value = value.unflatten(1, (supervised, clips))[:, :, rank]
        else:
            value = value[:, rank : rank + 1]
        return value.clone().requires_grad_()

    video = {n: cut(f"video.{n}", v) for n, v in output.video._asdict().items()}
    own = {n: cut(n, v) for n, v in output._asdict().items() if n != "video"}
    return ModelOutput(**own, video=type(output.video)(**video))


def test_two_processes_have_the_gradients_of_one_process_with_both_clips() -> None:
    """With unequal numbers of objects, so that normalising per process would give another result."""
    whole, targets = random_output(), [random_targets(5), random_targets(1, seed=3, audio_labels=False)]
    one = Criterion(CONFIG)(whole, targets, generators=generators(2))
    sum(one.values()).backward()
    parts = [split(whole, rank, clips=2, supervised=2) for rank in (0, 1)]
    Processes().run(parts, [[targets[0]], [targets[1]]])
    want = leaves(split_gradients(whole, 0)), leaves(split_gradients(whole, 1))
    for rank in (0, 1):
        for name, leaf in leaves(parts[rank]).items():
            torch.testing.assert_close(leaf.grad / 2, want[rank][name].detach(), rtol=1e-9, atol=1e-12, msg=name)


def split_gradients(output: ModelOutput, rank: int) -> ModelOutput:
    gradients = {n: v.grad for n, v in output._asdict().items() if isinstance(v, Tensor)}
    gradients["auxiliary_logits"] = {name: logits.grad for name, logits in output.auxiliary_logits.items()}
    video = {n: v.grad if v.grad is not None else torch.zeros(1) for n, v in output.video._asdict().items()}
    return split(ModelOutput(**gradients, video=type(output.video)(**video)), rank, clips=2, supervised=2)


def test_a_broken_output_on_one_process_stops_both() -> None:
    parts = [random_output(1), random_output(1, seed=1)]
    with torch.no_grad():
        parts[1].count_logits[0, 0] = torch.nan
    processes = Processes()
    processes.run(parts, [[random_targets(2)], [random_targets(2)]])
    assert [type(processes.failed[rank]) for rank in (0, 1)] == [NotFiniteError, NotFiniteError]
    assert "count" in str(processes.failed[0])


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("frame_class_logits", "frame/class"),
        ("frame_mask_logits", "frame/mask"),
        ("video_mask_logits", "video/mask"),
        ("count_logits", "count"),
        ("frame_sounding_logits", "frame/sounding"),
        ("audio_class_logits", "audio_class"),
    ],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_losses_that_are_not_finite_are_named(name: str, loss: str, value: float) -> None:
    output = random_output(1)
    broken = torch.full_like(getattr(output, name), value)
    with pytest.raises(NotFiniteError, match=loss):
        Criterion(CONFIG)(output._replace(**{name: broken}), [random_targets(2)])


def test_nan_in_masks_that_no_object_is_matched_with_is_found_too() -> None:
    output = random_output(1)
    masks = output.frame_mask_logits.detach().clone()
    masks[0, 0, :, -1] = torch.nan
    with pytest.raises(NotFiniteError, match="the matching of frame queries"):
        Criterion(CONFIG)(output._replace(frame_mask_logits=masks), [random_targets(2)])


@pytest.mark.parametrize("case", ["no object", "objects without a mask", "objects in one clip only"])
def test_with_nothing_to_match_losses_and_gradients_are_finite(case: str) -> None:
    hidden = random_targets(2)
    hidden = replace(hidden, masks=torch.zeros_like(hidden.masks))
    nothing = random_targets(0, audio_labels=False)
    targets = {
        "no object": [nothing, nothing],
        "objects without a mask": [hidden, hidden],
        "objects in one clip only": [nothing, random_targets(2)],
    }[case]
    output = random_output()
    losses = Criterion(CONFIG)(output, targets, generators=generators(2))
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["frame/class"] > 0 and losses["count"] > 0
    if case != "objects in one clip only":
        zero = ("frame/mask", "frame/dice", "video/mask", "video/dice", "similarity", "frame/sounding")
        assert all(losses[name] == 0 for name in zero)
    for name, leaf in leaves(output).items():
        assert leaf.grad is not None and leaf.grad.isfinite().all(), name


def test_more_objects_than_queries_leave_some_objects_out() -> None:
    output = random_output(1, queries=2)
    losses = Criterion(CONFIG)(output, [random_targets(6)], generators=generators(1))
    assert all(loss.isfinite() for loss in losses.values())


def test_a_clip_of_one_frame_is_enough() -> None:
    losses = Criterion(CONFIG)(random_output(1, 1), [random_targets(3, 1)], generators=generators(1))
    assert all(loss.isfinite() for loss in losses.values())


def test_in_evaluation_mode_there_is_no_similarity() -> None:
    output = random_output(1, frame_layers=1, supervised=1, video_layers=1)
    output = output._replace(video=output.video._replace(frame_similarity=None))
    losses = Criterion(CONFIG)(output, [random_targets(3)], generators=generators(1))
    assert "similarity" not in losses and losses["video/class"].isfinite()


def test_half_precision_is_summed_in_single_precision() -> None:
    want = Criterion(CONFIG)(random_output(1), [random_targets(3)], generators=generators(1))
    got = Criterion(CONFIG)(random_output(1, dtype=torch.bfloat16), [random_targets(3)], generators=generators(1))
    for name, loss in got.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(want[name].item(), rel=0.05), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.tensor([0, 3])}, "3.*3 classes"),
        ({"labels": torch.tensor([0])}, "1 labels"),
        ({"masks": torch.zeros(2, 3, 24, 32, dtype=torch.bool)}, "4 frames"),
        ({"masks": torch.zeros(2, 4, 24, 32)}, "torch.bool"),
        ({"masks": torch.zeros(2, 4, 24, 30, dtype=torch.bool)}, "24x30.*6x8"),
        ({"sounding": torch.zeros(2, 3, dtype=torch.bool)}, "sounding"),
        ({"counts": torch.tensor([0, 1])}, "counts"),
        ({"counts": torch.tensor([0, -1, 1, 1])}, "-1"),
        ({"audio_labels": torch.zeros(4, 4, dtype=torch.bool)}, "audio_labels"),
    ],
)
def test_targets_that_do_not_fit_are_refused_and_named(change: dict[str, Tensor], message: str) -> None:
    good = random_targets(2)
    with pytest.raises(DataError, match=f"clip 1.*{message}"):
        Criterion(CONFIG)(random_output(), [good, replace(good, **change)])


def test_another_number_of_targets_than_of_clips_is_refused() -> None:
    with pytest.raises(DataError, match=r"2 clips.*1"):
        Criterion(CONFIG)(random_output(), [random_targets(2)])


def test_masks_of_two_sizes_in_a_batch_are_refused() -> None:
    small, large = random_targets(1), random_targets(1)
    large = replace(large, masks=large.masks.repeat_interleave(2, 2).repeat_interleave(2, 3))
    with pytest.raises(DataError, match="pad all clips"):
        Criterion(CONFIG)(random_output(), [small, large])


def test_the_losses_part_of_a_configuration_is_enough() -> None:
    output, targets = random_output(), [random_targets(2), random_targets(3, seed=1)]
    part = LossConfig(**{field.name: getattr(CONFIG, field.name) for field in fields(LossConfig)})
    whole, alone = (Criterion(c)(output, targets, generators=generators(2)) for c in (CONFIG, part))
    assert list(whole) == list(alone) and all(torch.equal(whole[name], alone[name]) for name in whole)
    criteria = Criterion(part, count_head="ce"), Criterion(replace(CONFIG, count_head="ce"))
    part_ce, whole_ce = (one(output, targets, generators=generators(2))["count"] for one in criteria)
    assert torch.equal(part_ce, whole_ce)
