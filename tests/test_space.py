"""The Space: its front matter is valid, its pins agree with the kit, and it starts from the wheel."""

from __future__ import annotations

import os
import re
import shutil
import site
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest
import yaml

from acvis_kit.weights.published import WEIGHTS

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "space"
ON_CI = os.environ.get("CI") == "true"
QUIETLY = ("--disable-pip-version-check", "--no-input")
PIP = (sys.executable, "-m", "pip", *QUIETLY)


def bundled_weights() -> list[str]:
    return sorted(name for name, weights in WEIGHTS.items() if weights.bundled)


def front_matter() -> dict[str, object]:
    text = (SPACE / "README.md").read_text()
    return yaml.safe_load(re.match(r"---\n(.+?)\n---\n", text, re.S)[1])


def test_the_front_matter_is_what_a_space_needs() -> None:
    card = front_matter()
    assert card["sdk"] == "gradio" and re.fullmatch(r"6\.\d+\.\d+", card["sdk_version"])
    assert card["python_version"] in ("3.11", "3.12")
    assert (SPACE / card["app_file"]).is_file()
    assert card["models"] == [f"acvis-kit/{name}" for name in bundled_weights()]
    assert card["suggested_hardware"]
    assert len(card["short_description"]) <= 60
    assert card["colorFrom"] in ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def test_the_pins_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    assert f"./acvis_kit-{project['version']}-py3-none-any.whl" in lines
    assert f"gradio=={front_matter()['sdk_version']}" in lines


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run([*PIP, "wheel", "-q", "--no-deps", "-w", folder, ROOT], capture_output=True, text=True)
    if built.returncode and not ON_CI:
        pytest.skip(f"the wheel cannot be built here: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.mark.slow
def test_the_wheel_holds_what_the_space_needs(wheel: Path) -> None:
    assert f"./{wheel.name}" in (SPACE / "requirements.txt").read_text()
    held = set(zipfile.ZipFile(wheel).namelist())
    for weights in bundled_weights():
        assert {f"acvis_kit/assets/{weights}/{name}" for name in ("model.safetensors", "config.json")} <= held
    clips = [name for name in held if name.endswith(".mp4")]
    assert len([name for name in clips if name.startswith("acvis_kit/assets/clips/")]) == 3
    assert len([name for name in clips if name.startswith("acvis_kit/assets/filmed_clips/")]) == 2


@pytest.mark.slow
def test_the_space_starts_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """The kit's code comes from the wheel, its dependencies from this environment."""
    pytest.importorskip("gradio")
    packages = new_environment(tmp_path)
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    subprocess.run([*PIP, "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    assert_it_starts(tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(
    not ON_CI and os.environ.get("ACVIS_TEST_SPACE") != "1",
    reason="installs PyTorch again (8 GB on disk, some minutes): set ACVIS_TEST_SPACE=1 to run it",
)
def test_the_space_starts_in_an_environment_with_only_its_requirements(wheel: Path, tmp_path: Path) -> None:
    packages = new_environment(tmp_path)
    try:
        for file in (wheel, SPACE / "requirements.txt"):
            shutil.copy(file, tmp_path)
        install = [sys.executable, "-m", "pip", "--python", tmp_path / "venv/bin/python", *QUIETLY, "install", "-q"]
        subprocess.run([*install, "-r", "requirements.txt"], cwd=tmp_path, check=True)
        assert_it_starts(tmp_path)
    finally:
        shutil.rmtree(packages.parents[2], ignore_errors=True)  # pytest would keep it for three runs


def new_environment(folder: Path) -> Path:
    """Make an empty virtual environment in folder/venv; return its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    return packages


def assert_it_starts(folder: Path) -> None:
    """Assert that the Space in folder/venv serves its page with the bundled weights."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "ACVIS_WEIGHTS")}
    environment = {**kept, "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    shutil.copy(SPACE / "app.py", folder)
    running = subprocess.Popen([folder / "venv/bin/python", "app.py"], cwd=folder, env=environment)
    try:
        page = fetch(f"http://127.0.0.1:{port}/", running)
    finally:
        running.terminate()
        running.wait()
    assert all(text in page for text in ("Hear what the model hears", *bundled_weights()))


def fetch(url: str, process: subprocess.Popen, timeout: float = 180) -> str:
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.read().decode()
        except OSError:
            time.sleep(1)
    raise AssertionError(f"the Space did not answer (exit status {process.poll()})")
