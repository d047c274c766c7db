"""TCP byte streams (RFC 9293): what each end of a connection sent, in order, whatever order the segments came in.

Retransmitted octets come out once, as they came first; segments ahead of a gap wait for it.  When more wait than a window holds, the gap
was never recorded: the stream goes on after it, and :attr:`Piece.after_gap` says so.  Nothing here knows what the octets mean.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from labkit.capture.layers import TCP, Layers

SYN = 0x02
MOST_WAITING = 256
"""Segments, and a mebibyte in all, that may wait in one direction."""
MOST_WAITING_OCTETS = 1 << 20
_MASK, _HALF = (1 << 32) - 1, 1 << 31

Key = tuple[int, int, int, int]
"""Address number and port of the sender, then of the receiver."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Octets that follow on in one direction of one connection."""

    index: int
    """The frame that made them known."""
    key: Key
    connection: int
    """Counts the connections between the same two ends: a SYN with a number of its own begins another."""
    data: bytes
    after_gap: bool
    """Octets before these are missing in the capture."""


@dataclass
class Direction:
    """What one end of a connection sends."""

    following: int | None = None
    """The sequence number that comes next."""
    connection: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)
    held: int = 0
    """Octets in ``waiting``."""

    def segment(self, sequence: int, payload: bytes) -> tuple[bytes, bool]:
        """Take one segment; (octets that now follow on, whether some before them are lost)."""
        if self.following is None:
            self.following = sequence
        if self._known(sequence):
            return self._take(sequence, payload) + self._waited(), False
        if sequence not in self.waiting:
            self.waiting[sequence] = payload
            self.held += len(payload)
        if len(self.waiting) <= MOST_WAITING and self.held <= MOST_WAITING_OCTETS:
            return b"", False
        here = self.following
        self.following = min(self.waiting, key=lambda start: (start - here) & _MASK)
        return self._waited(), True

    def _known(self, sequence: int) -> bool:
        """Whether a segment begins at or before what comes next."""
        assert self.following is not None
        return (self.following - sequence) & _MASK < _HALF

    def _take(self, sequence: int, payload: bytes) -> bytes:
        """The new octets of a segment that begins at or before what comes next."""
        assert self.following is not None
        new = payload[(self.following - sequence) & _MASK :]
        self.following = (self.following + len(new)) & _MASK
        return new

    def _waited(self) -> bytes:
        parts = []
        while self.waiting and (ready := [start for start in self.waiting if self._known(start)]):
            for start in sorted(ready, key=lambda start: (start - ready[0] + _HALF) & _MASK):
                payload = self.waiting.pop(start)
                self.held -= len(payload)
                parts.append(self._take(start, payload))
        return b"".join(parts)


def pieces(layers: Layers) -> Iterator[Piece]:
    """The byte streams of every TCP connection, piece by piece in the order of the frames that made them known."""
    directions: dict[Key, Direction] = {}
    first: dict[Key, int] = {}
    data = layers.records.data
    for index in np.flatnonzero((layers.protocol == TCP) & (layers.payload >= 0)).tolist():
        size = int(layers.size[index])
        sequence, _, _, flags = struct.unpack_from("!IIBB", data, int(layers.transport[index]) + 4)
        if not size and not flags & SYN:
            continue
        key = sender_and_receiver(layers, index)
        if flags & SYN:
            if first.get(key) != sequence:  # and not the same SYN once more
                before = directions.get(key)
                directions[key] = Direction((sequence + 1) & _MASK, before.connection + 1 if before else 0)
                first[key] = sequence
            continue
        direction = directions.setdefault(key, Direction())
        new, after_gap = direction.segment(sequence, layers.bytes_of(index))
        if new:
            yield Piece(index, key, direction.connection, new, after_gap)


def sender_and_receiver(layers: Layers, index: int) -> Key:
    """The key of the direction that a frame belongs to."""
    return (
        int(layers.source[index]),
        int(layers.source_port[index]),
        int(layers.destination[index]),
        int(layers.destination_port[index]),
    )


def reverse(key: Key) -> Key:
    """The other direction of the same connection."""
    return key[2], key[3], key[0], key[1]
