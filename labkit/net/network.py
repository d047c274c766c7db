"""What the relays of the wire share: the hosts, their links, the timers, the recorders and the counters."""

from __future__ import annotations

import heapq
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from labkit.net.impairment import Impairment, Link
from labkit.net.plan import Address, Host
from labkit.net.recorder import Recorder

LAPTOP = "LAPTOP"
"""The host as which ordinary programs of this machine appear."""


@dataclass
class Network:
    """What both relays share: the hosts, their links, the timers, the recorders and the counters."""

    recorder: Recorder
    dropped: Recorder
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    hosts: dict[str, Host] = field(default_factory=dict)
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    dark: set[tuple[str, int]] = field(default_factory=set)
    """Face ports that record what they get and deliver it nowhere."""
    guests: dict[int, int] = field(default_factory=dict)
    """LAPTOP's face ports and the real ports behind them."""
    counters: Counter[str] = field(default_factory=Counter)
    latencies_ns: deque[int] = field(default_factory=lambda: deque(maxlen=200_000))
    _by_back: dict[str, list[Host]] = field(default_factory=dict)
    _timers: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    _order: int = 0

    def add(self, host: Host) -> None:
        self.hosts[host.name] = host
        self._by_back.setdefault(host.back, []).append(host)

    def sender(self, back: Address) -> tuple[Host, int] | None:
        """The host whose socket is bound at ``back``, and that socket's face port."""
        for host in self._by_back.get(back[0], ()):
            port = host.face_port(back)
            if port is not None:
                return host, port
        if back[0] == "127.0.0.1" and LAPTOP in self.hosts:
            return self.hosts[LAPTOP], self._guest_port(back[1])
        return None

    def _guest_port(self, port: int) -> int:
        """The face port of an ordinary program's socket: its own number, or one of LAPTOP's block where addresses are shared."""
        laptop = self.hosts[LAPTOP]
        if not laptop.blocks:
            face_port = port
        else:
            known = {guest: face for face, guest in self.guests.items()}
            block = laptop.blocks[0]
            face_port = known.get(port, block.start + len(self.guests) % len(block))
        self.guests[face_port] = port
        return face_port

    def back_of(self, receiver: Host, port: int) -> Address:
        """Where a face port's datagrams and connections are forwarded."""
        return ("127.0.0.1", self.guests.get(port, port)) if receiver.name == LAPTOP else receiver.back_of(port)

    def impair(self, host: str, direction: str, impairment: Impairment) -> None:
        self.links[host, direction] = Link(impairment, f"{host} {direction}")

    def deliveries(self, sender: Host, receiver: Host, now_ns: int, size: int) -> list[int]:
        """When a packet arrives, after the sender's way out and the receiver's way in."""
        times = [now_ns]
        for link in (self.links.get((sender.name, "out")), self.links.get((receiver.name, "in"))):
            if link is not None:
                times = [after for before in times for after in link.deliveries(before, size)]
        return times

    def stream_delay_ns(self, sender: Host, receiver: Host) -> int:
        links = (self.links.get((sender.name, "out")), self.links.get((receiver.name, "in")))
        return sum(link.stream_delay_ns() for link in links if link is not None)

    def at(self, time_ns: int, action: Callable[[], None]) -> None:
        """Have ``action`` run at ``time_ns``; equal times keep their order."""
        self._order += 1
        heapq.heappush(self._timers, (time_ns, self._order, action))

    def run_due(self) -> None:
        while self._timers and self._timers[0][0] <= time.time_ns():
            heapq.heappop(self._timers)[2]()

    def wait_s(self, most: float) -> float:
        """Seconds until the next timer, ``most`` at most."""
        if not self._timers:
            return most
        return min(most, max(0.0, (self._timers[0][0] - time.time_ns()) / 1e9))
