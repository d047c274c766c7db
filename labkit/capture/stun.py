"""STUN (RFC 8489), its forerunner (RFC 3489) and TURN (RFC 8656): messages, attributes, ChannelData, and their proofs of integrity.

The Info column is Wireshark's.  A message that breaks its own lengths is none; keys are given, never guessed (SASLprep is not done here).
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import ipaddress
import struct
from dataclasses import dataclass

from labkit.capture.info import shown
from labkit.capture.node import Node, node

PORT = 3478
MAGIC_COOKIE = 0x2112A442
HEADER = 20
METHODS = {
    1: "Binding",
    2: "SharedSecret",
    3: "Allocate",
    4: "Refresh",
    6: "Send",
    7: "Data",
    8: "CreatePermission",
    9: "Channel-Bind",
    10: "Connect",
    11: "ConnectionBind",
    12: "ConnectionAttempt",
}
CLASSES = ("Request", "Indication", "Success Response", "Error Response")

MAPPED_ADDRESS, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, CHANNEL_NUMBER, LIFETIME = 0x01, 0x06, 0x08, 0x09, 0x0C, 0x0D
XOR_PEER_ADDRESS, REALM, NONCE, XOR_RELAYED_ADDRESS, REQUESTED_TRANSPORT = 0x12, 0x14, 0x15, 0x16, 0x19
MESSAGE_INTEGRITY_SHA256, XOR_MAPPED_ADDRESS, SOFTWARE, ALTERNATE_SERVER, FINGERPRINT = 0x1C, 0x20, 0x8022, 0x8023, 0x8028
RESPONSE_ORIGIN, OTHER_ADDRESS = 0x802B, 0x802C
ATTRIBUTES = {
    MAPPED_ADDRESS: "MAPPED-ADDRESS",
    0x02: "RESPONSE-ADDRESS",
    0x03: "CHANGE-REQUEST",
    0x04: "SOURCE-ADDRESS",
    0x05: "CHANGED-ADDRESS",
    USERNAME: "USERNAME",
    0x07: "PASSWORD",
    MESSAGE_INTEGRITY: "MESSAGE-INTEGRITY",
    ERROR_CODE: "ERROR-CODE",
    0x0A: "UNKNOWN-ATTRIBUTES",
    0x0B: "REFLECTED-FROM",
    CHANNEL_NUMBER: "CHANNEL-NUMBER",
    LIFETIME: "LIFETIME",
    XOR_PEER_ADDRESS: "XOR-PEER-ADDRESS",
    0x13: "DATA",
    REALM: "REALM",
    NONCE: "NONCE",
    XOR_RELAYED_ADDRESS: "XOR-RELAYED-ADDRESS",
    0x17: "REQUESTED-ADDRESS-FAMILY",
    0x18: "EVEN-PORT",
    REQUESTED_TRANSPORT: "REQUESTED-TRANSPORT",
    0x1A: "DONT-FRAGMENT",
    MESSAGE_INTEGRITY_SHA256: "MESSAGE-INTEGRITY-SHA256",
    0x1D: "PASSWORD-ALGORITHM",
    0x1E: "USERHASH",
    XOR_MAPPED_ADDRESS: "XOR-MAPPED-ADDRESS",
    0x22: "RESERVATION-TOKEN",
    0x24: "PRIORITY",
    0x25: "USE-CANDIDATE",
    0x8002: "PASSWORD-ALGORITHMS",
    0x8003: "ALTERNATE-DOMAIN",
    SOFTWARE: "SOFTWARE",
    ALTERNATE_SERVER: "ALTERNATE-SERVER",
    FINGERPRINT: "FINGERPRINT",
    0x8029: "ICE-CONTROLLED",
    0x802A: "ICE-CONTROLLING",
    RESPONSE_ORIGIN: "RESPONSE-ORIGIN",
    OTHER_ADDRESS: "OTHER-ADDRESS",
}
_XORED = (XOR_MAPPED_ADDRESS, XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS)
_PLAIN = (MAPPED_ADDRESS, 0x02, 0x04, 0x05, 0x0B, ALTERNATE_SERVER, RESPONSE_ORIGIN, OTHER_ADDRESS)
_TOLD = (*_XORED, MAPPED_ADDRESS, ALTERNATE_SERVER, RESPONSE_ORIGIN, OTHER_ADDRESS)
"""Addresses that stand in the Info column."""
_TEXTS = (USERNAME, REALM, NONCE, SOFTWARE, 0x8003)
_NUMBERS = (LIFETIME, 0x24)
TRANSPORTS = {6: "TCP", 17: "UDP"}
ERRORS = {
    300: "Try Alternate",
    400: "Bad Request",
    401: "Unauthenticated",
    403: "Forbidden",
    420: "Unknown Attribute",
    437: "Allocation Mismatch",
    438: "Stale Nonce",
    440: "Address Family not Supported",
    441: "Wrong Credentials",
    442: "Unsupported Transport Protocol",
    443: "Peer Address Family Mismatch",
    486: "Allocation Quota Reached",
    487: "Role Conflict",
    500: "Server Error",
    508: "Insufficient Capacity",
}


@dataclass(frozen=True)
class Attribute:
    """One attribute (§14): its type, its octets, where its header begins in the message."""

    kind: int
    raw: bytes
    at: int
    transaction: bytes
    """Cookie and transaction id, with which addresses are XORed (§14.2)."""

    @property
    def name(self) -> str:
        return ATTRIBUTES.get(self.kind, f"0x{self.kind:04x}")

    @property
    def value(self) -> str | int | tuple[str, int] | bytes:
        """(address, port), text, number or error code by the type; the octets of what cannot be read."""
        raw = self.raw
        if self.kind in _XORED + _PLAIN and len(raw) in (8, 20) and raw[1] == (1 if len(raw) == 8 else 2):
            if self.kind in _XORED:
                raw = raw[:2] + bytes(a ^ b for a, b in zip(raw[2:4], self.transaction, strict=False)) + _xor(raw[4:], self.transaction)
            return str(ipaddress.ip_address(raw[4:])), int.from_bytes(raw[2:4], "big")
        if self.kind in _TEXTS:
            return shown(raw.decode("utf-8", "replace"))
        if self.kind == ERROR_CODE and len(raw) >= 4:
            return (raw[2] & 7) * 100 + raw[3]
        if self.kind in _NUMBERS and len(raw) == 4:
            return int.from_bytes(raw, "big")
        if self.kind == CHANNEL_NUMBER and len(raw) == 4:
            return int.from_bytes(raw[:2], "big")
        if self.kind == REQUESTED_TRANSPORT and len(raw) == 4:
            return raw[0]
        return raw

    @property
    def shown(self) -> str:
        """The value as the tree shows it."""
        value = self.value
        if isinstance(value, tuple):
            return f"{value[0]}:{value[1]}"
        if isinstance(value, bytes):
            return value.hex()
        if self.kind == ERROR_CODE:
            reason = shown(self.raw[4:].decode("utf-8", "replace"))
            assert isinstance(value, int)
            return f"{value} ({ERRORS.get(value, 'Unknown error code')}) {reason}".rstrip()
        if self.kind == CHANNEL_NUMBER:
            return f"0x{value:04x}"
        return TRANSPORTS.get(self.raw[0], str(value)) if self.kind == REQUESTED_TRANSPORT else str(value)

    @property
    def info(self) -> str:
        """What it adds to the Info column."""
        value = self.value
        if isinstance(value, bytes):
            return ""
        if self.kind in _TOLD:
            return f" {self.name}: {self.shown}"
        words = {USERNAME: "user: ", REALM: "realm: ", ERROR_CODE: "error-code: ", LIFETIME: "lifetime: ", CHANNEL_NUMBER: "ChannelNumber="}
        if self.kind in words:
            return f" {words[self.kind]}{self.shown}"
        return {NONCE: " with nonce", REQUESTED_TRANSPORT: f" {self.shown}"}.get(self.kind, "")


def _xor(data: bytes, mask: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, mask, strict=False))


@dataclass(frozen=True)
class StunMessage:
    """One message.  ``classic``: of RFC 3489, without the magic cookie."""

    method: int
    kind: int
    """0 request, 1 indication, 2 success response, 3 error response."""
    transaction: bytes
    attributes: tuple[Attribute, ...]
    classic: bool
    raw: bytes

    @property
    def title(self) -> str:
        return f"{METHODS[self.method]} {CLASSES[self.kind]}"

    @property
    def column(self) -> str:
        return "CLASSIC-STUN" if self.classic else "STUN"

    @property
    def info(self) -> str:
        """Wireshark's Info column."""
        return f"Message: {self.title}" if self.classic else self.title + "".join(attribute.info for attribute in self.attributes)

    def get(self, kind: int) -> Attribute | None:
        """The first attribute of a type: of several, only the first counts (§14)."""
        return next((attribute for attribute in self.attributes if attribute.kind == kind), None)

    def fingerprint_holds(self) -> bool | None:
        """Whether FINGERPRINT (§14.7) is right; ``None`` without one."""
        found = self.get(FINGERPRINT)
        if found is None:
            return None
        return found.raw == struct.pack("!I", binascii.crc32(self.raw[: found.at]) ^ 0x5354554E)

    def integrity_holds(self, key: bytes) -> bool | None:
        """Whether MESSAGE-INTEGRITY (§14.5, §14.6) was made with ``key``; ``None`` without one.  See :func:`long_term_key`."""
        for kind, digest in ((MESSAGE_INTEGRITY_SHA256, hashlib.sha256), (MESSAGE_INTEGRITY, hashlib.sha1)):
            found = self.get(kind)
            if found is not None:
                # The length counts up to the end of this attribute, whatever follows it (§14.5).
                head = self.raw[:2] + struct.pack("!H", found.at + 4 + len(found.raw) - HEADER) + self.raw[4 : found.at]
                return len(found.raw) >= 16 and hmac.compare_digest(hmac.new(key, head, digest).digest()[: len(found.raw)], found.raw)
        return None

    def tree(self) -> Node:
        code = struct.unpack_from("!H", self.raw)[0]
        root = "classicstun" if self.classic else "stun"
        lines = [
            Node(f"Message Type: 0x{code:04x} ({self.title})", f"{root}.type", code),
            node("Message Length", f"{root}.length", len(self.raw) - HEADER),
            Node(f"Message Transaction ID: {self.transaction.hex()}", f"{root}.id", self.transaction.hex()),
        ]
        attributes = tuple(
            Node(f"{attribute.name}: {attribute.shown}", f"{root}.att.{attribute.name.lower()}", attribute.value)
            for attribute in self.attributes
        )
        lines.append(Node("Attributes", f"{root}.attributes", len(attributes), attributes))
        return Node("Session Traversal Utilities for NAT", root, self.title, tuple(lines))


def long_term_key(username: str, realm: str, password: str) -> bytes:
    """The key of the long-term mechanism (§9.2.2); the short-term key is the password itself (§9.1.1)."""
    return hashlib.md5(f"{username}:{realm}:{password}".encode(), usedforsecurity=False).digest()


def parse(data: bytes) -> StunMessage | None:
    """The message that ``data`` is, as a whole; ``None`` when it is none."""
    if len(data) < HEADER or data[0] & 0xC0:
        return None
    code, length = struct.unpack_from("!HH", data)
    method = (code & 0x000F) | (code & 0x00E0) >> 1 | (code & 0x3E00) >> 2
    classic = int.from_bytes(data[4:8], "big") != MAGIC_COOKIE
    if length % 4 or length != len(data) - HEADER or method not in (METHODS if not classic else (1, 2)):
        return None
    transaction = data[4:HEADER]
    found, at = [], HEADER
    while at < len(data):
        if at + 4 > len(data):
            return None
        kind, size = struct.unpack_from("!HH", data, at)
        if at + 4 + size > len(data):
            return None
        found.append(Attribute(kind, data[at + 4 : at + 4 + size], at, transaction))
        at += 4 + size + (-size % 4)
    return StunMessage(
        method, (code >> 8 & 1) << 1 | (code >> 4 & 1), transaction if classic else transaction[4:], tuple(found), classic, data
    )


@dataclass(frozen=True)
class ChannelData:
    """Application data through a TURN server (RFC 8656 §12.4)."""

    channel: int
    data: bytes
    column = "STUN"
    info = "ChannelData TURN Message"

    def tree(self) -> Node:
        lines = (
            Node(f"TURN ChannelData, channel 0x{self.channel:04x}", "stun.channel", self.channel),
            node("Data Length", "stun.length", len(self.data)),
        )
        return Node("Session Traversal Utilities for NAT", "stun", self.info, lines)


def parse_channel(data: bytes) -> ChannelData | None:
    """ChannelData, when ``data`` can be it: only between ends that have spoken STUN before."""
    if len(data) < 4 or not 0x40 <= data[0] <= 0x4F:  # RFC 8656 §12: channels 0x4000 to 0x4FFF
        return None
    channel, length = struct.unpack_from("!HH", data)
    return ChannelData(channel, data[4 : 4 + length]) if length <= len(data) - 4 else None
