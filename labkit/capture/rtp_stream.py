"""One RTP stream: who sends what to whom, its figures, its packets as a table, its sound, its digits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
from labkit.media.rtp import FIXED_HEADER, RtpHeader, TelephoneEvent
from labkit.media.wav import Sound, save_wav
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.jitter_buffer import JitterBuffer, JitterBuffers
    from labkit.capture.mos import EModel
    from labkit.capture.player import Player
    from labkit.capture.rtp_explanation import JitterExplanation
    from labkit.capture.rtp_plot import Plot
    from labkit.capture.waveform import Waveform

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
    rtcp: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """Index of every RTCP packet of the capture."""
    whole: RtpStream | None = None
    """The stream that this one is without its foreign payload types."""

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
        return ", ".join(self.payload_types.short(number) for number in np.flatnonzero(np.bincount(self.payload_type)).tolist())

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
        found = analyse(
            self.time * 1000.0,
            self.sequence,
            self.timestamp,
            self.payload_type,
            self.marker,
            self.size,
            clocks[self.payload_type],
            older=older,
        )
        if self.whole is None:
            return found
        # What was left out had sequence numbers: they are not lost.
        whole = self.whole.figures
        kept = np.isin(self.whole.frame, self.frame)
        return replace(
            found,
            wrong_sequence=found.wrong_sequence & whole.wrong_sequence[kept],
            expected=len(self) + whole.lost,
            lost=whole.lost,
            lost_rfc=whole.lost_rfc,
            duplicates=whole.duplicates,
        )

    @cached_property
    def foreign_types(self) -> tuple[int, ...]:
        """Payload types that are no part of the voice: beside the main type, those without a known clock or whose packets are all empty.

        Telephone-event and comfort noise are no foreigners.  Phones send such packets to keep a NAT's or a firewall's door open.
        """
        main = int(np.bincount(self.payload_type).argmax())
        foreign = []
        for number in np.unique(self.payload_type).tolist():
            if number == main or number in COMFORT_NOISE or self.payload_types.is_event(number):
                continue
            empty = bool((self.size[self.payload_type == number] <= FIXED_HEADER).all())
            if empty or not self.payload_types.clock(number):
                foreign.append(number)
        return tuple(foreign)

    def without_foreign(self) -> RtpStream:
        """The stream with its :attr:`foreign_types` left out; losses are still those of the whole stream."""
        if not self.foreign_types:
            return self
        kept = ~np.isin(self.payload_type, self.foreign_types)
        names = ("frame", "time", "sequence", "timestamp", "payload_type", "marker", "size")
        return replace(self, whole=self.whole or self, **{name: getattr(self, name)[kept] for name in names})

    def explain_jitter(self) -> JitterExplanation:
        """Where an absurd jitter comes from, in words and numbers; or that there is none."""
        from labkit.capture.rtp_explanation import explain_jitter

        return explain_jitter(self)

    def jitter_buffer(self, size_ms: float) -> JitterBuffer:
        """What a fixed jitter buffer of so many milliseconds makes of the stream: late packets, mean delay."""
        from labkit.capture.jitter_buffer import simulate

        return simulate(self, size_ms)

    def jitter_buffers(self, *sizes_ms: float) -> JitterBuffers:
        """The same for several sizes, as a table and a plot; without sizes, for those from 0 to 200 ms."""
        from labkit.capture.jitter_buffer import SIZES_MS, simulate_sizes

        return simulate_sizes(self, sizes_ms or SIZES_MS)

    def mos(self, *, buffer_ms: float = 60.0, network_ms: float = 0.0, concealed: bool = False) -> EModel:
        """The E-model's rating and mean opinion score behind a fixed jitter buffer, with every term of the formula.

        ``network_ms`` is the one-way delay of the network, which a single capture cannot tell; ``concealed``: the receiver conceals losses.
        """
        from labkit.capture.mos import rate

        return rate(self, buffer_ms=buffer_ms, network_ms=network_ms, concealed=concealed)

    @property
    def reports(self) -> pd.DataFrame:
        """What RTCP says of this stream, beside the stream's own figures at that moment."""
        from labkit.capture.rtcp_reports import reports

        return reports(self)

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

    def decoded(self, *, buffer_ms: float | None = None, conceal: bool = False) -> Sound:
        """The voice as a phone plays it: what is too late for a jitter buffer of ``buffer_ms`` left out, losses concealed or silent."""
        from labkit.capture.audio import decode_stream

        return decode_stream(self, buffer_ms=buffer_ms, conceal=conceal)

    @property
    def film_suffix(self) -> str:
        """The end of the name of a file that :meth:`video` can write; empty when the stream carries no pictures."""
        from labkit.capture.video import FILMS

        return FILMS[self.codec.upper()].suffixes[0] if self.codec.upper() in FILMS else ""

    def video(self, path: str | Path) -> Path:
        """Save the pictures of an H.263, H.264 or VP8 stream as a film, as they were sent; the end of the name says the container."""
        from labkit.capture.video import save_video

        return save_video(self, path)

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

    def waveform(self) -> Waveform:
        """The voice drawn, with a player whose cursor follows the packets."""
        from labkit.capture.waveform import Waveform

        sound, name = self.sound, self.speaker or self.source[0]
        return Waveform(self.audio().label, sound.wav(), ((name, sound.samples),), sound.rate_hz, self.frame + 1, self.time - self.start)

    def plot(self, *panels: str) -> Plot:
        """Delta and jitter over time; or the panels named: ``"delta"``, ``"jitter"``, ``"skew"``, ``"bandwidth"``, ``"loss"``."""
        from labkit.capture.rtp_plot import plot

        return plot(self, panels or ("delta", "jitter"))

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
