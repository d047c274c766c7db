"""One RTP stream: who sends what to whom, its figures, its packets as a table, its sound, its digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labkit.capture.info import shown
from labkit.capture.layers import Layers
from labkit.capture.payload_types import PayloadTypes
from labkit.capture.records import Ints
from labkit.capture.rtp_analysis import COMFORT_NOISE, Analysis, Floats, analyse
from labkit.errors import MediaError
from labkit.media.rtp import RtpHeader, TelephoneEvent
from labkit.media.wav import Sound, save_wav
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.player import Player
    from labkit.capture.rtp_plot import Plot

OK = "✓"
COLUMNS = (
    "Start time",
    "End time",
    "Src IP addr",
    "Src Port",
    "Dest IP addr",
    "Dest Port",
    "SSRC",
    "Payload",
    "Pkts",
    "Lost",
    "Min Delta(ms)",
    "Mean Delta(ms)",
    "Max Delta(ms)",
    "Min Jitter(ms)",
    "Mean Jitter(ms)",
    "Max Jitter(ms)",
    "Problems?",
)
"""Of ``tshark -z rtp,streams``, which calls both ports just "Port"."""


@dataclass(frozen=True, eq=False)
class RtpStream:
    """Packets of one SSRC from one address and port to another, in order of arrival.  Arrays have one entry a packet."""

    layers: Layers
    source: tuple[str, int]
    destination: tuple[str, int]
    ssrc: int
    payload_types: PayloadTypes
    frame: Ints
    """Index of the packet in the capture (its number minus one)."""
    time: Floats
    """Seconds since the first packet of the capture."""
    sequence: Ints
    timestamp: Ints
    payload_type: Ints
    marker: Ints
    size: Ints
    """Bytes of RTP."""
    speaker: str = ""
    """The host it comes from, by name where the capture names it; ``listener`` is where it goes."""
    listener: str = ""

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def title(self) -> str:
        """Where from, where to, and the payload types."""
        (source, sport), (destination, dport) = self.source, self.destination
        return f"{source}:{sport} → {destination}:{dport}  {self.payload}"

    @property
    def start(self) -> float:
        """Seconds since the first packet of the capture."""
        return float(self.time[0])

    @property
    def end(self) -> float:
        return float(self.time[-1])

    @cached_property
    def payload(self) -> str:
        """The payload types, named as Wireshark's list names them."""
        return ", ".join(self.payload_types.short(number) for number in np.unique(self.payload_type).tolist())

    @cached_property
    def codec(self) -> str:
        """The encoding name of the type that most packets have."""
        return self.payload_types.shown(int(np.bincount(self.payload_type).argmax()))

    @cached_property
    def figures(self) -> Analysis:
        """Wireshark's figures of the stream."""
        return self.analyse()

    def analyse(self, *, older: bool = False) -> Analysis:
        """The figures; ``older`` as Wireshark before 4.0 took timestamps (:mod:`labkit.capture.rtp_analysis`)."""
        clocks = np.array([self.payload_types.clock(number) for number in range(128)])
        return analyse(
            self.time * 1000.0,
            self.sequence,
            self.timestamp,
            self.payload_type,
            self.marker,
            self.size,
            clocks[self.payload_type],
            older=older,
        )

    def row(self) -> tuple[object, ...]:
        """The stream in the list of streams, under :data:`COLUMNS`."""
        f = self.figures
        return (
            self.start,
            self.end,
            *self.source,
            *self.destination,
            f"0x{self.ssrc:08X}",
            self.payload,
            len(self),
            f.lost,
            f.deltas.minimum,
            f.deltas.mean,
            f.deltas.maximum,
            f.jitters.minimum,
            f.jitters.mean,
            f.jitters.maximum,
            "X" if f.problem else "",
        )

    @property
    def analysis(self) -> pd.DataFrame:
        """The packets under the columns of Wireshark's RTP Stream Analysis."""
        from labkit.capture.table import table

        f = self.figures
        return table(
            {
                "Packet": self.frame + 1,
                "Sequence": self.sequence,
                "Delta (ms)": f.delta,
                "Jitter (ms)": f.jitter,
                "Skew (ms)": f.skew,
                "Bandwidth (kbit/s)": f.bandwidth,
                "Marker": np.where(self.marker == 1, "*", ""),
                "Status": self.statuses(),
            },
            caption="capture.table_analysis",
            stream=self.title,
        )

    def statuses(self) -> list[str]:
        """Wireshark's remark on every packet, ``✓`` when it has none."""
        f, marked = self.figures, self.marker.tolist()
        wrong, incorrect = f.wrong_sequence.tolist(), f.wrong_timestamp.tolist()
        remarks, voice, before = [], -1, -1
        for place, number in enumerate(self.payload_type.tolist()):
            event = self.payload_types.is_event(number)
            changed = number not in COMFORT_NOISE and voice not in (-1, number)
            if number in COMFORT_NOISE:
                remarks.append(f"Comfort noise (PT={number}, {'RFC 3389' if number == 13 else 'reserved'})")
            elif wrong[place]:
                remarks.append("Wrong sequence number")
            elif changed:
                remarks.append(f"Payload changed to PT={number}" + (" telephone/event" if event else ""))
            elif incorrect[place]:
                remarks.append("Incorrect timestamp")
            elif before in COMFORT_NOISE and not marked[place]:
                remarks.append("Marker missing?")
            else:
                remarks.append(f"PT={number} telephone/event" if event and place else OK)
            voice = voice if number in COMFORT_NOISE else number
            before = number
        return remarks

    def packets(self) -> list[tuple[RtpHeader, bytes] | None]:
        """(header, payload) of every packet; ``None`` for one whose length fields lie."""
        found: list[tuple[RtpHeader, bytes] | None] = []
        for index in self.frame.tolist():
            try:
                found.append(RtpHeader.parse(self.layers.bytes_of(index)))
            except MediaError:
                found.append(None)
        return found

    @cached_property
    def digits(self) -> str:
        """The keys pressed, from telephone-events (RFC 4733): one digit for all reports of one timestamp."""
        pressed: dict[int, str] = {}
        events = [self.payload_types.is_event(number) for number in self.payload_type.tolist()]
        for event, packet in zip(events, self.packets(), strict=True):
            if event and packet is not None and len(packet[1]) >= 4:
                pressed.setdefault(packet[0].timestamp, TelephoneEvent.parse(packet[1]).digit)
        return "".join(pressed.values())

    @cached_property
    def sound(self) -> Sound:
        """The decoded voice on the stream's own clock; lost packets and silences are silent.  :class:`MediaError` for an unknown codec."""
        from labkit.capture.audio import decode_stream

        return decode_stream(self)

    def samples(self) -> Any:
        """The decoded voice as 16-bit samples; their rate is ``sound.rate_hz``."""
        return self.sound.samples

    def wav(self, path: str | Path) -> Path:
        """Save the decoded voice as a WAV file."""
        return save_wav(path, self.sound.samples, self.sound.rate_hz)

    def audio(self) -> Player:
        """A player for the notebook, which says who speaks to whom."""
        from labkit.capture.player import Player

        sound = self.sound
        speaker, listener = self.speaker or self.source[0], self.listener or self.destination[0]
        return Player(
            sound, text("capture.voice", speaker=speaker, listener=listener, codec=shown(self.codec), seconds=f"{sound.seconds:.1f}")
        )

    def plot(self) -> Plot:
        """Delta and jitter over time."""
        from labkit.capture.rtp_plot import plot

        return plot(self)

    def __repr__(self) -> str:
        (source, sport), (destination, dport) = self.source, self.destination
        f = self.figures
        return (
            f"<RtpStream {source}:{sport} -> {destination}:{dport} 0x{self.ssrc:08X} {self.payload}, {len(self)} packets, "
            f"{f.lost} lost, jitter mean {f.jitters.mean:.2f} max {f.jitters.maximum:.2f} ms>"
        )

    def _repr_html_(self) -> str:
        from labkit.capture.table import html_table

        return html_table(COLUMNS, [self.row()], text("capture.table_stream", stream=self.title))
