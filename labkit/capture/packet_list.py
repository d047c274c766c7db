"""The packet list: Wireshark's columns No., Time, Source, Destination, Protocol, Length, Info, of every packet of a capture."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.addresses import NONE
from labkit.capture.info import event_info, rtcp_info, rtp_info, shown, sip_info, tcp_info, tcp_options, udp_info
from labkit.capture.layers import ETHERTYPE_ARP, TCP, UDP, Layers
from labkit.capture.records import octets, rows

if TYPE_CHECKING:
    from labkit.capture.applications import Applications
    from labkit.capture.rtp_find import RtpPackets
    from labkit.capture.rtp_stream import RtpStream
    from labkit.capture.sip_records import SipRecord

COLUMNS = ("No.", "Time", "Source", "Destination", "Protocol", "Length", "Info")
_IP_PROTOCOLS = {1: "ICMP", 2: "IGMP", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6", 89: "OSPF", 132: "SCTP"}
_OWN_PROTOCOL = {"opus": "OPUS", "g723": "G.723.1"}
"""Codecs that Wireshark gives a Protocol of their own.  It does so for video too, with more in Info than is read here."""

Column = list[str]


def protocol_and_info(
    layers: Layers, messages: list[SipRecord], rtp: RtpPackets, streams: list[RtpStream], applications: Applications
) -> tuple[Column, Column]:
    """The Protocol and Info columns."""
    protocols, infos = _by_protocol(layers)
    sport, dport, size = layers.source_port.tolist(), layers.destination_port.tolist(), layers.size.tolist()
    for index in np.flatnonzero((layers.protocol == UDP) & (layers.size >= 0)).tolist():
        protocols[index], infos[index] = "UDP", udp_info(sport[index], dport[index], size[index])
    _tcp(layers, protocols, infos)
    for index in rtp.other_version.tolist():
        protocols[index], infos[index] = "RTP", f"Unknown RTP version {layers.bytes_of(index)[0] >> 6}"
    for index in rtp.rtcp.tolist():
        protocols[index], infos[index] = "RTCP", rtcp_info(layers.bytes_of(index))
    for stream in streams:
        _rtp(stream, protocols, infos)
    for index in applications.units:
        protocols[index], infos[index] = applications.column(index), applications.info(index)
    for index, begins in applications.segments.items():
        # Wireshark leaves the ports out when what begins with the segment does not end in it.
        infos[index] = (infos[index] + " " if not begins else "") + "[TCP segment of a reassembled PDU]"
    of_packet: dict[int, list[SipRecord]] = defaultdict(list)
    for record in messages:
        of_packet[record.number - 1].append(record)
    for index, records in of_packet.items():
        parts = [sip_info(record) for record in records]
        protocols[index], infos[index] = parts[-1][0], "".join(info for _, info in parts)
    return protocols, infos


def source_and_destination(layers: Layers) -> tuple[Column, Column]:
    """The address columns: IP addresses, or the Ethernet addresses of what is not IP."""
    text = {number: layers.addresses.text(number) for number in np.unique(np.concatenate((layers.source, layers.destination))).tolist()}
    sources = [text[number] for number in layers.source.tolist()]
    destinations = [text[number] for number in layers.destination.tolist()]
    records = layers.records
    ethernet = np.flatnonzero((layers.source == NONE) & (records.link == 1) & (records.captured >= 14))
    for index, row in zip(ethernet.tolist(), rows(octets(records.data), records.start[ethernet], 12), strict=True):
        sources[index], destinations[index] = row[6:].tobytes().hex(":"), row[:6].tobytes().hex(":")
    return sources, destinations


def _by_protocol(layers: Layers) -> tuple[Column, Column]:
    """What is known of packets without a UDP or TCP header."""
    protocols, infos = [], []
    for kind, protocol, fragment, link in zip(
        layers.ethertype.tolist(), layers.protocol.tolist(), layers.fragment.tolist(), layers.records.link.tolist(), strict=True
    ):
        info = ""
        if fragment:
            name, info = "IPv4" if kind == 0x0800 else "IPv6", f"Fragmented IP protocol ({protocol})"
        elif protocol in (UDP, TCP):
            name, info = "UDP" if protocol == UDP else "TCP", "[Packet size limited during capture]"
        elif protocol != NONE:
            name = _IP_PROTOCOLS.get(protocol, "IP")
            info = "" if protocol in _IP_PROTOCOLS else f"IP protocol {protocol}"
        elif kind == ETHERTYPE_ARP:
            name = "ARP"
        elif kind > 1500:
            name = f"0x{kind:04x}"
        else:
            name = f"LINKTYPE {link}" if kind == NONE else "LLC"
        protocols.append(name)
        infos.append(info)
    return protocols, infos


def _rtp(stream: RtpStream, protocols: Column, infos: Column) -> None:
    types = stream.payload_types
    long = {number: shown(types.long(number)) for number in np.unique(stream.payload_type).tolist()}
    own = {number: _OWN_PROTOCOL.get(types.short(number).lower(), "RTP") for number in long}
    columns = (stream.frame, stream.payload_type, stream.sequence, stream.timestamp, stream.marker)
    packets = stream.packets() if any(types.is_event(number) for number in long) else []
    for place, (index, number, sequence, timestamp, marker) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        packet = packets[place] if packets and types.is_event(number) else None
        if packet is not None and packet[1]:
            protocols[index], infos[index] = "RTP EVENT", event_info(packet[1])
        else:
            protocols[index], infos[index] = own[number], rtp_info(long[number], stream.ssrc, sequence, timestamp, bool(marker))


def _tcp(layers: Layers, protocols: Column, infos: Column) -> None:
    first: dict[tuple[int, int, int, int], int] = {}
    shift: dict[tuple[int, int, int, int], int] = {}
    for index in np.flatnonzero((layers.protocol == TCP) & (layers.payload >= 0)).tolist():
        here = (
            int(layers.source[index]),
            int(layers.source_port[index]),
            int(layers.destination[index]),
            int(layers.destination_port[index]),
        )
        back = (here[2], here[3], here[0], here[1])
        header = bytes(layers.records.data[int(layers.transport[index]) : int(layers.payload[index])])
        sequence, acknowledgment = int.from_bytes(header[4:8], "big"), int.from_bytes(header[8:12], "big")
        if header[13] & 0x02:
            first[here] = sequence
            scale = next((option for option in tcp_options(header) if option.startswith("WS=")), "WS=1")
            shift[here] = int(scale[3:]).bit_length() - 1
        # Without the handshake, Wireshark counts from one.
        first.setdefault(here, (sequence - 1) & 0xFFFFFFFF)
        if header[13] & 0x10:
            first.setdefault(back, (acknowledgment - 1) & 0xFFFFFFFF)
        scaled = shift.get(here, 0) if shift.get(back, 0) else 0
        protocols[index] = "TCP"
        infos[index] = tcp_info(header, int(layers.size[index]), (first[here], first.get(back, 0)), scaled)
