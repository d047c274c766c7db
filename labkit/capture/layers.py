"""From frames to UDP and TCP payloads: link layer, IPv4 (RFC 791), IPv6 (RFC 8200), UDP, TCP; all frames at once, in numpy.

Link types: Ethernet with VLAN tags, null and loopback, raw IP, Linux cooked 1 and 2.  Fragments are put together by
:mod:`labkit.capture.fragments`.  Checksums are not verified, tunnels are not opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from labkit.capture.addresses import NONE, Addresses
from labkit.capture.records import Ints, Octets, Records, big_endian, octets, rows

UDP, TCP, FRAGMENT = 17, 6, 44
ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP = 0x0800, 0x86DD, 0x0806
_VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
_ETHERNET, _COOKED, _COOKED_2 = 1, 113, 276
_HEADER_ONLY = {0: 4, 108: 4, 12: 0, 14: 0, 101: 0, 228: 0, 229: 0}
"""Link types whose header says no more than "IP": its length in bytes."""
_TYPE_FIELD = {_ETHERNET: 12, _COOKED: 14, _COOKED_2: 0}
_LINK_HEADER = {_ETHERNET: 14, _COOKED: 16, _COOKED_2: 20}
_NO_ARRAYS = ("records", "addresses", "reassembled")
AT_ONCE = 1 << 14
"""Frames that are dissected together: as many as stay in the processor's cache from one layer to the next."""
_EXTENSIONS = (0, 43, 60, 135)
"""IPv6 extension headers of the form next header, length in units of eight bytes."""


@dataclass
class Layers:
    """One entry a frame in every array; -1 where a frame has no such layer."""

    records: Records
    addresses: Addresses
    ethertype: Ints
    """What follows the link layer: 0x0800 IPv4, 0x86DD IPv6, 0x0806 ARP, ..."""
    ip: Ints
    """Offset of the IP header."""
    protocol: Ints
    """IP protocol: 17 UDP, 6 TCP, ..."""
    source: Ints
    destination: Ints
    """Address numbers (:class:`Addresses`)."""
    source_port: Ints
    destination_port: Ints
    transport: Ints
    """Offset of the UDP or TCP header."""
    payload: Ints
    """Offset of the payload."""
    size: Ints
    """Bytes of payload in the file."""
    fragment: Ints
    """1 for a fragment of a larger IP packet."""
    end: Ints
    """Offset after the last byte of the IP packet that is in the file."""
    reassembled: dict[int, bytes] = field(default_factory=dict)
    """Payload of the datagrams whose last fragment is this frame; ``size`` counts it."""

    def __len__(self) -> int:
        return len(self.records)

    def bytes_of(self, index: int) -> bytes:
        """The UDP or TCP payload of one frame."""
        whole = self.reassembled.get(index)
        if whole is not None:
            return whole
        at = int(self.payload[index])
        return bytes(self.records.data[at : at + int(self.size[index])]) if at >= 0 else b""

    def heads(self, indices: Ints, width: int) -> Octets:
        """The first ``width`` payload bytes of many frames (zeros after the end of a shorter payload's file)."""
        head = rows(octets(self.records.data), self.payload[indices], width)
        if self.reassembled:
            for row, index in enumerate(indices.tolist()):
                if index in self.reassembled:
                    head[row] = np.frombuffer(self.reassembled[index][:width].ljust(width, b"\0"), np.uint8)
        return head

    def endpoints(self, index: int) -> tuple[tuple[str, int], tuple[str, int]]:
        """(source, destination) of one frame, each an (address, port)."""
        text = self.addresses.text
        return (
            (text(int(self.source[index])), int(self.source_port[index])),
            (text(int(self.destination[index])), int(self.destination_port[index])),
        )


def dissect(records: Records) -> Layers:
    """The layers of every frame, fragments put together."""
    buffer, count = octets(records.data), len(records)
    missing = np.full(count, NONE, np.int64)
    layers = Layers(
        records,
        Addresses(),
        ethertype=missing.copy(),
        ip=missing.copy(),
        protocol=missing.copy(),
        source=missing.copy(),
        destination=missing.copy(),
        source_port=missing.copy(),
        destination_port=missing.copy(),
        transport=missing.copy(),
        payload=missing.copy(),
        size=missing.copy(),
        fragment=np.zeros(count, np.int64),
        end=records.start + records.captured,
    )
    for first in range(0, count, AT_ONCE):
        _dissect(_part(layers, slice(first, first + AT_ONCE)), buffer)
    if layers.fragment.any():
        from labkit.capture.fragments import reassemble

        reassemble(layers)
    return layers


def _part(layers: Layers, frames: slice) -> Layers:
    """Some frames of ``layers``, as views that are filled in place."""
    records = layers.records
    arrays = {name: getattr(records, name)[frames] for name in ("start", "captured", "length", "time_ns", "link")}
    views = {each.name: getattr(layers, each.name)[frames] for each in fields(Layers) if each.name not in _NO_ARRAYS}
    return replace(layers, records=replace(records, **arrays), **views)


def _dissect(layers: Layers, buffer: Octets) -> None:
    layers.ethertype[:], layers.ip[:] = _link_layer(layers.records, buffer)
    _ipv4(layers, buffer)
    _ipv6(layers, buffer)
    whole = layers.fragment == 0
    _udp(layers, buffer, np.flatnonzero((layers.protocol == UDP) & whole))
    _tcp(layers, buffer, np.flatnonzero((layers.protocol == TCP) & whole))


def _link_layer(records: Records, buffer: Octets) -> tuple[Ints, Ints]:
    """(ethertype, offset of what follows) of every frame."""
    ethertype = np.full(len(records), NONE, np.int64)
    ip = np.full(len(records), NONE, np.int64)
    for link in np.unique(records.link).tolist():
        frames = np.flatnonzero(records.link == link)
        start, end = records.start[frames], records.start[frames] + records.captured[frames]
        if link in _HEADER_ONLY:
            at = start + _HEADER_ONLY[link]
            version = rows(buffer, at, 1)[:, 0] >> 4
            kind = np.select([version == 4, version == 6], [ETHERTYPE_IPV4, ETHERTYPE_IPV6], NONE)
        elif link in _TYPE_FIELD:
            at = start + _LINK_HEADER[link]
            kind = big_endian(rows(buffer, start + _TYPE_FIELD[link], 2), 0, 2)
            for _ in range(4):  # as many tags as anyone stacks
                tagged = np.isin(kind, _VLAN_TAGS)
                if not tagged.any():
                    break
                kind = np.where(tagged, big_endian(rows(buffer, at + 2, 2), 0, 2), kind)
                at = np.where(tagged, at + 4, at)
        else:
            continue
        here = at <= end
        ethertype[frames[here]] = kind[here]
        ip[frames[here]] = at[here]
    return ethertype, ip


def _ipv4(layers: Layers, buffer: Octets) -> None:
    frames = np.flatnonzero((layers.ethertype == ETHERTYPE_IPV4) & (layers.ip + 20 <= layers.end))
    at = layers.ip[frames]
    head = rows(buffer, at, 20)
    header = (head[:, 0] & 15).astype(np.int64) * 4
    good = (head[:, 0] >> 4 == 4) & (header >= 20) & (at + header <= layers.end[frames])
    frames, at, head, header = frames[good], at[good], head[good], header[good]
    total = big_endian(head, 2, 2)
    layers.protocol[frames] = head[:, 9]
    layers.source[frames] = Addresses.ipv4(head[:, 12:16])
    layers.destination[frames] = Addresses.ipv4(head[:, 16:20])
    layers.transport[frames] = at + header
    layers.fragment[frames] = (big_endian(head, 6, 2) & 0x3FFF != 0).astype(np.int64)
    # A length of zero is what a capture shows when the network card cuts the packet (segmentation offload).
    layers.end[frames] = np.minimum(layers.end[frames], np.where(total >= header, at + total, layers.end[frames]))


def _ipv6(layers: Layers, buffer: Octets) -> None:
    frames = np.flatnonzero((layers.ethertype == ETHERTYPE_IPV6) & (layers.ip + 40 <= layers.end))
    if not len(frames):
        return
    at = layers.ip[frames]
    head = rows(buffer, at, 40)
    length, following = big_endian(head, 4, 2), head[:, 6].astype(np.int64)
    layers.source[frames] = layers.addresses.ipv6(head[:, 8:24])
    layers.destination[frames] = layers.addresses.ipv6(head[:, 24:40])
    layers.end[frames] = np.minimum(layers.end[frames], np.where(length > 0, at + 40 + length, layers.end[frames]))
    at = at + 40
    for _ in range(8):  # RFC 8200 §4.1 names fewer extension headers than this
        extension = np.isin(following, _EXTENSIONS) & (at + 8 <= layers.end[frames])
        if not extension.any():
            break
        bytes_ = rows(buffer, at, 2).astype(np.int64)
        at = np.where(extension, at + 8 * (bytes_[:, 1] + 1), at)
        following = np.where(extension, bytes_[:, 0], following)
    fragment = following == FRAGMENT
    layers.fragment[frames] = fragment.astype(np.int64)
    layers.protocol[frames] = np.where(fragment, rows(buffer, at, 1)[:, 0], following)
    layers.transport[frames] = at


def _udp(layers: Layers, buffer: Octets, frames: Ints) -> None:
    frames = frames[layers.transport[frames] + 8 <= layers.end[frames]]
    at = layers.transport[frames]
    head = rows(buffer, at, 8)
    length = big_endian(head, 4, 2)
    layers.source_port[frames] = big_endian(head, 0, 2)
    layers.destination_port[frames] = big_endian(head, 2, 2)
    layers.payload[frames] = at + 8
    room = layers.end[frames] - at - 8
    layers.size[frames] = np.where(length >= 8, np.minimum(length - 8, room), room)


def _tcp(layers: Layers, buffer: Octets, frames: Ints) -> None:
    frames = frames[layers.transport[frames] + 20 <= layers.end[frames]]
    at = layers.transport[frames]
    head = rows(buffer, at, 13)
    header = (head[:, 12] >> 4).astype(np.int64) * 4
    layers.source_port[frames] = big_endian(head, 0, 2)
    layers.destination_port[frames] = big_endian(head, 2, 2)
    good: NDArray[np.bool_] = (header >= 20) & (at + header <= layers.end[frames])
    frames, at, header = frames[good], at[good], header[good]
    layers.payload[frames] = at + header
    layers.size[frames] = layers.end[frames] - at - header
