"""Reference checkpoints: inferred configurations, renamed keys, and refused files."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.weights import convert
from tests.parity import CASES, shapes


def zeros(case: str) -> dict[str, torch.Tensor]:
    """A state dict that takes no memory: every tensor is one zero, expanded."""
    return {name: torch.zeros(()).expand(shape) for name, shape in shapes(case).items()}


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("acvis_saoc", {"backbone": "resnet50", "query_generator": "acqg", "count_head": "ordinal", "k_max": 2}),
        ("acvis_count4", {"count_head": "ordinal", "k_max": 4, "audio_encoder": "vggish"}),
        ("acvis_swin_t", {"backbone": "swin_t", "swin_window": 7, "audio_features": "vggish_quantized"}),
        ("avism", {"query_generator": "additive", "count_head": "none", "audio_encoder": "precomputed"}),
        ("avism_in", {"query_generator": "additive", "audio_features": "vggish_raw", "video_fusion": True}),
    ],
)
def test_configuration_is_read_from_keys_and_shapes(case: str, expected: dict[str, object]) -> None:
    config = convert.infer_config(zeros(case))
    assert {name: getattr(config, name) for name in expected} == expected
    assert (config.num_frame_queries, config.num_video_queries, config.window_size, config.num_heads) == (
        100,
        100,
        6,
        8,
    )
    assert (config.pixel_layers, config.frame_layers, config.tracker_layers, config.video_layers) == (6, 9, 6, 3)
    assert config.class_names == AVISEG_CLASSES


def test_vita_is_a_checkpoint_without_audio_input() -> None:
    without_audio = {
        name: value
        for name, value in zeros("avism").items()
        if not re.search(r"av_sf|av_pre_proj|av_post_proj|\.av_proj|enc_av_", name)
    }
    config = convert.infer_config(without_audio)
    assert (config.query_generator, config.video_fusion, config.uses_audio) == ("none", False, False)
    model = convert.from_reference(without_audio)
    assert model.audio_encoder is None


def test_three_count_logits_are_refused_without_a_hint() -> None:
    with pytest.raises(WeightsError, match=r"ambiguous.*count_head='ce'"):
        convert.infer_config(zeros("acvis_ce"))


@pytest.mark.parametrize(("hint", "k_max"), [("ce", 2), ("ordinal", 3)])
def test_the_hint_decides_between_the_heads_of_three_count_logits(hint: str, k_max: int) -> None:
    config = convert.infer_config(zeros("acvis_ce"), count_head=hint)
    assert (config.count_head, config.k_max) == (hint, k_max)


def test_overrides_reach_the_configuration_and_unknown_ones_are_named() -> None:
    assert convert.infer_config(zeros("avism"), window_size=12).window_size == 12
    with pytest.raises(ConfigError, match="windowsize"):
        convert.infer_config(zeros("avism"), windowsize=12)


def test_every_missing_unexpected_and_misshapen_key_is_listed() -> None:
    broken = zeros("avism")
    del broken["vita_module.fq_pos.weight"]
    broken["vita_module.surprise"] = torch.zeros(1)
    broken["vita_module.sim_embed_clip.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError) as error:
        convert.from_reference(broken)
    text = str(error.value)
    assert "3 places" in text
    assert "missing: tracker.slot_positions" in text
    assert "unexpected: tracker.surprise" in text
    assert "shape of tracker.video_similarity.bias: (7,) given, (256,) expected" in text


def test_another_state_dict_is_refused_with_its_first_keys() -> None:
    with pytest.raises(WeightsError, match=r"not a checkpoint of the ACVIS.*starts with fc\.weight"):
        convert.from_reference({"fc.weight": torch.zeros(1)})


@pytest.mark.parametrize("case", CASES)
def test_every_key_of_ours_has_a_name_in_the_reference(case: str) -> None:
    """0 missing, 0 unexpected: `load_exactly` raises otherwise."""
    hint = {"count_head": "ce"} if case == "acvis_ce" else {}
    config = convert.infer_config(zeros(case), **hint)
    ours = convert.rename(zeros(case), keep_merge=config.query_generator == "additive")
    assert not [name for name in ours if name.startswith(("sem_seg_head", "vita_", "avism_", "audio_backbone"))]


class Harmful:
    """A pickle that runs code when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_safetensors_file_needs_no_conversion(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"any")
    for trusted in (False, True):
        with pytest.raises(WeightsError, match=r"model\.safetensors needs no conversion: use it as it is"):
            convert.from_reference(tmp_path / "model.safetensors", trust_pickle=trusted)


def test_a_pickle_with_code_is_not_run_unless_trusted(tmp_path) -> None:
    trace = tmp_path / "ran"
    torch.save({"model": {}, "extra": Harmful(str(trace))}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="trust_pickle=True"):
        convert.from_reference(tmp_path / "bad.pth")
    assert not trace.exists()
    with pytest.raises(WeightsError, match="not a checkpoint of the ACVIS"):
        convert.from_reference(tmp_path / "bad.pth", trust_pickle=True)
    assert trace.exists()


def test_a_video_is_no_checkpoint_and_need_not_be_trusted(tmp_path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(64))
    with pytest.raises(WeightsError, match="is not a PyTorch checkpoint") as error:
        convert.from_reference(tmp_path / "clip.mp4")
    assert "trust" not in str(error.value)


def test_a_trusted_pickle_of_classes_that_are_not_installed_names_them(tmp_path, monkeypatch) -> None:
    module = types.ModuleType("old_detectron")
    module.Node = type("Node", (), {"__module__": "old_detectron"})
    monkeypatch.setitem(sys.modules, "old_detectron", module)
    torch.save({"model": {}, "cfg": module.Node()}, tmp_path / "x.pth")
    monkeypatch.delitem(sys.modules, "old_detectron")
    with pytest.raises(WeightsError, match=r"not installed \(No module named 'old_detectron'\)"):
        convert.from_reference(tmp_path / "x.pth", trust_pickle=True)


def test_entries_that_are_not_tensors_are_named(tmp_path) -> None:
    torch.save({"model": {"sem_seg_head.predictor.x": "hello", "cfg": {"lr": 1}}}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"2 of 2 entries are not tensors: sem_seg_head\.predictor\.x \(str\)"):
        convert.from_reference(tmp_path / "x.pth", trust_pickle=True)


def test_a_plain_pickle_of_arrays_as_of_detectron2_is_read_if_trusted(tmp_path) -> None:
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes("avism_in").items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"model": weights, "__author__": "detectron2"}))
    with pytest.raises(WeightsError, match="trust_pickle=True"):
        convert.from_reference(tmp_path / "x.pkl")
    assert convert.from_reference(tmp_path / "x.pkl", trust_pickle=True).config == convert.infer_config(
        zeros("avism_in")
    )


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 100, bytes(range(256)) * 40])
def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    for trusted in (False, True):
        with pytest.raises(WeightsError, match=r"x\.pth"):
            convert.from_reference(tmp_path / "x.pth", trust_pickle=trusted)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.pth is not there"):
        convert.from_reference(tmp_path / "nowhere.pth")


@pytest.mark.slow
def test_the_command_writes_weights_and_configuration_that_load_again(tmp_path) -> None:
    """A checkpoint as published, with its weights under "model", through `acvis convert` in another process."""
    from acvis_kit.weights.load import load_model

    generator = torch.Generator().manual_seed(0)
    weights = {n: torch.randn(s, generator=generator) * 0.01 for n, s in shapes("avism_in").items()}
    torch.save({"model": weights, "iteration": 47999}, tmp_path / "in.pth")
    command = [sys.executable, "-m", "acvis_kit.cli", "convert", str(tmp_path / "in.pth"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--audio-weights" in done.stderr  # it reads precomputed features
    model = load_model(tmp_path / "out")
    assert model.config == convert.infer_config(weights)
    assert torch.equal(model.tracker.slot_positions, weights["avism_module.fq_pos.weight"])
