"""How messages travel: UDP and TCP at one address.  RFC 3261 §18, RFC 5626 §4.4.1 (keep-alives), RFC 5923 (connections are reused).

A message over TCP is cut from the stream here, and goes back over the connection on which its sender spoke; a connection is only made when
there is none.  Which messages, and why, is the business of :mod:`labkit.pbx.stack`.  TLS is one more :class:`~labkit.net.tcp.TcpEndpoint`
in ``streams``, opened with its contexts and its port.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from functools import lru_cache, partial

from labkit.net.tap import Tap
from labkit.net.tcp import TcpConnection, TcpEndpoint, TcpLimits
from labkit.net.udp import Address, UdpEndpoint
from labkit.sip.hop import Hop, transport_of
from labkit.sip.message import MalformedMessage, Request, Response
from labkit.sip.stream import PONG, StreamParser

BATCH = 20
"""Messages of one connection that are served before others have their turn."""


class SipTransport:
    """The sockets of one SIP host, told to call back what they receive.

    ``on_datagram(octets, source)`` and ``on_message(message, source)`` for what came by datagram and by stream, ``on_broken(error,
    source)`` for a stream that cannot be cut any further (it is closed afterwards), ``on_lost(hop)`` for a connection that has gone.
    """

    def __init__(
        self,
        on_datagram: Callable[[bytes, Address], None],
        on_message: Callable[[Request | Response, Address], None],
        on_broken: Callable[[MalformedMessage, Address], None],
        on_lost: Callable[[Address], None],
        admits: Callable[[Address], bool],
        limits: TcpLimits | None = None,
    ) -> None:
        self._on_datagram, self._on_message, self._on_broken, self._on_lost = on_datagram, on_message, on_broken, on_lost
        self._admits = admits
        self._limits = limits
        self._udp: UdpEndpoint | None = None
        self.streams: dict[str, TcpEndpoint] = {}

    async def open(self, bind: Address, transports: tuple[str, ...], tap: Tap | None = None) -> None:
        """Bind; raises :class:`labkit.errors.WireError` when another program holds the address, and binds nothing then."""
        try:
            if "udp" in transports:
                self._udp = await UdpEndpoint.open(bind, self._on_datagram)
                self._udp.tap = tap
            if "tcp" in transports:
                tcp = TcpEndpoint(partial(self._octets, "TCP"), partial(self._lost, "TCP"), self._limits)
                tcp.tap = tap
                await tcp.listen(bind)
                self.streams["TCP"] = tcp
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._udp is not None:
            udp, self._udp = self._udp, None
            await udp.close()
        for stream in self.streams.values():
            await stream.close()
        self.streams.clear()

    @property
    def is_open(self) -> bool:
        return self._udp is not None or bool(self.streams)

    def connected(self, hop: Address) -> bool:
        """Whether there is a connection to ``hop``."""
        stream = self.streams.get(transport_of(hop))
        return stream is not None and stream.connection((hop[0], hop[1])) is not None

    def trust(self, hop: Address) -> None:
        """It is known who speaks there, so that a connection may stay when he is silent."""
        stream = self.streams.get(transport_of(hop))
        connection = stream.connection((hop[0], hop[1])) if stream is not None else None
        if connection is not None:
            connection.trusted = True

    def send(self, data: bytes, remote: Address, failed: Callable[[], None]) -> bool:
        """Send octets; ``failed()`` is called later when no connection can be made.  False when there is no way to ``remote`` at all."""
        transport = transport_of(remote)
        if not is_literal(*remote):
            return False
        if transport == "UDP":
            if self._udp is None:
                return False
            self._udp.send(data, remote)
            return True
        stream = self.streams.get(transport)
        if stream is None:
            return False
        stream.send(data, (remote[0], remote[1]), failed)
        return True

    def _octets(self, transport: str, connection: TcpConnection, data: bytes) -> None:
        if not connection.is_open:
            return
        source = Hop(*connection.peer, transport)
        if not isinstance(connection.user, StreamParser):
            connection.user = StreamParser()
        parser = connection.user
        try:
            for number, message in enumerate(parser.receive(data), 1):
                if not self._admits(source):
                    connection.close(at_once=True)
                    return
                self._on_message(message, source)
                if number == BATCH:
                    connection.pause()
                    asyncio.get_running_loop().call_soon(self._octets, transport, connection, b"")
                    return
        except MalformedMessage as error:
            self._on_broken(error, source)
            connection.resume()
            connection.finish()
            return
        connection.resume()
        if parser.pings:
            connection.send(PONG * parser.pings)
            parser.pings = 0

    def _lost(self, transport: str, connection: TcpConnection) -> None:
        self._on_lost(Hop(*connection.peer, transport))


def is_literal(host: str, port: int) -> bool:
    """Whether a message can be sent there as it stands: a name would make the socket ask the resolver, and the whole PBX wait."""
    return len(host) <= len("255.255.255.255") and _is_literal(host, port)


@lru_cache(maxsize=4096)
def _is_literal(host: str, port: int) -> bool:
    try:
        return ipaddress.ip_address(host).version == 4 and 0 < port < 65536
    except ValueError:
        return False
