"""Weights in and out: an id, a repository of the Hub, a folder or a file in, a model out, and back to disk.

Which weights are published stands in `published`, fetching them is in `download`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from acvis_kit.config import PRESETS, ACVISConfig
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.encoders.audio import VGGish
from acvis_kit.weights.convert import from_reference, load_exactly, read_checkpoint
from acvis_kit.weights.download import CONFIG_FILE, HubUnreachable, fetch, sha256_of
from acvis_kit.weights.published import PICKLES, WEIGHTS, Weights, known_ids, remote_of

WEIGHTS_FILE = "model.safetensors"
CONFIG_KEY = "acvis_config"  # of a safetensors file's metadata
VGGISH_PREFIXES = ("audio_backbone.", "audio_encoder.", "")  # reference checkpoint, ours, VGGish alone
RANDOM = "random"  # the name under which an untrained model is shown


@dataclass(frozen=True)
class Loaded:
    """A model and where it is from.

    Attributes:
        name: what was asked for, a folder's or file's name without the folders above it.
        repository, commit: on the Hub; None for files of this machine.
        sha256: of the weights' file.
        entry: what the table of published weights says of them, if they are in it.
        notice: what the user must know, or None: that other weights than asked for were loaded, and why.
    """

    model: ACVIS
    name: str
    repository: str | None = None
    commit: str | None = None
    sha256: str | None = None
    entry: Weights | None = None
    notice: str | None = None


def load_model(
    source: str | Path, *, audio_weights: str | Path | None = None, trust_pickle: bool = False, **overrides: Any
) -> ACVIS:
    """A model in evaluation mode, on the CPU.

    Args:
        source: an id of the table of published weights ("acvis-synth-tiny"); a repository of the Hub,
            "user/repo[@revision][:file]"; a folder with model.safetensors and config.json; or a .safetensors file that
            carries its configuration or lies beside a config.json. A folder or file of that name comes first. What was
            downloaded once is taken from the cache, without a request; HF_HUB_OFFLINE=1 works.
        audio_weights: VGGish for models that read precomputed features (AVISM), or in place of the model's own: see
            `with_vggish`.
        trust_pickle: convert checkpoints that hold more than tensors, or lie outside the table as a pickle. Only for
            files whose maker you trust: such a file can run any code.
        overrides: for checkpoints of the reference code, see `convert.from_reference`.

    Raises:
        WeightsError: nothing there, no access, a pickle, a wrong sha256, or weights that do not fit their
            configuration.
        ConfigError: a configuration this version does not know.
    """
    return open_weights(source, audio_weights=audio_weights, trust_pickle=trust_pickle, **overrides).model


def open_weights(
    source: str | Path,
    *,
    audio_weights: str | Path | None = None,
    trust_pickle: bool = False,
    fall_back: str | None = None,
    **overrides: Any,
) -> Loaded:
    """`load_model`, and where the model is from.

    Args:
        fall_back: an id whose bundled weights are opened instead, with a notice, if the Hub cannot be reached.
    """
    source = Path(source) if not isinstance(source, str) or Path(source).exists() else source
    try:
        loaded = _open(source, trust_pickle, overrides)
    except HubUnreachable as error:
        if fall_back is None or _bundled_file(WEIGHTS[fall_back]) is None:
            raise
        notice = f"{source} could not be loaded, these are the bundled {fall_back} weights. {error}"
        loaded = replace(_open(fall_back, False, {}), notice=notice)
    loaded.model.eval()
    return loaded if audio_weights is None else replace(loaded, model=with_vggish(loaded.model, audio_weights))


def _open(source: str | Path, trust_pickle: bool, overrides: Mapping[str, Any]) -> Loaded:
    place = remote_of(source) if isinstance(source, str) else None
    if place is None:
        file = _find(Path(source), trust_pickle)
        model = _model_of(file, trust_pickle=trust_pickle, overrides=overrides)
        return Loaded(model, Path(source).name, sha256=sha256_of(file))
    if place.entry is not None and (bundled := _bundled_file(place.entry)) is not None:
        return Loaded(_model_of(bundled), place.entry.id, sha256=sha256_of(bundled), entry=place.entry)
    is_reference = place.entry is not None and place.entry.reference
    try:
        fetched = fetch(place, pickles=trust_pickle or is_reference)
    except WeightsError as error:
        if place.entry is None or place.entry.bundled is None:
            raise
        raise type(error)(
            f"{place.entry.id} should be part of this installation, but {place.entry.bundled / WEIGHTS_FILE} is "
            f"missing; and {error}"
        ) from error
    model = _model_of(fetched.file, trust_pickle=trust_pickle, overrides=overrides)
    return Loaded(model, str(place), place.repository, fetched.commit, fetched.sha256, place.entry)


def _bundled_file(entry: Weights) -> Path | None:
    file = entry.bundled / WEIGHTS_FILE if entry.bundled else None
    return file if file is not None and file.is_file() else None


def _model_of(file: Path, *, trust_pickle: bool = False, overrides: Mapping[str, Any] | None = None) -> ACVIS:
    """The model in one file: ours with its configuration, or the reference's, converted."""
    if file.suffix in PICKLES:
        return from_reference(file, trust_pickle=trust_pickle, **(overrides or {}))
    state, metadata = _read_safetensors(file)
    if any(key.startswith("sem_seg_head.") for key in state):
        return from_reference(state, **(overrides or {}))
    if overrides:
        raise WeightsError(
            f"{', '.join(overrides)}: only for checkpoints of the reference code, {file.name} carries its configuration"
        )
    model = ACVIS(_config_of(file, metadata))
    load_exactly(model, state)
    return model


def _read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata."""
    try:
        with safe_open(file, framework="pt") as archive:
            return {key: archive.get_tensor(key) for key in archive.keys()}, archive.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        with file.open("rb") as opened:
            disguised = opened.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        if disguised:
            raise WeightsError(f"{file} is a pickle under the name of safetensors, and is not opened") from error
        raise WeightsError(f"{file} is not a whole safetensors file ({error}): fetch or convert it again") from error


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
        if not path.is_file():
            raise WeightsError(f"{path} is not there: give the path of a file with VGGish's weights")
        given: Mapping[str, Any] = _read_safetensors(path)[0]
    else:
        given = read_checkpoint(path)
        given = given["model"] if isinstance(given.get("model"), Mapping) else given
        given = {k: v for k, v in given.items() if isinstance(v, Tensor)}
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


def _find(source: Path, trust_pickle: bool) -> Path:
    """The file that a path means."""
    if source.is_dir():
        if (source / WEIGHTS_FILE).is_file():
            return source / WEIGHTS_FILE
        raise WeightsError(
            f"{source} holds no {WEIGHTS_FILE}: is it the folder that `acvis convert` or training wrote?"
        )
    if source.suffix in PICKLES and not trust_pickle:
        raise WeightsError(
            f"{source} may be a pickle, which is not loaded: run `acvis convert {source} FOLDER` first, or pass "
            "trust_pickle=True if you trust its maker"
        )
    if not source.is_file():
        raise WeightsError(
            f"{source} is neither a folder nor a file, nor one of the published weights ({known_ids()}), nor a "
            "repository of the Hub (user/repo)"
        )
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
