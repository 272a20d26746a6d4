"""How the notebooks are made and stored; that they run is checked by nbval in .ci/run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
PLOTLY = "application/vnd.plotly.v1+json"

if not NOTEBOOKS:
    pytest.skip("the notebooks are not part of an installed kit", allow_module_level=True)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def cells(request) -> list[dict]:
    return json.loads(request.param.read_text())["cells"]


def code(cells: list[dict]) -> list[str]:
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def outputs(cells: list[dict]) -> list[dict]:
    return [out for cell in cells if cell["cell_type"] == "code" for out in cell["outputs"]]


def without_magic(source: str) -> str:
    return re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE)


def test_there_are_fifteen_in_order() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02d}" for number in range(15)]


def test_every_code_cell_but_the_first_two_ends_in_an_assertion_or_a_checked_output(cells) -> None:
    for source in code(cells)[2:]:  # the first two install and import
        checked = source.startswith("# NBVAL_CHECK_OUTPUT")
        tree = ast.parse(without_magic(source))
        assert checked or isinstance(tree.body[-1], ast.Assert), source


def test_nothing_of_the_kit_is_defined_again(cells) -> None:
    for source in code(cells):
        assert not [node for node in ast.walk(ast.parse(without_magic(source))) if isinstance(node, ast.ClassDef)]


def test_each_shows_the_source_that_it_explains_an_equation_and_three_exercises(cells) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert "**The problem.**" in text and "$$" in text and "**What it shows.**" in text
    exercises = text.split("## Exercises")[1]
    assert re.findall(r"^(\d)\. ", exercises, flags=re.MULTILINE) == ["1", "2", "3"]
    quickstart = "Quickstart" in text
    assert quickstart or any("inspect.getsource" in source for source in code(cells))


def test_a_hosted_runtime_installs_the_kit_first(cells) -> None:
    assert "find_spec" in code(cells)[0] and "%pip install" in code(cells)[0]
    assert not any("assert " in source for source in code(cells)[:2])


def test_the_quickstart_needs_the_public_names_alone() -> None:
    trees = [ast.parse(without_magic(source)) for source in code(json.loads(NOTEBOOKS[0].read_text())["cells"])]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    kit = [ast.unparse(node) for node in imports if "acvis_kit" in ast.unparse(node)]
    assert kit == ["import acvis_kit as ak"]


def test_no_cell_holds_the_layout_of_a_plot(cells) -> None:
    assert not [source for source in code(cells) if "update_layout" in source or "plotly_white" in source]


def test_heat_maps_have_colour_bars_and_titles_on_the_axes_that_are_visible(cells) -> None:
    for figure in [output["data"][PLOTLY] for output in outputs(cells) if PLOTLY in output.get("data", {})]:
        traces, layout = figure["data"], figure["layout"]
        if not any(trace["type"] == "heatmap" for trace in traces):
            continue
        assert any("colorbar" in trace or "colorbar" in trace.get("marker", {}) for trace in traces)
        for letter in "xy":
            named = [layout[name] for name in layout if name.startswith(f"{letter}axis")]
            axes = [axis for axis in named if axis.get("visible", True)]
            assert not axes or any(axis.get("title", {}).get("text") or axis.get("ticktext") for axis in axes)


def test_outputs_are_stored_without_errors_and_figures_have_a_picture(cells) -> None:
    assert outputs(cells)
    for output in outputs(cells):
        assert output["output_type"] != "error"
        bundle = output.get("data", {})
        assert PLOTLY not in bundle or "image/png" in bundle
        assert "application/vnd.jupyter.widget-view+json" not in bundle


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_files_are_small(path: Path) -> None:
    assert path.stat().st_size < 2_000_000
