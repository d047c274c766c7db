"""The records of TLS (RFC 5246 §6.2, RFC 8446 §5): handshake, alert, change of cipher, application data; the names Wireshark gives them.

Both directions of one connection share what the Server Hello settles.  What is encrypted stays so: see :mod:`labkit.capture.decrypt`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from labkit.capture.node import Node, node
from labkit.capture.tls_handshake import SERVER_HELLO, Handshake
from labkit.capture.tls_names import ALERT_LEVELS, ALERTS, PROTOCOLS, TLS_1_3, version_name

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = 20, 21, 22, 23, 24
CONTENT_TYPES = {
    CHANGE_CIPHER_SPEC: "Change Cipher Spec",
    ALERT: "Alert",
    HANDSHAKE: "Handshake",
    APPLICATION_DATA: "Application Data",
    HEARTBEAT: "Heartbeat",
}
HEADER = 5
LONGEST = (1 << 14) + 2048
"""RFC 5246 §6.2.3: octets of an encrypted record."""
LONGEST_HANDSHAKE = 1 << 18


@dataclass(frozen=True)
class Alert:
    """A warning or a fatal error (RFC 8446 §6)."""

    level: int
    description: int

    @property
    def name(self) -> str:
        return ALERTS.get(self.description, f"Unknown ({self.description})")

    @property
    def info(self) -> str:
        return f"Alert (Level: {ALERT_LEVELS[self.level]}, Description: {self.name})"

    def tree(self) -> Node:
        return Node(
            f"Alert Message: {self.name}",
            "tls.alert_message",
            self.name,
            (
                Node(f"Level: {ALERT_LEVELS[self.level]} ({self.level})", "tls.alert_message.level", self.level),
                Node(f"Description: {self.name} ({self.description})", "tls.alert_message.desc", self.description),
            ),
        )


@dataclass(frozen=True)
class TlsRecord:
    """One record.  ``messages`` are what could be read of it; ``session`` the version that the connection has settled on, or 0."""

    kind: int
    version: int
    size: int
    messages: tuple[Handshake | Alert, ...]
    encrypted: bool
    """An alert or a handshake message that cannot be read."""
    session: int
    datagram: bool = False

    @property
    def column(self) -> str:
        if self.datagram:
            return PROTOCOLS.get(self.session, "DTLS")
        return PROTOCOLS.get(self.session or self.version, "TLS")

    @property
    def info(self) -> str:
        """What it adds to Wireshark's Info column."""
        if self.messages:
            return ", ".join(message.info for message in self.messages)
        if self.kind in (HANDSHAKE, ALERT):
            name = "Handshake Message" if self.kind == HANDSHAKE else "Alert"
            return f"Encrypted {name}" if self.encrypted else f"{name} (Fragment)"
        return CONTENT_TYPES[self.kind]

    def tree(self) -> Node:
        prefix, name = ("dtls", "DTLS") if self.datagram else ("tls", "TLS")
        # RFC 8446 §5.2: from the keys on, the type in the header is always "application data", and the true one is inside.
        opaque = self.session == TLS_1_3 and self.kind == APPLICATION_DATA
        lines = [
            Node(
                f"{'Opaque' if opaque else 'Content'} Type: {CONTENT_TYPES[self.kind]} ({self.kind})",
                f"{prefix}.record.{'opaque' if opaque else 'content'}_type",
                self.kind,
            ),
            Node(f"Version: {version_name(self.version)} (0x{self.version:04x})", f"{prefix}.record.version", self.version),
            node("Length", f"{prefix}.record.length", self.size),
            *(message.tree() for message in self.messages),
        ]
        if self.encrypted:
            part, field = ("Alert Message", "alert_message") if self.kind == ALERT else ("Handshake Protocol", "handshake")
            lines.append(Node(f"{part}: {self.info}", f"{prefix}.{field}", self.info))
        layer = f"{self.column} Record Layer: {self.info}"
        title = "Datagram Transport Layer Security" if self.datagram else "Transport Layer Security"
        return Node(title, prefix, self.info, (Node(layer, f"{prefix}.record", name, tuple(lines)),))


def looks_like_tls(data: bytes) -> bool:
    """Whether ``data`` begins with the header of a record."""
    return len(data) >= 3 and data[0] in CONTENT_TYPES and data[1] == 3 and data[2] <= 4 and int.from_bytes(data[3:5], "big") <= LONGEST


def read_alert(body: bytes, *, encrypted: bool) -> tuple[Alert, ...]:
    """The alert in clear: two octets with a level that exists, whatever came before."""
    return (Alert(*body),) if len(body) == 2 and body[0] in ALERT_LEVELS and not (encrypted and body[1] not in ALERTS) else ()


@dataclass
class _Side:
    """What one end has sent and is not yet cut into records and messages."""

    buffer: bytearray = field(default_factory=bytearray)
    handshake: bytearray = field(default_factory=bytearray)
    encrypted: bool = False
    """It has sent Change Cipher Spec."""


@dataclass
class TlsSession:
    """Cuts both directions of one connection into records.  ``False`` and ``True`` name the two sides."""

    version: int = 0
    """Settled by the Server Hello; 0 before it."""
    sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))
    broken: bool = False
    """Something that is no record was met: nothing more is read."""

    def feed(self, side: bool, data: bytes, *, after_gap: bool = False) -> Iterator[TlsRecord]:
        """The records that ``data`` completes."""
        mine = self.sides[side]
        if after_gap:
            mine.buffer.clear()
            mine.handshake.clear()
        mine.buffer += data
        while not self.broken and len(mine.buffer) >= HEADER:
            kind, version, size = struct.unpack_from("!BHH", mine.buffer)
            if not looks_like_tls(bytes(mine.buffer[:HEADER])):
                self.broken = True
                mine.buffer.clear()
                return
            if len(mine.buffer) < HEADER + size:
                return
            body = bytes(mine.buffer[HEADER : HEADER + size])
            del mine.buffer[: HEADER + size]
            yield self._record(mine, kind, version, body)

    def waiting(self, side: bool) -> int:
        """Octets of a record that is not whole yet."""
        return len(self.sides[side].buffer)

    def _record(self, mine: _Side, kind: int, version: int, body: bytes) -> TlsRecord:
        messages: tuple[Handshake | Alert, ...] = ()
        encrypted = mine.encrypted and self.version != TLS_1_3 and kind in (ALERT, HANDSHAKE)
        if kind == CHANGE_CIPHER_SPEC:
            mine.encrypted = True
        elif kind == ALERT:
            messages = read_alert(body, encrypted=encrypted)
            encrypted = not messages
        elif kind == HANDSHAKE and not encrypted:
            messages = tuple(self._messages(mine, body))
        return TlsRecord(kind, version, len(body), messages, encrypted, self.version)

    def _messages(self, mine: _Side, body: bytes) -> Iterator[Handshake]:
        """Messages may share a record, or one may fill several (RFC 5246 §6.2.1)."""
        mine.handshake += body
        while len(mine.handshake) >= 4:
            size = int.from_bytes(mine.handshake[1:4], "big")
            if size > LONGEST_HANDSHAKE:
                mine.handshake.clear()
                return
            if len(mine.handshake) < 4 + size:
                return
            message = Handshake(mine.handshake[0], bytes(mine.handshake[4 : 4 + size]))
            del mine.handshake[: 4 + size]
            if message.kind == SERVER_HELLO and message.hello:
                self.version = message.hello.negotiated
            yield message
