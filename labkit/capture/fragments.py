"""Fragmented IP packets put together again: IPv4 (RFC 791 §3.2) and IPv6 (RFC 8200 §4.5).

Only complete UDP datagrams come out; overlapping fragments are refused (RFC 5722), and a datagram never exceeds 64 KiB, so that a hostile
file costs no more memory than its own size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np

from labkit.capture.layers import ETHERTYPE_IPV4, UDP, Layers

LONGEST = 65535


@dataclass
class _Datagram:
    pieces: dict[int, bytes] = field(default_factory=dict)
    total: int | None = None
    held: int = 0
    refused: bool = False

    def add(self, offset: int, more: bool, piece: bytes) -> bytes | None:
        """Take one piece; the whole once it is complete."""
        if self.refused or offset + len(piece) > LONGEST or offset in self.pieces:
            return None
        self.pieces[offset] = piece
        self.held += len(piece)
        if not more:
            self.total = offset + len(piece)
        if self.total is None or self.held < self.total:
            return None
        whole, at = [], 0
        for start in sorted(self.pieces):
            if start != at:  # as many bytes as there should be, and still a gap: pieces overlap
                self.refused = True
                return None
            whole.append(self.pieces[start])
            at += len(self.pieces[start])
        return b"".join(whole)


def reassemble(layers: Layers) -> None:
    """Give the frame that completes a UDP datagram its ports and payload."""
    open_datagrams: dict[tuple[int, int, int], _Datagram] = {}
    for index in np.flatnonzero((layers.fragment == 1) & (layers.protocol == UDP)).tolist():
        identification, offset, more, piece = _piece(layers, index)
        key = (int(layers.source[index]), int(layers.destination[index]), identification)
        whole = open_datagrams.setdefault(key, _Datagram()).add(offset, more, piece)
        if whole is None or len(whole) < 8:
            continue
        del open_datagrams[key]
        source_port, destination_port, length = struct.unpack_from("!HHH", whole)
        payload = whole[8:length] if length >= 8 else whole[8:]
        layers.reassembled[index] = payload
        layers.source_port[index], layers.destination_port[index] = source_port, destination_port
        layers.size[index] = len(payload)


def _piece(layers: Layers, index: int) -> tuple[int, int, bool, bytes]:
    """(identification, offset, more to come, bytes) of one fragment."""
    data, ip, at, end = layers.records.data, int(layers.ip[index]), int(layers.transport[index]), int(layers.end[index])
    if layers.ethertype[index] == ETHERTYPE_IPV4:
        identification, flags = struct.unpack_from("!HH", data, ip + 4)
        return identification, (flags & 0x1FFF) * 8, bool(flags & 0x2000), bytes(data[at:end])
    if at + 8 > end:
        return 0, LONGEST, True, b"\0"
    flags, identification = struct.unpack_from("!HI", data, at + 2)
    return identification, flags & 0xFFF8, bool(flags & 1), bytes(data[at + 8 : end])
