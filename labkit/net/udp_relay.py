"""The UDP relay of the wire: every datagram between two hosts of the lab, mirrored from face to back.

A datagram that arrives at a face goes on to the back of the same host, sent *from the sender's face*: what the receiver sees is what the
capture shows.  It is recorded when it is delivered; what is lost on the way is recorded apart.
"""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from labkit.capture.write import udp
from labkit.net.foreign import Foreign, is_foreign, share
from labkit.net.network import LAPTOP, Network
from labkit.net.plan import Address, Host

HEADERS = 28
"""Bytes of IPv4 and UDP headers."""
RECEIVE_BUFFER = 1 << 20
BATCH = 64
# Kernel receive timestamps: (socket option, ancillary type, how its two numbers read, units of the second in a second).
_TIMESTAMPS: dict[str, tuple[int, int, str, int]] = {
    "linux": (35, 35, "@qq", 10**9),  # SO_TIMESTAMPNS
    "darwin": (0x0400, 0x02, "@qi4x", 10**6),  # SO_TIMESTAMP
}
TIMESTAMP = _TIMESTAMPS.get(sys.platform)


@dataclass(frozen=True)
class Datagram:
    sender: Host
    source_port: int
    receiver: Host
    port: int
    data: bytes

    def packet(self) -> bytes:
        return udp((self.sender.face, self.source_port), (self.receiver.face, self.port), self.data)


class UdpRelay:
    """The UDP sockets of the faces."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.foreign = Foreign(network)
        self._faces: dict[tuple[str, int], socket.socket] = {}

    def open(self, host: Host, port: int) -> None:
        """Listen on a face port; raises OSError when another program holds it.  Opening it again does nothing."""
        if (host.name, port) in self._faces:
            return
        face = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            face.bind((host.face, port))
        except OSError:
            face.close()
            raise
        share(face)  # after binding, so that a port which another program holds is still noticed
        face.setblocking(False)
        face.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if TIMESTAMP:
            face.setsockopt(socket.SOL_SOCKET, TIMESTAMP[0], 1)
        self._faces[host.name, port] = face
        self.network.selector.register(face, selectors.EVENT_READ, ("udp", host, port))

    def close(self, host: Host, port: int) -> None:
        face = self._faces.pop((host.name, port), None)
        if face is not None:
            self.network.selector.unregister(face)
            face.close()

    def __len__(self) -> int:
        return len(self._faces)

    def receive(self, face: socket.socket, host: Host, port: int) -> Iterator[tuple[int, Address, Host, int, bytes]]:
        """What waits on one face: (time, source, host, port, data)."""
        for _ in range(BATCH):
            try:
                if TIMESTAMP:
                    data, ancillary, _, source = face.recvmsg(65535, 64)
                    time_ns = kernel_time_ns(ancillary)
                else:
                    data, source = face.recvfrom(65535)
                    time_ns = time.time_ns()
            except BlockingIOError:
                return
            except OSError:  # the ICMP error of an earlier datagram (Windows reports it here)
                self.network.counters["icmp"] += 1
                continue
            yield time_ns, source, host, port, data

    def accept(self, time_ns: int, source: Address, host: Host, port: int, data: bytes) -> None:
        """Take one datagram that reached a face: deliver it now or later, or drop it."""
        network = self.network
        found = network.sender(source) or self.foreign.admit(source)
        if found is None:
            network.counters["alien"] += 1
            return
        sender, source_port = found
        if sender.name == LAPTOP:
            try:
                self.open(sender, source_port)
            except OSError:
                network.counters["alien"] += 1
                return
        datagram = Datagram(sender, source_port, host, port, data)
        if not network.links:
            self._deliver(datagram, time_ns, time_ns)
            return
        times = network.deliveries(sender, host, time_ns, len(data) + HEADERS)
        if not times:
            network.counters["dropped"] += 1
            network.dropped.packet(time_ns, datagram.packet())
        for due_ns in times:
            if due_ns <= time_ns:
                self._deliver(datagram, time_ns, time_ns)
            else:
                network.at(due_ns, partial(self._deliver_late, datagram, due_ns))

    def _deliver_late(self, datagram: Datagram, due_ns: int) -> None:
        self._deliver(datagram, time.time_ns(), due_ns)

    def _deliver(self, datagram: Datagram, recorded_ns: int, due_ns: int) -> None:
        network, receiver = self.network, datagram.receiver
        face = self._face_of(datagram)
        if face is None:  # nothing could answer to it: the sender never asked for this port
            network.counters["unopened"] += 1
            return
        network.recorder.packet(recorded_ns, datagram.packet())
        if (receiver.name, datagram.port) in network.dark:
            network.counters["dark"] += 1
            return
        try:
            if is_foreign(datagram.sender):
                face.send(datagram.data)
            else:
                face.sendto(datagram.data, network.back_of(receiver, datagram.port))
        except OSError:
            network.counters["unsent"] += 1
            return
        network.counters["delivered"] += 1
        network.latencies_ns.append(time.time_ns() - due_ns)

    def _face_of(self, datagram: Datagram) -> socket.socket | None:
        """The socket that sends as the datagram's sender; what comes from another lab or goes there may name more ports."""
        sender = datagram.sender
        if is_foreign(sender) or is_foreign(datagram.receiver):
            self.foreign.learn(sender, datagram.data)
        if not is_foreign(sender):
            return self._faces.get((sender.name, datagram.source_port))
        try:
            return self.foreign.link((sender.face, datagram.source_port), datagram.receiver, datagram.port)
        except OSError:
            return None


def kernel_time_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When the system received a datagram that came with :data:`TIMESTAMP` switched on."""
    assert TIMESTAMP is not None
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == TIMESTAMP[1]:
            seconds, rest = struct.unpack(TIMESTAMP[2], value[: struct.calcsize(TIMESTAMP[2])])
            return int(seconds * 10**9 + rest * (10**9 // TIMESTAMP[3]))
    return time.time_ns()
