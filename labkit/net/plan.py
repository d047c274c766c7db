"""The address plan: which host of the lab has which addresses and ports, without root.

``pair``    Every host has two addresses in 127.0.0.0/8: the *face*, which everything shows (SIP, SDP, the capture), in 127.x.y.0/24, and
            the *back*, where its sockets are really bound, in 127.x.(y+1).0/24.  The wire listens on faces and forwards to backs.
``single``  On a machine that has only 127.0.0.1 all hosts share it and differ by port: a face port p is bound at the back as p + 10000.

Labs of several students and kernels share a machine, so a plan is one *slot* of many, and the wire process holds a lock for it: a socket
bound to :attr:`AddressPlan.lock`.  The slots are tried in an order that depends on user and student, so that addresses survive a restart.
The last number of a host's address is its extension, where it has one: BOB 100 lives at 127.x.y.100.
"""

from __future__ import annotations

import errno
import getpass
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

Address = tuple[str, int]
"""An IPv4 address in dotted form and a port."""

MODES = ("pair", "single")
MODE_VARIABLE = "LABKIT_ADDRESSES"
"""Environment variable that chooses ``pair`` or ``single``; without it the machine decides."""

PAIR_SLOTS, SINGLE_SLOTS = 240 * 128, 10
LOCK_PORT = 5059
SIP_PORT = 5060
RTP_PORTS = range(40000, 40050)
"""The range of the lab's 3CXPhone: 40000 to 40049."""
SINGLE_SHIFT, SINGLE_BASE, SINGLE_BLOCK = 10000, 10000, 100


@dataclass(frozen=True)
class Host:
    """A host of the lab: its name and addresses, and in ``single`` mode the face ports that are its own."""

    name: str
    face: str
    back: str
    sip_port: int
    rtp_ports: range
    shift: int = 0
    blocks: tuple[range, ...] = ()

    def back_of(self, face_port: int) -> Address:
        """Where the socket behind ``face_port`` is bound."""
        return self.back, face_port + self.shift

    def face_port(self, back: Address) -> int | None:
        """The face port of a socket bound at ``back``, or None when that socket is not this host's."""
        port = back[1] - self.shift
        if back[0] != self.back or (self.blocks and not any(port in block for block in self.blocks)):
            return None
        return port

    @property
    def sip_face(self) -> Address:
        return self.face, self.sip_port

    @property
    def sip_back(self) -> Address:
        return self.back_of(self.sip_port)


@dataclass(frozen=True)
class AddressPlan:
    """One slot of the machine's loopback addresses."""

    mode: str
    slot: int
    _taken: dict[str, Host] = field(default_factory=dict, compare=False, repr=False)

    @property
    def lock(self) -> Address:
        """The UDP address that a lab binds to own this slot."""
        if self.mode == "single":
            return "127.0.0.1", SINGLE_BASE + 1000 * self.slot + 999
        return f"{self._network(0)}.254", LOCK_PORT

    def host(self, name: str, number: str = "") -> Host:
        """The host ``name``, made when first asked for; ``number`` is its extension."""
        if name not in self._taken:
            self._taken[name] = self._single(name) if self.mode == "single" else self._pair(name, number)
        return self._taken[name]

    def hosts(self) -> list[Host]:
        """The hosts that have addresses."""
        return list(self._taken.values())

    def _network(self, which: int) -> str:
        return f"127.{10 + self.slot // 128}.{self.slot % 128 * 2 + which}"

    def _pair(self, name: str, number: str) -> Host:
        used = {host.face.rpartition(".")[2] for host in self._taken.values()}
        wanted = number if number.isdigit() and 20 <= int(number) <= 250 and number not in used else ""
        last = wanted or next(str(n) for n in [*range(10, 20), *range(200, 250)] if str(n) not in used)
        # Softphones take "any" port; 5060 is the server's.  A digest of slot and name keeps it the same from run to run.
        port = SIP_PORT if not number else 50000 + 2 * (_digest(f"{self.slot} {name}") % 5000)
        return Host(name, f"{self._network(0)}.{last}", f"{self._network(1)}.{last}", port, RTP_PORTS)

    def _single(self, name: str) -> Host:
        start = SINGLE_BASE + 1000 * self.slot + SINGLE_BLOCK * len(self._taken)
        block = range(start, start + SINGLE_BLOCK - 1)
        # The first lab's first host, its PBX, has the port that every book says.
        first = not self._taken and self.slot == 0
        blocks = (range(SIP_PORT, SIP_PORT + 2), block) if first else (block,)
        return Host(name, "127.0.0.1", "127.0.0.1", SIP_PORT if first else start + 60, range(start, start + 50), SINGLE_SHIFT, blocks)


def is_face(ip: str) -> bool:
    """Whether an address belongs to the face of some lab that has addresses of its own (``pair``)."""
    parts = ip.split(".")
    return len(parts) == 4 and parts[0] == "127" and 10 <= int(parts[1]) < 10 + PAIR_SLOTS // 128 and int(parts[2]) % 2 == 0


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


@cache
def machine_mode() -> str:
    """``pair`` where every address of 127.0.0.0/8 can be bound (Linux, Windows), else ``single`` (macOS without aliases)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.10.0.253", 0))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, getattr(errno, "WSAEADDRNOTAVAIL", -1)):
                raise
            return "single"
    return "pair"


def candidates(student: str = "", mode: str | None = None) -> Iterator[AddressPlan]:
    """Plans in the order in which they are to be tried."""
    mode = mode or os.environ.get(MODE_VARIABLE) or machine_mode()
    if mode not in MODES:
        raise ValueError(f"{MODE_VARIABLE} is {mode!r}; it can be {' or '.join(MODES)}.")
    slots = SINGLE_SLOTS if mode == "single" else PAIR_SLOTS
    first = 0 if mode == "single" else _digest(f"{_user()} {student}") % slots
    for step in range(min(slots, 64)):
        yield AddressPlan(mode, (first + step) % slots)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "user"
