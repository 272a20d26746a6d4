"""torch.compile and torch.export take the network's parts whole, for any number of frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acvis_kit.clip import Clip
from acvis_kit.inference.model_copy import COMPILED_PARTS
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from tests.conftest import SEEING, make_model

SMALL = replace(SEEING, pixel_layers=1, frame_layers=1, query_layers=1, tracker_layers=2)
FRAMES_AXIS = {"encode": (0,), "hear": (1,), "decode_frames": (0, 1)}  # of each argument


class Part(nn.Module):
    """One part as a module, which torch.export needs."""

    def __init__(self, model: ACVIS, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, *given: Any) -> Any:
        return getattr(self.model, self.name)(*given)


@pytest.fixture(scope="module")
def model() -> ACVIS:
    return make_model(SMALL)


@pytest.fixture(autouse=True)
def _compile_anew() -> Iterator[None]:
    """torch refuses to compile the same code too often."""
    yield
    torch.compiler.reset()


@torch.no_grad()
def arguments(model: ACVIS, name: str, frames: int) -> tuple[Any, ...]:
    pictures, log_mel = torch.randint(0, 256, (frames, 3, 64, 96), dtype=torch.uint8), torch.randn(1, frames, 96, 64)
    if name == "decode_frames":
        return model.encode(pictures), model.hear(log_mel)
    return {"encode": (pictures,), "hear": (log_mel,)}[name]


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for inner in value or () for tensor in tensors(inner)]


def agree(found: Any, wanted: Any) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(tensors(found), tensors(wanted), strict=True))


@torch.no_grad()
@pytest.mark.parametrize("name", COMPILED_PARTS)
def test_a_part_compiles_whole_once_for_any_number_of_frames(model: ACVIS, name: str) -> None:
    graphs = []
    part = getattr(model, name)
    compiled = torch.compile(part, backend=lambda graph, _: graphs.append(graph) or graph, fullgraph=True)
    first = arguments(model, name, 3)
    for given, axis in zip(first, FRAMES_AXIS[name], strict=True):
        for tensor in tensors(given):
            torch._dynamo.mark_dynamic(tensor, axis)
    for given in (first, arguments(model, name, 5), arguments(model, name, 9)):
        assert agree(compiled(*given), part(*given))
    assert len(graphs) == 1


@torch.no_grad()
@pytest.mark.parametrize("name", COMPILED_PARTS)
def test_a_part_is_exported_for_any_number_of_frames(model: ACVIS, name: str) -> None:
    number = torch.export.Dim("frames", min=2, max=64)

    def shapes(value: Any, axis: int) -> Any:
        if value is None:  # an optional part that this model does without
            return None
        if isinstance(value, Tensor):
            return {axis: number}
        inner = [shapes(one, axis) for one in value]
        return type(value)(*inner) if hasattr(value, "_fields") else type(value)(inner)

    first, other = arguments(model, name, 3), arguments(model, name, 5)
    dynamic = tuple(shapes(value, axis) for value, axis in zip(first, FRAMES_AXIS[name], strict=True))
    exported = torch.export.export(Part(model, name), first, dynamic_shapes=(dynamic,)).module()
    for given in (first, other):
        assert agree(exported(*given), getattr(model, name)(*given))


@torch.no_grad()
def test_the_whole_network_compiles_and_runs_without_values() -> None:
    """Nothing in it depends on the values of a tensor: neither a graph break nor a wait for a GPU."""
    model = make_model(SMALL)
    given = torch.randint(0, 256, (1, 7, 3, 64, 96), dtype=torch.uint8), torch.randn(1, 7, 96, 64)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert agree(compiled(*given)[:3], model(*given)[:3])
    there = model.to("meta")(*(tensor.to("meta") for tensor in given))
    assert there.video_mask_logits.shape == (1, 1, SMALL.num_video_queries, 7, 16, 24)


def test_a_predictor_of_a_compiled_model_runs_its_parts_compiled(model: ACVIS, noise_clip: Clip) -> None:
    graphs = []
    compiled = torch.compile(model, backend=lambda graph, _: graphs.append(graph) or graph)
    predictor, plain = Predictor(compiled), Predictor(model)
    clip = Clip.from_arrays(noise_clip.frames[:2], noise_clip.waveform)
    features = predictor.encode(clip)
    encoding = len(graphs)
    found = predictor.decode(features)
    assert encoding > 0 and len(graphs) >= encoding + 2  # hear and decode_frames
    torch.testing.assert_close(found.count_probs, plain(clip).count_probs)
    assert torch.equal(plain.decode(features).count_probs, found.count_probs)  # both are of the same model
