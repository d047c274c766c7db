"""The lower half of a packet's tree: frame, link layer, IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), TCP (RFC 9293).

Checksums are shown, not verified; sequence numbers are those of the wire.  The layers are found by :mod:`labkit.capture.layers`.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from labkit.capture.info import shown, tcp_options
from labkit.capture.layers import ETHERTYPE_IPV4, ETHERTYPE_IPV6, TCP, UDP, Layers
from labkit.capture.node import Node, node

LINK_NAMES = {
    0: "NULL/Loopback",
    1: "Ethernet",
    101: "Raw IP",
    108: "OpenBSD loopback",
    113: "Linux cooked",
    228: "Raw IPv4",
    229: "Raw IPv6",
}
LINK_NAMES |= {12: "Raw IP", 14: "Raw IP", 276: "Linux cooked 2"}
IP_PROTOCOLS = {1: "ICMP", 2: "IGMP", TCP: "TCP", UDP: "UDP", 44: "IPv6 Fragment", 58: "ICMPv6"}
_TCP_FLAGS = (
    (1, "Fin", "fin"),
    (2, "Syn", "syn"),
    (4, "Reset", "reset"),
    (8, "Push", "push"),
    (16, "Acknowledgment", "ack"),
    (32, "Urgent", "urg"),
    (64, "ECN-Echo", "ece"),
    (128, "Congestion Window Reduced", "cwr"),
)
FIELDS = frozenset(
    """frame.encap_type frame.time frame.time_epoch eth eth.dst eth.src eth.type vlan.id null null.family sll sll.etype ip.version
    ip.hdr_len ip.dsfield ip.len ip.id ip.flags ip.frag_offset ip.ttl ip.proto ip.checksum ipv6.version ipv6.tclass ipv6.flow ipv6.plen
    ipv6.nxt ipv6.hlim udp.checksum tcp.seq_raw tcp.ack_raw tcp.hdr_len tcp.flags tcp.flags.fin tcp.flags.syn tcp.flags.reset tcp.flags.push
    tcp.flags.ack tcp.flags.urg tcp.flags.ece tcp.flags.cwr tcp.window_size_value tcp.checksum tcp.urgent_pointer tcp.options""".split()
)
"""The fields of these nodes that a filter finds by walking every packet's tree."""


def network_nodes(layers: Layers, index: int) -> Iterator[Node]:
    """The nodes of one frame from the outside in, up to UDP or TCP."""
    records = layers.records
    start, captured = int(records.start[index]), int(records.captured[index])
    frame = bytes(records.data[start : start + captured])
    yield _frame(layers, index)
    ip = int(layers.ip[index]) - start
    if ip < 0:
        return
    link = _link(int(records.link[index]), frame, ip, int(layers.ethertype[index]))
    if link:
        yield link
    if layers.ethertype[index] == ETHERTYPE_IPV4 and len(frame) >= ip + 20:
        yield _ipv4(frame[ip:])
    elif layers.ethertype[index] == ETHERTYPE_IPV6 and len(frame) >= ip + 40:
        yield _ipv6(frame[ip:])
    else:
        return
    if index in layers.reassembled:
        ports, size = (int(layers.source_port[index]), int(layers.destination_port[index])), len(layers.reassembled[index])
        yield _ports("User Datagram Protocol", "udp", *ports, (node("Length, all fragments together", "udp.length", size + 8),))
    elif layers.payload[index] >= 0:
        header = frame[int(layers.transport[index]) - start : int(layers.payload[index]) - start]
        yield _udp(header) if layers.protocol[index] == UDP else _tcp(header, int(layers.size[index]))


def _frame(layers: Layers, index: int) -> Node:
    records = layers.records
    number, link = index + 1, int(records.link[index])
    length, captured, time_ns = int(records.length[index]), int(records.captured[index]), int(records.time_ns[index])
    first = int(records.time_ns[0])
    lines = [
        node("Encapsulation type", "frame.encap_type", f"{LINK_NAMES.get(link, 'unknown')} ({link})"),
        node("Arrival Time", "frame.time", _time(time_ns)),
        Node(f"Epoch Time: {_seconds(time_ns)} seconds", "frame.time_epoch", time_ns / 1e9),
        Node(f"Time since first frame: {_seconds(time_ns - first)} seconds", "frame.time_relative", (time_ns - first) / 1e9),
        node("Frame Number", "frame.number", number),
        Node(f"Frame Length: {length} bytes ({8 * length} bits)", "frame.len", length),
        Node(f"Capture Length: {captured} bytes ({8 * captured} bits)", "frame.cap_len", captured),
    ]
    if index in records.comments:
        lines.append(node("Packet comment", "frame.comment", shown(records.comments[index])))
    title = f"Frame {number}: {length} bytes on wire ({8 * length} bits), {captured} bytes captured ({8 * captured} bits)"
    return Node(title, "frame", number, tuple(lines))


def _seconds(nanoseconds: int) -> str:
    sign = "-" if nanoseconds < 0 else ""
    return f"{sign}{abs(nanoseconds) // 10**9}.{abs(nanoseconds) % 10**9:09d}"


def _time(time_ns: int) -> str:
    try:
        whole = datetime.fromtimestamp(time_ns // 10**9, UTC)
    except (ValueError, OverflowError, OSError):  # a damaged file may name any year
        return f"{time_ns} ns since 1970"
    return f"{whole:%Y-%m-%d %H:%M:%S}.{time_ns % 10**9:09d} UTC"


def _link(link: int, frame: bytes, ip: int, ethertype: int) -> Node | None:
    if link == 1 and ip >= 14:
        destination, source = frame[:6].hex(":"), frame[6:12].hex(":")
        lines = [node("Destination", "eth.dst", destination), node("Source", "eth.src", source)]
        for at in range(12, ip - 2, 4):
            lines.append(node("802.1Q VLAN ID", "vlan.id", int.from_bytes(frame[at + 2 : at + 4], "big") & 0x0FFF))
        lines.append(Node(f"Type: 0x{ethertype:04x}", "eth.type", ethertype))
        return Node(f"Ethernet II, Src: {source}, Dst: {destination}", "eth", None, tuple(lines))
    if link in (0, 108) and ip == 4:
        return Node("Null/Loopback", "null", None, (node("Family", "null.family", min(frame[0], frame[3]) or max(frame[0], frame[3])),))
    if link in (113, 276):
        return Node("Linux cooked capture", "sll", None, (Node(f"Protocol: 0x{ethertype:04x}", "sll.etype", ethertype),))
    return None


def _ipv4(header: bytes) -> Node:
    first, tos, total, identification, offset, ttl, protocol, checksum = struct.unpack_from("!BBHHHBBH", header)
    source, destination = (str(ipaddress.IPv4Address(header[at : at + 4])) for at in (12, 16))
    flags = ", ".join(name for bit, name in ((0x4000, "Don't fragment"), (0x2000, "More fragments")) if offset & bit)
    lines = (
        node("Version", "ip.version", first >> 4),
        Node(f"Header Length: {(first & 15) * 4} bytes", "ip.hdr_len", (first & 15) * 4),
        Node(f"Differentiated Services Field: 0x{tos:02x} (DSCP: {tos >> 2})", "ip.dsfield", tos),
        node("Total Length", "ip.len", total),
        Node(f"Identification: 0x{identification:04x} ({identification})", "ip.id", identification),
        Node(f"Flags: 0x{offset >> 13:x}" + (f", {flags}" if flags else ""), "ip.flags", offset >> 13),
        node("Fragment Offset", "ip.frag_offset", (offset & 0x1FFF) * 8),
        node("Time to Live", "ip.ttl", ttl),
        Node(f"Protocol: {IP_PROTOCOLS.get(protocol, 'unknown')} ({protocol})", "ip.proto", protocol),
        Node(f"Header Checksum: 0x{checksum:04x}", "ip.checksum", checksum),
        node("Source Address", "ip.src", source),
        node("Destination Address", "ip.dst", destination),
    )
    return Node(f"Internet Protocol Version 4, Src: {source}, Dst: {destination}", "ip", None, lines)


def _ipv6(header: bytes) -> Node:
    first, length, following, hops = struct.unpack_from("!IHBB", header)
    source, destination = (str(ipaddress.IPv6Address(header[at : at + 16])) for at in (8, 24))
    lines = (
        node("Version", "ipv6.version", first >> 28),
        Node(f"Traffic Class: 0x{first >> 20 & 0xFF:02x}", "ipv6.tclass", first >> 20 & 0xFF),
        Node(f"Flow Label: 0x{first & 0xFFFFF:05x}", "ipv6.flow", first & 0xFFFFF),
        node("Payload Length", "ipv6.plen", length),
        Node(f"Next Header: {IP_PROTOCOLS.get(following, 'unknown')} ({following})", "ipv6.nxt", following),
        node("Hop Limit", "ipv6.hlim", hops),
        node("Source Address", "ipv6.src", source),
        node("Destination Address", "ipv6.dst", destination),
    )
    return Node(f"Internet Protocol Version 6, Src: {source}, Dst: {destination}", "ipv6", None, lines)


def _ports(title: str, prefix: str, source: int, destination: int, rest: tuple[Node, ...], more: str = "") -> Node:
    lines = (node("Source Port", f"{prefix}.srcport", source), node("Destination Port", f"{prefix}.dstport", destination), *rest)
    return Node(f"{title}, Src Port: {source}, Dst Port: {destination}{more}", prefix, None, lines)


def _udp(header: bytes) -> Node:
    source, destination, length, checksum = struct.unpack_from("!HHHH", header)
    rest = (node("Length", "udp.length", length), Node(f"Checksum: 0x{checksum:04x}", "udp.checksum", checksum))
    return _ports("User Datagram Protocol", "udp", source, destination, rest)


def _tcp(header: bytes, size: int) -> Node:
    source, destination, sequence, acknowledgment, offset, flags, window, checksum, urgent = struct.unpack_from("!HHIIBBHHH", header)
    names = tuple(
        Node(f"{name}: {'Set' if flags & bit else 'Not set'}", f"tcp.flags.{short}", bool(flags & bit)) for bit, name, short in _TCP_FLAGS
    )
    set_ = ", ".join(name for bit, name, _ in _TCP_FLAGS if flags & bit)
    rest = [
        node("TCP Segment Len", "tcp.len", size),
        node("Sequence Number (raw)", "tcp.seq_raw", sequence),
        node("Acknowledgment number (raw)", "tcp.ack_raw", acknowledgment),
        Node(f"Header Length: {(offset >> 4) * 4} bytes", "tcp.hdr_len", (offset >> 4) * 4),
        Node(f"Flags: 0x{flags:03x} ({set_})", "tcp.flags", flags, names),
        node("Window", "tcp.window_size_value", window),
        Node(f"Checksum: 0x{checksum:04x}", "tcp.checksum", checksum),
        node("Urgent Pointer", "tcp.urgent_pointer", urgent),
    ]
    options = tcp_options(header)
    if options:
        rest.append(Node(f"Options: {' '.join(options)}", "tcp.options", " ".join(options)))
    return _ports("Transmission Control Protocol", "tcp", source, destination, tuple(rest), f", Len: {size}")
