"""DTLS (RFC 6347): records in datagrams, handshake messages put together from their fragments.

The fields are those of TLS (:mod:`labkit.capture.tls_handshake`).  DTLS 1.3's short headers (RFC 9147 §4) are not read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from labkit.capture.tls_handshake import HELLO_VERIFY_REQUEST, SERVER_HELLO, Handshake
from labkit.capture.tls_records import (
    ALERT,
    CONTENT_TYPES,
    HANDSHAKE,
    LONGEST,
    LONGEST_HANDSHAKE,
    Alert,
    TlsRecord,
    read_alert,
)

HEADER, HANDSHAKE_HEADER = 13, 12
_VERSIONS = (0xFEFF, 0xFEFD, 0x0100)  # 0x0100: what OpenSSL sent before the RFC
MOST_MESSAGES, MOST_FRAGMENTS = 32, 1024
"""Messages that may be incomplete at a time, and the fragments of one."""


def looks_like_dtls(data: bytes) -> bool:
    """Whether a datagram is records from end to end (RFC 7983: DTLS begins with 20 to 63)."""
    at = 0
    while at + HEADER <= len(data):
        kind, version, size = data[at], int.from_bytes(data[at + 1 : at + 3], "big"), int.from_bytes(data[at + 11 : at + 13], "big")
        if kind not in CONTENT_TYPES or version not in _VERSIONS or size > LONGEST:
            return False
        at += HEADER + size
    return at == len(data) > 0


@dataclass
class _Message:
    """A handshake message whose fragments are still coming."""

    kind: int
    total: int
    pieces: dict[int, bytes] = field(default_factory=dict)

    held: int = 0

    def add(self, offset: int, piece: bytes) -> bytes | None:
        """Take one fragment; the whole once it is there.  Fragments may overlap (RFC 6347 §4.2.3)."""
        if offset not in self.pieces and len(self.pieces) < MOST_FRAGMENTS:
            self.pieces[offset] = piece
            self.held += len(piece)
        if self.held < self.total:
            return None
        data = bytearray()
        for at, part in sorted(self.pieces.items()):
            if at > len(data):
                return None
            data += part[len(data) - at :]
        return bytes(data) if len(data) == self.total else None


@dataclass
class DtlsSession:
    """The handshake between two ends.  ``False`` and ``True`` name the two sides."""

    version: int = 0
    open_messages: dict[tuple[bool, int], _Message] = field(default_factory=dict)

    def feed(self, side: bool, datagram: bytes) -> list[TlsRecord]:
        """The records of one datagram, which :func:`looks_like_dtls`."""
        records, at = [], 0
        while at + HEADER <= len(datagram):
            kind, version, epoch = struct.unpack_from("!BHH", datagram, at)
            size = int.from_bytes(datagram[at + 11 : at + 13], "big")
            body = datagram[at + HEADER : at + HEADER + size]
            at += HEADER + size
            messages: tuple[Handshake | Alert, ...] = ()
            encrypted = epoch > 0 and kind in (ALERT, HANDSHAKE)
            if kind == ALERT and not encrypted:
                messages = read_alert(body, encrypted=False)
            elif kind == HANDSHAKE and not encrypted:
                messages = tuple(self._messages(side, version, body))
            records.append(TlsRecord(kind, version, size, messages, encrypted, self.version, datagram=True))
        return records

    def _messages(self, side: bool, version: int, body: bytes) -> list[Handshake]:
        found, at = [], 0
        while at + HANDSHAKE_HEADER <= len(body):
            kind, total = body[at], int.from_bytes(body[at + 1 : at + 4], "big")
            number, offset = int.from_bytes(body[at + 4 : at + 6], "big"), int.from_bytes(body[at + 6 : at + 9], "big")
            size = int.from_bytes(body[at + 9 : at + 12], "big")
            piece = body[at + HANDSHAKE_HEADER : at + HANDSHAKE_HEADER + size]
            at += HANDSHAKE_HEADER + size
            if len(piece) < size or offset + size > total or total > LONGEST_HANDSHAKE:
                break
            message = self._assembled(side, number, kind, total, offset, piece)
            found.append(message)
            if kind == HELLO_VERIFY_REQUEST:
                self.version = version
            elif kind == SERVER_HELLO and message.hello:
                self.version = message.hello.negotiated
        return found

    def _assembled(self, side: bool, number: int, kind: int, total: int, offset: int, piece: bytes) -> Handshake:
        """The message, or the fragment of one (RFC 6347 §4.2.3)."""
        if len(piece) == total:
            return Handshake(kind, piece, datagram=True)
        key = (side, number)
        if key not in self.open_messages and len(self.open_messages) >= MOST_MESSAGES:
            self.open_messages.pop(next(iter(self.open_messages)))
        waiting = self.open_messages.setdefault(key, _Message(kind, total))
        whole = waiting.add(offset, piece) if waiting.total == total else None
        if whole is None:
            return Handshake(kind, b"", datagram=True, note="Fragment")
        del self.open_messages[key]
        return Handshake(kind, whole, datagram=True, note="Reassembled")
