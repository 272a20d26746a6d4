"""Run the notebooks and store their outputs so that they read well without a kernel: a maintainer's tool.

    python .ci/store_notebooks.py [notebooks/05_counting.ipynb ...]

Each Plotly figure gets a PNG beside its interactive form (drawn in a local Chromium by the Plotly that Python carries:
kaleido wants a browser of its own); live widgets, which mean nothing without their kernel, leave their still picture.
What differs from run to run (times, ids) is not stored. Without --draw-only the notebooks are executed first.
"""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from acvis_kit.viz.stills import drawing

ROOT = Path(__file__).parents[1]
PLOTLY, WIDGET, PNG = "application/vnd.plotly.v1+json", "application/vnd.jupyter.widget-view+json", "image/png"
SECONDS = 900  # a cell may take
LARGEST = 2_000_000  # bytes of a file


def main() -> None:
    """Execute, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, help="(all of them)")
    parser.add_argument("--draw-only", action="store_true", help="do not execute, only tidy what is stored")
    arguments = parser.parse_args()
    files = arguments.files or sorted((ROOT / "notebooks").glob("*.ipynb"))
    with drawing() as draw:
        for file in files:
            store(file, draw, execute=not arguments.draw_only)


def store(file: Path, draw: Callable[[dict[str, Any]], bytes], execute: bool = True) -> None:
    """One notebook."""
    notebook = nbformat.read(file, as_version=4)
    if execute:
        resources = {"metadata": {"path": str(file.parent)}}
        NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata = {k: v for k, v in cell.metadata.items() if k != "execution"}
            kept = [output for output in cell.outputs if output.get("name") != "stderr"]
            cell.outputs = [tidied(output, draw) for output in joined(kept)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = nbformat.writes(notebook, version=4).rstrip() + "\n"  # sources as lists of lines: differences stay readable
    if len(text.encode()) > LARGEST:
        raise SystemExit(f"{file} would have {len(text.encode())} bytes, the limit is {LARGEST}: store less")
    file.write_text(text, encoding="utf-8")
    print(f"{file.name}: {len(text.encode()) // 1000} kB")


def joined(outputs: list[Any]) -> list[Any]:
    """What was printed in one go as one output, however the kernel cut it."""
    kept: list[Any] = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def tidied(output: Any, draw: Callable[[dict[str, Any]], bytes]) -> Any:
    """An output as it is stored."""
    bundle = output.get("data")
    if bundle is None:
        return output
    bundle.pop(WIDGET, None)
    if PLOTLY in bundle:
        figure = bundle[PLOTLY]
        figure.pop("config", None)
        bundle[PNG] = base64.b64encode(smaller(draw(figure))).decode("ascii")
        bundle.pop("text/html", None)
    return output


def smaller(png: bytes) -> bytes:
    """The picture with a palette: figures have few colours."""
    import io

    from PIL import Image

    file = io.BytesIO()
    drawn = Image.open(io.BytesIO(png)).convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)  # figures may be transparent
    on_white.convert("RGB").quantize(128).save(file, "PNG", optimize=True)
    return file.getvalue()


if __name__ == "__main__":
    main()
