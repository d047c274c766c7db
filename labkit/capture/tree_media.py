"""RTP, telephone-event and RTCP in a packet's tree (RFC 3550, RFC 4733)."""

from __future__ import annotations

from labkit.capture.info import EVENTS, RTCP_TYPES
from labkit.capture.node import Node, node
from labkit.capture.payload_types import PayloadTypes
from labkit.errors import MediaError
from labkit.media import rtcp
from labkit.media.rtp import RtpHeader, TelephoneEvent


def rtp_node(data: bytes, types: PayloadTypes) -> Node:
    """One RTP packet; what is no RTP after all, or cut short, as a line that says so."""
    try:
        header, payload = RtpHeader.parse(data)
    except MediaError as error:
        return Node("Real-Time Transport Protocol", "rtp", None, (Node(str(error)),))
    number = header.payload_type
    lines = [
        Node(f"Version: RFC 1889 Version ({data[0] >> 6})", "rtp.version", data[0] >> 6),
        node("Padding", "rtp.padding", header.padding > 0),
        node("Extension", "rtp.ext", header.extension is not None),
        node("Contributing source identifiers count", "rtp.cc", len(header.csrc)),
        node("Marker", "rtp.marker", header.marker),
        Node(f"Payload type: {types.long(number)} ({number})", "rtp.p_type", number),
        node("Sequence number", "rtp.seq", header.sequence),
        node("Timestamp", "rtp.timestamp", header.timestamp),
        Node(f"Synchronization Source identifier: 0x{header.ssrc:08x} ({header.ssrc})", "rtp.ssrc", header.ssrc),
        *(Node(f"Contributing source: 0x{source:08x}", "rtp.csrc.item", source) for source in header.csrc),
    ]
    if types.is_event(number) and len(payload) >= 4:
        event = TelephoneEvent.parse(payload)
        about = (
            Node(f"Event ID: {EVENTS.get(event.event, 'unknown')} ({event.event})", "rtpevent.event_id", event.event),
            node("End of Event", "rtpevent.end_of_event", event.end),
            node("Volume", "rtpevent.volume", event.volume),
            node("Event Duration", "rtpevent.duration", event.duration),
        )
        lines.append(Node("RFC 2833 RTP Event", "rtpevent", None, about))
    else:
        lines.append(
            Node(f"Payload: {payload[:32].hex()}{'…' if len(payload) > 32 else ''} ({len(payload)} bytes)", "rtp.payload", payload)
        )
    return Node("Real-Time Transport Protocol", "rtp", None, tuple(lines))


def rtcp_node(data: bytes) -> Node:
    """One compound packet, its parts one below the other."""
    try:
        parts = tuple(_report(report) for report in rtcp.parse(data))
    except MediaError as error:
        parts = (Node(str(error)),)
    kind = data[1] if len(data) > 1 else 0
    first = Node(f"Packet type: {RTCP_TYPES.get(kind, 'unknown')} ({kind})", "rtcp.pt", kind)
    return Node("Real-time Transport Control Protocol", "rtcp", None, (first, *parts))


def _report(report: rtcp.Report) -> Node:
    if isinstance(report, rtcp.SourceDescription):
        chunks = tuple(
            Node(
                f"SSRC 0x{ssrc:08x}",
                "rtcp.ssrc.identifier",
                ssrc,
                tuple(node(name, "rtcp.sdes.text", text) for name, text in items.items()),
            )
            for ssrc, items in report.chunks.items()
        )
        return Node("Source description", "rtcp.sdes", None, chunks)
    if isinstance(report, rtcp.Goodbye):
        sources = tuple(Node(f"SSRC 0x{ssrc:08x}", "rtcp.ssrc.identifier", ssrc) for ssrc in report.sources)
        return Node("Goodbye" + (f": {report.reason}" if report.reason else ""), "rtcp.bye", None, sources)
    lines = [Node(f"Sender SSRC: 0x{report.ssrc:08x} ({report.ssrc})", "rtcp.senderssrc", report.ssrc)]
    if isinstance(report, rtcp.SenderReport):
        lines += [
            node("NTP timestamp (s since 1900)", "rtcp.timestamp.ntp", f"{report.ntp:.6f}"),
            node("RTP timestamp", "rtcp.timestamp.rtp", report.timestamp),
            node("Sender's packet count", "rtcp.sender.packetcount", report.packets),
            node("Sender's octet count", "rtcp.sender.octetcount", report.octets),
        ]
    for block in report.reports:
        about = (
            Node(f"Fraction lost: {block.fraction_lost:.1%}", "rtcp.ssrc.fraction", block.fraction_lost),
            node("Cumulative number of packets lost", "rtcp.ssrc.cum_nr", block.lost),
            node("Extended highest sequence number received", "rtcp.ssrc.ext_high", block.highest_sequence),
            node("Interarrival jitter", "rtcp.ssrc.jitter", block.jitter),
            node("Last SR timestamp", "rtcp.ssrc.lsr", block.last_sr),
            Node(f"Delay since last SR: {block.delay_since_last_sr:.3f} s", "rtcp.ssrc.dlsr", block.delay_since_last_sr),
        )
        lines.append(Node(f"Source: 0x{block.ssrc:08x}", "rtcp.ssrc.identifier", block.ssrc, about))
    return Node("Sender Report" if isinstance(report, rtcp.SenderReport) else "Receiver Report", "rtcp.report", None, tuple(lines))
