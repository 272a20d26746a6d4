"""The network and the Predictor against golden tensors of the reference code, all six models, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from acvis_kit.inference.prediction import Prediction
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights import convert
from tests.parity import CASES, FULL, OVERRIDES, SMALL, disagreement, fill, shapes, tolerance


@dataclass
class Run:
    """A golden case computed by the kit: tensors by the golden file's names, and predictions in both precisions."""

    case: str
    model: ACVIS
    stages: dict[str, torch.Tensor]
    exact: Prediction
    single: Prediction


FAST = "avism_in"  # one case that every push runs; all of them take 40 s


@pytest.fixture(scope="module", params=[c if c == FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES])
def run(request: pytest.FixtureRequest) -> Run:
    golden = np.load(SMALL / f"{request.param}.npz")
    model = convert.from_reference(fill(shapes(request.param)), **OVERRIDES.get(request.param, {}))
    frames = torch.from_numpy(golden["frames"])
    key = {"vggish": ("log_mel", "audio_mel"), "precomputed": ("audio_features", "audio")}[model.config.audio_encoder]
    sound = {key[0]: torch.from_numpy(golden[key[1]])}
    size = tuple(2 * n for n in frames.shape[-2:])
    single = Predictor(model, short_side="keep")
    exact = Predictor(model, short_side="keep", dtype=torch.float64)
    return Run(
        request.param,
        model,
        stages(exact.model, frames, sound),
        exact.decode(exact.encode(frames), output_size=size, **sound),
        single.decode(single.encode(frames), output_size=size, **sound),
    )


@torch.inference_mode()
def stages(model: ACVIS, frames: torch.Tensor, sound: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors of every stage, cropped as in the golden file."""
    image = (frames - model.pixel_mean) / model.pixel_std
    image = torch.nn.functional.pad(image, (0, -image.shape[-1] % 32, 0, -image.shape[-2] % 32))
    maps = model.backbone(image)
    out = {
        f"backbone.res{i}.stat": torch.stack([m[:, :16].mean((2, 3)), m[:, :16].flatten(2).std(-1)], -1)
        for i, m in enumerate(maps, start=2)
    }
    pixels = model.encode(frames)
    out |= {f"multi_scale.{i}.sample": scale[:, :16] for i, scale in enumerate(pixels.scales)}
    embedded = model.frame_decoder.pixel_embedding(pixels.fine)
    out["mask_features.sample"] = embedded[:, :8, ::4, ::4]
    audio = model.hear(**{name: value[None] for name, value in sound.items()})
    if model.audio_encoder is not None:
        out["audio_features"] = audio.clip[0]
    state = model.decode_frames(pixels, audio)
    (classes,), (masks,) = model.frame_decoder.predict(state.queries, pixels.fine)
    out |= {"frame_queries": state.queries[0], "frame.pred_logits": classes}
    out["frame.pred_masks.sample"] = masks[:, :10, ::2, ::2]
    if state.count_logits is not None:
        out["count_logits"] = state.count_logits[:, None]
    video = model.track(state.queries, audio)
    out |= {"video.pred_logits": video.class_logits, "video.pred_mask_embed": video.mask_embeds}
    return out


def check_stages(run: Run, golden: np.lib.npyio.NpzFile) -> None:
    compared = [name for name in golden.files if name in run.stages]
    assert len(compared) >= 13
    wrong = {
        name: error
        for name in compared
        if (error := disagreement(run.stages[name], golden[name])) > tolerance(golden[name])
    }
    assert not wrong


def test_every_stage_equals_the_reference_in_float64(run: Run) -> None:
    check_stages(run, np.load(SMALL / f"{run.case}.npz"))


def test_scores_labels_and_areas_equal_the_reference_in_float64(run: Run) -> None:
    golden = np.load(SMALL / f"{run.case}.npz")
    order = np.argsort(-golden["scores"], kind="stable")
    assert [track.label for track in run.exact.tracks] == golden["labels"][order].tolist()
    assert disagreement([track.score for track in run.exact.tracks], golden["scores"][order]) < 1e-8
    areas = np.stack([track.areas() for track in run.exact.tracks])
    assert np.abs(areas - golden["masks.area"][order]).max() <= 4


def test_scores_in_float32_equal_the_reference_to_four_digits(run: Run) -> None:
    want = np.sort(np.load(SMALL / f"{run.case}.npz")["scores"])[::-1]
    assert len(run.single.tracks) == len(want)
    assert np.abs(run.single.scores.numpy() - want).max() < 1e-4


def test_counts_are_those_of_the_golden_count_logits(run: Run) -> None:
    golden = np.load(SMALL / f"{run.case}.npz")
    if "count_logits" not in golden:
        assert run.exact.count_probs is None
        return
    logits = golden["count_logits"][:, 0]
    if run.case == "acvis_ce":
        want = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    else:
        more = np.cumprod(1 / (1 + np.exp(-logits)), axis=1)
        want = np.concatenate([1 - more[:, :1], more[:, :-1] - more[:, 1:], more[:, -1:]], axis=1)
    assert disagreement(run.exact.count_probs, want) < 1e-8
    assert run.exact.counts.tolist() == want.argmax(1).tolist()


@pytest.mark.skipif(not FULL.is_dir(), reason="the shared golden data is not beside the checkout")
def test_the_whole_golden_file_agrees(run: Run) -> None:
    golden = np.load(FULL / f"{run.case}.npz")
    check_stages(run, golden)
    order = np.argsort(-golden["scores"], kind="stable")
    shape = (4, *golden["masks.shape"][1:])
    stored = np.unpackbits(golden["masks.packed"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    for n, want in enumerate(stored):
        track = run.exact.tracks[int(np.flatnonzero(order == n)[0])]
        got = np.stack([track.mask(t) for t in range(shape[1])])
        assert (got != want).sum(axis=(1, 2)).max() <= 4
