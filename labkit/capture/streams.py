"""TCP byte streams (RFC 9293): the payload of each direction in order, whatever order the segments came in.

Only streams that begin like SIP are followed, and what waits for a lost segment is bounded, so a capture of anything else costs nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from labkit.capture.layers import TCP, Layers

SYN = 0x02
LONGEST_MESSAGE = 1 << 22
MOST_WAITING = 256
_START = re.compile(
    rb"""SIP/2\.0[ ]                                    # a response
    | [A-Z]{1,20}[ ][^\r\n]{1,2000}[ ]SIP/2\.0\r?\n  # a request
    | [A-Z]{1,20}[ ](?![^\r\n]*HTTP/)[^\r\n]{0,2000}\Z  # perhaps one whose first line is still to come
    | [A-Z/.02]{1,20}\Z""",
    re.VERBOSE,
)
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,7})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass
class _Direction:
    """What one end of a connection sends."""

    following: int | None = None
    """The sequence number that comes next."""
    buffer: bytearray = field(default_factory=bytearray)
    waiting: dict[int, bytes] = field(default_factory=dict)
    searched: int = 0
    """Bytes of the buffer in which the end of the headers is not; 0 before the start line has been looked at."""
    total: int = 0
    """Length of the message at the front, once its headers are whole."""
    ignored: bool = False

    def segment(self, sequence: int, payload: bytes) -> None:
        """Take one segment and whatever had been waiting for it."""
        if self.following is None:
            self.following = sequence
        ahead = (sequence - self.following) & 0xFFFFFFFF
        if ahead >= 1 << 31:  # begins with what is already known: a retransmission
            payload = payload[(1 << 32) - ahead :]
            ahead = 0
        if ahead:
            if len(self.waiting) < MOST_WAITING:
                self.waiting.setdefault(sequence, payload)
            return
        while payload:
            self.buffer += payload
            self.following = (self.following + len(payload)) & 0xFFFFFFFF
            payload = self.waiting.pop(self.following, b"")

    def messages(self) -> Iterator[bytes]:
        """Cut whole SIP messages off the front (RFC 3261 §18.3: Content-Length frames them)."""
        while self._frame() and len(self.buffer) >= self.total:
            yield bytes(self.buffer[: self.total])
            del self.buffer[: self.total]
            self.total = self.searched = 0

    def _frame(self) -> bool:
        """Whether the length of the message at the front is known."""
        if self.total:
            return True
        if not self.searched:
            del self.buffer[: len(self.buffer) - len(self.buffer.lstrip(b"\r\n"))]  # RFC 5626 §4.4.1: keep-alives between messages
            if not self.buffer:
                return False
            if not _START.match(self.buffer[:4096]):
                return self._ignore()
        end = self.buffer.find(b"\r\n\r\n", max(self.searched - 3, 0))
        if end < 0:
            self.searched = len(self.buffer)
            return self._ignore() if self.searched > LONGEST_MESSAGE else False
        length = _LENGTH.search(self.buffer[: end + 2])
        self.total = end + 4 + (int(length[1]) if length else 0)
        return self._ignore() if self.total > LONGEST_MESSAGE else True

    def _ignore(self) -> bool:
        self.ignored = True
        self.buffer.clear()
        self.waiting.clear()
        return False


def sip_over_tcp(layers: Layers) -> Iterator[tuple[int, bytes]]:
    """(index of the frame that completes it, message) of every SIP message over TCP."""
    directions: dict[tuple[int, int, int, int], _Direction] = {}
    data = layers.records.data
    for index in np.flatnonzero((layers.protocol == TCP) & (layers.payload >= 0)).tolist():
        sequence, _, _, flags = struct.unpack_from("!IIBB", data, int(layers.transport[index]) + 4)
        key = (
            int(layers.source[index]),
            int(layers.source_port[index]),
            int(layers.destination[index]),
            int(layers.destination_port[index]),
        )
        if flags & SYN:
            directions[key] = _Direction((sequence + 1) & 0xFFFFFFFF)
            continue
        if not layers.size[index]:
            continue
        direction = directions.setdefault(key, _Direction())
        if direction.ignored:
            continue
        direction.segment(sequence, layers.bytes_of(index))
        for message in direction.messages():
            yield index, message
