"""Weights from a Hub: downloads, checks and error messages. The Hub is on the loopback interface."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.weights import download, published
from acvis_kit.weights import load as hub
from acvis_kit.weights.download import HubUnreachable
from tests.parity import shapes
from tests.weights.fake_hub import COMMIT, FakeHub
from tests.weights.test_load import equal

REPOSITORY = "someone/weights"


@pytest.fixture(scope="module")
def files(tiny_model: ACVIS, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a repository of ours."""
    folder = hub.save_model(tiny_model, tmp_path_factory.mktemp("model"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def fake(files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with one repository of ours, and an empty cache."""
    running = FakeHub()
    running.repositories[REPOSITORY] = dict(files)
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    url = running.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield running
    running.close()


def test_weights_are_fetched_once_and_then_no_request_is_made(fake: FakeHub, tiny_model: ACVIS) -> None:
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert sorted(fake.downloads()) == ["config.json", "model.safetensors"]
    fake.requests.clear()
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert fake.requests == []


def test_loaded_weights_have_repository_commit_and_sha256(fake: FakeHub, files: dict[str, bytes]) -> None:
    loaded = hub.open_weights(f"{REPOSITORY}@v1")
    assert (loaded.name, loaded.repository, loaded.commit) == (f"{REPOSITORY}@v1", REPOSITORY, COMMIT)
    assert loaded.sha256 == hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert loaded.notice is None and not loaded.model.training


def test_another_revision_is_fetched_and_an_unknown_one_is_named(fake: FakeHub) -> None:
    hub.load_model(REPOSITORY)
    fake.commits[REPOSITORY] = "d" * 40
    assert hub.open_weights(REPOSITORY).commit == COMMIT  # unpinned: what is in the cache
    assert hub.open_weights(f"{REPOSITORY}@{'d' * 40}").commit == "d" * 40
    with pytest.raises(WeightsError, match="no revision 'v7'"):
        hub.load_model(f"{REPOSITORY}@v7")


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "private.*hf auth login"), (403, "private.*hf auth login"), (404, "no repository"), (500, "answered 500")],
)
def test_an_error_status_of_the_hub_is_reported(fake: FakeHub, status: int, message: str) -> None:
    fake.status = status
    began = time.monotonic()
    with pytest.raises(WeightsError, match=message):
        hub.load_model(REPOSITORY)
    assert time.monotonic() - began < 3


def test_a_repository_that_does_not_exist_is_named(fake: FakeHub) -> None:
    with pytest.raises(WeightsError, match="no repository someone/else"):
        hub.load_model("someone/else")


def test_an_interrupted_download_is_resumed(fake: FakeHub, tiny_model: ACVIS) -> None:
    fake.cut = 1
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert fake.downloads().count("model.safetensors") == 2


def test_a_download_that_is_always_interrupted_leaves_no_partial_file(
    fake: FakeHub, tiny_model: ACVIS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    fake.cut = 1000
    with pytest.raises(WeightsError, match="someone/weights"):
        hub.load_model(REPOSITORY)
    fake.cut = 0
    assert equal(hub.load_model(REPOSITORY), tiny_model)


def test_weights_with_another_sha256_than_announced_are_deleted(fake: FakeHub, tiny_model: ACVIS) -> None:
    fake.false_sha256 = "0" * 64
    with pytest.raises(WeightsError, match="the Hub announced 0000"):
        hub.load_model(REPOSITORY)
    fake.false_sha256 = None
    assert equal(hub.load_model(REPOSITORY), tiny_model)  # fetched again


def test_weights_that_changed_in_the_cache_are_refused(fake: FakeHub, tmp_path: Path) -> None:
    hub.load_model(REPOSITORY)
    (kept,) = tmp_path.rglob("snapshots/*/model.safetensors")
    blob = kept.resolve()
    body = bytearray(blob.read_bytes())
    body[-1] ^= 1
    blob.write_bytes(body)
    with pytest.raises(WeightsError, match="the first download had"):
        hub.load_model(REPOSITORY)
    hub.load_model(REPOSITORY)  # the changed copy was deleted


def test_the_tables_sha256_is_binding(fake: FakeHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(sha256: str) -> published.Weights:
        return published.Weights("mine", REPOSITORY, "mit", "noise", "everything", sha256=sha256)

    monkeypatch.setitem(published.WEIGHTS, "mine", entry("1" * 64))
    with pytest.raises(WeightsError, match="table of published weights has 1111"):
        hub.load_model("mine")
    monkeypatch.setitem(published.WEIGHTS, "mine", entry(hashlib.sha256(files["model.safetensors"]).hexdigest()))
    assert hub.open_weights("mine").entry.id == "mine"


def test_a_pickle_instead_of_safetensors_is_not_downloaded(fake: FakeHub) -> None:
    fake.repositories[REPOSITORY] = {"pytorch_model.bin": b"\x80\x02 anything"}
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin, which may be a pickle.*trust_pickle=True"):
        hub.load_model(REPOSITORY)
    assert fake.downloads() == []


def test_a_pickle_with_the_name_of_a_safetensors_file_is_not_opened(fake: FakeHub) -> None:
    fake.repositories[REPOSITORY]["model.safetensors"] = b"PK\x03\x04" + b"\0" * 100
    with pytest.raises(WeightsError, match="is a pickle"):
        hub.load_model(REPOSITORY)


def test_a_checkpoint_of_the_reference_is_converted(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: torch.zeros(()).expand(shape) for name, shape in shapes("avism_in").items()}
    torch.save({"model": weights}, tmp_path / "in.pth")
    body = (tmp_path / "in.pth").read_bytes()
    fake.repositories["ruohguo/avis"] = {"README.md": b"#", "sub/any_name.pth": body}
    loaded = hub.open_weights("avis-reference")
    assert loaded.model.config.query_generator == "additive"
    assert loaded.entry.reference and loaded.name == "ruohguo/avis"

    fake.repositories["ruohguo/avis"]["other.pth"] = body
    hub.load_model("ruohguo/avis:other.pth")  # by name, of several
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match=r"2 checkpoints \(other\.pth, sub/any_name\.pth\)"):
        hub.load_model("ruohguo/avis")


def test_a_repository_without_weights_is_reported_with_its_files(fake: FakeHub) -> None:
    fake.repositories[REPOSITORY] = {"README.md": b"#"}
    with pytest.raises(WeightsError, match=r"holds no file ending in \.safetensors.*README\.md"):
        hub.load_model(REPOSITORY)


def test_a_hub_that_refuses_or_never_answers_is_reported_within_three_seconds(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for endpoint in ("http://127.0.0.1:9", mute):
            monkeypatch.setattr(constants, "ENDPOINT", endpoint)
            began = time.monotonic()
            with pytest.raises(HubUnreachable, match="not in the local cache"):
                hub.load_model(REPOSITORY)
            assert time.monotonic() - began < 3


def test_the_fallback_loads_the_bundled_weights_with_a_notice(
    fake: FakeHub, tiny_model: ACVIS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = hub.save_model(tiny_model, tmp_path / "bundled")
    entry = published.Weights("own", "kit/own", "mit", "noise", "everything", bundled=bundled)
    monkeypatch.setitem(published.WEIGHTS, "own", entry)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    loaded = hub.open_weights(REPOSITORY, fall_back="own")
    assert loaded.name == "own" and f"{REPOSITORY} could not be loaded" in loaded.notice
    assert equal(loaded.model, tiny_model)
    monkeypatch.setattr(constants, "ENDPOINT", fake.url)
    assert hub.open_weights("own", fall_back="own").notice is None
    assert fake.requests == []  # bundled weights need no request


def test_bundled_weights_that_are_missing_are_named(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = published.Weights("own", "kit/own", "mit", "noise", "everything", bundled=tmp_path / "nowhere")
    monkeypatch.setitem(published.WEIGHTS, "own", entry)
    with pytest.raises(WeightsError, match=r"part of this installation.*nowhere.*missing.*no repository kit/own"):
        hub.load_model("own")


@pytest.mark.slow
def test_the_environment_is_obeyed_offline_too(fake: FakeHub, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HUB_OFFLINE are read when huggingface_hub is imported."""

    def load(**environment: str) -> subprocess.CompletedProcess[str]:
        code = f"import acvis_kit as ak; print(ak.load_model({REPOSITORY!r}).config.hidden_dim)"
        env = {**os.environ, "HF_ENDPOINT": fake.url, "HF_HOME": str(tmp_path / "own"), **environment}
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)

    cold = load(HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in cold.stderr and fake.requests == []
    assert load(HF_HUB_DISABLE_XET="1").stdout == "32\n"
    fake.requests.clear()
    assert load(HF_HUB_OFFLINE="1").stdout == "32\n"
    assert fake.requests == []


def test_a_model_can_be_pushed_and_loaded_back(fake: FakeHub, tiny_model: ACVIS) -> None:
    tiny_model.push_to_hub("me/new", token="hf_made_up")
    assert {"README.md", "config.json", "model.safetensors"} <= fake.repositories["me/new"].keys()
    assert b"acvis-kit" in fake.repositories["me/new"]["README.md"]
    assert equal(hub.load_model("me/new"), tiny_model)


def test_the_record_of_downloads_replaces_a_damaged_file(fake: FakeHub) -> None:
    record = download.Record()
    record.path.parent.mkdir(parents=True)
    record.path.write_text("no json")
    assert record.get("a") is None
    record.keep("a", "1")
    record.keep("b", "2")
    assert (record.get("a"), record.get("b")) == ("1", "2")
