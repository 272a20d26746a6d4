"""Time stamps of decoded frames, and the clock of packets."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import av
import pytest

from acvis_kit.media.clock import Clock
from acvis_kit.media.decoding import _stamped


def times(stamps: list[float | None]) -> list[float]:
    """The times that frames with these stamps get, in a stream of 10 pictures per second that begins at 5 s."""
    stream = SimpleNamespace(type="video", guessed_rate=Fraction(10))
    frames = [SimpleNamespace(time=stamp) for stamp in stamps]
    return [round(time, 6) for time, _ in _stamped(frames, stream, zero=5.0)]  # type: ignore[arg-type]


def test_frames_are_timed_by_their_stamps_from_the_start_of_the_file():
    assert times([5.0, 5.1, 5.25]) == [0.0, 0.1, 0.25]


def test_stamps_out_of_order_are_sorted():
    assert times([5.0, 5.2, 5.1, 5.3]) == [0.0, 0.1, 0.2, 0.3]


@pytest.mark.parametrize("missing", [None, float("inf"), float("-inf"), float("nan")])
def test_a_stamp_that_is_missing_or_not_finite_is_guessed_from_the_rate(missing):
    """Damaged Theora files have infinite stamps."""
    assert times([5.0, missing, missing, 5.3]) == [0.0, 0.1, 0.2, 0.3]
    assert times([missing, 5.1]) == [0.0, 0.1]


def repaired(stamps: list[tuple[int, float | None]], may_jump: bool = True) -> tuple[list[float | None], int]:
    """The stamps of 0.1 s packets of streams 0 and 1 after repair, and the number of jumps."""
    clock = Clock({0: 0.001, 1: 0.001}, may_jump)
    result = []
    for number, stamp in stamps:
        packet = av.Packet(b"data")
        packet.time_base, packet.duration = Fraction(1, 1000), 100
        packet.dts = packet.pts = None if stamp is None else round(stamp * 1000)
        clock.repair(_numbered(packet, number))
        result.append(None if packet.pts is None else packet.pts / 1000)
    return result, clock.jumps


def _numbered(packet: av.Packet, number: int) -> SimpleNamespace:
    """PyAV sets the number of a packet's stream only in a container."""

    class Numbered:
        stream_index = number

        def __getattr__(self, name: str) -> object:
            return getattr(packet, name)

        def __setattr__(self, name: str, value: object) -> None:
            setattr(packet, name, value)

    return Numbered()  # type: ignore[return-value]


def test_a_small_step_back_is_no_jump():
    stamps: list[tuple[int, float | None]] = [(0, 1.0), (0, 1.1), (0, 1.05), (0, 1.2)]
    assert repaired(stamps) == ([1.0, 1.1, 1.05, 1.2], 0)


def test_a_step_back_of_more_than_a_tenth_is_a_jump_in_every_format():
    stamps = [(0, 1.0), (1, 1.0), (0, 1.1), (1, 1.1), (0, 0.0), (1, 0.0), (0, 0.1)]
    for may_jump in (True, False):
        assert repaired(stamps, may_jump) == ([1.0, 1.0, 1.1, 1.1, 1.2, 1.2, 1.3], 1)


def test_a_step_forward_of_more_than_ten_seconds_is_a_jump_where_stamps_may_jump():
    stamps = [(0, 1.0), (1, 1.0), (0, 1.1), (0, 9.0), (0, 50.0), (1, 50.0)]
    assert repaired(stamps) == ([1.0, 1.0, 1.1, 9.0, 9.1, 9.1], 1)
    assert repaired(stamps, may_jump=False) == ([1.0, 1.0, 1.1, 9.0, 50.0, 50.0], 0)


def test_a_stream_that_begins_far_from_the_others_is_moved_to_them():
    assert repaired([(0, 1.0), (0, 1.1), (1, 95_000.0)]) == ([1.0, 1.1, 1.1], 1)


def test_packets_without_stamps_keep_none():
    assert repaired([(0, 1.0), (0, None), (0, 1.2), (0, 0.0), (0, None)]) == ([1.0, None, 1.2, 1.3, None], 1)
