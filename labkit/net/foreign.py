"""Hosts of other labs on this machine, as this lab's wire shows them: a phone may register at another student's PBX.

Every lab has a wire of its own, and a packet between two labs passes both, so that both record it::

    BOB ──► wire of BOB's lab ──► wire of the other lab ──► its PBX
    back    (from BOB's face)     (from BOB's face)         back

The other PBX's face is a real address, held by the other wire, so BOB's packets to it would never come to ours.  They do by means of a
socket bound to that same address and *connected* to BOB's back: the system gives a datagram to the socket that is connected to its
sender, and everything else to the one that is not.  The same socket sends to BOB from the other PBX's face.  The system allows it to
processes of one user only (``SO_REUSEPORT``, on Linux and macOS), so nobody else gets at a lab's packets this way.

Ports of voices are learnt from the session descriptions that pass between the labs.  UDP only.
"""

from __future__ import annotations

import re
import selectors
import socket

from labkit.errors import SipError
from labkit.net.network import Network
from labkit.net.plan import Address, Host, is_face
from labkit.sip.message import parse
from labkit.sip.sdp import Sdp

LINKS_MAX = 2000
CALLS_MAX = 200
REUSE = getattr(socket, "SO_REUSEPORT", None)
_FACE = re.compile(rb"\bc=IN IP4 127\.")


def share(face: socket.socket) -> None:
    """Let wires of the same user bind connected sockets beside a bound face."""
    if REUSE is not None:
        face.setsockopt(socket.SOL_SOCKET, REUSE, 1)


class Foreign:
    """The sockets that stand for hosts of other labs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._links: dict[tuple[Address, str, int], socket.socket] = {}
        self._media: dict[str, dict[bool, list[Address]]] = {}
        """By Call-ID: the addresses at which our side (True) and the other one receive voices."""

    def link(self, remote: Address, host: Host, port: int) -> socket.socket:
        """The socket that stands for ``remote`` before our host's ``port``.  Raises OSError when it cannot be bound."""
        key = remote, host.name, port
        if key not in self._links:
            if REUSE is None or len(self._links) >= LINKS_MAX:
                raise OSError("labs cannot be joined here")
            stranger = self._host(remote[0])
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                made.setsockopt(socket.SOL_SOCKET, REUSE, 1)
                made.bind(remote)
                made.connect(self._network.back_of(host, port))
            except OSError:
                made.close()
                raise
            made.setblocking(False)
            self._links[key] = made
            self._network.selector.register(made, selectors.EVENT_READ, ("udp", stranger, remote[1]))
        return self._links[key]

    def admit(self, source: Address) -> tuple[Host, int] | None:
        """The host of another lab that sends from ``source``, if it is a face of another lab."""
        ours = {host.face.rpartition(".")[0] for host in self._network.hosts.values() if not is_foreign(host)}
        if REUSE is None or not is_face(source[0]) or source[0].rpartition(".")[0] in ours:
            return None
        return self._host(source[0]), source[1]

    def _host(self, ip: str) -> Host:
        if ip not in self._network.hosts:
            self._network.add(Host(ip, ip, ip, 0, range(0)))
        return self._network.hosts[ip]

    def learn(self, sender: Host, data: bytes) -> None:
        """A datagram between our lab and another one: a session description in it names ports, which are linked pair by pair."""
        if not _FACE.search(data):
            return
        try:
            message = parse(data)
            description = Sdp.parse(message.body)
            call_id = message.call_id
        except SipError:
            return
        if call_id not in self._media and len(self._media) >= CALLS_MAX:
            del self._media[next(iter(self._media))]
        sides = self._media.setdefault(call_id, {})
        sides[not is_foreign(sender)] = [address for media in description.media if (address := description.address(media))]
        for own, remote in zip(sides.get(True, ()), sides.get(False, ()), strict=False):
            if self.admit(remote) is None:
                continue  # no face of another lab: what a stranger writes binds nothing else
            for host in self._at(own[0]):
                for offset in (0, 1):  # RTP and RTCP
                    try:
                        self.link((remote[0], remote[1] + offset), host, own[1] + offset)
                    except (OSError, OverflowError):
                        self._network.counters["unlinked"] += 1

    def _at(self, face: str) -> list[Host]:
        return [host for host in self._network.hosts.values() if host.face == face and not is_foreign(host)]


def is_foreign(host: Host) -> bool:
    """Hosts of other labs are known by their address alone."""
    return host.name == host.face
