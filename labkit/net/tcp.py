"""TCP on asyncio: a listening port, the connections that came to it, and those that were made to others.

It knows nothing of SIP.  Octets come in by a callback; :meth:`TcpEndpoint.send` uses the connection to an address, or makes one.
Everything is bounded: how many connections there are, how long one may be idle, how long a stranger may say nothing, what a slow reader
may leave waiting.  With TLS contexts the same class speaks TLS.  (asyncio sets TCP_NODELAY itself: small messages leave at once.)
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from labkit.net.plan import Address
from labkit.net.tap import Tap
from labkit.net.udp import bind_error

LINGER_S = 1.0


@dataclass(frozen=True)
class TcpLimits:
    """What one endpoint bears."""

    connections: int = 1000
    """Connections at a time; further ones are closed at once."""
    connections_per_host: int = 200
    """Connections at a time that came from one address, so that no host takes every place."""
    idle_s: float = 900.0
    """A connection without traffic for so long is closed."""
    silence_s: float = 32.0
    """A connection that was never :attr:`~TcpConnection.trusted` is closed after so long."""
    connect_s: float = 4.0
    """How long the other side may take to accept a connection."""
    waiting: int = 1 << 20
    """Octets that a slow reader may leave unread before its connection is cut."""


class TcpConnection(asyncio.Protocol):
    """One connection; ``peer`` is the address of its other end."""

    def __init__(self, endpoint: TcpEndpoint, *, trusted: bool = False) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self.peer: Address = ("", 0)
        self.user: object = None
        """A place where the owner keeps what belongs to this connection."""
        self.trusted = trusted
        """Set by the owner once it knows who speaks."""
        self._finished = False
        self.local: Address = ("", 0)
        self.begun = self.used = asyncio.get_running_loop().time()

    def send(self, data: bytes) -> None:
        """Send octets, after those that still wait; a reader that is too slow is cut off."""
        if self._transport is None or not self.is_open:
            return
        self.used = asyncio.get_running_loop().time()
        self._transport.write(data)
        if self._endpoint.tap is not None:
            self._endpoint.tap.octets(self.local, self.peer, data, ours=True)
        if self._transport.get_write_buffer_size() > self._endpoint.limits.waiting:
            self._transport.abort()

    def close(self, *, at_once: bool = False) -> None:
        """Close, after everything that waits was sent, or at once."""
        if self._transport is not None:
            if at_once:
                self._transport.abort()
            else:
                self._transport.close()

    @property
    def is_open(self) -> bool:
        """Whether it is worth reading what came."""
        return self._transport is not None and not self._transport.is_closing() and not self._finished

    def pause(self) -> None:
        """Read nothing more until :meth:`resume`; the other side has to wait."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and self.is_open:
            self._transport.resume_reading()

    def finish(self) -> None:
        """Close after our last words: what still comes is read and thrown away for a second, lest a reset overtakes them."""
        if self._transport is None or self._transport.is_closing():
            return
        self._finished = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_S, self.close)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        if peer is None:  # it was closed before it was taken
            self._transport.abort()
            return
        self.peer = peer[0], peer[1]
        self.local = transport.get_extra_info("sockname")[:2]
        self._endpoint.made(self)

    def data_received(self, data: bytes) -> None:
        if self._finished:
            return
        self.used = asyncio.get_running_loop().time()
        if self._endpoint.tap is not None:
            self._endpoint.tap.octets(self.local, self.peer, data, ours=False)
        self._endpoint.received(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.forget(self)


class TcpEndpoint:
    """A bound TCP port.  ``received(connection, octets)`` and ``lost(connection)`` are called on the loop."""

    def __init__(
        self,
        received: Callable[[TcpConnection, bytes], None],
        lost: Callable[[TcpConnection], None] = lambda connection: None,
        limits: TcpLimits | None = None,
        client_tls: ssl.SSLContext | None = None,
    ) -> None:
        self.received = received
        self.lost = lost
        self.limits = limits or TcpLimits()
        self.tap: Tap | None = None
        self._client_tls = client_tls
        self._connections: dict[Address, TcpConnection] = {}
        self._live: set[TcpConnection] = set()
        self._of_host: Counter[str] = Counter()
        self._dialled: dict[Address, list[tuple[bytes, Callable[[], None]]]] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._closed = False

    async def listen(self, bind: Address, server_tls: ssl.SSLContext | None = None) -> None:
        """Bind ``bind`` and accept; raises :class:`WireError` with the address when that cannot be done."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: TcpConnection(self), bind[0], bind[1], ssl=server_tls, backlog=256)
        except OSError as error:
            raise bind_error(bind, error) from error
        self._sweep()

    @property
    def address(self) -> Address:
        """Where the port is really bound."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return host, port

    def connection(self, peer: Address) -> TcpConnection | None:
        """The open connection whose other end is ``peer``."""
        return self._connections.get(peer)

    def send(self, data: bytes, peer: Address, failed: Callable[[], None]) -> None:
        """Send over the connection to ``peer``, making one if there is none; ``failed()`` is called when it cannot be made."""
        connection = self._connections.get(peer)
        if connection is not None:
            connection.send(data)
        elif peer in self._dialled:
            self._dialled[peer].append((data, failed))
        elif self._closed or len(self._live) + len(self._dialled) >= self.limits.connections:
            asyncio.get_running_loop().call_soon(failed)
        else:
            self._dialled[peer] = [(data, failed)]
            task = asyncio.get_running_loop().create_task(self._dial(peer))
            self._dials.add(task)
            task.add_done_callback(self._dials.discard)

    async def _dial(self, peer: Address) -> None:
        connection: TcpConnection | None = None
        try:
            # From our own host, so that the other side (and the wire) knows whose connection it is.
            host = self.address[0]
            async with asyncio.timeout(self.limits.connect_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: TcpConnection(self, trusted=True),
                    *peer,
                    ssl=self._client_tls,
                    local_addr=None if host == "0.0.0.0" else (host, 0),
                )
        except OSError:  # refused, unreachable, or too slow (TimeoutError is one)
            pass
        finally:
            waiting = self._dialled.pop(peer, [])
        for data, failed in waiting:
            if connection is not None:
                connection.send(data)
            else:
                failed()

    async def close(self) -> None:
        """Free the port and end every connection, without waiting for slow readers."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        if self._server is not None:
            self._server.close()
        for task in list(self._dials):
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for connection in list(self._live):
            connection.close()
        if self._live:
            try:
                await asyncio.wait_for(self._empty.wait(), 0.5)
            except TimeoutError:
                for connection in list(self._live):
                    connection.close(at_once=True)
                await self._empty.wait()

    # -- called by the connections ----------------------------------------------------------------------------------------------------

    def made(self, connection: TcpConnection) -> None:
        self._live.add(connection)
        self._empty.clear()
        self._of_host[connection.peer[0]] += 1
        too_many = self._of_host[connection.peer[0]] > self.limits.connections_per_host and not connection.trusted
        if self._closed or too_many or len(self._live) > self.limits.connections:
            connection.close(at_once=True)
            return
        self._connections[connection.peer] = connection
        if self.tap is not None:
            self.tap.connected(connection.local, connection.peer)

    def forget(self, connection: TcpConnection) -> None:
        if connection in self._live:
            self._live.remove(connection)
            self._of_host[connection.peer[0]] -= 1
            if not self._of_host[connection.peer[0]]:
                del self._of_host[connection.peer[0]]
        if self.tap is not None:
            self.tap.disconnected(connection.local, connection.peer)
        if self._connections.get(connection.peer) is connection:
            del self._connections[connection.peer]
            self.lost(connection)
        if not self._live:
            self._empty.set()

    def _sweep(self) -> None:
        """Close what is idle, and who never said anything sensible; look again soon."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in list(self._live):
            if now - connection.used > self.limits.idle_s or (not connection.trusted and now - connection.begun > self.limits.silence_s):
                connection.close(at_once=True)
        self._sweeper = loop.call_later(min(self.limits.idle_s, self.limits.silence_s) / 4, self._sweep)
