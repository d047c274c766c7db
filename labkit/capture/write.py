"""Writing captures: pcapng blocks (draft-ietf-opsawg-pcapng) and the IPv4, UDP and TCP headers of what is recorded.

Packets are recorded from the IP header on (link type 228, ``LINKTYPE_IPV4``), with nanosecond times, host names in a name
resolution block, and valid checksums.  A TCP connection is known to labkit as two byte streams; :class:`TcpConversation` gives them
the segments that a capture shows.  This module only makes bytes and, in :class:`PcapngWriter`, hands them to a file; it reads nothing.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable
from typing import Protocol

LINKTYPE_IPV4 = 228
SECTION_HEADER, INTERFACE, NAME_RESOLUTION, ENHANCED_PACKET = 0x0A0D0D0A, 1, 4, 6
OPT_END, OPT_COMMENT = 0, 1
SHB_USERAPPL, IF_NAME, IF_TSRESOL, NRB_IPV4 = 4, 2, 9, 1
NANOSECONDS = b"\x09"

FIN, SYN, PSH, ACK = 0x01, 0x02, 0x08, 0x10

Address = tuple[str, int]


class Sink(Protocol):
    """Anything with ``write(bytes)``."""

    def write(self, data: bytes, /) -> object: ...


# --- pcapng blocks -----------------------------------------------------------------------------------------------------


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def pcapng_options(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Options of a block as (code, value), and their end; nothing for none."""
    body = b"".join(_option(code, value) for code, value in pairs)
    return body + _option(OPT_END, b"") if body else b""


def pcapng_block(kind: int, body: bytes) -> bytes:
    """A block of ``kind``, its length before and after the body."""
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def section(*, interface: str, hosts: Iterable[tuple[str, str]] = (), comment: str = "", application: str = "labkit") -> bytes:
    """The head of a file: section header, one IPv4 interface with nanosecond times, and the names of ``hosts`` as (address, name)."""
    shb_options = [(OPT_COMMENT, comment.encode())] if comment else []
    shb_options.append((SHB_USERAPPL, application.encode()))
    head = pcapng_block(SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + pcapng_options(shb_options))
    head += pcapng_block(
        INTERFACE,
        struct.pack("<HHI", LINKTYPE_IPV4, 0, 0) + pcapng_options([(IF_NAME, interface.encode()), (IF_TSRESOL, NANOSECONDS)]),
    )
    records = b"".join(_option(NRB_IPV4, socket.inet_aton(address) + name.encode() + b"\0") for address, name in hosts)
    return head + pcapng_block(NAME_RESOLUTION, records + _option(OPT_END, b"")) if records else head


def packet_block(time_ns: int, packet: bytes, comment: str = "") -> bytes:
    """One recorded packet; ``time_ns`` counts nanoseconds since 1970."""
    head = struct.pack("<IIIII", 0, time_ns >> 32, time_ns & 0xFFFFFFFF, len(packet), len(packet))
    return pcapng_block(ENHANCED_PACKET, head + _padded(packet) + pcapng_options([(OPT_COMMENT, comment.encode())] if comment else []))


class PcapngWriter:
    """Writes one section of packets to ``file``."""

    def __init__(self, file: Sink, *, interface: str = "labkit", hosts: Iterable[tuple[str, str]] = (), comment: str = "") -> None:
        self._file = file
        file.write(section(interface=interface, hosts=hosts, comment=comment))

    def packet(self, time_ns: int, packet: bytes, comment: str = "") -> None:
        """Append one packet that begins with its IPv4 header."""
        self._file.write(packet_block(time_ns, packet, comment))


# --- IPv4, UDP and TCP headers -----------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, destination: str, protocol: int, payload: bytes, identification: int = 0) -> bytes:
    """An IPv4 packet (RFC 791) with "don't fragment" set.

    A real interface cuts what is longer than 65 535 bytes; a loopback interface, which this stands for, never sees such a packet.
    """
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x45,
        0,
        20 + len(payload),
        identification & 0xFFFF,
        0x4000,
        64,
        protocol,
        0,
        socket.inet_aton(source),
        socket.inet_aton(destination),
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, protocol, length)


def udp(source: Address, destination: Address, payload: bytes, identification: int = 0) -> bytes:
    """A UDP datagram (RFC 768) in its IPv4 packet."""
    head = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)
    pseudo = _pseudo_header(source[0], destination[0], socket.IPPROTO_UDP, 8 + len(payload))
    total = checksum(pseudo + head + payload) or 0xFFFF  # RFC 768: a sum of zero is sent as all ones
    return ipv4(source[0], destination[0], socket.IPPROTO_UDP, head[:6] + struct.pack("!H", total) + payload, identification)


class TcpConversation:
    """The segments (RFC 9293) of one connection between ``client`` and ``server``, made from the bytes that each side sent."""

    SEGMENT = 1400
    """Bytes of payload in a segment: what an Ethernet of 1500 bytes would carry, so that long messages show as several segments."""

    def __init__(self, client: Address, server: Address, *, client_isn: int, server_isn: int) -> None:
        self.client, self.server = client, server
        self._next = {client: client_isn, server: server_isn}
        self._identification = 0

    def _segment(self, sender: Address, flags: int, payload: bytes = b"") -> bytes:
        receiver = self.server if sender == self.client else self.client
        acknowledgment = self._next[receiver] if flags & ACK else 0
        head = struct.pack(
            "!HHIIBBHHH", sender[1], receiver[1], self._next[sender] & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF, 5 << 4, flags, 65535, 0, 0
        )
        pseudo = _pseudo_header(sender[0], receiver[0], socket.IPPROTO_TCP, len(head) + len(payload))
        total = checksum(pseudo + head + payload)
        self._next[sender] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        self._identification += 1
        segment = head[:16] + struct.pack("!H", total) + head[18:] + payload
        return ipv4(sender[0], receiver[0], socket.IPPROTO_TCP, segment, self._identification)

    def open(self) -> list[bytes]:
        """The three-way handshake."""
        return [self._segment(self.client, SYN), self._segment(self.server, SYN | ACK), self._segment(self.client, ACK)]

    def data(self, sender: Address, payload: bytes) -> list[bytes]:
        """``payload`` from ``sender``, in as many segments as it needs, and the other side's acknowledgment."""
        parts = [payload[start : start + self.SEGMENT] for start in range(0, len(payload), self.SEGMENT)]
        receiver = self.server if sender == self.client else self.client
        return [*(self._segment(sender, PSH | ACK, part) for part in parts), self._segment(receiver, ACK)]

    def close(self, sender: Address) -> list[bytes]:
        """Both sides finish, ``sender`` first."""
        receiver = self.server if sender == self.client else self.client
        return [self._segment(sender, FIN | ACK), self._segment(receiver, FIN | ACK), self._segment(sender, ACK)]
