"""The house rules that a machine can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "acvis_kit"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Imports go down this list: a room may import those before it, never one behind it.
ORDER = (
    "errors", "files", "fields", "clip", "config", "distributed", "masks", "media", "models", "data", "losses",
    "weights", "inference", "metrics", "viz", "evaluation", "app", "training", "ablation", "cli",
)  # fmt: skip


def name_of(path: Path) -> str:
    """A module's name below acvis_kit; "" for acvis_kit itself, which imports nothing and is no room."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.partition(".")[0]


NAMES = {name_of(path) for path in MODULES}


def imports_of(path: Path) -> set[str]:
    """The kit's modules that a module imports, inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "acvis_kit":
            room = node.module.removeprefix("acvis_kit").strip(".")
            full = {f"{room}.{alias.name}".strip(".") for alias in node.names}
            found |= {name if name in NAMES else room for name in full}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("acvis_kit.") for a in node.names if a.name.startswith("acvis_kit.")}
    return found - {name_of(path), ""}


IMPORTS = {name_of(path): imports_of(path) for path in MODULES if name_of(path)}


def test_every_room_is_in_the_list() -> None:
    assert {room_of(name) for name in IMPORTS} == set(ORDER)


def test_imports_go_down_the_list() -> None:
    upwards = [
        (module, imported)
        for module, imports in IMPORTS.items()
        for imported in imports
        if ORDER.index(room_of(imported)) > ORDER.index(room_of(module))
    ]
    assert not upwards


def test_there_is_no_circle_of_imports() -> None:
    assert list(TopologicalSorter(IMPORTS).static_order())  # raises CycleError, which names the circle


def test_the_face_of_the_kit_is_used_by_two_modules() -> None:
    """`import acvis_kit` reaches every room, so it stands only where that is meant."""
    users = {
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(alias.name == "acvis_kit" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "acvis_kit" and node.names[0].name == "__version__")
    }
    assert users == {
        "cli.parser",  # --version
        "inference.clip_prediction",  # to_video opens viz when it is called
        "training.start",  # run.json names the version
    }


def test_one_name_is_one_thing() -> None:
    """No two classes or types of the kit share a name."""
    homes: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.name] if isinstance(node, ast.ClassDef) else []
            if isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            for name in names:
                if re.fullmatch(r"_?[A-Z]+[a-z]\w*", name):
                    homes.setdefault(name, []).append(name_of(path))
    assert not {name: places for name, places in homes.items() if len(places) > 1}


def opens_text(call: ast.Call) -> bool:
    """Whether a call reads or writes a text file without naming its encoding."""
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if isinstance(call.func, ast.Name):
        return call.func.id == "open" and not re.search("'[rwax][+]?b'", ast.unparse(call))
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr == "open":
        modules = ("av", "Image", "os")  # their `open` opens no text
        return ast.unparse(call.func.value) not in modules and not re.search("'[rwax][+]?b'", ast.unparse(call))
    return call.func.attr in ("read_text", "write_text")


def test_every_text_file_names_its_encoding() -> None:
    """ruff's PLW1514 holds this only where it knows that the object of a call is a path."""
    found = [
        f"{name_of(path)}: {ast.unparse(node)}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and opens_text(node)
    ]
    assert not found


def test_every_room_has_tests() -> None:
    """tests mirrors the package: a folder of tests for each folder, a file for each module in the hall."""
    tests = ROOT / "tests"
    rooms = {path.parent.relative_to(PACKAGE) for path in MODULES} - {Path()}
    assert not [room for room in rooms if not list((tests / room).glob("**/test_*.py"))]
    assert not [path for path in PACKAGE.glob("[!_]*.py") if not (tests / f"test_{path.name}").is_file()]


def modules_after(code: str) -> set[str]:
    """Names of what a fresh interpreter has imported when `code` has run; it must print and warn of nothing."""
    code += "\nimport sys\nsys.stdout.write(chr(10).join(sys.modules))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split("\n"))


def test_importing_the_kit_imports_nothing_else() -> None:
    """Public names load when they are first used."""
    own = {name for name in modules_after("import acvis_kit") if name.startswith("acvis_kit")}
    assert own == {"acvis_kit"}
    assert "torch" not in modules_after("import acvis_kit as ak; ak.PRESETS; ak.ACVISConfig(); ak.MediaError")


@pytest.mark.skipif(sys.platform == "win32", reason="there the name comes from the environment alone")
def test_a_user_without_a_name_can_use_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has no entry in /etc/passwd; torch names its cache after the user."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    nameless = "import pwd\ndef getpwuid(uid): raise KeyError(uid)\npwd.getpwuid = getpwuid\n"
    assert "torch._dynamo" in modules_after(f"{nameless}import acvis_kit, torch._dynamo")
    assert [path.name.partition("_")[0] for path in tmp_path.iterdir()] == ["torchinductor"]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["no-such-command"], ["predict"]])
def test_help_and_wrong_arguments_need_no_torch(arguments: list[str]) -> None:
    code = f"""
import contextlib, io
from acvis_kit.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    with contextlib.suppress(SystemExit):
        main({arguments})
"""
    heavy = {"torch", "numpy", "scipy", "gradio", "plotly", "av", "moviepy", "huggingface_hub"}
    assert not modules_after(code) & heavy


def test_a_small_network_needs_no_torchvision() -> None:
    """torchvision imports torch._dynamo, which takes longer than torch itself."""
    code = "import acvis_kit as ak; ak.Predictor(ak.load_model('acvis-synth-tiny')); ak.load_clip; ak.AudioEdit.mute()"
    slow = {"torchvision", "torch._dynamo", "scipy.optimize", "plotly", "gradio", "timm", "transformers"}
    assert not modules_after(code) & slow


def test_configurations_of_the_semantic_systems_need_no_torch() -> None:
    code = (
        "from acvis_kit.models.avsc.config import AVSC_PRESETS; from acvis_kit.models.ravs.config import RAVS_PRESETS"
    )
    assert "torch" not in modules_after(code)


def test_public_names_are_all_there_and_nothing_else_is() -> None:
    import acvis_kit as ak

    assert set(ak.__all__) <= set(dir(ak)) and all(getattr(ak, name) is not None for name in ak.__all__)
    with pytest.raises(AttributeError, match="no attribute 'predicter'"):
        ak.predicter  # noqa: B018
    hinted = set(re.findall(r"\w+", (PACKAGE / "__init__.py").read_text().split("__version__")[0]))
    assert set(ak.__all__) <= hinted  # imports for type checkers


def test_the_kit_needs_no_extra() -> None:
    """A machine for training may lack what reads videos and draws."""
    missing = ["gradio", "moviepy", "plotly", "av", "pycocotools", "accelerate", "transformers", "timm"]
    modules_after(
        f"import sys; sys.modules.update(dict.fromkeys({missing})); import acvis_kit as ak; ak.ACVIS; ak.load_clip; "
        "ak.AudioEdit.mute(); ak.Predictor; ak.metrics.evaluate; "
        "import acvis_kit.evaluation.dataset, acvis_kit.training, acvis_kit.data.synth.writer, acvis_kit.cli"
    )


def requirements(section: list[str]) -> dict[str, str]:
    """Name -> version specifier."""
    matches = [re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?\s*(.*)", line) for line in section]
    return {m[1]: m[2].strip() for m in matches}


def test_environment_yml_and_pyproject_pin_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = requirements(
        project["dependencies"] + [r for n in ("avs", "demo", "notebooks", "train", "test") for r in extras[n]]
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
