"""What the host waits for while it decodes on another device."""

from __future__ import annotations

import pytest
import torch

from acvis_kit.clip import Clip
from acvis_kit.inference.predictor import Predictor
from acvis_kit.models.acvis.model import ACVIS
from tests.device import DEVICE, Device


@pytest.mark.slow
def test_no_frame_is_waited_for_alone(tiny_model: ACVIS, noise_clip: Clip) -> None:
    """Encoding waits for nothing; decoding as often for two frames as for all, and the masks are the CPU's."""
    waits = []
    with Device() as device:
        there = Predictor(tiny_model, "keep", device=DEVICE)  # resizing 8 bit pixels rounds otherwise on a device
        for length in (2, len(noise_clip)):
            clip = Clip.from_arrays(noise_clip.frames[:length], noise_clip.waveform)
            device.reads.clear()
            features = there.encode(clip)
            assert not device.reads
            found = there.decode(features)
            waits.append(device.reads.total())
    expected = Predictor(tiny_model, "keep", frames_at_once=len(noise_clip))(noise_clip)
    assert found.tracks
    torch.testing.assert_close(found.scores, expected.scores)
    assert [track.label for track in found.tracks] == [track.label for track in expected.tracks]
    for one, other in zip(found.tracks, expected.tracks, strict=True):
        agreement = [float((one.mask(t) == other.mask(t)).mean()) for t in range(len(found))]
        assert min(agreement) > 0.999  # single pixels whose logit is next to 0
    assert waits[0] == waits[1] <= 14
