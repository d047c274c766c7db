"""A real PBX on a real socket, with BOB 100, ALICE 101 and PAUL 102 as scripted phones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from labkit.net.udp import UdpEndpoint
from labkit.pbx import Extension, Pbx, PbxConfig, PbxEvent
from labkit.sip.message import Request, Response
from labkit.sip.transaction import Timers
from tests.pbx.peer import Peer

EXTENSIONS = (
    Extension("100", "BOB", auth_password="1111"),
    Extension("101", "ALICE", auth_password="2222"),
    Extension("102", "PAUL", auth_password="3333"),
)
FAST = Timers(t1=0.05, t2=0.2, t4=0.2)


@dataclass
class Office:
    pbx: Pbx
    bob: Peer
    alice: Peer
    paul: Peer
    events: list[PbxEvent] = field(default_factory=list)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def connected(self) -> tuple[Request, Response, Request]:
        """BOB and ALICE registered and in a call: BOB's INVITE, its 200, and the INVITE that ALICE got."""
        await self.bob.register()
        await self.alice.register()
        invite = await self.bob.invite("101")
        await self.bob.response(100)
        ringing = await self.alice.ask("INVITE")
        self.alice.reply(ringing, 180)
        await self.bob.response(180)
        self.alice.reply(ringing, 200, body=self.alice.sdp)
        await self.alice.ask("ACK")
        ok = await self.bob.response(200)
        self.bob.send(self.bob.ack(invite, ok))
        return invite, ok, ringing


async def free_port() -> int:
    """A port that is free for UDP and for TCP."""
    while True:
        endpoint = await UdpEndpoint.open(("127.0.0.1", 0), lambda data, source: None)
        port = endpoint.address[1]
        await endpoint.close()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def play(scene: Callable[[Office], Awaitable[None]], *, within_s: float = 30.0, **settings: Any) -> None:
    """Open the office, play a scene in it, close it."""

    async def run() -> None:
        address = ("127.0.0.1", await free_port())
        events: list[PbxEvent] = []
        settings.setdefault("extensions", EXTENSIONS)
        settings.setdefault("timers", FAST)
        pbx = Pbx(PbxConfig(address, address, **settings), observe=events.append)
        await pbx.start()
        phones = [await Peer(e.number, e.auth_password, address).start("127.0.0.1") for e in EXTENSIONS]
        try:
            await scene(Office(pbx, phones[0], phones[1], phones[2], events))
        finally:
            await pbx.close()
            for phone in phones:
                await phone.close()

    asyncio.run(asyncio.wait_for(run(), within_s))
