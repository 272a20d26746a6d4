"""Weights from a Hub: downloads, checks and error messages. The Hub is on the loopback interface."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, snapshot_download

import acvis_kit as ak
from acvis_kit.clip import Clip
from acvis_kit.errors import WeightsError
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.avsc.model import AVSC
from acvis_kit.models.ravs.model import RAVS
from acvis_kit.weights import load as hub
from acvis_kit.weights import published
from acvis_kit.weights.download import HubUnreachable
from tests.parity import shapes
from tests.semantic_models import marking_avsc, marking_ravs
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
    with pytest.raises(WeightsError, match=r"no folder or file someone/else is here, .* no repository someone/else"):
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


def test_weights_with_another_sha256_than_announced_are_refused(fake: FakeHub, tiny_model: ACVIS) -> None:
    fake.false_sha256 = "0" * 64
    with pytest.raises(WeightsError, match="the Hub announced 0000"):
        hub.load_model(REPOSITORY)
    fake.false_sha256, fake.commits[REPOSITORY] = None, "d" * 40
    assert equal(hub.load_model(REPOSITORY), tiny_model)  # the next commit is right


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_copy_in_the_cache_is_fetched_anew(
    fake: FakeHub, tiny_model: ACVIS, tmp_path: Path, name: str, damage: str
) -> None:
    hub.load_model(REPOSITORY)
    damaged(tmp_path, name, damage)
    fake.requests.clear()
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert name in fake.downloads()
    fake.requests.clear()
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert fake.requests == []


def test_a_damaged_copy_is_named_and_stays_where_the_hub_is_out_of_reach(
    fake: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.load_model(REPOSITORY)
    blob = damaged(tmp_path, "model.safetensors", "cut")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(HubUnreachable, match=r"has checksum .* damaged; and it cannot be fetched anew: .*be reached"):
        hub.load_model(REPOSITORY)
    assert blob.is_file()


def test_a_cache_whose_names_are_no_checksums_is_believed_if_its_weights_load(
    fake: FakeHub, files: dict[str, bytes], tiny_model: ACVIS, tmp_path: Path
) -> None:
    """Somebody copies files into the cache, and the first time half of one: it leaves no trace."""
    snapshot = tmp_path / "home/hub/models--someone--weights/snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_bytes(files["config.json"])
    whole = files["model.safetensors"]
    (snapshot / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        WeightsError, match=r"not a valid safetensors file.*delete .*model\.safetensors, and it is fetched"
    ):
        hub.load_model(REPOSITORY)
    (snapshot / "model.safetensors").write_bytes(whole)
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert fake.requests == []


def test_a_read_only_cache_works_and_keeps_what_is_in_it(
    fake: FakeHub, tiny_model: ACVIS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.load_model(REPOSITORY)

    def refused(path: object, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for name in ("makedirs", "replace", "remove", "unlink", "symlink"):
        monkeypatch.setattr(os, name, refused)
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    blob = damaged(tmp_path, "model.safetensors", "cut")
    with pytest.raises(
        WeightsError, match=r"cannot be fetched anew: .* cannot be stored in .*hub \(.*Read-only.*HF_HOME"
    ):
        hub.load_model(REPOSITORY)
    assert blob.is_file()


def test_a_cache_that_cannot_be_written_is_named(fake: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file in place of a folder")
    with pytest.raises(WeightsError, match=r"cannot be stored in .*home/hub \(.*HF_HOME"):
        hub.load_model(REPOSITORY)


def test_a_cache_that_holds_a_part_of_the_repository_is_enough(fake: FakeHub, tiny_model: ACVIS) -> None:
    """As `hf download --include` leaves it, with the names of what is missing."""
    fake.repositories[REPOSITORY]["pictures.zip"] = b"0"
    snapshot_download(REPOSITORY, allow_patterns=["model.safetensors", "config.json"])
    fake.requests.clear()
    assert equal(hub.load_model(REPOSITORY), tiny_model)
    assert fake.requests == []


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


@pytest.mark.parametrize("make", [marking_avsc, marking_ravs])
def test_a_semantic_model_can_be_pushed_and_loaded_back(
    fake: FakeHub, make: Callable[[], AVSC | RAVS], noise_clip: Clip
) -> None:
    model = make()
    model.push_to_hub("me/new", token="hf_made_up")
    pushed = fake.repositories["me/new"]
    config = json.loads(pushed["config.json"])
    assert config["model_type"] == model.config.model_type and b"acvis-kit" in pushed["README.md"]
    loaded = hub.open_weights("me/new")
    assert type(loaded.model) is type(model) and loaded.model.config == model.config and not loaded.model.training
    assert equal(loaded.model, model) and loaded.repository == "me/new"
    mine, theirs = (ak.predict(noise_clip, weights=each) for each in (model, "me/new"))
    assert mine.class_maps.any() and torch.equal(mine.class_maps, theirs.class_maps)
    again = type(model).from_pretrained("me/new")  # the Hub's own way
    assert again.config == model.config and equal(again, model)


def damaged(cache: Path, name: str, damage: str) -> Path:
    """Cut a file in the cache by half, or change its last byte; the file itself, without links."""
    (kept,) = cache.rglob(f"snapshots/*/{name}")
    blob = kept.resolve()
    body = bytearray(blob.read_bytes())
    body[-1] ^= 1
    blob.write_bytes(body if damage == "changed" else body[: len(body) // 2])
    return blob
