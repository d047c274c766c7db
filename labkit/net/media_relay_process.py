"""The media relay process: RTP and RTCP that go through the PBX's address, apart from the kernel so that no cell can hold them up.

A *channel* is one relay port, shown to one phone: an even port for RTP and the next one for RTCP.  It knows the address that this phone
announced (its *peer*) and the channel of the other phone.  What the peer sends leaves from the other channel's socket to the other peer;
what anybody else sends is dropped and counted, and teaches the relay nothing.  The kernel's end is :mod:`labkit.net.media_relay`.
"""

from __future__ import annotations

import queue
import selectors
import socket
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Any

from labkit.net.pipe import Message, Pipe
from labkit.net.plan import Address
from labkit.net.udp_relay import BATCH, RECEIVE_BUFFER, TIMESTAMP, kernel_time_ns

RTP, RTCP = 0, 1


@dataclass
class Channel:
    """One relay port and its phone."""

    port: int
    sockets: tuple[socket.socket, socket.socket]
    peers: tuple[Address | None, Address | None] = (None, None)
    """Where the phone receives RTP and RTCP, and from where it must send."""
    to: int = 0
    """The relay port of the phone that hears this one."""


class MediaRelay:
    """The loop and the orders it takes: ``do_set``, ``do_release``, ``do_stats``."""

    def __init__(self, pipe: Pipe) -> None:
        self._host: str = pipe.config["host"]
        self._shift: int = pipe.config["shift"]
        self._channels: dict[int, Channel] = {}
        self._selector = selectors.DefaultSelector()
        self._counters: Counter[str] = Counter()
        self._latencies_ns: deque[int] = deque(maxlen=200_000)
        self._orders: queue.SimpleQueue[tuple[str, Message]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)

    # --- orders -------------------------------------------------------------------------------------------------------

    def handle(self, op: str, arguments: Message) -> object:
        """Have the loop carry out one order and wait for its result."""
        self._orders.put((op, arguments))
        self._wake.send(b"!")
        answer = self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _take_order(self) -> None:
        self._woken.recv(1)
        op, arguments = self._orders.get()
        try:
            self._answers.put(getattr(self, f"do_{op}")(**arguments))
        except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
            print(f"{op} {arguments}: {error}", file=sys.stderr, flush=True)  # an order that nobody waits for
            self._answers.put(error)

    def do_set(self, channels: list[dict[str, Any]]) -> None:
        """Change channels, making those that do not exist: each has ``port`` and some of ``peers`` and ``to``."""
        for row in channels:
            channel = self._channel(row["port"])
            if "peers" in row:
                rtp, rtcp = row["peers"]
                channel.peers = (rtp and (rtp[0], rtp[1])), (rtcp and (rtcp[0], rtcp[1]))
            channel.to = row.get("to", channel.to)

    def do_release(self, ports: list[int]) -> None:
        for port in ports:
            channel = self._channels.pop(port, None)
            if channel is not None:
                for sock in channel.sockets:
                    self._selector.unregister(sock)
                    sock.close()

    def do_stats(self) -> dict[str, object]:
        """Counters, and how long a packet took through the relay (µs, from the system's receipt to its sending)."""
        latencies = sorted(self._latencies_ns)
        share = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        figures = {
            name: round(latencies[min(len(latencies) - 1, int(len(latencies) * part))] / 1e3, 1)
            for name, part in share.items()
            if latencies
        }
        return {**self._counters, "channels": sorted(self._channels), "latency_us": figures}

    def can_bind(self, port: int) -> bool:
        """Whether nobody else holds a port or the next one."""
        try:
            for kind in (RTP, RTCP):
                self._open(port + kind).close()
        except OSError:
            return False
        return True

    def _channel(self, port: int) -> Channel:
        if port not in self._channels:
            opened: list[socket.socket] = []
            try:
                for kind in (RTP, RTCP):
                    opened.append(self._open(port + kind))
            except OSError:
                for sock in opened:
                    sock.close()
                raise
            self._channels[port] = channel = Channel(port, (opened[RTP], opened[RTCP]))
            for kind in (RTP, RTCP):
                self._selector.register(opened[kind], selectors.EVENT_READ, (channel, kind))
        return self._channels[port]

    def _open(self, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.bind((self._host, port + self._shift))
        except OSError:
            sock.close()
            raise
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if TIMESTAMP:
            sock.setsockopt(socket.SOL_SOCKET, TIMESTAMP[0], 1)
        return sock

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._take_order()
                else:
                    self._relay(*key.data)

    def _relay(self, channel: Channel, kind: int) -> None:
        """Pass on what waits on one socket."""
        for _ in range(BATCH):
            try:
                if TIMESTAMP:
                    data, ancillary, _, source = channel.sockets[kind].recvmsg(65535, 64)
                    received_ns = kernel_time_ns(ancillary)
                else:
                    data, source = channel.sockets[kind].recvfrom(65535)
                    received_ns = time.time_ns()
            except BlockingIOError:
                return
            except OSError:  # closed by an order of this very round, or the ICMP error of an earlier packet
                if channel.sockets[kind].fileno() < 0:
                    return
                self._counters["icmp"] += 1
                continue
            other = self._channels.get(channel.to)
            target = other.peers[kind] if other is not None else None
            if source != channel.peers[kind]:
                self._counters["strangers"] += 1
            elif other is None or target is None:
                self._counters["unheard"] += 1
            else:
                try:
                    other.sockets[kind].sendto(data, target)
                except OSError:
                    self._counters["unsent"] += 1
                    continue
                self._counters["rtcp" if kind else "rtp"] += 1
                self._latencies_ns.append(time.time_ns() - received_ns)


def main() -> None:
    pipe = Pipe()
    relay = MediaRelay(pipe)
    # What the pipe's thread reads must not wait for the loop's turn at the interpreter.
    sys.setswitchinterval(0.0005)
    pipe.send({"ports": [port for port in pipe.config["ports"] if relay.can_bind(port)]})
    threading.Thread(target=pipe.serve, args=(relay.handle,), daemon=True).start()
    relay.run()


if __name__ == "__main__":
    main()
