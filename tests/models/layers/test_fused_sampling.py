"""The kernel gives what the plain functions give, gradients included, in Triton's interpreter on a CPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from acvis_kit.models.layers import deform_attn
from acvis_kit.models.layers.deform_attn import DeformableAttention

pytest.importorskip("triton")
ROOT = Path(__file__).parents[3]

PARITY = """
import torch
from acvis_kit.models.layers.deform_attn import _over_samples, sample_grid
from acvis_kit.models.layers.fused_sampling import sample

def compare(shapes, clips, queries, heads, dim, points, spread):
    g = torch.Generator().manual_seed(0)
    size = torch.tensor(shapes, dtype=torch.float32)
    drawn = (clips, queries, heads, len(shapes), points)
    unit = torch.rand(2, *drawn, generator=g) * spread - (spread - 1) / 2
    inputs = [
        torch.randn(clips, sum(h * w for h, w in shapes), heads, dim, generator=g),
        unit[0] * size[:, 1:] - 0.5, unit[1] * size[:, :1] - 0.5, torch.randn(*drawn, generator=g),
    ]
    towards = torch.randn(clips, queries, heads * dim, generator=g)
    found = []
    for function in (sample, lambda v, s, x, y, logits: sample_grid(v, s, x, y, _over_samples(logits))):
        values, x, y, logits = (tensor.clone().requires_grad_() for tensor in inputs)
        out = function(values, shapes, x, y, logits)
        out.backward(towards)
        found.append([out.detach(), values.grad, x.grad, y.grad, logits.grad])
    for name, ours, plain in zip(("out", "values", "x", "y", "logits"), *found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5, msg=lambda text: name + ": " + text)

compare([(2, 3), (4, 6), (8, 12)], 2, 37, 2, 8, 2, 1.4)  # 37 tokens: one whole block of 32 and a part
compare([(3, 2), (5, 4)], 1, 5, 3, 6, 3, 8.0)  # neither 6 channels nor 6 samples are a power of two; far outside
"""


@pytest.mark.slow
def test_the_kernel_agrees_with_the_plain_path_and_so_do_its_gradients() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", PARITY], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cpu_takes_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deform_attn, "_kernel", lambda: pytest.fail("a CPU has no kernel"))
    attention = DeformableAttention(16, 2, 1, 2)
    tokens = torch.randn(1, 6, 16)
    assert attention(tokens, torch.rand(6, 2), tokens, [(2, 3)]).shape == (1, 6, 16)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_the_layer_with_the_kernel_agrees_with_the_layer_without(dtype, monkeypatch) -> None:
    torch.manual_seed(0)
    shapes = [(4, 6), (8, 12), (16, 24)]
    attention = DeformableAttention(256, 8, 3, 4).cuda()
    torch.nn.init.normal_(attention.sampling_offsets.weight, std=0.1)
    tokens = torch.randn(2, sum(h * w for h, w in shapes), 256, device="cuda", requires_grad=True)
    reference = torch.rand(tokens.shape[1], 2, device="cuda")
    found = []
    for kernel in (deform_attn._kernel, lambda: None):
        monkeypatch.setattr(deform_attn, "_kernel", kernel)
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            out = attention(tokens, reference, tokens, shapes)
        (gradient,) = torch.autograd.grad(out.float().square().sum(), tokens)
        found.append((out.float(), gradient))
    tolerance = 2e-3 if dtype == torch.float32 else 0.2  # the plain path rounds positions to bfloat16
    for ours, plain in zip(*found, strict=True):
        assert (ours - plain).norm() < tolerance * plain.norm()
