"""How nbval compares: run with `pytest --nbval-lax notebooks`; only cells marked NBVAL_CHECK_OUTPUT are compared."""

from __future__ import annotations

from typing import Any

OUTPUT_SECONDS = 120  # nbval waits 5 for an output; a busy machine needs more


def pytest_collectstart(collector: Any) -> None:
    """Warnings and progress bars are not part of what a cell says."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = (*collector.skip_compare, "stderr")


def pytest_runtest_setup(item: Any) -> None:
    """Be patient."""
    if hasattr(item, "output_timeout"):
        item.output_timeout = OUTPUT_SECONDS
