"""A scripted SIP phone on a TCP connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from typing import Any

from labkit.net.udp import Address
from labkit.sip.stream import StreamParser
from tests.pbx.peer import SDP, Peer


class TcpPeer(Peer):
    """One phone over TCP.  ``octets`` is everything that came, ``closed`` is set when the PBX ends the connection."""

    async def start(self, host: str, contact_port: int | None = None, bind: Address | None = None) -> TcpPeer:
        """Connect; ``bind`` is where the socket really is, when ``host`` is only what it shows."""
        self.octets = b""
        self.closed = asyncio.Event()
        self._reader, self._writer = await asyncio.open_connection(*self.pbx, local_addr=bind or (host, 0))
        if bind is not None:  # end with a reset: a port that has to be this one must not stay in TIME-WAIT for a minute
            layout = "hh" if sys.platform == "win32" else "ii"
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(layout, 1, 0))
        self.address = host, self._writer.get_extra_info("sockname")[1] if bind is None else contact_port or 0
        self.contact = f"<sip:{self.number}@{host}:{contact_port or self.address[1]};transport=tcp>"
        self.sdp = SDP.format(host, 4000).encode()
        self._task = asyncio.create_task(self._read())
        return self

    def send_raw(self, data: bytes) -> None:
        self._writer.write(data)

    def send(self, message: Any, *, lost: bool = False) -> None:
        self.log.append("> " + self._name(message))
        self._writer.write(bytes(message))

    def via(self) -> str:
        return super().via().replace("SIP/2.0/UDP", "SIP/2.0/TCP")

    async def _read(self) -> None:
        parser = StreamParser(1 << 20)
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65536):
                self.octets += data
                for message in parser.receive(data):
                    self.log.append("< " + self._name(message))
                    self.inbox.put_nowait(message)
        self.closed.set()

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def tcp_phone(number: str, password: str, pbx: Address, contact_port: int | None = None) -> TcpPeer:
    return await TcpPeer(number, password, pbx).start("127.0.0.1", contact_port)
