"""A jitter buffer, simulated: what a phone with a fixed buffer of so many milliseconds would have played, and how late.

The first packet of a talk spurt (the first of the stream, one with the marker, or one whose clock was set anew) waits ``size_ms``; every
other packet is due at the same distance from its RTP timestamp (RFC 3550 §6.4.1 gives the transit time used here).  A packet that comes
after it is due is late, and a late packet is as good as lost.  Doubles are ignored, telephone-events are not voice.  Adaptive buffers,
which change their size while they play, are not simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.rtp_analysis import COMFORT_NOISE, Flags, Floats, extended_sequence
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    from labkit.capture.records import Ints
    from labkit.capture.rtp_plot import Plot
    from labkit.capture.rtp_stream import RtpStream

SIZES_MS = (0, 10, 20, 30, 40, 60, 80, 100, 150, 200)
CLOCK_SET_ANEW_MS = 2000.0
"""Timestamps that leave the arrival times by more than this begin a talk spurt."""
RESOLUTION_MS = 1e-3
"""Of most captures: what is late by no more is not late."""
COLUMNS = ("Buffer (ms)", "Packets", "Lost", "Late", "Late (%)", "Loss with late (%)", "Mean delay (ms)")


@dataclass(frozen=True, eq=False)
class JitterBuffer:
    """A fixed buffer of ``size_ms`` over one stream."""

    size_ms: float
    packets: int
    """Voice packets received, doubles not counted."""
    lost: int
    """Voice packets that never came."""
    late: Flags
    """One entry a packet of the stream: whether it came after it was due."""
    mean_delay_ms: float
    """Time that the packets played in time waited in the buffer; 0 when none was."""

    @property
    def late_packets(self) -> int:
        return int(self.late.sum())

    @property
    def late_loss(self) -> float:
        """Late packets in per cent of those sent."""
        return self._per_cent(self.late_packets)

    @property
    def loss(self) -> float:
        """Lost and late packets in per cent of those sent: what the ear misses."""
        return self._per_cent(self.lost + self.late_packets)

    def _per_cent(self, count: int) -> float:
        return 100.0 * count / max(self.packets + self.lost, 1)

    def row(self) -> tuple[object, ...]:
        """Under :data:`COLUMNS`."""
        return self.size_ms, self.packets, self.lost, self.late_packets, self.late_loss, self.loss, self.mean_delay_ms

    def __str__(self) -> str:
        return text(
            "stream.buffer",
            size=f"{self.size_ms:g}",
            late=self.late_packets,
            packets=self.packets,
            late_loss=f"{self.late_loss:.2f}",
            loss=f"{self.loss:.2f}",
            delay=f"{self.mean_delay_ms:.1f}",
        )

    def __repr__(self) -> str:
        return f"<JitterBuffer {self}>"

    def _repr_html_(self) -> str:
        from labkit.capture.table import html_table

        return html_table(COLUMNS, [self.row()], str(self))


@dataclass(frozen=True, eq=False)
class JitterBuffers:
    """One stream through buffers of several sizes."""

    stream: RtpStream
    buffers: tuple[JitterBuffer, ...]

    @property
    def table(self) -> object:
        """A DataFrame under :data:`COLUMNS`."""
        from labkit.capture.table import table

        return table([buffer.row() for buffer in self.buffers], COLUMNS, caption="stream.table_buffers", stream=self.stream.title)

    def plot(self) -> Plot:
        """Late loss and mean delay over the size of the buffer."""
        from labkit.capture.rtp_plot import plot_buffers

        return plot_buffers(self)

    def __str__(self) -> str:
        return "\n".join(str(buffer) for buffer in self.buffers)

    def __repr__(self) -> str:
        return f"<JitterBuffers {self.stream.title}: {', '.join(f'{b.size_ms:g} ms {b.late_loss:.2f} %' for b in self.buffers)}>"

    def _repr_html_(self) -> str:
        from labkit.capture.table import html_table

        return html_table(COLUMNS, [b.row() for b in self.buffers], text("stream.table_buffers", stream=self.stream.title))


def simulate(stream: RtpStream, size_ms: float) -> JitterBuffer:
    """``stream`` through a fixed buffer; :class:`CaptureError` for a size that is no length of time."""
    return simulate_sizes(stream, (size_ms,)).buffers[0]


def simulate_sizes(stream: RtpStream, sizes_ms: Sequence[float] = SIZES_MS) -> JitterBuffers:
    """The same for several sizes."""
    for size in sizes_ms:
        check_size(size)
    voice = _voice(stream)
    extra = _lateness(stream, voice)
    # RFC 3550 A.3 counts from the first packet: one that it overtook makes the count negative.
    lost = max(stream.figures.lost_rfc, 0) if len(voice) else 0
    buffers = []
    for size in sizes_ms:
        in_time = extra <= size + RESOLUTION_MS
        late = np.zeros(len(stream), np.bool_)
        late[voice[~in_time]] = True
        delay = float(np.mean(size - extra[in_time])) if in_time.any() else 0.0
        buffers.append(JitterBuffer(float(size), len(voice), lost, late, delay))
    return JitterBuffers(stream, tuple(buffers))


def check_size(given: object) -> None:
    """Raise :class:`CaptureError` for what is no number of milliseconds from 0 to a minute."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 60_000:
        raise CaptureError("stream.not_a_size", given=given)


def _voice(stream: RtpStream) -> Ints:
    """Places of the packets that carry voice, each sequence number once, in order of arrival."""
    extended = extended_sequence(stream.sequence)
    _, first = np.unique(extended, return_index=True)
    kinds = [kind for kind in np.unique(stream.payload_type).tolist() if stream.payload_types.clock(kind) and kind not in COMFORT_NOISE]
    wanted = np.isin(stream.payload_type, kinds)
    wanted[np.isin(stream.payload_type, stream.foreign_types)] = False
    places: Ints = np.sort(first[wanted[first]])
    return places


def _lateness(stream: RtpStream, voice: Ints) -> Floats:
    """Milliseconds by which each voice packet's transit exceeds that of the first packet of its talk spurt, in order of arrival."""
    if not len(voice):
        return np.empty(0)
    clocks = np.array([stream.payload_types.clock(number) or 8000 for number in range(128)], np.float64)
    arrival = stream.time[voice] * 1000.0
    # RFC 3550 A.1 does for timestamps what it does for sequence numbers: differences are signed.
    step = np.diff(stream.timestamp[voice]) & 0xFFFFFFFF
    step = np.where(step >= 1 << 31, step - (1 << 32), step)
    nominal = np.concatenate(([0.0], np.cumsum(step / clocks[stream.payload_type[voice[1:]]]))) * 1000.0
    transit = arrival - nominal
    first = stream.marker[voice] == 1
    first[1:] |= np.abs(np.diff(transit)) > CLOCK_SET_ANEW_MS
    first[0] = True
    anchor = np.maximum.accumulate(np.where(first, np.arange(len(voice)), 0))
    late: Floats = transit - transit[anchor]
    return late
