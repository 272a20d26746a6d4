"""The Space: its front matter is valid, its pins agree with the kit, and the wheel starts it in a new environment."""

from __future__ import annotations

import os
import re
import site
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SPACE = ROOT / "space"


def front_matter() -> dict[str, object]:
    text = (SPACE / "README.md").read_text()
    return yaml.safe_load(re.match(r"---\n(.+?)\n---\n", text, re.S)[1])


def test_the_front_matter_is_what_a_space_needs() -> None:
    card = front_matter()
    assert card["sdk"] == "gradio" and re.fullmatch(r"6\.\d+\.\d+", card["sdk_version"])
    assert card["python_version"] in ("3.11", "3.12")
    assert (SPACE / card["app_file"]).is_file()
    assert card["models"] == ["acvis-kit/acvis-synth-tiny"] and card["suggested_hardware"]
    assert len(card["short_description"]) <= 60
    assert card["colorFrom"] in ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def test_the_pins_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    assert f"./acvis_kit-{project['version']}-py3-none-any.whl" in lines
    assert f"gradio=={front_matter()['sdk_version']}" in lines


def test_the_space_starts_from_the_wheel_in_a_new_environment(tmp_path: Path) -> None:
    """The kit's code comes from the wheel alone; its dependencies, 5 GB, are lent from this environment."""
    pytest.importorskip("gradio")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    built = subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", tmp_path, ROOT], capture_output=True, text=True)
    if built.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"the wheel cannot be built here: {built.stderr.strip().splitlines()[-1]}")
    (wheel,) = tmp_path.glob("*.whl")
    assert f"./{wheel.name}" in (SPACE / "requirements.txt").read_text()

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(site.getsitepackages()))
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment = {**kept, "ACVIS_WEIGHTS": "random", "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    (tmp_path / "app.py").write_bytes((SPACE / "app.py").read_bytes())
    running = subprocess.Popen([tmp_path / "venv/bin/python", "app.py"], cwd=tmp_path, env=environment)
    try:
        page = fetched(f"http://127.0.0.1:{port}/", running)
    finally:
        running.terminate()
        running.wait()
    assert "Hear what the model hears" in page


def fetched(url: str, process: subprocess.Popen, patience: float = 180) -> str:
    end = time.monotonic() + patience
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(1)
    raise AssertionError(f"the Space did not answer (exit status {process.poll()})")
