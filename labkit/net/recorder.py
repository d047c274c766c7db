"""The recorder of the wire: packets to a pcapng file, in the order of their times, with nothing lost when the disk is full.

A packet waits up to :data:`WINDOW_NS` before it is written, since a delayed one may be delivered between two that were not.  When
writing fails, blocks are kept in memory up to :data:`KEEP_BYTES` and written as soon as there is room again; what exceeds that is counted.
"""

from __future__ import annotations

import heapq
import json
import os
from collections.abc import Iterable
from pathlib import Path

from labkit.capture.write import packet_block, section

WINDOW_NS = 30_000_000
KEEP_BYTES = 64 << 20


class Recorder:
    """Records packets of one interface to ``path``.  Times are nanoseconds since 1970.

    The file is made at once, or, when the recorder is ``lazy``, with the first packet.
    """

    def __init__(self, path: Path, interface: str, *, lazy: bool = False) -> None:
        self.path = path
        self.interface = interface
        self.packets = 0
        self.unwritten = 0
        self.problem = ""
        self._heap: list[tuple[int, int, bytes]] = []
        self._bytes = bytearray()
        self._head = b""
        self._file: int | None = None
        if not lazy:
            self._file = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)

    def hosts(self, hosts: Iterable[dict[str, object]]) -> None:
        """Name the hosts from here on: a new section, whose comment also tells hosts of one shared address apart by their ports."""
        rows = list(hosts)
        names = [(str(row["ip"]), str(row["name"])) for row in rows if "ports" not in row]
        comment = json.dumps({"labkit": 1, "hosts": rows})
        self.flush()
        self._head = section(interface=self.interface, hosts=names, comment=comment)
        self._bytes += self._head
        self._write()

    def packet(self, time_ns: int, packet: bytes) -> None:
        """Record one packet, beginning with its IPv4 header."""
        self.packets += 1
        heapq.heappush(self._heap, (time_ns, self.packets, packet))

    def settle(self, now_ns: int) -> None:
        """Write what is old enough to have no predecessor any more."""
        self._take(now_ns - WINDOW_NS)
        self._write()

    def flush(self) -> None:
        """Write all that was recorded."""
        self._take(None)
        self._write()

    def restart(self) -> None:
        """Forget what was recorded and begin the file anew."""
        self._heap.clear()
        self.packets = self.unwritten = 0
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
        self._bytes = bytearray(self._head)
        self._write()

    def _take(self, until_ns: int | None) -> None:
        while self._heap and (until_ns is None or self._heap[0][0] <= until_ns):
            time_ns, _, packet = heapq.heappop(self._heap)
            if len(self._bytes) > KEEP_BYTES:
                self.unwritten += 1
                continue
            self._bytes += packet_block(time_ns, packet)

    def _write(self) -> None:
        try:
            if self._file is None:
                if not self.packets:
                    return
                self._file = self._open()
            while self._bytes:
                del self._bytes[: os.write(self._file, self._bytes)]
        except OSError as error:  # a full disk; what was not written stays in self._bytes
            self.problem = error.strerror or str(error)
        else:
            self.problem = ""
