"""The TCP relay of the wire: connections between two hosts of the lab, relayed both ways and recorded as segments.

A connection that reaches a face is continued from the client's face to the server's back, so each end sees the other's face.  Bytes are
recorded when they are handed on; a delay holds them back in order, and no other impairment touches them, since TCP would mend it.
"""

from __future__ import annotations

import random
import selectors
import socket
import time
from dataclasses import dataclass, field

from labkit.capture.write import TcpConversation
from labkit.net.network import Network
from labkit.net.plan import Address, Host

CHUNK = 1 << 16
CONNECT_TIMEOUT_S = 0.05
HIGH_WATER = 1 << 20
"""Bytes held for a slow reader before the relay stops reading from its peer."""


@dataclass
class Side:
    """One end of a relayed connection, as the relay holds it."""

    socket: socket.socket
    face: Address
    host: Host
    outgoing: bytearray = field(default_factory=bytearray)
    waiting: int = 0
    """Bytes on their way to this side that a delay still holds back."""
    ended: bool = False
    """Its last byte has been read."""
    finished: bool = False
    """Its last byte has been passed on."""
    last_due_ns: int = 0


class TcpRelay:
    """The listening faces and the connections that came of them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._listeners: dict[tuple[str, int], socket.socket] = {}

    def listen(self, host: Host, port: int) -> None:
        """Accept connections on a face port while the back listens; raises OSError when the port is taken."""
        if (host.name, port) in self._listeners:
            return
        listener = socket.socket()
        try:
            # On Windows this option would let two programs share the port; elsewhere it only forgives old connections.
            if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.face, port))
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        listener.setblocking(False)
        self._listeners[host.name, port] = listener
        self.network.selector.register(listener, selectors.EVENT_READ, ("listener", host, port))

    def unlisten(self, host: Host, port: int) -> None:
        listener = self._listeners.pop((host.name, port), None)
        if listener is not None:
            self.network.selector.unregister(listener)
            listener.close()

    def accept(self, listener: socket.socket, host: Host, port: int) -> None:
        """Take a connection from a listening face and continue it to the back; refuse it when nobody is there."""
        try:
            near, source = listener.accept()
        except OSError:
            return
        found = self.network.sender(source)
        if found is None:
            self.network.counters["alien"] += 1
            near.close()
            return
        client, client_port = found
        far = socket.socket()
        try:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            far.bind((client.face, client_port))
            # Loopback answers at once, with a connection or a refusal; only a server whose queue is full does not, and the voices
            # that pass through this same loop must not wait for it.
            far.settimeout(CONNECT_TIMEOUT_S)
            far.connect(self.network.back_of(host, port))
        except OSError:
            self.network.counters["refused"] += 1
            near.close()
            far.close()
            return
        Connection(self.network, Side(near, (client.face, client_port), client), Side(far, (host.face, port), host))


class Connection:
    """One relayed connection.  ``client`` and ``server`` are named by who opened it."""

    def __init__(self, network: Network, client: Side, server: Side) -> None:
        self.network, self.client, self.server = network, client, server
        self.open = True
        self._first: Side | None = None
        """Who finished first."""
        self._segments = TcpConversation(client.face, server.face, client_isn=random.getrandbits(32), server_isn=random.getrandbits(32))
        network.counters["connections"] += 1
        self._record(self._segments.open())
        for side in (client, server):
            side.socket.setblocking(False)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            network.selector.register(side.socket, selectors.EVENT_READ, ("connection", self, side))

    def ready(self, side: Side, events: int) -> None:
        """The selector found ``side`` readable or writable."""
        if self.open and events & selectors.EVENT_WRITE:
            self._write(side)
        if self.open and events & selectors.EVENT_READ:
            self._read(side)

    def _other(self, side: Side) -> Side:
        return self.server if side is self.client else self.client

    def _read(self, side: Side) -> None:
        try:
            data = side.socket.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._close(side)
            return
        other = self._other(side)
        delay_ns = self.network.stream_delay_ns(side.host, other.host)
        # A delay that was shortened must not let later bytes overtake earlier ones.
        due_ns = max(time.time_ns() + delay_ns, side.last_due_ns)
        side.last_due_ns = due_ns
        if not data:
            side.ended = True
            self._watch(side)
        if delay_ns or other.waiting:
            other.waiting += len(data)
            self.network.at(due_ns, lambda: self._pass_on(side, other, data, len(data)))
        else:
            self._pass_on(side, other, data, 0)

    def _pass_on(self, side: Side, other: Side, data: bytes, waited: int) -> None:
        other.waiting -= waited
        if not self.open:
            return
        if data:
            self._record(self._segments.data(side.face, data))
            other.outgoing += data
            self._write(other)
            return
        side.finished = True
        self._first = self._first or side
        if other.finished and not side.outgoing and not other.outgoing:
            self._close(side)
        elif not other.outgoing:
            self._shut(other)

    def _write(self, side: Side) -> None:
        try:
            if side.outgoing:
                del side.outgoing[: side.socket.send(side.outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            self._close(side)
            return
        other = self._other(side)
        if other.finished and not side.outgoing:
            if side.finished:
                self._close(other)
                return
            self._shut(side)
        self._watch(side)
        self._watch(other)

    @staticmethod
    def _shut(side: Side) -> None:
        try:
            side.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has gone already; reading from it will say so

    def _watch(self, side: Side) -> None:
        """Register exactly the events that make sense now."""
        other = self._other(side)
        wants_read = not side.ended and len(other.outgoing) + other.waiting < HIGH_WATER
        events = (selectors.EVENT_READ if wants_read else 0) | (selectors.EVENT_WRITE if side.outgoing else 0)
        selector = self.network.selector
        registered = side.socket in selector.get_map()
        if events and registered:
            selector.modify(side.socket, events, ("connection", self, side))
        elif events:
            selector.register(side.socket, events, ("connection", self, side))
        elif registered:
            selector.unregister(side.socket)

    def _close(self, side: Side) -> None:
        self.open = False
        self._record(self._segments.close((self._first or side).face))
        for end in (self.client, self.server):
            if end.socket in self.network.selector.get_map():
                self.network.selector.unregister(end.socket)
            end.socket.close()

    def _record(self, packets: list[bytes]) -> None:
        now_ns = time.time_ns()
        for step, packet in enumerate(packets):
            self.network.recorder.packet(now_ns + step * 1000, packet)
