"""Models from an id, a repository of the Hub, a folder or a file, and back to disk.

The table of published weights is in `published`, downloading in `download`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from acvis_kit.errors import ConfigError, WeightsError, kind_of
from acvis_kit.files import as_path, write_errors, write_tensors, write_text
from acvis_kit.models.acvis.model import ACVIS, rename_keys
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.encoders.audio import VGGish
from acvis_kit.models.presets import ALL_PRESETS
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.models.registry import build_model
from acvis_kit.weights.convert import from_reference, read_checkpoint
from acvis_kit.weights.download import CONFIG_FILE, HubUnreachable, fetch, sha256_of
from acvis_kit.weights.encoders import vggish_state
from acvis_kit.weights.fit import build_and_load, cut, load_exactly, reason, require_layers
from acvis_kit.weights.published import DEFAULT_WEIGHTS, PICKLES, WEIGHTS, Weights, known_ids, remote_of

WEIGHTS_FILE = "model.safetensors"
CONFIG_KEY = "acvis_config"  # key in the metadata of a safetensors file
LONGEST_CONFIG = 10**6  # characters
RANDOM = "random"  # the displayed name of an untrained model


@dataclass(frozen=True)
class Loaded:
    """A model and the origin of its weights.

    Attributes:
        model: an `ACVIS`, `AVSC` or `RAVS`.
        name: the requested id or place; of a folder or file its last component.
        repository: on the Hub; None for local files.
        commit: on the Hub; None for local files.
        sha256: of the weights file, hexadecimal.
        entry: entry in the table of published weights, or None.
        notice: that other weights than the requested ones were loaded, and why; None otherwise.
    """

    model: Any
    name: str
    repository: str | None = None
    commit: str | None = None
    sha256: str | None = None
    entry: Weights | None = None
    notice: str | None = None


def load_model(
    source: str | Path = DEFAULT_WEIGHTS,
    *,
    audio_weights: str | Path | None = None,
    trust_pickle: bool = False,
    **overrides: Any,
) -> Any:
    """Load a model in evaluation mode, on the CPU.

    Args:
        source: an id of the table of published weights, by default the package's own; a repository of the Hub,
            "user/repo[@revision][:file]"; a folder with model.safetensors and config.json; or a .safetensors file with
            its configuration in it or in a config.json beside it. A folder or file of that name takes precedence.
            Downloaded weights are taken from the cache without a request, also with HF_HUB_OFFLINE=1.
        audio_weights: VGGish for models that take precomputed features (AVISM), or instead of the model's own: see
            `with_vggish`.
        trust_pickle: convert checkpoints that hold more than tensors, and pickles that are not in the table. Only for
            files whose author you trust: such a file can run any code.
        **overrides: for checkpoints of the reference code, see `convert.from_reference`.

    Returns:
        An `ACVIS`, `AVSC` or `RAVS`, whichever the configuration names.

    Raises:
        WeightsError: nothing is there, no access, a pickle, a wrong sha256, or weights that do not fit their
            configuration.
        ConfigError: the configuration has fields that are unknown to this version.
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
    """Load a model, and report the origin of its weights.

    Args:
        source: see `load_model`.
        audio_weights: see `load_model`.
        trust_pickle: see `load_model`.
        fall_back: id whose bundled weights are loaded instead, with a notice, if the Hub cannot be reached.
        **overrides: see `load_model`.

    Raises:
        WeightsError: see `load_model`.
        ConfigError: see `load_model`.
    """
    if not isinstance(source, str):
        source = as_path(source, WeightsError)
    # os.path.exists is False for a text that no path can be, where Path.exists raises
    source = Path(source) if not isinstance(source, str) or os.path.exists(source) else source
    try:
        loaded = _open(source, trust_pickle, overrides)
    except HubUnreachable as error:
        if fall_back is None or _bundled_file(WEIGHTS[fall_back]) is None:
            raise
        notice = f"{source} could not be loaded; the bundled {fall_back} weights were loaded instead. {error}"
        loaded = replace(_open(fall_back, False, {}), notice=notice)
    loaded.model.eval()
    return loaded if audio_weights is None else replace(loaded, model=with_vggish(loaded.model, audio_weights))


def identity_of(source: str | Path) -> str:
    """What weights have in common wherever they lie: their checksum, or the name of weights that have none.

    Raises:
        WeightsError: see `load_model`.
    """
    return open_weights(source).sha256 or str(source)


def _open(source: str | Path, trust_pickle: bool, overrides: Mapping[str, Any]) -> Loaded:
    place = remote_of(source) if isinstance(source, str) else None
    if place is None:
        file = _find(Path(source), trust_pickle)
        model = _model_of(file, trust_pickle=trust_pickle, overrides=overrides)
        return Loaded(model, Path(source).name, sha256=sha256_of(file))
    if place.entry is not None and (bundled := _bundled_file(place.entry)) is not None:
        return Loaded(
            _model_of(bundled, overrides=overrides), place.entry.id, sha256=sha256_of(bundled), entry=place.entry
        )
    is_reference = place.entry is not None and place.entry.reference
    try:
        fetched = fetch(place, pickles=trust_pickle or is_reference)
    except WeightsError as error:
        if place.entry is None:
            raise type(error)(
                f"no folder or file {place} is here, so it was taken for a repository: {error}"
            ) from error
        if place.entry.bundled is None:
            raise
        raise type(error)(
            f"{place.entry.id} should be part of this installation, but {place.entry.bundled / WEIGHTS_FILE} is "
            f"missing; and {error}"
        ) from error
    try:
        model = _model_of(fetched.file, trust_pickle=trust_pickle, overrides=overrides)
    except WeightsError as error:
        if fetched.is_whole:
            raise
        raise WeightsError(
            f"{error}. If this copy is damaged, delete {fetched.file}, and it is fetched anew"
        ) from error
    return Loaded(model, str(place), place.repository, fetched.commit, fetched.sha256, place.entry)


def _bundled_file(entry: Weights) -> Path | None:
    file = entry.bundled / WEIGHTS_FILE if entry.bundled else None
    return file if file is not None and file.is_file() else None


def _model_of(file: Path, *, trust_pickle: bool = False, overrides: Mapping[str, Any] | None = None) -> Any:
    """The model in one file: ours with its configuration, or a checkpoint of the reference, which is converted."""
    if file.suffix in PICKLES:
        return from_reference(file, trust_pickle=trust_pickle, **(overrides or {}))
    state, metadata = read_safetensors(file)
    if any(key.startswith("sem_seg_head.") for key in state):
        return from_reference(state, **(overrides or {}))
    if overrides:
        raise WeightsError(
            f"{', '.join(overrides)}: only for checkpoints of the reference code; {file.name} has its configuration"
        )
    rename_keys(state)
    values, origin = _config_of(file, metadata)
    for section in (values, *values.values()):  # the fields are in sections, or flat in format 1
        require_layers(section if isinstance(section, dict) else {}, state)
    try:
        return build_and_load(partial(build_model, values, origin), state, origin)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {cut(str(error))}") from error


def read_safetensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and metadata.

    Raises:
        WeightsError: the file is damaged, or a pickle.
    """
    try:
        with safe_open(file, framework="pt") as archive:
            names = archive.keys()
            return {name: _tensor(archive, name, file) for name in names}, archive.metadata() or {}
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({reason(error)})") from error
    except SafetensorError as error:
        with file.open("rb") as opened:
            disguised = opened.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
        if disguised:
            raise WeightsError(f"{file} is a pickle with the name of a safetensors file: it is not opened") from error
        raise WeightsError(
            f"{file} is not a valid safetensors file ({reason(error)}): fetch or convert it again"
        ) from error


def _tensor(archive: Any, name: str, file: Path) -> Tensor:
    """A tensor of a safetensors file, mapped into memory: nothing is read before its values are used.

    Raises:
        WeightsError: its dtype is unknown to torch.
    """
    try:
        return archive.get_tensor(name)
    except Exception as error:  # depends on the versions of safetensors and torch
        dtype = archive.get_slice(name).get_dtype()
        raise WeightsError(f"{file}: {cut(name)} cannot be read, dtype {dtype} ({reason(error)})") from error


def open_bundled(without: str) -> list[Loaded]:
    """The weights that ship with the package, but for one id: what the page offers besides those it was given."""
    ids = [entry.id for entry in WEIGHTS.values() if entry.bundled is not None]
    return [open_weights(name) for name in ids if name != without]


def save_model(model: ACVIS | AVSC | RAVS, folder: str | Path) -> Path:
    """Write model.safetensors (with the configuration in its metadata) and config.json. Returns the folder.

    Raises:
        WeightsError: no model, or the folder or a file cannot be written.
    """
    if not isinstance(model, ACVIS | AVSC | RAVS):
        raise WeightsError(
            f"the model is {kind_of(model)}: give an ACVIS, AVSC or RAVS; of a model from torch.compile or "
            "wrapped for several GPUs the one inside"
        )
    folder = as_path(folder, WeightsError)
    with write_errors(folder, WeightsError):
        folder.mkdir(parents=True, exist_ok=True)
    config = model.config.to_dict()
    write_tensors(folder / WEIGHTS_FILE, model.state_dict(), {CONFIG_KEY: json.dumps(config)})
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2) + "\n", WeightsError)
    return folder


def random_model(preset: str = "acvis-r50", seed: int = 0) -> Any:
    """A preset with random weights, to try the software: its masks mean nothing.

    Args:
        preset: name of the configuration in `ALL_PRESETS`.
        seed: seed of the weights; the global random state is not changed.

    Returns:
        An `ACVIS`, `AVSC` or `RAVS`.

    Raises:
        WeightsError: there is no such preset.
        ConfigError: an encoder of the preset is not installed.
    """
    if preset not in ALL_PRESETS:
        raise WeightsError(f"there is no preset {preset!r}: choose one of {', '.join(ALL_PRESETS)}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build_model(ALL_PRESETS[preset].to_dict(), preset).eval()


def with_vggish(model: ACVIS, path: str | Path) -> ACVIS:
    """`model` with the VGGish in `path` as audio encoder.

    The features of VGGish (raw, or whitened and rounded) remain those of the model's `audio_features`. Weight decay
    changed ACVIS' VGGish in training: the published ACVIS weights need their own VGGish, not the public one.

    Args:
        model: a VGGish in it is replaced in place; without one a new model is made with its other weights.
        path: a checkpoint of VGGish, or of ACVIS (the reference's or ours).

    Raises:
        WeightsError: the file has no VGGish, no PCA if the model needs whitened features, or a model of another system.
    """
    path = as_path(path, WeightsError)
    if not isinstance(model, ACVIS):
        raise WeightsError(
            f"audio_weights={path} is for ACVIS, and these weights are {kind_of(model)}, which has its audio "
            "encoder or takes features: leave it out"
        )
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise WeightsError(f"{path} is not there: give the path of a file with VGGish's weights")
        content: Mapping[str, Any] = read_safetensors(path)[0]
    else:
        content = read_checkpoint(path)
    config = replace(model.config, audio_encoder="vggish")
    vggish = VGGish(quantize=config.audio_features == "vggish_quantized")
    load_exactly(vggish, vggish_state(content, vggish, path))
    if model.audio_encoder is None or model.config.audio_encoder != "vggish":
        extended = ACVIS(config)
        state = {k: v for k, v in model.state_dict().items() if not k.startswith("audio_encoder.")}
        encoder_state = {k: v for k, v in extended.state_dict().items() if k.startswith("audio_encoder.")}
        load_exactly(extended, {**state, **encoder_state})
        model = extended.eval()
    model.audio_encoder = vggish.to(model.pixel_mean.device, model.pixel_mean.dtype).eval()
    return model


def _find(source: Path, trust_pickle: bool) -> Path:
    """The weights file at a path.

    Raises:
        WeightsError: there is none, or it may be a pickle and `trust_pickle` is False.
    """
    if os.path.isdir(source):
        if (source / WEIGHTS_FILE).is_file():
            return source / WEIGHTS_FILE
        inner = [str(path.parent) for path in sorted(Path(source).glob(f"*/{WEIGHTS_FILE}"))]
        remedy = (
            f"give {' or '.join(inner[:2])}" if inner else "give a folder written by `acvis convert` or by training"
        )
        raise WeightsError(f"{source} holds no {WEIGHTS_FILE}: {remedy}")
    if source.suffix in PICKLES and not trust_pickle:
        raise WeightsError(
            f"{source} may be a pickle, which is not loaded: run `acvis convert {source} FOLDER` first, or pass "
            "trust_pickle=True if you trust its author"
        )
    if not os.path.isfile(source):
        if str(source) in ALL_PRESETS:
            raise WeightsError(
                f"{str(source)!r} is a preset, a configuration, and no weights of this name are published: give "
                f"weights that `acvis convert` or `acvis train` wrote, or published ones ({known_ids()})"
            )
        raise WeightsError(
            f"{cut(str(source))!r} is neither a folder nor a file, nor one of the published weights ({known_ids()}), "
            "nor a repository of the Hub (user/repo)"
        )
    return source


def _config_of(file: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The configuration of a weights file as a JSON object, and the name of the file that it is from."""
    beside = file.parent / CONFIG_FILE
    if beside.is_file() and (file.name == WEIGHTS_FILE or CONFIG_KEY not in metadata):
        text, origin = _text_of(beside), str(beside)
    elif CONFIG_KEY in metadata:
        text, origin = metadata[CONFIG_KEY], str(file)
    else:
        raise WeightsError(f"{file} has no configuration: put its {CONFIG_FILE} beside it")
    if len(text) > LONGEST_CONFIG:
        raise WeightsError(f"the configuration in {origin} is longer than {LONGEST_CONFIG} characters: it is none")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"the configuration in {origin} is not JSON ({reason(error)})") from error
    if not isinstance(values, dict):
        raise WeightsError(f"the configuration in {origin} is {kind_of(values)}, not an object with fields")
    for name, kind in (("model_type", str), ("format", int)):
        value = values.get(name)
        if value is not None and (not isinstance(value, kind) or cut(str(value)) != str(value)):
            raise WeightsError(f"{name} in {origin} is {cut(repr(value))}: update the kit, or fetch the weights again")
    return values, origin


def _text_of(file: Path) -> str:
    """The text of a configuration file, or as much of it as shows that it is too long to be one.

    Raises:
        WeightsError: it cannot be read, or is not UTF-8.
    """
    try:
        with file.open(encoding="utf-8-sig") as opened:
            return opened.read(LONGEST_CONFIG + 1)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read ({reason(error)})") from error
    except UnicodeDecodeError as error:
        raise WeightsError(f"{file} is not UTF-8 ({reason(error)}): save it again") from error
