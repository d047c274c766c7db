"""A capture, opened: its packets, SIP messages, calls and RTP streams as tables, its ladder, its sounds.

What it says comes from the bytes of the file alone.  Everything is worked out when first asked for and then kept; pandas, matplotlib and
PyAV are imported by what needs them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture import diff as differences
from labkit.capture import statistics
from labkit.capture.dissection import Dissection
from labkit.capture.hosts import Hosts
from labkit.capture.ladder_filter import is_row
from labkit.capture.layers import Layers, dissect
from labkit.capture.media_map import MediaMap
from labkit.capture.records import Data, Ints, Records, file_path, load, read_records, write_file
from labkit.capture.rtp_find import RtpPackets, find_rtp
from labkit.capture.rtp_stream import RtpStream
from labkit.capture.sip_records import SipRecord, find_sip
from labkit.errors import CaptureError
from labkit.texts import text

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.call_audio import Recording
    from labkit.capture.calls import Call
    from labkit.capture.decrypt import Decryption
    from labkit.capture.flow import Comparison
    from labkit.capture.ladder import Ladder


class Capture(Dissection):
    """The packets of one pcap or pcapng file.  Times are seconds since its first packet; tables have Wireshark's column names."""

    def __init__(self, records: Records, name: str = "") -> None:
        self.records: Records = records
        self.name = name

    @classmethod
    def open(cls, path: str | Path) -> Capture:
        """Read a file by anyone; :class:`CaptureError` when it is not there, empty or no capture.  See also :attr:`damage`."""
        path = file_path(path)
        return cls(read_records(load(path), str(path)), path.name)

    @classmethod
    def from_bytes(cls, data: Data) -> Capture:
        """The same from memory."""
        return cls(read_records(data))

    # --- what the file holds -------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.records)

    @property
    def damage(self) -> str | None:
        """Where and why reading stopped before the end of the file, in one sentence; ``None`` for a whole file."""
        return str(self.records.damage) if self.records.damage else None

    @property
    def origin_ns(self) -> int:
        """Time of the first packet in nanoseconds since 1970."""
        return int(self.records.time_ns[0]) if len(self) else 0

    @property
    def duration(self) -> float:
        """Seconds from the first packet to the latest."""
        return (int(self.records.time_ns.max()) - self.origin_ns) / 1e9 if len(self) else 0.0

    @cached_property
    def layers(self) -> Layers:
        """Link, IP, UDP and TCP of every packet, as arrays."""
        return dissect(self.records)

    @cached_property
    def messages(self) -> list[SipRecord]:
        """The SIP messages in order."""
        return find_sip(self.layers, self.origin_ns)

    @cached_property
    def media(self) -> MediaMap:
        """Addresses, ports and codecs that the SDP bodies announce."""
        return MediaMap.of(self.messages, self.layers.addresses)

    @cached_property
    def rtp(self) -> RtpPackets:
        """The RTP and RTCP packets, as arrays."""
        return find_rtp(self.layers, self.media)

    @cached_property
    def streams(self) -> list[RtpStream]:
        """The RTP streams in order of appearance."""
        return [self._stream(members) for members in self.rtp.streams]

    def _stream(self, members: Ints) -> RtpStream:
        rtp, layers = self.rtp, self.layers
        frame = rtp.frame[members]
        first = int(frame[0])
        source, destination = layers.endpoints(first)
        keys = int(layers.destination[first]) << 16 | destination[1], int(layers.source[first]) << 16 | source[1]
        return RtpStream(
            layers=layers,
            source=source,
            destination=destination,
            speaker=self.host_of(*source),
            listener=self.host_of(*destination),
            ssrc=int(rtp.ssrc[members[0]]),
            payload_types=self.media.payload_types(*keys),
            frame=frame,
            time=(self.records.time_ns[frame] - self.origin_ns) / 1e9,
            sequence=rtp.sequence[members],
            timestamp=rtp.timestamp[members],
            payload_type=rtp.payload_type[members],
            marker=rtp.marker[members],
            size=rtp.size[members],
            rtcp=rtp.rtcp,
        )

    def rtp_stream(self, number: int = 0, *, foreign: bool = True) -> RtpStream:
        """One stream by its row in :attr:`rtp_streams`, with or without foreign payload types; :class:`CaptureError` when there is none."""
        if not is_row(number) or not -len(self.streams) <= number < len(self.streams):
            raise CaptureError("capture.no_stream", number=number, count=len(self.streams))
        return self.streams[number] if foreign else self.streams[number].without_foreign()

    @cached_property
    def call_list(self) -> list[Call]:
        """The calls, the legs on both sides of a B2BUA joined."""
        from labkit.capture.calls import find_calls

        return find_calls(self.messages)

    # --- hosts ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _hosts(self) -> Hosts:
        return Hosts.of(self.records)

    @property
    def hosts(self) -> dict[str, str]:
        """Address (with ports, where hosts share it) to name."""
        return self._hosts.table()

    def host_of(self, ip: str, port: int = 0) -> str:
        """The name of the host at this address and port; without a name, the address."""
        return self._hosts.host_of(ip, port)

    # --- tables --------------------------------------------------------------------------------------------------------

    @cached_property
    def packets(self) -> pd.DataFrame:
        """The packet list."""
        from labkit.capture import packet_list
        from labkit.capture.table import table

        sources, destinations = packet_list.source_and_destination(self.layers)
        protocols, infos = packet_list.protocol_and_info(self.layers, self.messages, self.rtp, self.streams, self.applications)
        time = (self.records.time_ns - self.origin_ns) / 1e9
        columns = (np.arange(1, len(self) + 1), time, sources, destinations, protocols, self.records.length, infos)
        return table(dict(zip(packet_list.COLUMNS, columns, strict=True)), caption="capture.table_packets")

    @cached_property
    def sip(self) -> pd.DataFrame:
        """The SIP messages: the packet list's columns, then ports, method, status, CSeq, Call-ID, From, To, Retransmission."""
        from labkit.capture.info import shown, sip_info
        from labkit.capture.table import table

        rows = []
        for record in self.messages:
            protocol, info = sip_info(record)
            (source, sport), (destination, dport) = record.source, record.destination
            get = record.message.headers.get
            rows.append(
                (
                    record.number,
                    record.time,
                    source,
                    destination,
                    protocol,
                    int(self.records.length[record.number - 1]),
                    info,
                    sport,
                    dport,
                    record.method,
                    record.status,
                    *(shown(get(name) or "") for name in ("CSeq", "Call-ID", "From", "To")),
                    record.retransmission,
                )
            )
        names = "No. Time Source Destination Protocol Length Info,Src Port,Dst Port,Method,Status,CSeq,Call-ID,From,To,Retransmission"
        first, *rest = names.split(",")
        return table(rows, [*first.split(), *rest], caption="capture.table_sip").astype({"Status": "Int64"})

    def sip_stats(self) -> pd.DataFrame:
        """Wireshark's SIP Statistics: requests by method, responses by status, retransmissions, set-up times in milliseconds."""
        from labkit.capture.sip_stats import COLUMNS, sip_statistics
        from labkit.capture.table import table

        return table(sip_statistics(self.messages), COLUMNS, caption="capture.table_stats").astype({"Set-ups": "Int64"})

    @cached_property
    def calls(self) -> pd.DataFrame:
        """The calls, under the columns of Wireshark's VoIP Calls, then the set-up times in seconds."""
        from labkit.capture.calls import COLUMNS
        from labkit.capture.table import table

        return table([call.row(self.host_of) for call in self.call_list], COLUMNS, caption="capture.table_calls")

    @cached_property
    def rtp_streams(self) -> pd.DataFrame:
        """The RTP streams, under the columns of ``tshark -z rtp,streams``."""
        from labkit.capture.rtp_stream import COLUMNS
        from labkit.capture.table import table

        return table([stream.row() for stream in self.streams], COLUMNS, caption="capture.table_streams")

    protocol_hierarchy = statistics.protocol_hierarchy
    conversations = statistics.conversations
    endpoints = statistics.endpoints
    sockets = statistics.sockets
    setup_times = statistics.setup_times

    # --- messages ------------------------------------------------------------------------------------------------------

    message = differences.message
    diff = differences.difference

    # --- pictures and files --------------------------------------------------------------------------------------------

    def ladder(
        self,
        *,
        call: int | None = None,
        hosts: str | Iterable[str] | None = None,
        methods: str | Iterable[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        rtp: bool = True,
        rtcp: bool = False,
        dtmf: bool = True,
        tls: bool = True,
    ) -> Ladder:
        """The messages between hosts, one column a host.

        ``call`` is a row of :attr:`calls`; ``hosts`` (one name or several) keeps what one of these sends or receives; ``methods`` keeps
        requests of these methods and their responses; ``start`` and ``end`` are seconds since the first packet.
        ``rtp``, ``rtcp``, ``dtmf`` (keys pressed) and ``tls`` say which bands are drawn.  Raises :class:`CaptureError` for a call, a
        host or a method that is not in the capture.
        """
        from labkit.capture.ladder_build import build
        from labkit.capture.ladder_filter import Filter

        wanted = Filter.of(self, call=call, hosts=hosts, methods=methods, start=start, end=end, rtp=rtp, rtcp=rtcp, dtmf=dtmf, tls=tls)
        return build(self, wanted)

    def compare(self, flow: str, *, call: int | None = None) -> Comparison:
        """A call beside a trace of the lab sheet, step by step: ``"blind-transfer"`` or ``"no-answer"``.

        ``call`` is a row of :attr:`calls`; without it, the call that is most like the trace.  :class:`CaptureError` when there is none.
        """
        from labkit.capture.flow import compare
        from labkit.capture.sheet import FLOWS

        if flow not in FLOWS:
            raise CaptureError("flow.unknown", flow=flow, known=", ".join(FLOWS))
        return compare(self, FLOWS[flow], call)

    def call_audio(self, call: int = 0, *, buffer_ms: float | None = None, conceal: bool = False) -> Recording:
        """A call's two voices in stereo, by its row in :attr:`calls`: left what the caller says, right what the caller hears."""
        from labkit.capture.call_audio import call_audio

        return call_audio(self, call, buffer_ms=buffer_ms, conceal=conceal)

    @cached_property
    def decryption(self) -> Decryption | None:
        """What :meth:`decrypt` opened, what not and why; ``None`` for a capture as it was recorded."""
        from labkit.capture.decrypt import Decryption

        return Decryption.of(self.records.section_comments)

    def decrypt(
        self,
        tls_keys: str | bytes | Path | None = None,
        *,
        sdes: bool = True,
        rsa_key: str | bytes | Path | Iterable[str | bytes | Path] | None = None,
        rsa_password: str | None = None,
    ) -> Capture:
        """A new capture, in clear; its :attr:`decryption` is the report.  Packets that do not open stay as recorded.

        ``tls_keys`` is a key log (a file or its text) beside the one that the file may carry; ``rsa_key`` the server's private key (a file,
        its text, or several), for TLS with RSA key exchange; ``sdes`` opens SRTP by keys in SDP.  :class:`CaptureError` for wrong files.
        """
        from labkit.capture.decrypt import decrypt

        return decrypt(self, tls_keys, sdes=sdes, rsa_key=rsa_key, rsa_password=rsa_password)

    def save(self, path: str | Path) -> Path:
        """Write the file as it was read."""
        return write_file(path, bytes(self.records.data))

    def _summary(self) -> str:
        return text(
            "capture.summary",
            name=self.name or "capture",
            packets=len(self),
            seconds=f"{self.duration:.2f}",
            messages=len(self.messages),
            calls=len(self.call_list),
            streams=len(self.streams),
        )

    def __repr__(self) -> str:
        return f"<Capture {self._summary()}>" + (f" {self.damage}" if self.damage else "")

    def _repr_html_(self) -> str:
        from labkit.capture.calls import COLUMNS
        from labkit.capture.table import html_table

        rows = [call.row(self.host_of) for call in self.call_list]
        calls = html_table(COLUMNS, rows, text("capture.table_calls")) if rows else ""
        return f"<p>{escape(self._summary())}</p>" + (f"<p>{escape(self.damage)}</p>" if self.damage else "") + calls
