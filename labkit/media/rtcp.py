"""RTCP (RFC 3550 §6): sender and receiver reports, source descriptions and goodbyes of a compound packet.  Other types are stepped over."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from labkit.errors import MediaError

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, GOODBYE = 200, 201, 202, 203
SDES_ITEMS = {1: "CNAME", 2: "NAME", 3: "EMAIL", 4: "PHONE", 5: "LOC", 6: "TOOL", 7: "NOTE", 8: "PRIV"}


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (§6.4.1)."""

    ssrc: int
    fraction_lost: float
    """Lost since the last report, 0 to 1."""
    lost: int
    """Packets lost since the beginning, negative with duplicates."""
    highest_sequence: int
    jitter: int
    """In timestamp units."""
    last_sr: int
    """Middle 32 bits of the NTP time of the last sender report."""
    delay_since_last_sr: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class SenderReport:
    ssrc: int
    ntp: float
    """Seconds since 1900."""
    timestamp: int
    packets: int
    octets: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Items by SSRC: ``{ssrc: {"CNAME": ...}}``."""

    chunks: dict[int, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Goodbye:
    sources: tuple[int, ...]
    reason: str = ""


Report = SenderReport | ReceiverReport | SourceDescription | Goodbye


def parse(packet: bytes) -> list[Report]:
    """The parts of a compound packet in order; :class:`MediaError` where it breaks §6.1."""
    reports: list[Report] = []
    at = 0
    while at < len(packet):
        if at + 4 > len(packet):
            raise MediaError("media.rtcp_cut", offset=at)
        first, kind, words = struct.unpack_from("!BBH", packet, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2 or end > len(packet):
            raise MediaError("media.rtcp_cut", offset=at)
        body, count = packet[at + 4 : end], first & 31
        if first & 0x20 and body:
            body = body[: max(len(body) - body[-1], 0)]
        try:
            if kind == SENDER_REPORT:
                ssrc, high, low, timestamp, packets, octets = struct.unpack_from("!6I", body)
                reports.append(SenderReport(ssrc, high + low / 2**32, timestamp, packets, octets, _blocks(body[24:], count)))
            elif kind == RECEIVER_REPORT:
                reports.append(ReceiverReport(struct.unpack_from("!I", body)[0], _blocks(body[4:], count)))
            elif kind == SOURCE_DESCRIPTION:
                reports.append(SourceDescription(_chunks(body, count)))
            elif kind == GOODBYE:
                sources = struct.unpack_from(f"!{count}I", body)
                reason = body[4 * count + 1 : 4 * count + 1 + body[4 * count]] if len(body) > 4 * count else b""
                reports.append(Goodbye(sources, reason.decode("utf-8", "replace")))
        except struct.error as error:
            raise MediaError("media.rtcp_cut", offset=at) from error
        at = end
    return reports


def _blocks(body: bytes, count: int) -> tuple[ReportBlock, ...]:
    blocks = []
    for number in range(count):
        ssrc, loss, highest, jitter, last, delay = struct.unpack_from("!6I", body, 24 * number)
        lost = loss & 0xFFFFFF
        blocks.append(ReportBlock(ssrc, (loss >> 24) / 256, lost - (lost >> 23 << 24), highest, jitter, last, delay / 65536))
    return tuple(blocks)


def _chunks(body: bytes, count: int) -> dict[int, dict[str, str]]:
    chunks: dict[int, dict[str, str]] = {}
    at = 0
    for _ in range(count):
        (ssrc,) = struct.unpack_from("!I", body, at)
        at += 4
        items = chunks.setdefault(ssrc, {})
        while at + 1 < len(body) and body[at]:
            kind, size = body[at], body[at + 1]
            items[SDES_ITEMS.get(kind, str(kind))] = body[at + 2 : at + 2 + size].decode("utf-8", "replace")
            at += 2 + size
        at = (at // 4 + 1) * 4  # §6.5: a chunk ends with one to four zero octets, on a 32-bit boundary
    return chunks
