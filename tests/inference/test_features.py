"""Features stay within their memory budget and delete their temporary files."""

import gc
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.inference.features import MEGABYTE, VisualFeatures
from acvis_kit.models.encoders.pixel_decoder import PixelFeatures
from tests.device import DEVICE, Device


def chunk(value: float, frames: int = 2, device: torch.device | str = "cpu") -> PixelFeatures:
    """Features of 1 MB per frame."""
    fine = torch.full((frames, 4, 256, 256), float(value)).to(device)
    return PixelFeatures((fine[:, :, :1, :1], fine[:, :, :2, :2], fine[:, :, :4, :4]), fine)


def test_features_beyond_the_budget_are_on_disk_and_are_returned_in_order() -> None:
    features = VisualFeatures((8, 8), (8, 8), budget_mb=4.5)
    for value in range(4):
        features.append(chunk(value))
    assert len(features) == 8 and [len(chunk.fine) for chunk in features.chunks("cpu")] == [2, 2, 2, 2]
    assert features.bytes_in_memory <= 4.5 * MEGABYTE < features.bytes_in_memory + features.bytes_on_disk
    for value, back in enumerate(features.chunks("cpu")):
        assert torch.equal(back.fine, chunk(value).fine)
        assert all(torch.equal(a, b) for a, b in zip(back.scales, chunk(value).scales, strict=True))


def test_features_of_a_device_stay_there_up_to_its_budget_then_on_the_host_then_on_disk() -> None:
    with Device():
        features = VisualFeatures((8, 8), (8, 8), budget_mb=4.5, device_budget_mb=6.5)
        for value in range(6):
            features.append(chunk(value, device=DEVICE))
        sizes = (features.bytes_on_device, features.bytes_in_memory, features.bytes_on_disk)
        assert [size // (2 * MEGABYTE) for size in sizes] == [3, 2, 1]
        assert "6.3 MB on the device, 4.2 MB in memory, 2.1 MB on disk" in repr(features)
        for value, back in enumerate(features.chunks(DEVICE)):
            assert {tensor.device for tensor in (back.fine, *back.scales)} == {DEVICE}
            assert torch.equal(back.fine.cpu(), chunk(value).fine)


def test_the_clip_counts_towards_the_budget() -> None:
    clip = Clip.from_arrays(torch.zeros(8, 3, 500, 500, dtype=torch.uint8))  # 6 MB
    features = VisualFeatures((500, 500), (8, 8), clip=clip, budget_mb=12)
    for value in range(4):
        features.append(chunk(value))
    assert features.bytes_in_memory + clip.frames.nbytes + clip.waveform.nbytes <= 12 * MEGABYTE
    assert (features.bytes_in_memory > 0, features.bytes_on_disk > 0) == (True, True)


def test_the_temporary_folder_is_deleted_with_the_features(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    features = VisualFeatures((8, 8), (8, 8), budget_mb=0)
    features.append(chunk(1))
    assert list(tmp_path.iterdir())
    del features
    gc.collect()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/maps")
def test_features_on_disk_are_mapped_and_take_no_heap_memory(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    features = VisualFeatures((8, 8), (8, 8), budget_mb=0)
    features.append(chunk(1))

    def mapped() -> bool:
        return str(tmp_path) in Path("/proc/self/maps").read_text(encoding="utf-8")

    for back in features.chunks("cpu"):
        assert mapped() and back.fine.sum() == back.fine.numel()
    del back
    assert not mapped()


def test_features_are_displayed_in_a_line() -> None:
    features = VisualFeatures((8, 8), (6, 9), budget_mb=2.5)
    features.append(chunk(1.0))
    assert repr(features) == "VisualFeatures(2 frames of 6x9, 2.1 MB in memory)"
    features.append(chunk(1.0))
    assert repr(features) == "VisualFeatures(4 frames of 6x9, 2.1 MB in memory, 2.1 MB on disk)"
