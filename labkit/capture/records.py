"""The packets of a capture file as arrays: where each one lies, how long it is, when it came.

:func:`read_records` takes the bytes of any pcap or pcapng file (:mod:`labkit.capture.pcap`, :mod:`labkit.capture.pcapng`) and never
copies a packet.  A damaged or truncated file is read up to the damage, and :attr:`Records.damage` says where.  Nothing here knows what a
packet holds.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labkit.errors import CaptureError

Data = bytes | mmap.mmap
Ints = NDArray[np.int64]
Octets = NDArray[np.uint8]

IN_MEMORY = 1 << 28
"""Files up to this many bytes are read, larger ones mapped: cutting a mapped file short would kill the process that maps it."""


@dataclass(frozen=True)
class Records:
    """One entry a packet in every array.  ``damage`` is the reason why reading stopped early, ``None`` for a whole file."""

    data: Data
    start: Ints
    """Offset of the packet's first byte in ``data``."""
    captured: Ints
    """Bytes kept in the file."""
    length: Ints
    """Bytes on the wire."""
    time_ns: Ints
    """Nanoseconds since 1970."""
    link: Ints
    """LINKTYPE_ of the interface (https://www.tcpdump.org/linktypes.html)."""
    names: dict[str, str] = field(default_factory=dict)
    """Address to host name, from name resolution blocks."""
    comments: dict[int, str] = field(default_factory=dict)
    """Index of a packet to its comment."""
    section_comments: tuple[str, ...] = ()
    secrets: tuple[bytes, ...] = ()
    """TLS key logs that the file carries in decryption secrets blocks."""
    damage: CaptureError | None = None

    def __len__(self) -> int:
        return len(self.start)


def file_path(given: object) -> Path:
    """``given`` as a path; :class:`CaptureError` for what can name no file."""
    named = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(named, str) or not named.strip() or "\0" in named:
        raise CaptureError("capture.not_a_path", given=given)
    return Path(named)


def write_file(path: str | Path, data: bytes) -> Path:
    """Write ``data`` and return the path; :class:`CaptureError` when it cannot be written there."""
    path = file_path(path)
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:  # ValueError: letters that the file system cannot have
        raise CaptureError("capture.cannot_write", path=str(path), reason=getattr(error, "strerror", None) or str(error)) from error
    return path


def load(path: str | Path) -> Data:
    """The bytes of a file, mapped when it is large; :class:`CaptureError` when it cannot be read or is empty."""
    path = file_path(path)
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size == 0:
                raise CaptureError("capture.empty", path=str(path))
            return file.read() if size <= IN_MEMORY else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise CaptureError("capture.cannot_open", path=str(path), reason=getattr(error, "strerror", None) or str(error)) from error


def read_records(data: Data, name: str = "") -> Records:
    """The packets of a pcap or pcapng file; :class:`CaptureError` when ``data`` is neither."""
    from labkit.capture import pcap, pcapng

    magic = bytes(data[:4])
    if magic in pcap.MAGIC:
        return pcap.read(data)
    if magic == pcapng.MAGIC:
        return pcapng.read(data)
    raise CaptureError("capture.empty" if not magic else "capture.not_a_capture", path=name or "data")


def octets(data: Data) -> Octets:
    """``data`` as an array of bytes, without a copy."""
    return np.frombuffer(data, np.uint8)


def rows(buffer: Octets, start: Ints, width: int) -> Octets:
    """``width`` bytes from each offset of ``start``, as an array (len(start), width); zeros after the end of the buffer."""
    if len(buffer) < width:
        buffer = np.concatenate((buffer, np.zeros(width, np.uint8)))
    last = len(buffer) - width
    windows = np.lib.stride_tricks.sliding_window_view(buffer, width)
    taken: Octets = windows[np.clip(start, 0, last)]
    late = np.flatnonzero(start > last)
    if len(late):
        tail = np.concatenate((buffer[last:], np.zeros(width, np.uint8)))
        taken[late] = np.lib.stride_tricks.sliding_window_view(tail, width)[np.minimum(start[late] - last, width)]
    return taken


def big_endian(columns: Octets, at: int, width: int) -> Ints:
    """The unsigned integer of ``width`` bytes in network order at column ``at`` of every row."""
    return np.ascontiguousarray(columns[:, at : at + width]).view(f">u{width}")[:, 0].astype(np.int64)


def equal_run(buffer: Octets, offset: int, stride: int, key_at: int) -> int:
    """How many records of ``stride`` bytes follow each other from ``offset`` with the same eight bytes at ``key_at``.

    Voice packets all have one size, so that a chain of lengths can be followed thousands of links at a time.
    """
    count, chunk = 1, 64
    key = int.from_bytes(buffer[offset + key_at : offset + key_at + 8], "little")
    while True:
        available = min(chunk, (len(buffer) - offset - count * stride) // stride)
        if available <= 0:
            return count
        first = offset + count * stride + key_at
        keys = np.ndarray((available,), "<u8", buffer, first, (stride,))
        different = np.flatnonzero(keys != key)
        if len(different):
            return count + int(different[0])
        count += available
        chunk = min(chunk * 4, 1 << 16)
