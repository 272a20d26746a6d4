"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "acvis_kit"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports go one way. What a part may not know:
FORBIDDEN = {
    ("models", "losses", "data", "media"): ("inference", "training", "weights", "cli", "app", "viz"),
    ("inference", "training", "weights"): ("cli", "app"),
    ("metrics", "media"): ("models",),
}


def imports(path: Path) -> set[str]:
    """Names of the kit's own parts that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "acvis_kit":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("acvis_kit.")}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for parts, unknown in FORBIDDEN.items():
        if part in parts:
            assert not imports(path) & set(unknown)


def test_every_room_has_tests() -> None:
    """tests mirrors the package: a folder of tests for each folder, a file for each module in the hall."""
    tests = ROOT / "tests"
    rooms = {path.parent.relative_to(PACKAGE) for path in MODULES} - {Path()}
    assert not [room for room in rooms if not list((tests / room).glob("**/test_*.py"))]
    assert not [path for path in PACKAGE.glob("[!_]*.py") if not (tests / f"test_{path.name}").is_file()]


def test_importing_the_kit_prints_nothing_and_needs_no_extra() -> None:
    """A machine for training may lack what reads videos and draws."""
    missing = ["gradio", "moviepy", "plotly", "av", "pycocotools", "accelerate", "transformers"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({missing})); import acvis_kit as ak; ak.ACVIS; ak.load_clip; "
        "ak.AudioEdit.mute(); ak.Predictor; ak.metrics.evaluate; import acvis_kit.evaluation.dataset, acvis_kit.cli"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def requirements(section: list[str]) -> dict[str, str]:
    """Name -> version specifier."""
    matches = [re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(.*)", line) for line in section]
    return {m[1]: m[2].strip() for m in matches}


def test_environment_yml_and_pyproject_pin_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = requirements(
        project["dependencies"] + [r for n in ("demo", "notebooks", "train", "test") for r in extras[n]]
    )
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip = environment["dependencies"][0], next(d for d in environment["dependencies"] if isinstance(d, dict))
    assert requirements(pip["pip"]) == wanted
    assert python == "python>=3.11,<3.13" and project["requires-python"] == ">=3.11,<3.13"


def test_the_top_level_is_as_agreed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    top = {line.split("/")[0] for line in tracked.stdout.splitlines()}
    allowed = {
        "acvis_kit", "notebooks", "space", "weights_card", "tests", "environment.yml", "pyproject.toml", "README.md",
        "LICENSE", "CITATION.cff",
    }  # fmt: skip
    assert not {name for name in top - allowed if not name.startswith(".")}


def test_the_readmes_commands_are_the_ones_that_ci_runs() -> None:
    """.ci/run takes the test command from the README itself, between two comments."""
    readme = (ROOT / "README.md").read_text()
    command = re.search(r"<!-- test command -->\n```bash\n(.+)\n```", readme)
    assert command and "pytest" in command[1]
    assert "<!-- test command -->" in (ROOT / ".ci/run").read_text()
