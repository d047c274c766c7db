"""A tap: records what one host itself sends and receives, where no wire carries it.

The socket that it sits on tells it each datagram and each TCP octet (:mod:`labkit.net.udp`, :mod:`labkit.net.tcp`); the file is the same
as a wire's, except that the packets of other hosts to each other are not in it.  TLS is recorded as the octets that go on the network only
by a wire; a tap leaves it out.  All methods belong to the labkit thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from labkit.capture.write import TcpConversation, udp
from labkit.net.plan import Address, Host
from labkit.net.recorder import Recorder

SETTLE_S = 0.1
"""How often the capture is brought to disk: what a killed process may lose."""


class Tap:
    """Records to ``path`` what the host at ``own`` sends and receives.  Raises OSError when the file cannot be made."""

    def __init__(self, path: Path, own: Address) -> None:
        self.own = own
        self.recorder = Recorder(path, "tap")
        self._conversations: dict[tuple[Address, Address], TcpConversation] = {}
        self._settles: asyncio.TimerHandle | None = None

    def hosts(self, hosts: Iterable[Host]) -> None:
        """Name the hosts that the capture shows."""
        self.recorder.hosts(
            {"name": host.name, "ip": host.face, "ports": [block.start, block.stop - 1]} if block else {"name": host.name, "ip": host.face}
            for host in hosts
            for block in host.blocks or (None,)
        )

    # --- datagrams ----------------------------------------------------------------------------------------------------

    def sent(self, data: bytes, to: Address) -> None:
        self._packets([udp(self.own, (to[0], to[1]), data)])

    def received(self, data: bytes, source: Address) -> None:
        self._packets([udp((source[0], source[1]), self.own, data)])

    # --- connections --------------------------------------------------------------------------------------------------

    def connected(self, local: Address, peer: Address) -> None:
        """A connection was made: to our port, or from another port of ours to ``peer``."""
        here = self.own[0], local[1]
        client, server = (peer, here) if local[1] == self.own[1] else (here, peer)
        self._conversations[here, peer] = made = TcpConversation(client, server, client_isn=0, server_isn=0)
        self._packets(made.open())

    def octets(self, local: Address, peer: Address, data: bytes, *, ours: bool) -> None:
        here = self.own[0], local[1]
        conversation = self._conversations.get((here, peer))
        if conversation is not None:
            self._packets(conversation.data(here if ours else peer, data))

    def disconnected(self, local: Address, peer: Address) -> None:
        conversation = self._conversations.pop(((self.own[0], local[1]), peer), None)
        if conversation is not None:
            self._packets(conversation.close(peer))

    # --- the file -----------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Bring everything to disk; :attr:`Recorder.problem` says what could not be written."""
        self._settles = None
        self.recorder.flush()

    def close(self) -> None:
        if self._settles is not None:
            self._settles.cancel()
        self.flush()

    def _packets(self, packets: list[bytes]) -> None:
        now = time.time_ns()
        for packet in packets:
            self.recorder.packet(now, packet)
        if self._settles is None:
            self._settles = asyncio.get_running_loop().call_later(SETTLE_S, self.flush)
