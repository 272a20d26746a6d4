"""What a machine with a GPU is asked once: parity, the table of speeds, training. At most 4 minutes.

python .ci/measure_on_gpu.py weights_card/speed.md [REVISION, where it is no git repository]

Needs torch, torchvision, torchaudio, accelerate, transformers, scipy, safetensors, tqdm and huggingface_hub; rows whose
package is missing say so.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from acvis_kit.config import PRESETS
from acvis_kit.evaluation import benchmark
from acvis_kit.inference.predictor import Predictor
from acvis_kit.metrics.speed import measure as measure_metrics
from acvis_kit.models.acvis.model import ACVIS
from acvis_kit.models.layers import deform_attn
from acvis_kit.training import speed as training
from acvis_kit.training.start import git_revision

SIZE = (448, 800)
LIMIT = 165  # seconds, after which no further section begins


def in_row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def table(*head: str) -> list[str]:
    """The first two lines of a table."""
    return [in_row(*head), "|" + "---|" * len(head)]


@contextlib.contextmanager
def plain_sampling() -> Iterator[None]:
    """Context in which deformable attention samples without its kernel."""
    kernel, deform_attn._kernel = deform_attn._kernel, lambda: None
    try:
        yield
    finally:
        deform_attn._kernel = kernel


def parity() -> list[str]:
    """Features of a frame with the kernel, on the GPU, beside those without, and beside the CPU's."""
    torch.manual_seed(0)
    model = ACVIS(PRESETS["acvis-r50"]).eval()
    frames = torch.randint(0, 256, (2, 3, 224, 384), dtype=torch.uint8)

    def fine(device: str, dtype: str) -> torch.Tensor:
        features = Predictor(model, short_side="keep", device=device, dtype=dtype).encode(frames)
        return torch.cat([chunk.fine.float() for chunk in features.chunks("cpu")])

    expected = fine("cpu", "float32")
    lines = table("features of acvis-r50, relative error", "beside the CPU", "beside the plain path")
    for dtype in ("float32", "bfloat16"):
        found = fine("cuda", dtype)
        with plain_sampling():
            plain = fine("cuda", dtype)
        errors = [float((found - other).norm() / other.norm()) for other in (expected, plain)]
        lines.append(in_row(dtype, *(f"{error:.1e}" for error in errors)))
    return lines


def inference() -> list[str]:
    """Frames a second, beside Mask2Former at its best batch size."""
    head = ("encode, ms", "decode, ms", "frames/s", "Mask2Former, frames/s", "ratio of times")
    lines = table(f"{SIZE[0]}x{SIZE[1]}, 60 frames, 8 tracks", *head)
    cases = [("acvis-r50", "bfloat16", True), ("acvis-r50", "float32", False), ("acvis-swin-l", "bfloat16", False)]
    for preset, dtype, peer in cases:
        chosen = None if dtype == "float32" else torch.bfloat16
        row = benchmark.speed(preset, 60, 4, peer=peer, device="cuda", dtype=chosen, size=SIZE)
        beside = ["", ""]
        if peer:
            at_best = row[f"{row['peer']}_s_per_frame"]
            beside = [f"{1 / at_best:.0f} (batch {row['peer_batch']})", f"{row['ratio_to_peer']:.2f}"]
        times = [f"{1000 * row[f'{what}_s_per_frame']:.1f}" for what in ("encode", "decode")]
        lines.append(in_row(f"{preset} {dtype}", *times, f"{row['frames_per_second']:.0f}", *beside))
    with plain_sampling():
        row = benchmark.speed("acvis-r50", 60, 4, peer=False, device="cuda", dtype=torch.bfloat16, size=SIZE)
    plain = f"{1000 * row['encode_s_per_frame']:.1f}"
    lines.append(in_row("acvis-r50 bfloat16, without the kernel", plain, "", f"{row['frames_per_second']:.0f}", "", ""))
    return lines


def train() -> list[str]:
    """Some seconds of steps each; the loss must stay finite."""
    lines = table("training", "batch", "s a step", "of it waiting", "frames/s", "loss", "GPU, GB")
    cases = [
        ("acvis-r50", (360, 640), None, "float32", 9), ("acvis-r50", (360, 640), 16, "bf16", 9),
        ("acvis-synth-tiny", (128, 128), None, "bf16", 20), ("acvis-synth-tiny", (128, 128), 32, "bf16", 9),
    ]  # fmt: skip
    for preset, size, batch, precision, seconds in cases:
        row = training.measure(preset, size, batch, 500, seconds, precision, workers=8, matmul="high")
        numbers = [f"{row[f'{what}_per_step']:.3f}" for what in ("seconds", "waiting")]
        numbers += [f"{row['frames_per_second']:.0f}", f"{row['loss']:.3f}", f"{row['gpu_peak_gb']:.1f}"]
        lines.append(in_row(f"{preset} {precision}, {row['steps']} steps", str(row["batch"]), *numbers))
    return lines


def memory() -> list[str]:
    """Of a long clip."""
    row = benchmark.memory("acvis-r50", 600, SIZE, "cuda")
    peaks = f"{row['gpu_peak_gb']:.1f} GB of the GPU, {row['peak_gb']:.1f} GB of the host"
    return [f"600 frames of {SIZE[0]}x{SIZE[1]}: {peaks}."]


def synth() -> list[str]:
    """Clips a second and worker."""
    row = benchmark.synth(clips=160, workers=16)
    return [f"acvis synth, 16 workers: {row['clips_per_second_per_worker']:.1f} clips/s a worker (10 s, 128 px)."]


def metrics() -> list[str]:
    """205 videos of 60 frames of 720p."""
    row = measure_metrics()
    return [f"metrics, {row['masks']} masks: paper {row['seconds']:.2f} s, official {row['official_seconds']:.2f} s."]


def main() -> None:
    """Write the sections that fit the time."""
    began = time.monotonic()
    revision = sys.argv[2] if len(sys.argv) > 2 else git_revision() or "?"
    lines = [
        "# Speed on a GPU",
        "",
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, revision {revision}.",
    ]
    sections: list[Callable[[], list[str]]] = [inference, train, parity, synth, memory, metrics]
    for section in sections:
        left = LIMIT - (time.monotonic() - began)
        try:
            found = section() if left > 0 else ["not measured: no time was left"]
        except Exception as error:  # a section that fails must not cost the others
            traceback.print_exc()
            found = [f"not measured: {type(error).__name__}: {error}"]
        lines += ["", f"## {section.__name__}", "", *found]
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print("\n".join(found), f"({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
