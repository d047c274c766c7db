"""The handshake messages of TLS (RFC 5246 §7.4, RFC 8446 §4) and DTLS (RFC 6347 §4.2): what each side offers, chooses and shows.

Read are the hellos and the certificates, which travel in clear up to TLS 1.2.  Nothing is decrypted or verified here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import cached_property

from labkit.capture.info import shown
from labkit.capture.node import Node, node
from labkit.capture.tls_names import cipher_suite_name, version_name

CLIENT_HELLO, SERVER_HELLO, HELLO_VERIFY_REQUEST, CERTIFICATE = 1, 2, 3, 11
NAMES = {
    0: "Hello Request",
    CLIENT_HELLO: "Client Hello",
    SERVER_HELLO: "Server Hello",
    HELLO_VERIFY_REQUEST: "Hello Verify Request",
    4: "New Session Ticket",
    5: "End of Early Data",
    6: "Hello Retry Request",
    8: "Encrypted Extensions",
    CERTIFICATE: "Certificate",
    12: "Server Key Exchange",
    13: "Certificate Request",
    14: "Server Hello Done",
    15: "Certificate Verify",
    16: "Client Key Exchange",
    20: "Finished",
    21: "Certificate URL",
    22: "Certificate Status",
    24: "Key Update",
}
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""RFC 8446 §4.1.3: a Server Hello with this random is a Hello Retry Request."""
_SERVER_NAME, _ALPN, _USE_SRTP, _SUPPORTED_VERSIONS = 0, 16, 14, 43
SRTP_PROFILES = {
    1: "SRTP_AES128_CM_HMAC_SHA1_80",
    2: "SRTP_AES128_CM_HMAC_SHA1_32",
    5: "SRTP_NULL_HMAC_SHA1_80",
    6: "SRTP_NULL_HMAC_SHA1_32",
    7: "SRTP_AEAD_AES_128_GCM",
    8: "SRTP_AEAD_AES_256_GCM",
}


@dataclass(frozen=True)
class Hello:
    """A Client Hello or Server Hello."""

    version: int
    """What the message's own field says; see :attr:`negotiated`."""
    random: bytes
    session_id: bytes
    cipher_suites: tuple[int, ...]
    """All that a client offers; the one that a server chose."""
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()
    """The supported_versions extension (RFC 8446 §4.2.1)."""
    srtp_profiles: tuple[str, ...] = ()
    """The use_srtp extension (RFC 5764 §4.1)."""
    cookie: bytes = b""

    @property
    def negotiated(self) -> int:
        """The version that a Server Hello settles."""
        return self.versions[0] if self.versions else self.version


class _Reader:
    """Steps through a message; :class:`struct.error` where it is too short."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "big")

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise struct.error("message too short")
        self.at += size
        return self.data[self.at - size : self.at]

    def vector(self, width: int) -> bytes:
        """Octets behind their length."""
        return self.take(self.number(width))

    @property
    def more(self) -> bool:
        return self.at < len(self.data)


@dataclass(frozen=True)
class Handshake:
    """One message: its type, its body (without the header), whether it travelled by DTLS."""

    kind: int
    body: bytes
    datagram: bool = False
    note: str = field(default="", compare=False)
    """What Wireshark adds to the name of a message in fragments."""

    @property
    def name(self) -> str:
        if self.kind == SERVER_HELLO and self.body[2:34] == _RETRY:
            return "Hello Retry Request"
        return NAMES.get(self.kind, "Unknown Handshake Type")

    @property
    def info(self) -> str:
        return self.name + (f" ({self.note})" if self.note else "")

    @cached_property
    def hello(self) -> Hello | None:
        """The fields of a hello; ``None`` for other messages, and for one that breaks its lengths."""
        if self.kind not in (CLIENT_HELLO, SERVER_HELLO):
            return None
        try:
            return _hello(_Reader(self.body), self.kind == CLIENT_HELLO, self.datagram)
        except struct.error:
            return None

    @cached_property
    def certificates(self) -> tuple[bytes, ...]:
        """The certificates in DER, the sender's own first, of a Certificate message up to TLS 1.2."""
        if self.kind != CERTIFICATE:
            return ()
        found = []
        try:
            chain = _Reader(_Reader(self.body).vector(3))
            while chain.more:
                found.append(chain.vector(3))
        except struct.error:
            return ()
        return tuple(found)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the certificates (RFC 4514); empty text for one that cannot be read."""
        return tuple(map(subject_of, self.certificates))

    def tree(self) -> Node:
        prefix = "dtls" if self.datagram else "tls"
        lines = [
            Node(f"Handshake Type: {self.name} ({self.kind})", f"{prefix}.handshake.type", self.kind),
            node("Length", f"{prefix}.handshake.length", len(self.body)),
        ]
        hello = self.hello
        if hello:
            lines += _hello_lines(hello, self.kind == CLIENT_HELLO, prefix)
        for der, subject in zip(self.certificates, self.subjects, strict=True):
            about = (Node(f"subject: {subject}", "x509.subject", subject),) if subject else ()
            lines.append(Node(f"Certificate: {len(der)} bytes", f"{prefix}.handshake.certificate", der, about))
        return Node(f"Handshake Protocol: {self.name}", f"{prefix}.handshake", self.name, tuple(lines))


def subject_of(der: bytes) -> str:
    """The subject of a certificate in DER (RFC 5280 §4.1.2.6) as RFC 4514 writes it; empty when it cannot be read."""
    from cryptography import x509

    try:
        return shown(x509.load_der_x509_certificate(der).subject.rfc4514_string())
    except (ValueError, TypeError):
        return ""


def _hello(reader: _Reader, client: bool, datagram: bool) -> Hello:
    version, random, session_id = reader.number(2), reader.take(32), reader.vector(1)
    cookie = reader.vector(1) if client and datagram else b""
    suites = reader.vector(2) if client else reader.take(2)
    if client:
        reader.vector(1)  # compression methods
    else:
        reader.take(1)
    extensions: dict[int, bytes] = {}
    if reader.more:
        inner = _Reader(reader.vector(2))
        while inner.more:
            kind = inner.number(2)
            extensions.setdefault(kind, inner.vector(2))
    numbers = struct.unpack(f"!{len(suites) // 2}H", suites[: len(suites) // 2 * 2])
    versions = extensions.get(_SUPPORTED_VERSIONS, b"")[1 if client else 0 :]
    return Hello(
        version=version,
        random=random,
        session_id=session_id,
        cipher_suites=numbers,
        server_name=_server_name(extensions.get(_SERVER_NAME, b"")),
        alpn=_alpn(extensions.get(_ALPN, b"")),
        versions=struct.unpack(f"!{len(versions) // 2}H", versions[: len(versions) // 2 * 2]),
        srtp_profiles=_srtp_profiles(extensions.get(_USE_SRTP, b"")),
        cookie=cookie,
    )


def _server_name(data: bytes) -> str:
    """RFC 6066 §3."""
    if len(data) < 5:
        return ""
    return shown(_Reader(data[3:]).vector(2).decode("utf-8", "replace"))


def _alpn(data: bytes) -> tuple[str, ...]:
    """RFC 7301 §3.1."""
    names, inner = [], _Reader(_Reader(data).vector(2) if data else b"")
    while inner.more:
        names.append(shown(inner.vector(1).decode("utf-8", "replace")))
    return tuple(names)


def _srtp_profiles(data: bytes) -> tuple[str, ...]:
    profiles = _Reader(data).vector(2) if data else b""
    numbers = (int.from_bytes(profiles[at : at + 2], "big") for at in range(0, len(profiles) - 1, 2))
    return tuple(SRTP_PROFILES.get(number, f"0x{number:04x}") for number in numbers)


def _hello_lines(hello: Hello, client: bool, prefix: str) -> list[Node]:
    start = f"{prefix}.handshake."
    lines = [
        Node(f"Version: {version_name(hello.version)} (0x{hello.version:04x})", start + "version", hello.version),
        Node(f"Random: {hello.random.hex()}", start + "random", hello.random.hex()),
        Node(f"Session ID: {hello.session_id.hex()}", start + "session_id", hello.session_id.hex()),
    ]
    if hello.cookie:
        lines.append(Node(f"Cookie: {hello.cookie.hex()}", start + "cookie", hello.cookie.hex()))
    suites = tuple(
        Node(f"Cipher Suite: {cipher_suite_name(suite)} (0x{suite:04x})", start + "ciphersuite", suite) for suite in hello.cipher_suites
    )
    lines += [Node(f"Cipher Suites ({len(suites)} suites)", "", None, suites)] if client else list(suites)
    if hello.server_name:
        lines.append(node("Server Name", start + "extensions_server_name", hello.server_name))
    for name in hello.alpn:
        lines.append(node("ALPN Next Protocol", start + "extensions_alpn_str", name))
    for version in hello.versions:
        lines.append(Node(f"Supported Version: {version_name(version)} (0x{version:04x})", start + "extensions.supported_version", version))
    for profile in hello.srtp_profiles:
        lines.append(node("SRTP Protection Profile", f"{prefix}.use_srtp.protection_profile", profile))
    return lines
