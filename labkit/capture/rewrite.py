"""A capture written anew with other payloads: the same frames at the same times, with headers and checksums that fit.

Link layer, addresses, ports and names stay.  A TCP connection with new payloads gets new sequence numbers, and loses the packets that have
nothing left to say.  Every replaced packet carries a comment that says what was done.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from labkit.capture.layers import ETHERTYPE_IPV4, TCP, UDP, Layers
from labkit.capture.records import Records
from labkit.capture.streams import SYN, Key, reverse, sender_and_receiver
from labkit.capture.write import ACK, FIN, PSH, checksum, pcapng_block, pcapng_options

LONGEST_PAYLOAD = 60_000
"""Bytes of TCP payload in one packet; more is cut into several."""
_SECTION, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_COMMENT, _APPLICATION, _RESOLUTION = 1, 4, 9
_NAME_KIND = {4: 1, 6: 2}
RST = 0x04
_MASK = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Clear:
    """What replaces the payload of one frame, and the comment on it."""

    payload: bytes
    comment: str


def rewrite(
    layers: Layers,
    datagrams: Mapping[int, Clear],
    connections: Iterable[tuple[Key, int]] = (),
    segments: Mapping[int, Clear] | None = None,
    comments: Mapping[int, str] | None = None,
    notes: Iterable[str] = (),
) -> bytes:
    """The capture as a pcapng file.

    ``datagrams`` gives UDP frames new payloads.  ``connections`` names the directions of TCP connections (key, and which one between these
    ends) whose payload is all in ``segments``, by the frame that completes it.  ``comments`` are added to frames that stay; ``notes`` are
    the comments on the whole file.
    """
    records, remarks = layers.records, comments or {}
    replaced = _segments(layers, set(connections), segments or {})
    links = sorted(set(records.link.tolist()))
    numbers = {link: number for number, link in enumerate(links)}
    parts = [_head(records, links, notes)]
    for index, (start, captured, length, time, link) in enumerate(
        zip(
            records.start.tolist(),
            records.captured.tolist(),
            records.length.tolist(),
            records.time_ns.tolist(),
            records.link.tolist(),
            strict=True,
        )
    ):
        comment = "\n".join(filter(None, (records.comments.get(index), remarks.get(index))))
        if index in datagrams:
            clear = datagrams[index]
            frames = [_datagram(layers, index, clear.payload)]
            comment = "\n".join(filter(None, (comment, clear.comment)))
        elif index in replaced:
            frames, note = replaced[index]
            comment = "\n".join(filter(None, (comment, note)))
        else:
            parts.append(_packet(numbers[link], time, bytes(records.data[start : start + captured]), length, comment))
            continue
        parts += [_packet(numbers[link], time, frame, len(frame), comment) for frame in frames]
    return b"".join(parts)


# --- pcapng ------------------------------------------------------------------------------------------------------------


def _head(records: Records, links: list[int], notes: Iterable[str]) -> bytes:
    comments = [(_COMMENT, comment.encode("utf-8", "replace")[:65535]) for comment in notes]
    options = pcapng_options([*comments, (_APPLICATION, b"labkit")])
    head = pcapng_block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)
    for link in links:
        head += pcapng_block(_INTERFACE, struct.pack("<HHI", link & 0xFFFF, 0, 0) + pcapng_options([(_RESOLUTION, b"\x09")]))
    names = []
    for address, name in records.names.items():
        ip = ipaddress.ip_address(address)
        names.append((_NAME_KIND[ip.version], ip.packed + name.encode("utf-8", "replace")[:255] + b"\0"))
    return head + (pcapng_block(_NAMES, pcapng_options(names)) if names else b"")


def _packet(interface: int, time_ns: int, frame: bytes, length: int, comment: str) -> bytes:
    time = time_ns & ((1 << 64) - 1)
    head = struct.pack("<IIIII", interface, time >> 32, time & _MASK, len(frame), length & _MASK)
    options = pcapng_options([(_COMMENT, comment.encode("utf-8", "replace")[:65535])]) if comment else b""
    return pcapng_block(_PACKET, head + frame + bytes(-len(frame) % 4) + options)


# --- frames ------------------------------------------------------------------------------------------------------------


def _frame(layers: Layers, index: int, transport: bytes, check_at: int) -> bytes:
    """The frame's own link and IP header before another transport header and payload, whose checksum stands at ``check_at``."""
    data, start = layers.records.data, int(layers.records.start[index])
    ip, at = int(layers.ip[index]), int(layers.transport[index])
    link, header = bytes(data[start:ip]), bytearray(data[ip:at])
    if layers.ethertype[index] == ETHERTYPE_IPV4:
        struct.pack_into("!H", header, 2, len(header) + len(transport))
        struct.pack_into("!H", header, 10, 0)
        struct.pack_into("!H", header, 10, checksum(bytes(header)))
        ends = bytes(header[12:20])
    else:
        struct.pack_into("!H", header, 4, len(header) - 40 + len(transport))
        ends = bytes(header[8:40])
    protocol = int(layers.protocol[index])
    pseudo = ends + struct.pack("!II", len(transport), protocol)  # RFC 8200 §8.1; the same sum as that of IPv4
    total = checksum(pseudo + transport)
    if protocol == UDP:
        total = total or 0xFFFF
    return link + bytes(header) + transport[:check_at] + struct.pack("!H", total) + transport[check_at + 2 :]


def _datagram(layers: Layers, index: int, payload: bytes) -> bytes:
    ports = int(layers.source_port[index]), int(layers.destination_port[index])
    return _frame(layers, index, struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload, 6)


@dataclass
class _Numbers:
    """The new sequence numbers of one direction."""

    first: int | None = None
    sent: int = 0
    acknowledged: int | None = None
    """The last number that this end acknowledged."""


def _segments(layers: Layers, connections: set[tuple[Key, int]], clear: Mapping[int, Clear]) -> dict[int, tuple[list[bytes], str]]:
    """Frame to what takes its place, for the connections that are written anew."""
    if not connections:
        return {}
    keys = {key for key, _ in connections}
    count: dict[Key, int] = {}
    syn: dict[Key, int] = {}
    numbers: dict[tuple[Key, int], _Numbers] = {}
    made: dict[int, tuple[list[bytes], str]] = {}
    for index in np.flatnonzero((layers.protocol == TCP) & (layers.payload >= 0)).tolist():
        key = sender_and_receiver(layers, index)
        if key not in keys:
            continue
        at = int(layers.transport[index])
        sequence, _, _, flags = struct.unpack_from("!IIBB", layers.records.data, at + 4)
        if flags & SYN and syn.get(key) != sequence:
            count[key] = count[key] + 1 if key in count else 0
            syn[key] = sequence
        elif layers.size[index]:
            count.setdefault(key, 0)
        connection = count.get(key, 0)
        if (key, connection) not in connections:
            continue
        mine = numbers.setdefault((key, connection), _Numbers())
        theirs = numbers.setdefault((reverse(key), count.get(reverse(key), 0)), _Numbers())
        if mine.first is None:
            mine.first = sequence
        new = clear.get(index)
        made[index] = (_rewritten(layers, index, flags, mine, theirs, new.payload if new else b""), new.comment if new else "")
    return made


def _rewritten(layers: Layers, index: int, flags: int, mine: _Numbers, theirs: _Numbers, payload: bytes) -> list[bytes]:
    at = int(layers.transport[index])
    options = bytes(layers.records.data[at + 20 : int(layers.payload[index])]) if flags & SYN else b""
    ports = int(layers.source_port[index]), int(layers.destination_port[index])
    window = int.from_bytes(layers.records.data[at + 14 : at + 16], "big")
    frames = []
    for start in range(0, max(len(payload), 1), LONGEST_PAYLOAD):
        part = payload[start : start + LONGEST_PAYLOAD]
        last = start + LONGEST_PAYLOAD >= len(payload)
        here = flags & ~PSH & ~(0 if last else FIN) | (PSH if part else 0)
        sequence = ((mine.first or 0) + mine.sent) & _MASK
        if flags & SYN:  # once more or not, it has the first number
            sequence, mine.sent = mine.first or 0, max(mine.sent, 1)
        acknowledgment = ((theirs.first or 0) + theirs.sent) & _MASK if flags & ACK and theirs.first is not None else 0
        head = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledgment, (20 + len(options)) // 4 << 4, here, window, 0, 0)
        mine.sent += len(part) + (1 if here & FIN else 0)
        if not part and not flags & (SYN | FIN | RST) and mine.acknowledged == acknowledgment:
            continue  # it carried, or acknowledged, a record that has gone
        mine.acknowledged = acknowledgment
        frames.append(_frame(layers, index, head + options + part, 16))
    return frames
