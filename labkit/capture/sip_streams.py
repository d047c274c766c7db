"""SIP messages in TCP byte streams: Content-Length frames them (RFC 3261 §18.3).

A stream that does not begin like SIP is left alone, so a capture of anything else costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit.capture.layers import Layers
from labkit.capture.streams import Key, pieces

LONGEST_MESSAGE = 1 << 22
_START = re.compile(
    rb"""SIP/2\.0[ ]                                    # a response
    | [A-Z]{1,20}[ ][^\r\n]{1,2000}[ ]SIP/2\.0\r?\n  # a request
    | [A-Z]{1,20}[ ](?![^\r\n]*HTTP/)[^\r\n]{0,2000}\Z  # perhaps one whose first line is still to come
    | [A-Z/.02]{1,20}\Z""",
    re.VERBOSE,
)
_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*(\d{1,7})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


@dataclass
class _Framing:
    """Cuts the messages out of one direction."""

    connection: int = 0
    buffer: bytearray = field(default_factory=bytearray)
    searched: int = 0
    """Bytes of the buffer in which the end of the headers is not; 0 before the start line has been looked at."""
    total: int = 0
    """Length of the message at the front, once its headers are whole."""
    ignored: bool = False

    def messages(self) -> Iterator[bytes]:
        """Cut whole messages off the front."""
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
        return False


def sip_over_tcp(layers: Layers) -> Iterator[tuple[int, bytes]]:
    """(index of the frame that completes it, message) of every SIP message over TCP."""
    for index, messages, _ in _framed(layers):
        for message in messages:
            yield index, message


def unfinished(layers: Layers) -> list[int]:
    """The frames that carry a part of a SIP message and complete none."""
    return [index for index, messages, waiting in _framed(layers) if waiting and not messages]


def _framed(layers: Layers) -> Iterator[tuple[int, list[bytes], bool]]:
    """(index of a frame, the messages that it completes, whether octets of another wait) for every piece of a stream that may be SIP."""
    framings: dict[Key, _Framing] = {}
    for piece in pieces(layers):
        framing = framings.setdefault(piece.key, _Framing())
        if piece.connection != framing.connection or piece.after_gap:
            framing = framings[piece.key] = _Framing(piece.connection)
        if framing.ignored:
            continue
        framing.buffer += piece.data
        messages = list(framing.messages())
        yield piece.index, messages, bool(framing.buffer)
