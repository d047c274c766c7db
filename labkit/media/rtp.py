"""RTP packets (RFC 3550 §5.1) with header extension (§5.3.1) and padding, and telephone-events (RFC 4733 §2.3)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from labkit.errors import MediaError

FIXED_HEADER = 12
_HEAD = struct.Struct("!BBHII")
_EVENT = struct.Struct("!BBH")
DIGITS = "0123456789*#ABCD"
"""The digit of each telephone-event 0 to 15 (RFC 4733 §3.2)."""


@dataclass(frozen=True, slots=True)
class RtpHeader:
    """The header of one packet.  ``timestamp`` counts in the payload type's clock; ``extension`` is (profile, bytes)."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension: tuple[int, bytes] | None = None
    padding: int = 0
    """Bytes of padding after the payload, its count byte included."""

    @classmethod
    def parse(cls, packet: bytes) -> tuple[RtpHeader, bytes]:
        """(header, payload without padding); :class:`MediaError` when ``packet`` is not RTP version 2 or is cut short."""
        if len(packet) < FIXED_HEADER or packet[0] >> 6 != 2:
            raise MediaError("media.not_rtp", size=len(packet))
        first, second, sequence, timestamp, ssrc = _HEAD.unpack_from(packet)
        at = FIXED_HEADER + 4 * (first & 15)
        extension = None
        if first & 0x10:
            if at + 4 > len(packet):
                raise MediaError("media.rtp_cut", size=len(packet))
            profile, words = struct.unpack_from("!HH", packet, at)
            extension = (profile, packet[at + 4 : at + 4 + 4 * words])
            at += 4 + 4 * words
        padding = packet[-1] if first & 0x20 else 0
        # §5.1: the last octet of the padding counts itself, so it is never zero.
        if at + padding > len(packet) or (first & 0x20 and padding == 0):
            raise MediaError("media.rtp_cut", size=len(packet))
        csrc = struct.unpack_from(f"!{first & 15}I", packet, FIXED_HEADER) if first & 15 else ()
        header = cls(second & 127, sequence, timestamp, ssrc, bool(second & 128), csrc, extension, padding)
        return header, packet[at : len(packet) - padding]

    def build(self, payload: bytes) -> bytes:
        """The packet; an extension must be whole 32-bit words (§5.3.1)."""
        if not (0 <= self.padding < 256 and len(self.csrc) < 16 and 0 <= self.payload_type < 128):
            raise ValueError("padding below 256 bytes, at most 15 CSRC, payload type below 128")
        first = 0x80 | (0x20 if self.padding else 0) | (0x10 if self.extension else 0) | len(self.csrc)
        parts = [_HEAD.pack(first, self.payload_type | self.marker << 7, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc)]
        parts += [struct.pack("!I", source) for source in self.csrc]
        if self.extension:
            profile, data = self.extension
            if len(data) % 4:
                raise ValueError("an RTP header extension is made of whole 32-bit words")
            parts.append(struct.pack("!HH", profile, len(data) // 4) + data)
        parts.append(payload)
        if self.padding:
            parts.append(bytes(self.padding - 1) + bytes([self.padding]))
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class TelephoneEvent:
    """One report of a key: event number, end bit, volume in -dBm0, duration in timestamp units."""

    event: int
    end: bool
    volume: int
    duration: int

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent:
        """:class:`MediaError` when the payload is shorter than four bytes."""
        if len(payload) < 4:
            raise MediaError("media.event_cut", size=len(payload))
        event, flags, duration = _EVENT.unpack_from(payload)
        return cls(event, bool(flags & 0x80), flags & 0x3F, duration)

    def build(self) -> bytes:
        return _EVENT.pack(self.event, self.end << 7 | self.volume, self.duration)

    @property
    def digit(self) -> str:
        """The key, ``""`` for an event that is none."""
        return DIGITS[self.event] if self.event < len(DIGITS) else ""
