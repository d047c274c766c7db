"""pcapng files (draft-ietf-opsawg-pcapng): sections of either byte order, interfaces, packets, host names and comments.

Reads the section header, interface description, name resolution, decryption secrets (TLS key logs), enhanced, simple and (obsolete) packet
blocks; other blocks are stepped over.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from labkit.capture.records import Data, Ints, Records, equal_run, octets, rows
from labkit.errors import CaptureError

MAGIC = b"\x0a\x0d\x0d\x0a"
SECTION_HEADER, INTERFACE, OBSOLETE_PACKET, SIMPLE_PACKET, NAME_RESOLUTION, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 4, 6
DECRYPTION_SECRETS, TLS_KEY_LOG = 10, 0x544C534B
OPT_END, OPT_COMMENT, IF_TSRESOL, IF_TSOFFSET = 0, 1, 9, 14
NRB_IPV4, NRB_IPV6 = 1, 2
MOST_SECTIONS = 10_000
"""Of one file; more would only cost time."""


@dataclass
class _Interface:
    link: int
    snap: int
    resolution: int = 6
    """if_tsresol: a power of ten, or of two when the top bit is set."""
    offset_s: int = 0


@dataclass
class _Section:
    order: str
    interfaces: list[_Interface] = field(default_factory=list)
    packets: list[int] = field(default_factory=list)
    """Offsets of packet blocks."""
    runs: list[Ints] = field(default_factory=list)
    """The same, for runs of blocks of one size."""

    def offsets(self) -> Ints:
        return np.sort(np.concatenate([*self.runs, np.array(self.packets, np.int64)]))


def read(data: Data) -> Records:
    """The packets of ``data``, which starts with :data:`MAGIC`."""
    reader = _Reader(data)
    try:
        reader.walk()
    except CaptureError as damage:
        reader.damage = damage
    return reader.records()


class _Reader:
    def __init__(self, data: Data) -> None:
        self.data, self.size, self.buffer = data, len(data), octets(data)
        self.sections: list[_Section] = []
        self.names: dict[str, str] = {}
        self.section_comments: list[str] = []
        self.secrets: list[bytes] = []
        self.count = 0
        self.damage: CaptureError | None = None

    # --- the chain of blocks ---------------------------------------------------------------------------------------

    def walk(self) -> None:
        """Follow the chain of blocks; raises :class:`CaptureError` where it breaks."""
        offset, previous, same = 0, (0, 0), 0
        head = struct.Struct("<II").unpack_from
        section = _Section("<")
        while offset < self.size:
            if offset + 12 > self.size:
                raise self._broken("capture.cut", offset)
            if self.data[offset : offset + 4] == MAGIC:
                section = self._new_section(offset)
                head = struct.Struct(section.order + "II").unpack_from
            kind, length = head(self.data, offset)
            if length < 12 or length % 4:
                raise self._broken("capture.damaged", offset)
            if offset + length > self.size:
                raise self._broken("capture.cut", offset)
            if kind in (ENHANCED_PACKET, OBSOLETE_PACKET, SIMPLE_PACKET):
                if length < (16 if kind == SIMPLE_PACKET else 32):
                    raise self._broken("capture.damaged", offset)
                same = same + 1 if (kind, length) == previous else 0
                previous = (kind, length)
                run = 1
                if same == 8:
                    run, same = equal_run(self.buffer, offset, length, 0), 0
                    section.runs.append(offset + length * np.arange(run, dtype=np.int64))
                else:
                    section.packets.append(offset)
                self.count += run
                offset += run * length
                continue
            if kind == INTERFACE and length >= 20:
                section.interfaces.append(self._interface(section.order, offset, length))
            elif kind == NAME_RESOLUTION:
                self._names(section.order, offset, length)
            elif kind == DECRYPTION_SECRETS and length >= 20:
                self._secret(section.order, offset, length)
            elif kind == SECTION_HEADER and length >= 28:
                comments = [value for code, value in self._options(section.order, offset + 24, offset + length - 4) if code == OPT_COMMENT]
                self.section_comments += [comment.decode("utf-8", "replace") for comment in comments]
            offset += length

    def _broken(self, message_id: str, offset: int) -> CaptureError:
        return CaptureError(message_id, packets=self.count, offset=offset)

    def _new_section(self, offset: int) -> _Section:
        magic = bytes(self.data[offset + 8 : offset + 12])
        if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            raise self._broken("capture.damaged", offset)
        if len(self.sections) == MOST_SECTIONS:
            raise self._broken("capture.damaged", offset)
        self.sections.append(_Section("<" if magic[0] == 0x4D else ">"))
        return self.sections[-1]

    def _options(self, order: str, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= end:
            code, length = struct.unpack_from(order + "HH", self.data, at)
            if code == OPT_END or at + 4 + length > end:
                return
            yield code, bytes(self.data[at + 4 : at + 4 + length])
            at += 4 + length + (-length % 4)

    def _interface(self, order: str, offset: int, length: int) -> _Interface:
        link, _, snap = struct.unpack_from(order + "HHI", self.data, offset + 8)
        interface = _Interface(link, snap or 1 << 32)
        for code, value in self._options(order, offset + 16, offset + length - 4):
            if code == IF_TSRESOL and value:
                interface.resolution = value[0]
            elif code == IF_TSOFFSET and len(value) == 8:
                interface.offset_s = struct.unpack(order + "q", value)[0]
        return interface

    def _names(self, order: str, offset: int, length: int) -> None:
        for code, value in self._options(order, offset + 8, offset + length - 4):
            width = {NRB_IPV4: 4, NRB_IPV6: 16}.get(code, 0)
            name = value[width:].split(b"\0")[0].decode("utf-8", "replace")
            if width and len(value) > width and name:
                self.names.setdefault(str(ipaddress.ip_address(value[:width])), name)

    def _secret(self, order: str, offset: int, length: int) -> None:
        kind, size = struct.unpack_from(order + "II", self.data, offset + 8)
        if kind == TLS_KEY_LOG and size <= length - 20:
            self.secrets.append(bytes(self.data[offset + 16 : offset + 16 + size]))

    # --- the packets as arrays -------------------------------------------------------------------------------------

    def records(self) -> Records:
        parts = [self._section_records(section) for section in self.sections if section.packets or section.runs]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)] if parts else [np.empty(0, np.int64)] * 7
        start, captured, end = columns[0], columns[1], columns[5]
        overflow = np.flatnonzero(start + captured > end)
        if len(overflow):  # a packet longer than its block: believe nothing after it
            whole = int(overflow[0])
            self.damage = CaptureError("capture.damaged", packets=whole, offset=int(start[whole]))
            columns = [column[:whole] for column in columns]
        start, captured, length, time_ns, link, end, big_endian = columns
        return Records(
            data=self.data,
            start=start,
            captured=captured,
            length=length,
            time_ns=time_ns,
            link=link,
            names=self.names,
            comments=self._comments(start, captured, end, big_endian),
            section_comments=tuple(self.section_comments),
            secrets=tuple(self.secrets),
            damage=self.damage,
        )

    def _section_records(self, section: _Section) -> tuple[Ints, ...]:
        """Start, captured, length, time, link type, end of block and byte order of every packet of ``section``."""
        offsets = section.offsets()
        head = rows(self.buffer, offsets, 28).view(section.order + "u4").astype(np.int64)
        kind, end = head[:, 0], offsets + head[:, 1] - 4
        simple = kind == SIMPLE_PACKET
        number = np.where(simple, 0, head[:, 2])
        if section.order == "<":
            number = np.where(kind == OBSOLETE_PACKET, number & 0xFFFF, number)
        else:
            number = np.where(kind == OBSOLETE_PACKET, number >> 16, number)
        known = section.interfaces or [_Interface(-1, 1 << 32)]
        number = np.where(number < len(known), number, len(known) - 1)
        link, snap, resolution, offset_s = (
            np.array(values, np.int64)[number] for values in zip(*((i.link, i.snap, i.resolution, i.offset_s) for i in known), strict=True)
        )
        ticks = (head[:, 3] << 32) | head[:, 4]
        time_ns = np.zeros(len(offsets), np.int64)
        for unit in np.unique(resolution).tolist():
            mine = (resolution == unit) & ~simple
            time_ns[mine] = _nanoseconds(ticks[mine], unit) + offset_s[mine] * 1_000_000_000
        start = offsets + np.where(simple, 12, 28)
        captured = np.where(simple, np.minimum(np.minimum(head[:, 2], snap), end - start), head[:, 5])
        length = np.where(simple, head[:, 2], head[:, 6])
        return start, captured, length, time_ns, link, end, np.full(len(offsets), section.order == ">", np.int64)

    def _comments(self, start: Ints, captured: Ints, end: Ints, big_endian: Ints) -> dict[int, str]:
        options = start + captured + (-captured % 4)
        comments: dict[int, str] = {}
        for index in np.flatnonzero(options + 4 <= end).tolist():
            order = ">" if big_endian[index] else "<"
            found = [value for code, value in self._options(order, int(options[index]), int(end[index])) if code == OPT_COMMENT]
            if found:
                comments[index] = "\n".join(value.decode("utf-8", "replace") for value in found)
        return comments


def _nanoseconds(ticks: Ints, resolution: int) -> Ints:
    """Ticks of an interface as nanoseconds (if_tsresol)."""
    if resolution & 0x80:
        bits = resolution & 0x7F
        if bits > 30:  # finer than a nanosecond
            ticks, bits = ticks >> min(bits - 30, 63), 30
        whole, part = ticks >> bits, ticks & ((1 << bits) - 1)
        return whole * 1_000_000_000 + ((part * 1_000_000_000) >> bits)
    if resolution <= 9:
        return ticks * np.int64(10 ** (9 - resolution))
    return ticks // np.int64(10 ** min(resolution - 9, 18))
