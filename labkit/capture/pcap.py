"""Classic pcap files (draft-ietf-opsawg-pcap): both byte orders, times in micro- or nanoseconds."""

from __future__ import annotations

import struct

import numpy as np

from labkit.capture.records import Data, Ints, Records, equal_run, octets, rows
from labkit.errors import CaptureError

MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""First four bytes of the file: byte order, and nanoseconds in a unit of the fraction field."""

FILE_HEADER, RECORD_HEADER = 24, 16
AT_ONCE = 1 << 14
"""Headers that are read together."""
LONGEST_PACKET = 1 << 24
"""A record that claims more bytes than this is damage, not a packet."""


def read(data: Data) -> Records:
    """The packets of ``data``, which starts with one of :data:`MAGIC`."""
    order, unit = MAGIC[bytes(data[:4])]
    if len(data) < FILE_HEADER:
        raise CaptureError("capture.header_cut", needed=FILE_HEADER, size=len(data))
    link = struct.unpack_from(order + "I", data, 20)[0] & 0x0FFFFFFF  # the upper bits tell of a frame check sequence
    headers, damage = _headers(data, order)
    time_ns, captured, length = (np.empty(len(headers), np.int64) for _ in range(3))
    for first in range(0, len(headers), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        second, fraction, captured[part], length[part] = rows(octets(data), headers[part], RECORD_HEADER).view(order + "u4").T
        time_ns[part] = second.astype(np.int64) * 1_000_000_000 + fraction.astype(np.int64) * unit
    return Records(
        data=data,
        start=headers + RECORD_HEADER,
        captured=captured,
        length=length,
        time_ns=time_ns,
        link=np.full(len(headers), link, np.int64),
        damage=damage,
    )


def _headers(data: Data, order: str) -> tuple[Ints, CaptureError | None]:
    """The offsets of the record headers, each found from the length in the one before."""
    buffer, size = octets(data), len(data)
    captured_at = struct.Struct(order + "I").unpack_from
    runs: list[Ints] = []
    singles: list[int] = []
    offset, previous, same, count = FILE_HEADER, -1, 0, 0
    damage = None
    while offset < size:
        if offset + RECORD_HEADER > size:
            damage = CaptureError("capture.cut", packets=count, offset=offset)
            break
        captured = captured_at(data, offset + 8)[0]
        stride = RECORD_HEADER + captured
        if captured > LONGEST_PACKET:
            damage = CaptureError("capture.damaged", packets=count, offset=offset)
            break
        if offset + stride > size:
            damage = CaptureError("capture.cut", packets=count, offset=offset)
            break
        same = same + 1 if captured == previous else 0
        previous = captured
        if same == 8:
            run = equal_run(buffer, offset, stride, 8)
            runs.append(offset + stride * np.arange(run, dtype=np.int64))
            same = 0
            offset += run * stride
            count += run
        else:
            singles.append(offset)
            offset += stride
            count += 1
    return np.sort(np.concatenate([*runs, np.array(singles, np.int64)])), damage
