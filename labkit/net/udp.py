"""A UDP endpoint on asyncio: datagrams in by a callback, datagrams out by a method.  It knows nothing of SIP or RTP."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import cast

from labkit.errors import WireError
from labkit.net.plan import Address as Address
from labkit.net.tap import Tap

RECEIVE_BUFFER = 4 << 20
"""What the system may keep for us while the loop is busy.  It gives as much of it as its own limit allows."""
LONGEST_DATAGRAM = 65535


def bind_error(bind: Address, error: OSError) -> WireError:
    """Why ``bind`` could not be bound: another program has it, this computer has no such address, or the system forbids it."""
    cause = "net.port_taken"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        cause = "net.not_our_address"
    elif error.errno == errno.EACCES:
        cause = "net.port_forbidden"
    return WireError(cause, address=f"{bind[0]}:{bind[1]}", reason=error.strerror or error)


class UdpEndpoint(asyncio.DatagramProtocol):
    """One bound UDP socket.  ``received(data, source)`` is called on the loop for each datagram."""

    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self._received = received
        self.tap: Tap | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, bind: Address, received: Callable[[bytes, Address], None]) -> UdpEndpoint:
        """Bind ``bind``; raises :class:`WireError` with the address when that cannot be done."""
        loop = asyncio.get_running_loop()
        try:
            _, endpoint = await loop.create_datagram_endpoint(lambda: cls(received), local_addr=bind)
        except OSError as error:
            raise bind_error(bind, error) from error
        return endpoint

    @property
    def address(self) -> Address:
        """Where the socket is really bound."""
        assert self._transport is not None
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def send(self, data: bytes, to: Address) -> None:
        """Send one datagram; a closed endpoint drops it, as a network would."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, to)
            if self.tap is not None:
                self.tap.sent(data, to)

    async def close(self) -> None:
        """Close the socket and wait until it is really closed, so that the port is free again."""
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # not its subclass in every version of asyncio
        # asyncio would take 256 KiB from the system for each datagram, and give them back.
        transport.max_size = LONGEST_DATAGRAM  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self.tap is not None:
            self.tap.received(data, addr)
        self._received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """An ICMP error of an earlier datagram.  SIP's own timers notice the silence, so nothing is done here."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)
