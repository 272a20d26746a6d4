"""Weights of strangers: malformed configurations and weights load, or raise an AcvisError of readable length."""

from __future__ import annotations

import copy
import json
import random
import re
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from acvis_kit.errors import AcvisError, ConfigError, WeightsError
from acvis_kit.models import registry
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights import load
from acvis_kit.weights.convert import from_reference
from acvis_kit.weights.load import CONFIG_KEY, load_model, save_model
from tests.conftest import TINY, make_model
from tests.parity import shapes

LONGEST_MESSAGE = 3000  # characters
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 10**9, 10**30, -(10**400), 0.5, float("nan"), float("inf"), 1e308, "", "x", "acqg",
    "\ud800", "a" * 100_000, [], [[]], [1], ["x"], [None] * 9, {}, {"a": {}}, list(range(1000)), "resnet50",
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"null", b"[]", b"3", b'"x"', b"{", b"[" * 200_000, b'{"a":' * 200_000, b"\xff\xfe{\x00}\x00", b"\x80abc",
    b'{"format": 1e400}', b'{"format": 99}', b'{"format": "' + b"9" * 10**5 + b'"}',
    b'{"format": null}', b'{"model_type": []}', b'{"hidden_dim": ' + b"9" * 5000 + b"}", b"NaN",
    b'{"class_names": [' + b'"a",' * 600_000 + b'"b"]}', b"\xef\xbb\xbf{}", b"{}" + b" " * 3_000_000,
)  # fmt: skip
DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F4",
          "C64", "U16", "U64", "X", "")  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on disk, of one layer of each kind."""
    small = replace(
        TINY, pixel_layers=1, pixel_feedforward_dim=32, feedforward_dim=32, num_frame_queries=4, num_video_queries=4,
        frame_layers=1, tracker_layers=1, video_layers=1,
    )  # fmt: skip
    return save_model(make_model(small), tmp_path_factory.mktemp("whole"))


def outcome(source: Path) -> str | None:
    """The message of the AcvisError that loading raises; None if it loads. Any other exception fails the test."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_model(source)
    except AcvisError as error:
        return str(error)
    return None


def mutated_config(rng: random.Random, config: dict[str, Any]) -> bytes:
    """The text of a config.json with one thing wrong, or several."""
    if rng.random() < 0.15:
        return rng.choice(TEXTS)
    config = copy.deepcopy(config)
    for _ in range(rng.choice((1, 1, 1, 3))):
        section = config[rng.choice(("network", "network", "loss", "inference"))]
        if not isinstance(section, dict):
            continue
        match rng.randrange(5):
            case 0:
                section[f"unknown_{rng.random()}" * rng.choice((1, 1000))] = 1
            case 1:
                config[rng.choice(tuple(config))] = rng.choice(VALUES)
                break
            case 2 if section:
                del section[rng.choice(tuple(section))]
            case _ if section:
                section[rng.choice(tuple(section))] = rng.choice(VALUES)
    text = json.dumps(config)
    return text.encode()[: rng.randrange(len(text))] if rng.random() < 0.1 else text.encode()


def mutated_weights(rng: random.Random, body: bytes) -> bytes:
    """A safetensors file with one thing wrong, or several, in its header or after it."""
    size = int.from_bytes(body[:8], "little")
    header, data = json.loads(body[8 : 8 + size]), body[8 + size :]
    names = [name for name in header if name != "__metadata__"]
    for _ in range(rng.choice((1, 1, 1, 4))):
        name = rng.choice(names)
        entry = header.get(name)
        if not isinstance(entry, dict):
            continue
        match rng.randrange(9):
            case 0:
                entry["dtype"] = rng.choice(DTYPES)
            case 1:
                entry["shape"] = rng.choice(([], [0], [0, 2**62], [2**64], [-1], entry["shape"][::-1], [1, 2], "x"))
            case 2:
                entry["data_offsets"] = rng.choice(([0, 0], [0, 4], [2**63, 2**64], [4, 0], [-4, 0], [], None))
            case 3:
                del header[name]
            case 4:
                header[rng.choice((name + "x", "a" * 50_000, "", "\x00", "sem_seg_head.x"))] = header.pop(name)
            case 5:
                header["__metadata__"] = rng.choice(({}, {CONFIG_KEY: "{"}, {CONFIG_KEY: 3}, [], None, {"a": "b"}))
            case 6:
                return bytes(rng.choice(body) if rng.random() < 0.001 else byte for byte in body[: 8 + size]) + data
            case 7:
                return body[: rng.randrange(len(body))]
            case 8:
                wrong = rng.choice((float("nan"), float("inf")))
                data = torch.full((len(data) // 4,), wrong).numpy().tobytes()
    text = json.dumps(header).encode()
    size = rng.choice((len(text),) * 9 + (0, 2**40, len(text) + 8))
    return size.to_bytes(8, "little") + text + data


@pytest.fixture
def copies(whole: Path, tmp_path: Path) -> tuple[Path, dict[str, Any], bytes]:
    """A folder for changed copies, and the whole configuration and weights."""
    return tmp_path, json.loads((whole / "config.json").read_text()), (whole / "model.safetensors").read_bytes()


@pytest.mark.parametrize("seed", range(3))
def test_malformed_configurations_raise_errors_of_readable_length(
    copies: tuple[Path, dict[str, Any], bytes], seed: int
) -> None:
    folder, config, body = copies
    (folder / "model.safetensors").write_bytes(body)
    rng, messages = random.Random(seed), []
    for _ in range(60):
        (folder / "config.json").write_bytes(mutated_config(rng, config))
        messages.append(outcome(folder))
    refused = [message for message in messages if message is not None]
    assert len(refused) > len(messages) / 4 and max(map(len, refused)) < LONGEST_MESSAGE


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_a_text_that_is_no_configuration_is_refused_with_its_file(
    copies: tuple[Path, dict[str, Any], bytes], text: bytes
) -> None:
    folder, _, body = copies
    (folder / "model.safetensors").write_bytes(body)
    (folder / "config.json").write_bytes(text)
    message = outcome(folder)
    assert message is not None and len(message) < LONGEST_MESSAGE
    assert "config.json" in message or "do not fit" in message  # {} is the configuration of another network


@pytest.mark.parametrize("seed", range(3))
def test_malformed_weights_raise_errors_of_readable_length(
    copies: tuple[Path, dict[str, Any], bytes], seed: int
) -> None:
    folder, config, body = copies
    (folder / "config.json").write_text(json.dumps(config))
    rng, messages = random.Random(100 + seed), []
    for number in range(60):
        name = "model.safetensors" if number % 2 else "alone.safetensors"
        (folder / name).write_bytes(mutated_weights(rng, body))
        messages.append(outcome(folder / name))
    refused = [message for message in messages if message is not None]
    assert len(refused) > len(messages) / 2 and max(map(len, refused)) < LONGEST_MESSAGE


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.complex64])
def test_weights_of_another_kind_of_number_are_refused_by_name(whole: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    state = load_file(whole / "model.safetensors")
    state["count_head.weight"] = state["count_head.weight"].to(dtype)
    message = f"dtype of count_head.weight: {str(dtype).removeprefix('torch.')} given, float32 expected"
    with pytest.raises(WeightsError, match=message):
        load_model(changed(whole, tmp_path, state))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_another_width_are_converted(whole: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in load_file(whole / "model.safetensors").items()}
    model = load_model(changed(whole, tmp_path, state))
    assert torch.equal(model.count_head.weight, state["count_head.weight"].float())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_values_that_are_not_finite_are_named(whole: Path, tmp_path: Path, value: float) -> None:
    """1e300 is finite in float64, not in the network's float32."""
    state = load_file(whole / "model.safetensors")
    state["count_head.weight"] = state["count_head.weight"].double()
    state["count_head.weight"][0, 1] = value
    with pytest.raises(WeightsError, match=r"NaN or infinite values in 1 tensors: count_head\.weight"):
        load_model(changed(whole, tmp_path, state))


def test_of_50_000_extra_tensors_five_are_named_and_all_counted(whole: Path, tmp_path: Path) -> None:
    state = load_file(whole / "model.safetensors") | {f"extra.{n}": torch.zeros(0) for n in range(50_000)}
    with pytest.raises(WeightsError, match="50000 places") as error:
        load_model(changed(whole, tmp_path, state))
    assert str(error.value).count("unexpected: extra.") == 5 and len(str(error.value)) < 400


@pytest.mark.parametrize("field", ["hidden_dim", "num_frame_queries", "feedforward_dim", "k_max", "audio_dim"])
def test_memory_is_not_taken_for_sizes_that_the_weights_do_not_have(
    copies: tuple[Path, dict[str, Any], bytes], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config, body = copies
    config["network"][field] = {"hidden_dim": 8064, "k_max": 999, "num_frame_queries": 9984}.get(field, 65_472)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(body)
    devices: list[str] = []

    def build_model(*arguments: Any) -> ACVIS:
        devices.append(torch.empty(0).device.type)
        return registry.build_model(*arguments)

    monkeypatch.setattr(load, "build_model", build_model)
    with pytest.raises(WeightsError, match=r"do not fit|no network can be built"):
        load_model(folder)
    assert devices == ["meta"]


def test_modules_are_not_made_for_layers_that_the_weights_do_not_have(
    copies: tuple[Path, dict[str, Any], bytes],
) -> None:
    folder, config, body = copies
    config["network"]["tracker_layers"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(body)
    with pytest.raises(WeightsError, match=r"tracker_layers=1e\+09, but the weights are only \d+ tensors"):
        load_model(folder)


def test_a_small_file_of_a_huge_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle stores a zero once that is repeated in a whole tensor."""
    huge = {name: torch.zeros(()).expand(shape) for name, shape in shapes("avism_in").items()}
    torch.save(huge, tmp_path / "huge.pth")
    assert (tmp_path / "huge.pth").stat().st_size < 1e6
    monkeypatch.setattr("acvis_kit.weights.fit.MOST_BYTES", 10**8)
    with pytest.raises(WeightsError, match="the network takes 0 GB, at most 0 GB"):
        load_model(tmp_path / "huge.pth", trust_pickle=True)


def test_numbers_beyond_their_bounds_are_refused_before_anything_is_built(
    copies: tuple[Path, dict[str, Any], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, config, body = copies
    (folder / "model.safetensors").write_bytes(body)
    monkeypatch.setattr(ACVIS, "__init__", lambda *_: pytest.fail("built"))
    for field in ("hidden_dim", "num_frame_queries", "feedforward_dim", "k_max", "audio_dim"):
        wrong = copy.deepcopy(config)
        wrong["network"][field] = 96 * 10**7
        (folder / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(ConfigError, match=f"config.json: {field}=960000000 must lie in"):
            load_model(folder)


@pytest.mark.parametrize("seed", range(2))
def test_malformed_checkpoints_of_the_reference_raise_errors_of_readable_length(seed: int) -> None:
    whole = {name: torch.zeros(()).expand(shape) for name, shape in shapes("avism_in").items()}
    rng, refused = random.Random(200 + seed), []
    for _ in range(20):
        state: dict[str, Any] = dict(whole)
        for _ in range(rng.choice((1, 3, len(state) // 2))):
            name = rng.choice(tuple(state))
            match rng.randrange(4):
                case 0:
                    state[name] = torch.zeros(rng.choice(((), (0,), (0, 10**9), (1,), (3, 1, 1), (0, 2, 2))))
                case 1:
                    del state[name]
                case 2:
                    state[name + rng.choice(("x", ".9" * 9000))] = state.pop(name)
                case 3:
                    state[re.sub(r"\d+", rng.choice(("9" * 9, "9" * 5000, "\N{ARABIC-INDIC DIGIT THREE}")), name)] = (
                        state.pop(name)
                    )
        try:
            from_reference(state)
        except AcvisError as error:
            refused.append(str(error))
    assert len(refused) > 15 and max(map(len, refused)) < LONGEST_MESSAGE


def changed(whole: Path, folder: Path, state: dict[str, torch.Tensor]) -> Path:
    """A folder with these weights and the configuration of the whole ones."""
    shutil.copy(whole / "config.json", folder)
    save_file(state, folder / "model.safetensors")
    return folder
