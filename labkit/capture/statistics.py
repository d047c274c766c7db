"""Wireshark's Statistics menu: protocol hierarchy, conversations, endpoints; the sockets that a host really used; set-up times of calls.

Bytes are those of whole frames, as in ``tshark -z io,phs`` and ``-z conv``.  Protocols have the names of Wireshark's display filters; what
lies inside a SIP message is not counted apart, as there.  Each function is a method of :class:`~labkit.capture.capture.Capture`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from labkit.capture.addresses import NONE
from labkit.capture.info import shown
from labkit.capture.layers import ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, TCP, UDP
from labkit.capture.records import Ints
from labkit.errors import CaptureError

if TYPE_CHECKING:
    import pandas as pd

    from labkit.capture.capture import Capture

KINDS = ("ip", "ipv6", "udp", "tcp")
LINKS = {1: "eth", 0: "null", 108: "null", 113: "sll", 276: "sll"}
"""Link layers that Wireshark's hierarchy shows; raw IP has none."""
Address = tuple[str, int]


def uses(capture: Capture) -> list[str]:
    """What each frame carries above UDP or TCP, by the name of its display filter; ``""`` when nothing is known or nothing is there."""
    found = [""] * len(capture)
    for index in np.flatnonzero((capture.layers.protocol == UDP) & (capture.layers.size > 0)).tolist():
        found[index] = "data"
    for index, units in capture.applications.units.items():
        found[index] = _filter_name(units[-1].column)
    for index in capture.rtp.frame.tolist():
        found[index] = "rtp"
    for stream in capture.streams:
        for kind in np.unique(stream.payload_type).tolist():
            if stream.payload_types.is_event(kind):
                for index in stream.frame[stream.payload_type == kind].tolist():
                    found[index] = "rtpevent"
    for index in capture.rtp.rtcp.tolist():
        found[index] = "rtcp"
    for record in capture.messages:
        found[record.number - 1] = "sip"
    return found


def _filter_name(column: str) -> str:
    """The display filter of a Protocol column: ``tls`` for TLSv1.3, ``smtp`` for SMTP/IMF."""
    name = column.lower().partition("/")[0].replace("-", "").partition("v")[0]
    return {"ssl": "tls"}.get(name, name)


# --- protocol hierarchy ------------------------------------------------------------------------------------------------


def protocol_hierarchy(capture: Capture) -> pd.DataFrame:
    """Frames and bytes of each protocol, those inside it included: the tree of ``tshark -z io,phs``, ``Level`` deep."""
    from labkit.capture.table import table

    frames, octets = Counter[tuple[str, ...]](), Counter[tuple[str, ...]]()
    for path, length in zip(_paths(capture), capture.records.length.tolist(), strict=True):
        for depth in range(1, len(path) + 1):
            frames[path[:depth]] += 1
            octets[path[:depth]] += length
    total, size = len(capture), sum(capture.records.length.tolist())
    rows = [
        (path[-1], len(path), frames[path], 100 * frames[path] / total, octets[path], 100 * octets[path] / max(size, 1), ":".join(path))
        for path in sorted(frames)
    ]
    columns = ("Protocol", "Level", "Packets", "Percent Packets", "Bytes", "Percent Bytes", "Path")
    return table(rows, columns, caption="statistics.hierarchy")


def _paths(capture: Capture) -> Iterator[tuple[str, ...]]:
    layers, carried = capture.layers, uses(capture)
    kinds = {ETHERTYPE_IPV4: "ip", ETHERTYPE_IPV6: "ipv6", ETHERTYPE_ARP: "arp"}
    transports = {UDP: "udp", TCP: "tcp", 1: "icmp", 58: "icmpv6"}
    columns = (layers.records.link, layers.ethertype, layers.protocol, layers.fragment, layers.transport)
    for index, (link, kind, protocol, fragment, at) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        upper = "data" if fragment and index not in layers.reassembled else transports.get(protocol, "") if at != NONE else ""
        above = carried[index]
        inside = ("rtp", "rtpevent") if above == "rtpevent" else (above,)
        yield tuple(name for name in (LINKS.get(link, ""), kinds.get(kind, ""), upper, *inside) if name) or ("frame",)


# --- conversations and endpoints ---------------------------------------------------------------------------------------


@dataclass
class _Traffic:
    """What goes from A to B and back; or, of an endpoint, what it sends and receives."""

    packets: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])
    first: float = 0.0
    last: float = 0.0

    def add(self, way: int, size: int, time: float) -> None:
        if not sum(self.packets):
            self.first = time
        self.packets[way] += 1
        self.octets[way] += size
        self.last = max(self.last, time)


def _frames(capture: Capture, kind: str) -> Iterator[tuple[Address, Address, int, float]]:
    """(source, destination, bytes, time) of the frames of one kind; ports are 0 for ``ip`` and ``ipv6``."""
    if kind not in KINDS:
        raise CaptureError("statistics.kind", kind=kind, known=", ".join(KINDS))
    layers = capture.layers
    if kind in ("ip", "ipv6"):
        chosen = (layers.ethertype == (ETHERTYPE_IPV4 if kind == "ip" else ETHERTYPE_IPV6)) & (layers.source != NONE)
    else:
        chosen = (layers.protocol == (UDP if kind == "udp" else TCP)) & (layers.source_port >= 0)
    indices: Ints = np.flatnonzero(chosen)
    name = {number: layers.addresses.text(number) for number in np.unique((layers.source[indices], layers.destination[indices])).tolist()}
    ported = kind in ("udp", "tcp")
    none = np.zeros(len(indices), np.int64)
    ports = [column[indices] if ported else none for column in (layers.source_port, layers.destination_port)]
    times = (capture.records.time_ns[indices] - capture.origin_ns) / 1e9
    columns = (layers.source[indices], ports[0], layers.destination[indices], ports[1], capture.records.length[indices], times)
    for source, sport, destination, dport, size, time in zip(*(column.tolist() for column in columns), strict=True):
        yield (name[source], sport), (name[destination], dport), size, time


def conversations(capture: Capture, kind: str = "udp") -> pd.DataFrame:
    """Who exchanged how much with whom: the columns of Wireshark's Conversations; A is who spoke first.

    ``kind`` is "ip", "ipv6", "udp" or "tcp"; anything else raises :class:`CaptureError`.
    """
    from labkit.capture.table import table

    found: dict[tuple[Address, Address], _Traffic] = {}
    for source, destination, size, time in _frames(capture, kind):
        back = (destination, source) in found and source != destination
        key = (destination, source) if back else (source, destination)
        found.setdefault(key, _Traffic()).add(int(back), size, time)
    rows = [
        (*a, *b, sum(t.packets), sum(t.octets), t.packets[0], t.octets[0], t.packets[1], t.octets[1], t.first, t.last - t.first)
        for (a, b), t in sorted(found.items(), key=lambda item: -sum(item[1].packets))
    ]
    names = "Address A,Port A,Address B,Port B,Packets,Bytes,Packets A → B,Bytes A → B,Packets B → A,Bytes B → A,Rel Start,Duration"
    made = table(rows, names.split(","), caption="statistics.conversations", kind=kind.upper())
    return made if kind in ("udp", "tcp") else made.drop(columns=["Port A", "Port B"])


def endpoints(capture: Capture, kind: str = "udp") -> pd.DataFrame:
    """What each address (with its port, for "udp" and "tcp") sent and received: the columns of Wireshark's Endpoints, and its host."""
    from labkit.capture.table import table

    found: dict[Address, _Traffic] = {}
    for source, destination, size, time in _frames(capture, kind):
        found.setdefault(source, _Traffic()).add(0, size, time)
        found.setdefault(destination, _Traffic()).add(1, size, time)
    rows = [
        (capture.host_of(*end), *end, sum(t.packets), sum(t.octets), t.packets[0], t.octets[0], t.packets[1], t.octets[1])
        for end, t in sorted(found.items(), key=lambda item: -sum(item[1].packets))
    ]
    names = "Host,Address,Port,Packets,Bytes,Tx Packets,Tx Bytes,Rx Packets,Rx Bytes"
    made = table(rows, names.split(","), caption="statistics.endpoints", kind=kind.upper())
    return made if kind in ("udp", "tcp") else made.drop(columns="Port")


# --- sockets -----------------------------------------------------------------------------------------------------------


def sockets(capture: Capture, host: str | None = None) -> pd.DataFrame:
    """The sockets that a host (a name or an address; without one, every host) really used: protocol, port, what for, how much, when.

    A range of ports in a phone's settings is no socket: only what sent or received a packet is here.  :class:`CaptureError` for a host
    that is not in the capture.
    """
    from labkit.capture.table import table

    layers, carried = capture.layers, uses(capture)
    codecs = {int(index): shown(stream.codec) for stream in capture.streams for index in stream.frame.tolist()}
    found: dict[tuple[int, Address], _Traffic] = {}
    purposes: dict[tuple[int, Address], Counter[str]] = {}
    indices = np.flatnonzero(np.isin(layers.protocol, (UDP, TCP)) & (layers.source_port >= 0))
    for index in indices.tolist():
        purpose = _purpose(carried[index], codecs.get(index, ""))
        time = (int(capture.records.time_ns[index]) - capture.origin_ns) / 1e9
        for way, end in enumerate(layers.endpoints(index)):
            key = int(layers.protocol[index]), end
            found.setdefault(key, _Traffic()).add(way, int(capture.records.length[index]), time)
            purposes.setdefault(key, Counter())[purpose] += bool(purpose)
    hosts = {end: capture.host_of(*end) for _, end in found}
    if host is not None and not any(str(host).upper() in (name.upper(), end[0]) for end, name in hosts.items()):
        raise CaptureError("capture.no_host", host=host, known=", ".join(sorted(set(hosts.values()))))
    rows = [
        (hosts[end], "UDP" if protocol == UDP else "TCP", *end, _listed(purposes[protocol, end]), *t.packets, t.first, t.last)
        for (protocol, end), t in found.items()
        if host is None or str(host).upper() in (hosts[end].upper(), end[0])
    ]
    rows.sort(key=lambda row: row[:4])
    columns = ("Host", "Protocol", "Address", "Port", "Used for", "Packets Sent", "Packets Received", "First", "Last")
    return table(rows, columns, caption="statistics.sockets", count=len(rows), host=host or "-")


def _purpose(carried: str, codec: str) -> str:
    if carried in ("rtp", "rtpevent"):
        return f"RTP {codec}".rstrip()
    return "" if carried == "data" else carried.upper()


def _listed(purposes: Counter[str]) -> str:
    return ", ".join(name for name, count in purposes.most_common() if count)


# --- set-up times ------------------------------------------------------------------------------------------------------


def setup_times(capture: Capture) -> pd.DataFrame:
    """Per call and leg, in seconds: INVITE to ringing, ringing to answer, INVITE to answer, ACK to BYE; ``<NA>`` for what never came."""
    from labkit.capture.calls import Call
    from labkit.capture.table import table

    rows = []
    for number, call in enumerate(capture.call_list):
        for place, leg in enumerate(call.legs):
            alone, invite = Call([leg]), leg.invite
            setup = leg.answered.time - invite.time if leg.answered else None
            ends = (capture.host_of(*invite.source), capture.host_of(*invite.destination))
            times = (alone.post_dial_delay, alone.ringing, setup, alone.talk)
            rows.append((number, place, *ends, alone.state, invite.time, *times))
    names = "Call,Leg,From,To,State,INVITE,Post-Dial Delay,Ringing,Set-up,Talk"
    made = table(rows, names.split(","), caption="statistics.setup_times")
    return made.astype(dict.fromkeys(names.split(",")[6:], "Float64"))
