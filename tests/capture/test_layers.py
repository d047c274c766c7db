"""Every link layer, IPv4 and IPv6, fragments in any order: the same payload comes out."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest

from labkit.capture.capture import Capture
from labkit.capture.write import udp
from tests.capture.made import BOB, PBX, pcap, sip

MESSAGE = sip("OPTIONS sip:101@127.1.0.10 SIP/2.0")
PACKET = udp((BOB, 5060), (PBX, 5070), MESSAGE)
MACS = bytes(range(12))


def ipv6(payload: bytes, following: int = 17, extensions: bytes = b"") -> bytes:
    ends = IPv6Address("2001:db8::100").packed + IPv6Address("2001:db8::10").packed
    return struct.pack("!IHBB", 6 << 28, len(extensions) + len(payload), following, 64) + ends + extensions + payload


UDP = PACKET[20:]
LINKS = {
    "raw": (101, b"", PACKET),
    "ethernet": (1, MACS + b"\x08\x00", PACKET + bytes(6)),
    "vlan": (1, MACS + b"\x81\x00\x00\x07\x08\x00", PACKET),
    "two tags": (1, MACS + b"\x88\xa8\x00\x07\x81\x00\x00\x08\x08\x00", PACKET),
    "null": (0, struct.pack("<I", 2), PACKET),
    "null of another order": (0, struct.pack(">I", 2), PACKET),
    "loop": (108, struct.pack(">I", 2), PACKET),
    "cooked": (113, bytes(14) + b"\x08\x00", PACKET),
    "cooked 2": (276, b"\x08\x00" + bytes(18), PACKET),
}


@pytest.mark.parametrize("name", LINKS)
def test_link_layers(name: str) -> None:
    link, head, packet = LINKS[name]
    (record,) = Capture.from_bytes(pcap([(0, packet)], link=link, head=head)).messages
    assert record.source == (BOB, 5060) and record.destination == (PBX, 5070)
    assert record.raw == MESSAGE


@pytest.mark.parametrize(
    ("following", "extensions"), [(17, b""), (0, b"\x11\x00" + bytes(6)), (0, b"\x3c\x00" + bytes(6) + b"\x11\x01" + bytes(14))]
)
def test_ipv6_and_its_extension_headers(following: int, extensions: bytes) -> None:
    packet = ipv6(UDP, following, extensions)
    (record,) = Capture.from_bytes(pcap([(0, packet)], link=1, head=MACS + b"\x86\xdd")).messages
    assert record.source == ("2001:db8::100", 5060) and record.raw == MESSAGE


def fragments(size: int = 80) -> list[bytes]:
    parts = []
    for at in range(0, len(UDP), size):
        piece = UDP[at : at + size]
        more = 0x2000 if at + size < len(UDP) else 0
        parts.append(PACKET[:2] + struct.pack("!HHH", 20 + len(piece), 77, more | at // 8) + PACKET[8:20] + piece)
    return parts


def test_fragments_in_any_order() -> None:
    pieces = fragments()
    assert len(pieces) > 2
    for order in (pieces, pieces[::-1], [pieces[1], pieces[0], *pieces[2:]]):
        cap = Capture.from_bytes(pcap(list(enumerate(order))))
        (record,) = cap.messages
        assert record.raw == MESSAGE and record.number == len(pieces)
        assert cap.packets["Protocol"].tolist() == ["IPv4"] * (len(pieces) - 1) + ["SIP"]


def test_a_missing_fragment_gives_no_message() -> None:
    assert Capture.from_bytes(pcap(list(enumerate(fragments()[:-1])))).messages == []


def test_ipv6_fragments() -> None:
    first, rest = UDP[:160], UDP[160:]
    head = lambda at, more: struct.pack("!BBHI", 17, 0, at | more, 9)  # noqa: E731
    packets = [ipv6(first, 44, head(0, 1)), ipv6(rest, 44, head(160, 0))]
    (record,) = Capture.from_bytes(pcap(list(enumerate(packets)))).messages
    assert record.raw == MESSAGE


def test_a_packet_cut_by_the_snapshot_length_is_shown() -> None:
    data = bytearray(pcap([(0, PACKET[:24])]))
    assert Capture.from_bytes(bytes(data)).packets["Info"].tolist() == ["[Packet size limited during capture]"]
