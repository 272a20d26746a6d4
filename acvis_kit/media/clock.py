"""Time stamps that jump are made continuous, as FFmpeg makes them when it copies streams."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import Packet

# FFmpeg's limits (fftools/ffmpeg_demux.c, ts_discontinuity_detect): what exceeds them is a jump.
BACK = 0.1  # s before the stream's last stamp
FORWARD = 10.0  # s away from the stamp that was due, in formats whose stamps may jump (MPEG-TS and -PS, Ogg)


@dataclass
class Clock:
    """Shifts the stamps of a container's packets so that they go on where they jump.

    Recordings that were joined byte by byte (`cat a.ts b.ts`) begin their stamps anew, and so do recorders that were
    restarted. All streams are shifted by the same time, so that picture and sound stay together. Stamps without jumps
    are not touched. FFmpeg repairs the formats whose stamps `may_jump`; here a jump back is repaired in every format.

    Attributes:
        bases: per stream, seconds per unit of its time stamps.
        may_jump: whether the format permits jumps.
        jumps: how many were found.
    """

    bases: dict[int, float]
    may_jump: bool
    jumps: int = 0
    _shift: float = 0.0
    _last: float | None = None  # stamp of the last packet of any stream
    _at: dict[int, float] = field(default_factory=dict)  # per stream: stamp of its last packet
    _due: dict[int, float] = field(default_factory=dict)  # per stream: stamp that the next packet should have

    def repair(self, packet: Packet) -> None:
        """Shift the stamps of the next packet of the container, of a stream of picture or sound."""
        number = packet.stream_index
        base = self.bases.get(number)
        if not base or not packet.size:  # the empty packets at the end flush the decoders
            return
        dts, lasts = packet.dts, (packet.duration or 0) * base
        if dts is None:
            if number in self._due:
                self._at[number] = self._due[number]
                self._due[number] += lasts
        else:
            stamp = dts * base + self._shift
            jump = self._jump(number, stamp)
            if jump:
                self._shift -= jump
                self.jumps += 1
            self._last = self._at[number] = stamp - jump
            self._due[number] = self._at[number] + lasts
        if self._shift:
            _move(packet, round(self._shift / base))

    def _jump(self, number: int, stamp: float) -> float:
        """By how much the stamp of a stream's packet is off, in seconds; 0 where it is not."""
        if number in self._due:
            off = stamp - self._due[number]
            if stamp + BACK < self._at[number] or (self.may_jump and abs(off) > FORWARD):
                return off
        elif self._last is not None and self.may_jump and abs(stamp - self._last) > FORWARD:
            return stamp - self._last
        return 0.0


def _move(packet: Packet, ticks: int) -> None:
    packet.dts = None if packet.dts is None else packet.dts + ticks
    packet.pts = None if packet.pts is None else packet.pts + ticks
