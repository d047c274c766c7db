"""Numbers of TLS records, handshake messages and extensions (RFC 5246, RFC 8446), and a reader of their fields."""

from __future__ import annotations

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, CERTIFICATE, CLIENT_KEY_EXCHANGE, FINISHED, KEY_UPDATE = 1, 2, 4, 11, 16, 20, 24
TICKET, ENCRYPT_THEN_MAC, EXTENDED_MASTER_SECRET, SUPPORTED_VERSIONS = 35, 22, 23, 43
RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a ServerHello that asks for another ClientHello (RFC 8446 §4.1.3)."""


class Reader:
    """Fields of a message, in order; what is cut short reads as shorter or zero."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def number(self, length: int) -> int:
        return int.from_bytes(self.take(length), "big")

    def vector(self, width: int) -> bytes:
        """A field with its length, ``width`` bytes, before it."""
        return self.take(self.number(width))

    def extensions(self) -> dict[int, bytes]:
        inner, found = Reader(self.vector(2)), {}
        while inner._at + 4 <= len(inner._data):
            kind = inner.number(2)
            found[kind] = inner.vector(2)
        return found
