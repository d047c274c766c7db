"""The wire, seen from the kernel: the network between the lab's hosts, which relays and records every packet.

Methods are coroutines of the labkit thread; what a notebook holds is :class:`labkit.lab.Lab`'s synchronous view of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labkit.errors import WireError
from labkit.net.child import Child, ChildEnded, ChildRefused
from labkit.net.impairment import Impairment
from labkit.net.network import LAPTOP
from labkit.net.plan import SIP_PORT, Address, AddressPlan, Host, candidates, is_face

DIRECTIONS = ("in", "out", "both")
STALE_PORT = 43974
"""Where the phone that has gone was in the lab's trace."""


class Wire:
    """A running wire process and the address plan that it holds."""

    tap: None = None
    """A wire records everything itself."""

    def __init__(self, child: Child, plan: AddressPlan, capture: Path) -> None:
        self._child = child
        self.plan = plan
        self.capture = capture
        self.dropped = capture.with_suffix(".dropped.pcapng")

    @classmethod
    async def start(cls, capture: Path, *, student: str = "", mode: str | None = None) -> Wire:
        """Start the process, lock the first free address slot, and record to ``capture``."""
        plans = list(candidates(student, mode))
        locks = [plan.lock for plan in plans]
        try:
            child = await Child.start(
                "wire", "labkit.net.wire_process", {"capture": str(capture), "locks": locks}, capture.with_suffix(".log")
            )
        except ChildRefused as refused:
            message = "net.capture_unwritable" if refused.reply.get("file") else "net.no_slot"
            raise WireError(message, path=refused.reply.get("file"), reason=refused.detail) from refused
        except OSError as error:
            raise WireError("net.capture_unwritable", path=capture.parent, reason=error.strerror or error) from error
        return cls(child, plans[child.ready["slot"]], capture)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.alive

    def on_end(self, callback: Callable[[str], None]) -> None:
        """Have ``callback(how it ended)`` called when the process ends unasked."""
        self._child.on_end = lambda child: callback(child.last_words())

    async def add_hosts(self, names: dict[str, str]) -> list[Host]:
        """Give hosts their addresses: ``names`` maps a host's name to its extension ("" when it has none)."""
        hosts = [self.plan.host(name, number) for name, number in names.items()]
        await self._ask("hosts", hosts=[_as_json(host) for host in hosts])
        return hosts

    async def add_laptop(self) -> None:
        """The host as which this machine's ordinary programs appear.  Its sockets are really bound at 127.0.0.1."""
        laptop = self.plan.host(LAPTOP)
        await self._ask("hosts", hosts=[_as_json(laptop) | {"back": "127.0.0.1"}])

    async def open(self, host: Host, ports: range | list[int]) -> dict[int, str]:
        """Open UDP face ports; returns those that another program holds, with the reason."""
        taken = await self._ask("open", host=host.name, ports=list(ports))
        return {int(port): reason for port, reason in taken.items()}

    async def open_sip(self, host: Host) -> int:
        """Open the host's SIP port (or, for a softphone, the next free one) and return it."""
        tries = [host.sip_port] if host.sip_port == SIP_PORT or host.blocks else [*range(host.sip_port, host.sip_port + 40, 2)]
        for port in tries:
            taken = await self.open(host, [port])
            if not taken:
                return port
        raise WireError("net.port_taken", address=f"{host.face}:{tries[0]}", reason=next(iter(taken.values())))

    async def open_rtp(self, host: Host) -> range:
        """Open the host's RTP ports and return them, or the next fifty when another program holds one."""
        ports = host.rtp_ports
        for _ in range(8):
            taken = await self.open(host, ports)
            if not taken or host.blocks:
                break
            await self._ask("close", host=host.name, ports=[port for port in ports if port not in taken])
            ports = range(ports.start + len(ports), ports.stop + len(ports))
        if taken:
            raise WireError("net.port_taken", address=f"{host.face}:{next(iter(taken))}", reason=next(iter(taken.values())))
        return ports

    async def listen(self, host: Host, port: int) -> None:
        """Relay TCP connections to a port whose back already listens."""
        await self._ask("listen", host=host.name, port=port)

    async def unlisten(self, host: Host, port: int) -> None:
        await self._ask("unlisten", host=host.name, port=port)

    async def reach(self, host: Host, port: int, remote: Address) -> None:
        """Let a face port of ours speak to a face of another lab on this machine, through both wires (:mod:`labkit.net.foreign`).

        Other addresses need nothing.  Raises :class:`WireError` when the system does not allow it.
        """
        if is_face(remote[0]) and remote[0] not in {known.face for known in self.plan.hosts()}:
            try:
                await self._child.request("reach", host=host.name, port=port, remote=remote)
            except ChildRefused as refused:
                raise WireError("net.no_reach", address=f"{remote[0]}:{remote[1]}", reason=refused.detail) from refused
            except ChildEnded as ended:
                raise self._ended() from ended

    async def dark(self, host: Host, port: int, dark: bool = True) -> None:
        """Let a port record what it gets and deliver it nowhere, as the stale contact of a phone that has gone does."""
        await self.open(host, [port])
        await self._ask("dark", host=host.name, port=port, dark=dark)

    async def open_dark(self, host: Host) -> int:
        """Open a dark port of the host, the first that is free, and return it; once open, it is the same again."""
        tries = [*reversed(host.blocks[-1])][1:20:2] if host.blocks else [*range(STALE_PORT, STALE_PORT + 20, 2)]
        for port in tries:
            taken = await self.open(host, [port])
            if not taken:
                await self.dark(host, port)
                return port
        raise WireError("net.port_taken", address=f"{host.face}:{port}", reason=next(iter(taken.values())))

    async def set(self, host: str, direction: str, impairment: Impairment) -> None:
        """Impair one direction ("in", "out") of a host's link, or "both"."""
        if direction not in DIRECTIONS:
            raise WireError("net.direction", direction=direction)
        for way in ("in", "out") if direction == "both" else (direction,):
            await self._ask("set", host=host, direction=way, impairment=asdict(impairment))

    async def clear(self) -> None:
        """Take every impairment away."""
        await self._ask("clear")

    async def flush(self) -> int:
        """Bring the capture to disk and return its number of packets; raises :class:`WireError` when the disk is full.

        The packets that could not be written stay in the wire's memory, so a later flush may succeed.
        """
        answer = await self._ask("flush")
        for part, path in (("capture", self.capture), ("dropped", self.dropped)):
            if answer[part]["problem"]:
                raise WireError("net.disk_full", path=path, reason=answer[part]["problem"], unwritten=answer[part]["unwritten"])
        return int(answer["capture"]["packets"])

    async def restart(self) -> None:
        """Begin the capture anew: what was recorded before is forgotten."""
        await self._ask("restart")

    async def stats(self) -> dict[str, Any]:
        """Counters and latencies of the relay."""
        answer: dict[str, Any] = await self._ask("stats")
        return answer

    async def close(self) -> None:
        await self._child.close()

    def kill(self) -> None:
        """Cut the wire: the process ends at once."""
        self._child.kill()

    def check(self) -> None:
        """Raise :class:`WireError` when the process has ended."""
        if not self.alive:
            raise self._ended()

    def _ended(self) -> WireError:
        return WireError("net.wire_ended", reason=self._child.last_words(), path=self.capture)

    async def _ask(self, op: str, **arguments: Any) -> Any:
        try:
            return await self._child.request(op, **arguments)
        except ChildEnded as ended:
            raise self._ended() from ended
        except ChildRefused as refused:
            raise WireError("net.wire_refused", op=op, reason=refused.detail) from refused


def _as_json(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "face": host.face,
        "back": host.back,
        "sip_port": host.sip_port,
        "rtp_ports": [host.rtp_ports.start, host.rtp_ports.stop],
        "shift": host.shift,
        "blocks": [[block.start, block.stop] for block in host.blocks],
    }
