"""Sniffing the loopback with scapy, as Wireshark does it: an option beside the wire's own recording, for who may open AF_PACKET.

Linux shows every packet of the loopback twice (going out, coming in), and a lab's packet passes twice (to the wire, from the wire).  What
is kept is the second passage, once, with the back address of the receiver written as its face; so the capture reads as the wire's does.
Without scapy, without Linux or without the right (root, or CAP_NET_RAW) there is one sentence.
"""

from __future__ import annotations

import io
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from labkit.capture.capture import Capture
from labkit.capture.write import PcapngWriter
from labkit.errors import LabError
from labkit.net.direct import Direct
from labkit.net.network import LAPTOP
from labkit.net.plan import Address, Host
from labkit.net.wire import Wire

ETHERNET = 14
"""Bytes of the link header, which the loopback has too."""
ETHERTYPE_IPV4 = b"\x08\x00"
LONGEST_FRAME = ETHERNET + 65536
LONGEST_S = 3600.0
POLL_S = 0.05
BUFFER = 1 << 24
"""Bytes that may wait for the reader."""
SO_RCVBUFFORCE = 33
"""Linux; Python has no name for it."""


def sniff(network: Wire | Direct, seconds: float, during: Callable[[], object] | None = None) -> Capture:
    """What goes over the loopback between the lab's hosts until ``seconds`` after ``during`` has returned."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_S:
        raise LabError("sniff.seconds", seconds=seconds, most=int(LONGEST_S))
    found = _listen(seconds, during)
    file = io.BytesIO()
    hosts = bound_hosts(network)
    writer = PcapngWriter(file, interface="lo", hosts=[(host.face, host.name) for host in hosts if not host.blocks])
    for time_ns, packet in as_faces(found, hosts):
        writer.packet(time_ns, packet)
    return Capture.from_bytes(file.getvalue())


def _listen(seconds: float, during: Callable[[], object] | None) -> list[tuple[int, bytes]]:
    """(time in ns, IP packet) of every IPv4 packet that comes in on the loopback."""
    if not hasattr(socket, "AF_PACKET"):
        raise LabError("sniff.no_af_packet")
    try:
        from scapy.config import conf
        from scapy.layers import inet, l2  # noqa: F401  the layers that the socket looks for
    except ImportError as error:
        raise LabError("sniff.no_scapy", reason=error) from error
    try:
        sniffer = conf.L2socket(iface=conf.loopback_name)
    except OSError as error:  # PermissionError, mostly
        raise LabError("sniff.not_allowed", reason=error.strerror or error) from error
    try:
        _enlarge(sniffer.ins)
        found: list[tuple[int, bytes]] = []
        until: list[float] = []
        reader = threading.Thread(target=_read, args=(sniffer, until, found), name="sniffer", daemon=True)
        reader.start()
        try:
            if during is not None:
                during()
            time.sleep(seconds)
        finally:
            until.append(time.time())
            reader.join()
    finally:
        sniffer.close()
    return found


def _enlarge(opened: socket.socket) -> None:
    """Room for what waits while the reader does not get its turn: root may pass the system's limit."""
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, option, BUFFER)
            return


def _read(sniffer: Any, until: list[float], found: list[tuple[int, bytes]]) -> None:
    """Read what comes before the moment in ``until``, once it is there.  Packets stay bytes: to dissect them here would take too long."""
    while True:
        if not select.select([sniffer.ins], [], [], POLL_S)[0]:
            if until:
                return
            continue
        _, raw, moment = sniffer.recv_raw(LONGEST_FRAME)  # nothing for a packet that goes out: it comes in at once
        if raw is None:
            continue
        if until and moment > until[0]:
            return
        if raw[12:14] == ETHERTYPE_IPV4:
            found.append((int(moment * 1_000_000_000), raw[ETHERNET:]))


def bound_hosts(network: Wire | Direct) -> list[Host]:
    """The hosts with the addresses at which their sockets are really bound."""
    hosts = network.plan.hosts()
    if isinstance(network, Direct):
        return [replace(host, back=host.face, shift=0) for host in hosts]
    return [replace(host, back="127.0.0.1") if host.name == LAPTOP and not host.blocks else host for host in hosts]


def as_faces(packets: Iterable[tuple[int, bytes]], hosts: list[Host]) -> Iterable[tuple[int, bytes]]:
    """The packets that reach a host's socket from the face of another, with the face of the receiver for its back."""
    for time_ns, packet in packets:
        ends = _ends(packet)
        if ends is None or not any(_is_face(host, ends[0]) for host in hosts):
            continue
        for host in hosts:
            port = host.face_port(ends[1])
            if port is not None:
                yield time_ns, _sent_to(packet, (host.face, port))
                break


def _ends(packet: bytes) -> tuple[Address, Address] | None:
    """(source, destination) of an IPv4 packet with UDP or TCP in it, if it is no later fragment."""
    size = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < size + 8 or size < 20 or packet[9] not in (socket.IPPROTO_UDP, socket.IPPROTO_TCP) or packet[6] & 0x1F or packet[7]:
        return None
    source, destination = struct.unpack_from("!HH", packet, size)
    return (socket.inet_ntoa(packet[12:16]), source), (socket.inet_ntoa(packet[16:20]), destination)


def _is_face(host: Host, end: Address) -> bool:
    return host.face == end[0] and (not host.blocks or any(end[1] in block for block in host.blocks))


def _sent_to(packet: bytes, destination: Address) -> bytes:
    """The packet with another destination and fresh checksums (the loopback leaves them to hardware that is not there)."""
    from scapy.layers.inet import IP

    changed = IP(packet)
    changed.dst, changed.payload.dport = destination
    del changed.chksum, changed.payload.chksum
    return bytes(changed)
