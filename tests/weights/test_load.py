"""Weights on disk: saved, loaded, and refused."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import acvis_kit
import acvis_kit.weights.load as hub
from acvis_kit.errors import ConfigError, WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders.audio import VGGish
from tests.conftest import TINY, make_model
from tests.parity import shapes


def equal(a: ACVIS, b: ACVIS) -> bool:
    own, other = a.state_dict(), b.state_dict()
    return a.config == b.config and own.keys() == other.keys() and all(torch.equal(own[k], other[k]) for k in own)


def test_a_saved_model_loads_from_the_folder_and_from_the_file_alone(tiny_model: ACVIS, tmp_path) -> None:
    folder = hub.save_model(tiny_model, tmp_path / "m")
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "config.json"}
    assert equal(hub.load_model(folder), tiny_model)
    alone = tmp_path / "alone.safetensors"
    (folder / "model.safetensors").rename(alone)
    assert equal(hub.load_model(alone), tiny_model)
    assert not hub.load_model(alone).training


def test_of_a_run_the_folder_with_its_weights_is_named(tiny_model: ACVIS, tmp_path) -> None:
    hub.save_model(tiny_model, tmp_path / "run" / "last")
    with pytest.raises(WeightsError, match=r"run holds no model\.safetensors: give .*run/last"):
        hub.load_model(tmp_path / "run")


def test_others_may_read_saved_weights_if_the_umask_lets_them(tiny_model: ACVIS, tmp_path) -> None:
    before = os.umask(0o022)
    folder = hub.save_model(tiny_model, tmp_path / "m")
    os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_weights_that_cannot_be_written_raise_a_weights_error(tiny_model: ACVIS, tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match=r"file cannot be written: File exists"):
        hub.save_model(tiny_model, tmp_path / "file")


def test_a_configuration_may_begin_with_a_byte_order_mark_and_is_utf_8(tiny_model: ACVIS, tmp_path) -> None:
    folder = hub.save_model(tiny_model, tmp_path)
    text = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(text, encoding="utf-8-sig")
    assert equal(hub.load_model(folder), tiny_model)
    (folder / "config.json").write_bytes(b'{"backbone": "\xe9"}')
    with pytest.raises(WeightsError, match=r"config\.json is not UTF-8"):
        hub.load_model(folder)


def test_the_mixin_round_trips_weights_and_configuration(tiny_model: ACVIS, tmp_path) -> None:
    tiny_model.save_pretrained(tmp_path)
    assert equal(ACVIS.from_pretrained(tmp_path), tiny_model)
    assert equal(hub.load_model(tmp_path), tiny_model)


def test_weights_of_earlier_versions_load_with_the_names_of_their_tensors(tmp_path) -> None:
    shipped = Path(acvis_kit.__file__).parent / "assets" / "acvis-synth-tiny"
    state = load_file(shipped / "model.safetensors")
    assert "pixel_sign_head.weight" in state
    for model in (hub.load_model(shipped), ACVIS.from_pretrained(shipped)):
        assert model.config.auxiliary_targets == ("cue",)
        assert torch.equal(model.auxiliary_heads["cue"].weight, state["pixel_sign_head.weight"])
    written = load_file(hub.save_model(model, tmp_path) / "model.safetensors")
    assert torch.equal(written["auxiliary_heads.cue.bias"], state["pixel_sign_head.bias"])


def test_from_pretrained_is_strict(tiny_model: ACVIS, tmp_path) -> None:
    tiny_model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["tracker.norm.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"tracker\.norm\.weight"):
        ACVIS.from_pretrained(tmp_path)
    with pytest.raises(WeightsError, match=r"missing: tracker\.norm\.weight"):
        hub.load_model(tmp_path)


def test_an_unknown_configuration_field_is_refused(tiny_model: ACVIS, tmp_path) -> None:
    folder = hub.save_model(tiny_model, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "from_the_future": 1}))
    with pytest.raises(ConfigError, match="from_the_future"):
        hub.load_model(folder)


def test_a_preset_is_no_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no folder has this name
    with pytest.raises(WeightsError, match="'acvis-r50' is a preset, a configuration"):
        hub.load_model("acvis-r50")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "neither a folder nor a file"),
        ("a" * 5000, "neither a folder nor a file"),
        ("a\0b", "cannot be the name of a file"),
        ("checkpoint.pth", "acvis convert"),
        (".", r"holds no model\.safetensors"),
        ("broken.safetensors", "not a valid safetensors file"),
        ("bare.safetensors", "has no configuration"),
    ],
)
def test_other_files_are_refused_with_a_remedy(tmp_path, name: str, message: str) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(b"x")
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match=message):
        hub.load_model(tmp_path / name)


def test_a_local_checkpoint_of_the_reference_loads_if_trusted(tmp_path) -> None:
    weights = {name: torch.zeros(()).expand(shape) for name, shape in shapes("avism_in").items()}
    torch.save({"model": weights}, tmp_path / "in.pth")
    model = hub.load_model(tmp_path / "in.pth", trust_pickle=True, window_size=12)
    assert (model.config.query_generator, model.config.window_size) == ("additive", 12)
    save_file({k: v.clone() for k, v in weights.items()}, tmp_path / "in.safetensors")
    assert hub.load_model(tmp_path / "in.safetensors").config.query_generator == "additive"


def test_overrides_are_for_the_reference_only(tiny_model: ACVIS, tmp_path) -> None:
    folder = hub.save_model(tiny_model, tmp_path / "m")
    with pytest.raises(WeightsError, match="window_size: only for checkpoints of the reference"):
        hub.load_model(folder, window_size=12)


def test_random_weights_repeat_and_do_not_change_the_random_state() -> None:
    torch.manual_seed(5)
    first = hub.random_model("acvis-synth-tiny")
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), drawn)
    assert equal(first, hub.random_model("acvis-synth-tiny"))
    with pytest.raises(WeightsError, match="acvis-synth-tiny"):
        hub.random_model("acvis-r49")


class TestVGGish:
    @pytest.fixture(scope="class")
    def published(self) -> dict[str, torch.Tensor]:
        """Keys as VGGish's PyTorch port publishes them, with its PCA."""
        torch.manual_seed(3)
        state = VGGish(quantize=True).state_dict()
        pca = {"pproc.pca_eigen_vectors": state.pop("pca_eigen_vectors"), "pproc.pca_means": torch.rand(128, 1)}
        state.pop("pca_means")
        return state | pca

    def test_a_model_of_precomputed_features_gets_an_audio_encoder(self, published, tmp_path) -> None:
        torch.save(published, tmp_path / "vggish.pth")
        bare = make_model(replace(TINY, audio_encoder="precomputed", audio_features="vggish_raw", audio_tokens="clip"))
        model = hub.with_vggish(bare, tmp_path / "vggish.pth")
        assert model.config.audio_encoder == "vggish" and model.config.audio_features == "vggish_raw"
        assert torch.equal(model.audio_encoder.embeddings[4].weight, published["embeddings.4.weight"])
        assert torch.equal(model.tracker.slot_positions, bare.tracker.slot_positions)

    def test_the_vggish_of_an_acvis_checkpoint_replaces_the_models_own(self, published, tmp_path) -> None:
        reference = {f"audio_backbone.{k}": v for k, v in published.items()}
        torch.save({"model": reference | {"vita_module.x": torch.zeros(1)}}, tmp_path / "acvis.pth")
        own = make_model(replace(TINY, audio_encoder="vggish", audio_tokens="clip"))
        model = hub.with_vggish(own, tmp_path / "acvis.pth")
        assert torch.equal(model.audio_encoder.pca_means, published["pproc.pca_means"].flatten())

    def test_whitening_without_pca_is_refused(self, published, tmp_path) -> None:
        torch.save({k: v for k, v in published.items() if "pca" not in k}, tmp_path / "vggish.pth")
        with pytest.raises(WeightsError, match="has no PCA"):
            hub.with_vggish(
                make_model(replace(TINY, audio_encoder="vggish", audio_tokens="clip")), tmp_path / "vggish.pth"
            )

    def test_values_that_are_not_finite_are_refused(self, published, tmp_path) -> None:
        torch.save(published | {"embeddings.4.bias": torch.full((128,), torch.nan)}, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match=r"NaN or infinite values in 1 tensors: embeddings\.4\.bias"):
            hub.with_vggish(make_model(replace(TINY, audio_encoder="vggish", audio_tokens="clip")), tmp_path / "x.pth")

    def test_a_broken_file_is_refused(self, tmp_path) -> None:
        (tmp_path / "x.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
        with pytest.raises(WeightsError, match="not a valid safetensors file"):
            hub.with_vggish(make_model(TINY), tmp_path / "x.safetensors")
        with pytest.raises(WeightsError, match="is not there"):
            hub.with_vggish(make_model(TINY), tmp_path / "y.safetensors")

    def test_entries_without_a_name_are_left_out(self, published, tmp_path) -> None:
        torch.save(published | {3: torch.zeros(1)}, tmp_path / "x.pth")
        hub.with_vggish(make_model(replace(TINY, audio_encoder="vggish", audio_tokens="clip")), tmp_path / "x.pth")

    def test_a_file_without_vggish_is_refused(self, tmp_path) -> None:
        torch.save({"a": torch.zeros(1)}, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match="holds no VGGish"):
            hub.with_vggish(make_model(TINY), tmp_path / "x.pth")
