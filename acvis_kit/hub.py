"""Weights from disk: a folder or file of ours in, a model out, and back.

Nothing is published yet: names of published weights and downloads from the Hub belong in this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.convert import load_exactly, read_checkpoint
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis import ACVIS
from acvis_kit.models.audio_encoders import VGGish

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"
CONFIG_KEY = "acvis_config"  # of a safetensors file's metadata
VGGISH_PREFIXES = ("audio_backbone.", "audio_encoder.", "")  # reference checkpoint, ours, VGGish alone


def load_model(source: str | Path, *, audio_weights: str | Path | None = None) -> ACVIS:
    """A model in evaluation mode, on the CPU.

    Args:
        source: a folder with model.safetensors and config.json, or a .safetensors file that carries its configuration
            or lies beside a config.json.
        audio_weights: VGGish for models that read precomputed features (AVISM), or in place of the model's own: see
            `with_vggish`.

    Raises:
        WeightsError: nothing there, a pickle, or weights that do not fit their configuration.
        ConfigError: a configuration this version does not know.
    """
    file = _find(Path(source))
    try:
        with safe_open(file, framework="pt") as archive:
            metadata = archive.metadata() or {}
            state = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} is not a whole safetensors file ({error}): fetch or convert it again") from error
    model = ACVIS(_config_of(file, metadata))
    load_exactly(model, state)
    model.eval()
    return with_vggish(model, audio_weights) if audio_weights is not None else model


def save_model(model: ACVIS, folder: str | Path) -> Path:
    """Write model.safetensors (which carries the configuration) and config.json; returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    partial = folder / f"{WEIGHTS_FILE}.partial"
    save_file(state, partial, metadata={"format": "pt", CONFIG_KEY: json.dumps(config)})
    partial.replace(folder / WEIGHTS_FILE)  # a reader never meets half a file
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    return folder


def random_model(preset: str = "acvis-r50", seed: int = 0) -> ACVIS:
    """A preset with random weights: for trying the machinery out, its masks mean nothing."""
    if preset not in PRESETS:
        raise WeightsError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ACVIS(PRESETS[preset]).eval()


def with_vggish(model: ACVIS, path: str | Path) -> ACVIS:
    """`model` hearing through the VGGish in `path`: a VGGish checkpoint, or an ACVIS one, reference's or ours.

    A model with an encoder keeps what it takes from VGGish (raw, or whitened and rounded); one that read precomputed
    features gets what its `audio_features` says. ACVIS' weight decay moved its VGGish, so that the published ACVIS
    weights need their own, not the public one.

    Raises:
        WeightsError: no VGGish in the file, or no PCA where the model whitens.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as archive:
            given: Mapping[str, Tensor] = {key: archive.get_tensor(key) for key in archive.keys()}  # noqa: SIM118
    else:
        given = read_checkpoint(path)
        given = given["model"] if isinstance(given.get("model"), Mapping) else given
    config = replace(model.config, audio_encoder="vggish")
    vggish = VGGish(quantize=config.audio_features == "vggish_quantized")
    load_exactly(vggish, _vggish_state(given, vggish, path))
    if model.audio_encoder is None or model.config.audio_encoder != "vggish":
        changed = ACVIS(config)
        state = {k: v for k, v in model.state_dict().items() if not k.startswith("audio_encoder.")}
        fresh = {k: v for k, v in changed.state_dict().items() if k.startswith("audio_encoder.")}
        load_exactly(changed, {**state, **fresh})
        model = changed.eval()
    model.audio_encoder = vggish.to(model.pixel_mean.device, model.pixel_mean.dtype).eval()
    return model


def _vggish_state(given: Mapping[str, Tensor], vggish: VGGish, path: Path) -> dict[str, Tensor]:
    for prefix in VGGISH_PREFIXES:
        if f"{prefix}features.0.weight" in given:
            break
    else:
        raise WeightsError(f"{path} holds no VGGish: expected 'features.0.weight', ..., 'embeddings.4.bias'")
    state = {k.removeprefix(prefix).removeprefix("pproc."): v for k, v in given.items() if k.startswith(prefix)}
    state = {k: v for k, v in state.items() if k.startswith(("features.", "embeddings.", "pca_"))}
    if not vggish.quantize:
        state = {k: v for k, v in state.items() if not k.startswith("pca_")}
    elif "pca_means" not in state:
        raise WeightsError(
            f"{path} has no PCA (pca_eigen_vectors, pca_means), and this model whitens VGGish's embedding: merge "
            "VGGish's PCA file into it, or take the VGGish of an ACVIS checkpoint"
        )
    else:
        state["pca_means"] = state["pca_means"].flatten()
    return state


def _find(source: Path) -> Path:
    """The safetensors file that `source` means."""
    if source.is_dir():
        if (source / WEIGHTS_FILE).is_file():
            return source / WEIGHTS_FILE
        raise WeightsError(
            f"{source} holds no {WEIGHTS_FILE}: is it the folder that `acvis convert` or training wrote?"
        )
    if source.suffix in (".pth", ".pt", ".bin", ".pkl", ".ckpt"):
        raise WeightsError(f"{source} may be a pickle, which is not loaded: run `acvis convert {source} FOLDER` first")
    if not source.is_file():
        raise WeightsError(f"{source} is neither a folder nor a file: give a converted folder, or 'random' in the CLI")
    return source


def _config_of(file: Path, metadata: Mapping[str, str]) -> ACVISConfig:
    beside = file.parent / CONFIG_FILE
    if beside.is_file() and file.name == WEIGHTS_FILE:
        text, origin = beside.read_text(), beside
    elif CONFIG_KEY in metadata:
        text, origin = metadata[CONFIG_KEY], file
    elif beside.is_file():
        text, origin = beside.read_text(), beside
    else:
        raise WeightsError(f"{file} does not say its configuration: put its {CONFIG_FILE} beside it")
    try:
        return ACVISConfig.from_dict(json.loads(text))
    except json.JSONDecodeError as error:
        raise WeightsError(f"the configuration in {origin} is not JSON ({error})") from error
