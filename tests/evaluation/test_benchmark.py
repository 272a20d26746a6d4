"""Peak memory in `acvis benchmark memory`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from acvis_kit.evaluation.benchmark import _Peaks

MEASURE = """
import json
from acvis_kit.evaluation.benchmark import _Peaks
peaks = _Peaks()
peaks.progress("encode", 0, 4)
block = b"x" * 300_000_000
del block
peaks.progress("encode", 4, 4)
peaks.progress("decode", 0, 4)
peaks.progress("decode", 4, 4)
print(json.dumps(peaks.bytes()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not _Peaks.RESET.exists(), reason="only on Linux can the counter be reset")
def test_memory_is_attributed_to_the_stage_that_held_it_and_not_to_the_parent_process() -> None:
    large = bytearray(b"x") * 1_500_000_000  # a child started from here inherits this as its own ru_maxrss
    run = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    del large
    peaks = json.loads(run.stdout)
    assert list(peaks) == ["start", "encode", "decode", "track"]
    assert max(peaks.values()) < 1_400_000_000
    assert peaks["encode"] - peaks["start"] == pytest.approx(300_000_000, rel=0.05)
    assert peaks["decode"] < peaks["encode"] - 250_000_000
