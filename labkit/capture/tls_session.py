"""One TLS connection read from both sides (RFC 5246, RFC 8446): records, handshake, and what the secrets at hand open.

Bytes in, clear bytes out, in the order in which they were captured.  What precedes TLS on the connection (SMTP before STARTTLS) passes as
it is.  Not read: early data of TLS 1.3, compressed records, SSL 3.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from labkit.capture.tls_cipher import (
    SUITES,
    TLS_1_0,
    TLS_1_2,
    TLS_1_3,
    VERSIONS,
    Aead13Opener,
    BadRecord,
    Opener,
    Suite,
    openers,
)
from labkit.capture.tls_master import Handshake, Secrets
from labkit.capture.tls_messages import (
    ALERT,
    APPLICATION_DATA,
    CERTIFICATE,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    CLIENT_KEY_EXCHANGE,
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER_SECRET,
    FINISHED,
    HANDSHAKE,
    KEY_UPDATE,
    NEW_SESSION_TICKET,
    RETRY,
    SERVER_HELLO,
    SUPPORTED_VERSIONS,
    TICKET,
    Reader,
)

LONGEST_RECORD = (1 << 14) + 2048
LONGEST_MESSAGE = 1 << 18


@dataclass
class Side:
    """What one end sends."""

    tls: bool = False
    buffer: bytearray = field(default_factory=bytearray)
    messages: bytearray = field(default_factory=bytearray)
    """Handshake messages, which may span records."""
    opener: Opener | None = None
    blind: bool = False
    """Encrypted, and nothing opens it."""
    broken: bool = False
    """Bytes are missing, or these are no records."""


class TlsSession:
    """Feed it what each end sent; :attr:`why` is a message id when not everything came out."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self.sides = (Side(), Side())
        self.client = -1
        """Which side sent the ClientHello; -1 before it."""
        self.version = 0
        self.suite: Suite | None = None
        self.suite_number = 0
        self.opened, self.failed, self.closed = 0, 0, 0
        """Records with application data that were opened, records that failed, records without a key."""
        self.octets = 0
        self.why = ""
        self._said = Handshake()
        self._transcript = self._new_ticket = b""
        self._encrypt_then_mac = False
        self._master: bytes | None = None
        self._made: tuple[Opener, Opener] | None = None

    @property
    def version_name(self) -> str:
        return VERSIONS.get(self.version, f"0x{self.version:04x}" if self.version else "")

    @property
    def suite_name(self) -> str:
        return self.suite.name if self.suite else f"0x{self.suite_number:04x}" if self.suite_number else ""

    # --- records -------------------------------------------------------------------------------------------------------

    def feed(self, number: int, data: bytes, *, after_gap: bool = False) -> bytes:
        """The clear bytes that became known with ``data`` from side ``number`` (0 or 1)."""
        side = self.sides[number]
        if after_gap and side.tls and not side.broken:
            self._break(side, "decrypt.gap")
        if side.broken:
            return b""
        side.buffer += data
        if not side.tls and not self._begins(number, side):
            clear = bytes(side.buffer)
            side.buffer.clear()
            return clear
        return b"".join(self._record(number, side, *record) for record in self._records(side))

    def _begins(self, number: int, side: Side) -> bool:
        """Whether TLS begins here: a handshake record with the first message of this side."""
        head = bytes(side.buffer[:6])
        hello = CLIENT_HELLO if self.client in (-1, number) else SERVER_HELLO
        if self.client == -1 and head[:1] == bytes([APPLICATION_DATA]) and head[1:2] == b"\x03" and head[2:3] <= b"\x04":
            self._break(side, "decrypt.no_start")
            return True
        expected = (bytes([HANDSHAKE]), b"\x03", b"\x00\x01\x02\x03\x04", None, None, bytes([hello]))
        alert = self.client not in (-1, number) and head[:2] == bytes([ALERT, 3])
        if alert or all(allowed is None or byte in allowed for byte, allowed in zip(head, expected, strict=False)):
            side.tls = len(head) == 6 or alert
            return True
        return False

    def _records(self, side: Side) -> Iterator[tuple[int, int, bytes]]:
        while side.tls and not side.broken and len(side.buffer) >= 5:
            kind, version, length = side.buffer[0], side.buffer[1] << 8 | side.buffer[2], side.buffer[3] << 8 | side.buffer[4]
            if not CHANGE_CIPHER_SPEC <= kind <= 24 or version >> 8 != 3 or length > LONGEST_RECORD:
                self._break(side, "decrypt.not_tls")
                return
            if len(side.buffer) < 5 + length:
                return
            fragment = bytes(side.buffer[5 : 5 + length])
            del side.buffer[: 5 + length]
            yield kind, version, fragment

    def _break(self, side: Side, why: str) -> None:
        side.broken = True
        side.buffer.clear()
        self.why = self.why or why

    def _record(self, number: int, side: Side, kind: int, version: int, fragment: bytes) -> bytes:
        if self.version == TLS_1_3 and kind != APPLICATION_DATA:
            if kind != HANDSHAKE or side.opener or side.blind:
                return b""  # RFC 8446 §5: a change_cipher_spec is for middleboxes only; alerts before the keys say nothing secret
        elif side.blind:
            self.closed += kind == APPLICATION_DATA
            return b""
        elif side.opener:
            try:
                kind, fragment = side.opener.open(kind, version, fragment)
            except BadRecord:
                self.failed += 1
                return b""
        if kind == CHANGE_CIPHER_SPEC:
            self._change(number, side)
        elif kind == HANDSHAKE:
            self._handshake(number, side, fragment)
        elif kind == APPLICATION_DATA and side.opener:
            self.opened += 1
            self.octets += len(fragment)
            return fragment
        return b""

    # --- handshake messages ----------------------------------------------------------------------------------------------

    def _handshake(self, number: int, side: Side, fragment: bytes) -> None:
        side.messages += fragment
        while len(side.messages) >= 4:
            length = int.from_bytes(side.messages[1:4], "big")
            if length > LONGEST_MESSAGE:
                self._break(side, "decrypt.not_tls")
                return
            if len(side.messages) < 4 + length:
                return
            message = bytes(side.messages[: 4 + length])
            del side.messages[: 4 + length]
            if message[0] == CLIENT_HELLO and not (self.version == 0 and self._said.client_random):
                self._transcript = b""
            if len(self._transcript) < LONGEST_MESSAGE:
                self._transcript += message
            read = _MESSAGES.get(message[0])
            if read is not None:
                read(self, number, side, Reader(message[4:]))

    def _client_hello(self, number: int, side: Side, body: Reader) -> None:
        self.client = number
        self._said.offered = body.number(2)
        self._said.client_random = body.take(32)
        self._said.session_id = body.vector(1)
        body.vector(2)
        body.vector(1)
        self._said.ticket = body.extensions().get(TICKET, b"")
        self._master, self._made, self._said.encrypted_premaster, self._new_ticket, self._said.resumed = None, None, b"", b"", False

    def _server_hello(self, number: int, side: Side, body: Reader) -> None:
        version, self._said.server_random, session = body.number(2), body.take(32), body.vector(1)
        self.suite_number = body.number(2)
        compression, extensions = body.number(1), body.extensions()
        self.suite = SUITES.get(self.suite_number)
        chosen = extensions.get(SUPPORTED_VERSIONS, b"")
        version = int.from_bytes(chosen, "big") if len(chosen) == 2 else version
        if self._said.server_random == RETRY:
            return
        self.version = version
        self._encrypt_then_mac = ENCRYPT_THEN_MAC in extensions
        self._said.extended = EXTENDED_MASTER_SECRET in extensions
        if version == TLS_1_3:
            self._handshake_keys()
            return
        self._said.resumed = bool(session) and session == self._said.session_id
        self._said.session_id = session
        if compression:
            self.why = "decrypt.compressed"

    def _certificates(self, number: int, side: Side, body: Reader) -> None:
        if self.version < TLS_1_3 and number != self.client:
            self._said.certificate = Reader(body.vector(3)).vector(3)

    def _key_exchange(self, number: int, side: Side, body: Reader) -> None:
        self._said.encrypted_premaster = body.vector(2)
        self._said.hashed = self._transcript  # RFC 7627 §3: up to and with this message

    def _session_ticket(self, number: int, side: Side, body: Reader) -> None:
        if self.version < TLS_1_3:
            body.take(4)
            self._new_ticket = body.vector(2)

    def _finished(self, number: int, side: Side, body: Reader) -> None:
        if self.version == TLS_1_3:
            self._secret13(number, side, "CLIENT_TRAFFIC_SECRET_0" if number == self.client else "SERVER_TRAFFIC_SECRET_0")
        elif self._master:
            for name in (self._said.session_id, self._new_ticket):
                if name:
                    self._secrets.sessions[name] = self._master

    def _key_update(self, number: int, side: Side, body: Reader) -> None:
        if isinstance(side.opener, Aead13Opener):
            side.opener = side.opener.updated()

    # --- keys ------------------------------------------------------------------------------------------------------------

    def _handshake_keys(self) -> None:
        for number, side in enumerate(self.sides):
            who = "CLIENT" if number == self.client else "SERVER"
            self._secret13(number, side, f"{who}_HANDSHAKE_TRAFFIC_SECRET")

    def _secret13(self, number: int, side: Side, label: str) -> None:
        """The keys of a secret of TLS 1.3 (RFC 8446 §7.3)."""
        secret = self._secrets.log.get(label, self._said.client_random)
        if self.suite is None or not self.suite.hash or self.suite.exchange:
            self._unopened(side, "decrypt.suite")
        elif secret is None:
            self._unopened(side, "decrypt.forward_secrecy" if self._secrets.rsa and not len(self._secrets.log) else "decrypt.no_secret")
        elif len(secret) != hashlib.new(self.suite.hash).digest_size:
            self._unopened(side, "decrypt.wrong_secret")
        else:
            side.opener = Aead13Opener(self.suite, secret)

    def _unopened(self, side: Side, why: str) -> None:
        side.opener, side.blind = None, True
        self.why = self.why or why

    def _change(self, number: int, side: Side) -> None:
        """From here on this side encrypts (RFC 5246 §7.1)."""
        if not self.version:
            return  # after a request for another ClientHello: for middleboxes only (RFC 8446 §D.4)
        if self.why == "decrypt.compressed":
            side.blind = True
            return
        if self.suite is None or not self.suite.exchange or not TLS_1_0 <= self.version <= TLS_1_2:
            self._unopened(side, "decrypt.suite" if self.version >= TLS_1_0 else "decrypt.version")
            return
        if self._made is None:
            self._master = self._said.master(self._secrets, self.version, self.suite)
            if self._master is None:
                self._unopened(side, self._said.why_not(self._secrets, self.suite))
                return
            self._made = openers(
                self.suite,
                self.version,
                self._master,
                self._said.client_random,
                self._said.server_random,
                encrypt_then_mac=self._encrypt_then_mac and self.suite.mode == "CBC",
            )
        side.opener, side.blind = self._made[0 if number == self.client else 1], False


_MESSAGES: dict[int, Callable[[TlsSession, int, Side, Reader], None]] = {
    CLIENT_HELLO: TlsSession._client_hello,
    SERVER_HELLO: TlsSession._server_hello,
    NEW_SESSION_TICKET: TlsSession._session_ticket,
    CERTIFICATE: TlsSession._certificates,
    CLIENT_KEY_EXCHANGE: TlsSession._key_exchange,
    FINISHED: TlsSession._finished,
    KEY_UPDATE: TlsSession._key_update,
}
