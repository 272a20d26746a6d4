"""Collect reports of `acvis evaluate --task avs --out FILE` for a card: python .ci/semantic_scores.py OUT NAME=FILE ...

Writes OUT, a JSON object with a report per name, and prints the card's table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from acvis_kit.evaluation.semantic_report import comparison_table


def main(out: str, *named: str) -> None:
    """Write and print; each of `named` is "row of the table=file"."""
    files = dict(text.rsplit("=", 1) for text in named)
    reports = {name: json.loads(Path(file).read_text(encoding="utf-8")) for name, file in files.items()}
    Path(out).write_text(json.dumps(reports, indent=1) + "\n", encoding="utf-8")
    print(comparison_table(reports))


if __name__ == "__main__":
    main(*sys.argv[1:])
