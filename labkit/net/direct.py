"""A lab without a wire: hosts bind the addresses that they show, and packets go straight from one to the other.

For programs that advertise the address they bind (baresip, linphonec, SIPp) and so cannot stand behind a mirror.  It has the methods of
:class:`labkit.net.wire.Wire` that a lab needs; nothing relays and nothing can be impaired, and the capture has only what the PBX itself
sends and receives (:attr:`Direct.tap`).
"""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

from labkit.errors import WireError
from labkit.net.network import LAPTOP
from labkit.net.plan import SIP_PORT, Address, AddressPlan, Host, candidates
from labkit.net.tap import Tap
from labkit.net.wire_process import lock_slot


class Direct:
    """An address plan, its lock, and the tap at the PBX."""

    def __init__(self, plan: AddressPlan, lock: socket.socket, capture: Path) -> None:
        self.plan = plan
        self.capture = capture
        self.tap: Tap | None = None
        self._lock = lock

    @classmethod
    async def start(cls, capture: Path, *, student: str = "", mode: str | None = None) -> Direct:
        """Lock the first free address slot, as a wire does."""
        plans = list(candidates(student, mode))
        try:
            index, lock = lock_slot([plan.lock for plan in plans])
        except OSError as error:
            raise WireError("net.no_slot", reason=error) from error
        return cls(plans[index], lock, capture)

    async def add_hosts(self, names: dict[str, str]) -> list[Host]:
        """Give hosts their addresses; the first one is the PBX, and the tap is its."""
        hosts = [_unmirrored(self.plan.host(name, number)) for name, number in names.items()]
        if self.tap is None:
            try:
                self.tap = Tap(self.capture, hosts[0].sip_face)
            except OSError as error:
                raise WireError("net.capture_unwritable", path=self.capture, reason=error.strerror or error) from error
        self.tap.hosts(self.plan.hosts())
        return hosts

    async def add_laptop(self) -> None:
        """The name of this machine's ordinary programs, which are seen at 127.0.0.1."""
        laptop = self.plan.host(LAPTOP)
        if self.tap is not None:
            self.tap.hosts(replace(host, face="127.0.0.1") if host == laptop else host for host in self.plan.hosts())

    async def open_sip(self, host: Host) -> int:
        """The host's SIP port, or for a softphone the next free one."""
        tries = [host.sip_port] if host.sip_port == SIP_PORT or host.blocks else [*range(host.sip_port, host.sip_port + 40, 2)]
        for port in tries:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                try:
                    probe.bind((host.face, port))
                except OSError as error:
                    reason = error.strerror or str(error)
                else:
                    return port
        raise WireError("net.port_taken", address=f"{host.face}:{tries[0]}", reason=reason)

    async def open_rtp(self, host: Host) -> range:
        """The host's RTP ports: they are not opened before they are used."""
        return host.rtp_ports

    async def reach(self, host: Host, port: int, remote: Address) -> None:
        """Without a wire every address is reached as it is."""

    async def flush(self) -> int:
        """Bring the capture to disk and return its number of packets; raises :class:`WireError` when the disk is full."""
        assert self.tap is not None
        self.tap.flush()
        recorder = self.tap.recorder
        if recorder.problem:
            raise WireError("net.disk_full", path=self.capture, reason=recorder.problem, unwritten=recorder.unwritten)
        return recorder.packets

    async def restart(self) -> None:
        """Begin the capture anew."""
        assert self.tap is not None
        self.tap.recorder.restart()

    async def close(self) -> None:
        if self.tap is not None:
            self.tap.close()
        self._lock.close()

    def check(self) -> None:
        """Nothing can have been cut."""


def _unmirrored(host: Host) -> Host:
    return replace(host, back=host.face, shift=0)
