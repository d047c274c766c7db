"""The wire process: the network of one lab and its capture, apart from the kernel so that no cell can hold it up.

It is to the lab what dumpcap is to Wireshark.  One loop serves the faces' sockets, the timers and the orders that come through the pipe;
it holds the lock of the lab's address slot as long as it lives.  The kernel's end is :mod:`labkit.net.wire`.
"""

from __future__ import annotations

import queue
import selectors
import socket
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from labkit.net.impairment import Impairment
from labkit.net.network import LAPTOP, Network
from labkit.net.pipe import Message, Pipe
from labkit.net.plan import Address, Host
from labkit.net.recorder import Recorder
from labkit.net.tcp_relay import TcpRelay
from labkit.net.udp_relay import UdpRelay

SETTLE_S = 0.1
"""How often the capture is brought to disk: what a killed wire may lose."""


def lock_slot(candidates: list[tuple[str, int]]) -> tuple[int, socket.socket]:
    """Bind the first lock address that is free; returns its place in the list and the socket that holds it."""
    for index, address in enumerate(candidates):
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            lock.bind(address)
        except OSError:
            lock.close()
            continue
        return index, lock
    raise OSError("every address slot that was tried is taken by another lab")


class Wire:
    """The loop and the orders it takes.  Each method named ``do_…`` is one order; its arguments come as JSON."""

    def __init__(self, pipe: Pipe) -> None:
        capture = Path(pipe.config["capture"])
        self.pipe = pipe
        self.network = Network(Recorder(capture, "wire"), Recorder(capture.with_suffix(".dropped.pcapng"), "wire-dropped", lazy=True))
        self.udp = UdpRelay(self.network)
        self.tcp = TcpRelay(self.network)
        self._orders: queue.SimpleQueue[tuple[str, Message, Future[object]]] = queue.SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self.network.selector.register(self._woken, selectors.EVENT_READ, ("order",))

    # --- orders, as the pipe's thread hands them over -----------------------------------------------------------------

    def handle(self, op: str, arguments: Message) -> object:
        """Have the loop carry out one order and wait for its result."""
        result: Future[object] = Future()
        self._orders.put((op, arguments, result))
        self._wake.send(b"!")
        return result.result()

    def _take_orders(self) -> None:
        self._woken.recv(4096)
        while not self._orders.empty():
            op, arguments, result = self._orders.get()
            try:
                result.set_result(getattr(self, f"do_{op}")(**arguments))
            except Exception as error:  # whatever an order did wrong, the network goes on
                result.set_exception(error)

    def do_hosts(self, hosts: list[dict[str, Any]]) -> None:
        """Hosts that exist from now on, and their names in the capture."""
        for row in hosts:
            blocks = tuple(range(low, high) for low, high in row["blocks"])
            rtp = range(*row["rtp_ports"])
            self.network.add(Host(row["name"], row["face"], row["back"], row["sip_port"], rtp, row["shift"], blocks))
        rows: list[dict[str, object]] = []
        for host in self.network.hosts.values():
            if host.blocks:
                rows += [{"name": host.name, "ip": host.face, "ports": [block.start, block.stop - 1]} for block in host.blocks]
            else:
                rows.append({"name": host.name, "ip": host.face})
        self.network.recorder.hosts(rows)
        self.network.dropped.hosts(rows)

    def do_open(self, host: str, ports: list[int]) -> dict[str, str]:
        """Open UDP faces; returns the ports that another program holds, with the reason."""
        taken = {}
        for port in ports:
            try:
                self.udp.open(self.network.hosts[host], port)
            except OSError as error:
                taken[str(port)] = error.strerror or str(error)
        return taken

    def do_close(self, host: str, ports: list[int]) -> None:
        for port in ports:
            self.udp.close(self.network.hosts[host], port)

    def do_listen(self, host: str, port: int) -> None:
        self.tcp.listen(self.network.hosts[host], port)

    def do_unlisten(self, host: str, port: int) -> None:
        self.tcp.unlisten(self.network.hosts[host], port)

    def do_reach(self, host: str, port: int, remote: list[Any]) -> None:
        """Let one of our ports speak to an address of another lab."""
        self.udp.foreign.link((remote[0], remote[1]), self.network.hosts[host], port)

    def do_dark(self, host: str, port: int, dark: bool) -> None:
        """A dark port records what it gets and delivers it nowhere."""
        (self.network.dark.add if dark else self.network.dark.discard)((host, port))

    def do_set(self, host: str, direction: str, impairment: dict[str, Any]) -> None:
        self.network.impair(self.network.hosts[host].name, direction, Impairment(**impairment))

    def do_clear(self) -> None:
        """No impairments any more; what is on its way still arrives."""
        self.network.links.clear()

    def do_flush(self) -> dict[str, object]:
        """Bring the capture to disk; says how many packets it has and what could not be written."""
        answer: dict[str, object] = {}
        for name, recorder in (("capture", self.network.recorder), ("dropped", self.network.dropped)):
            recorder.flush()
            answer[name] = {"packets": recorder.packets, "unwritten": recorder.unwritten, "problem": recorder.problem}
        return answer

    def do_restart(self) -> None:
        """Begin the capture anew."""
        self.network.recorder.restart()
        self.network.dropped.restart()

    def do_stats(self) -> dict[str, object]:
        """Counters, and how long datagrams took through the wire (µs, beyond their impairment)."""
        latencies = sorted(self.network.latencies_ns)
        share = {"p50": 0.5, "p99": 0.99, "max": 1.0}
        figures = (
            {name: round(latencies[min(len(latencies) - 1, int(len(latencies) * part))] / 1e3, 1) for name, part in share.items()}
            if latencies
            else {}
        )
        return {**self.network.counters, "faces": len(self.udp), "latency_us": figures}

    # --- the loop -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        network = self.network
        settled = time.monotonic()
        while True:
            orders = False
            arrived: list[tuple[int, Address, Host, int, bytes]] = []
            for key, events in network.selector.select(network.wait_s(SETTLE_S)):
                kind, *what = key.data
                if kind == "udp":
                    assert isinstance(key.fileobj, socket.socket)
                    arrived += self.udp.receive(key.fileobj, *what)
                elif kind == "connection":
                    what[0].ready(what[1], events)
                elif kind == "listener":
                    assert isinstance(key.fileobj, socket.socket)
                    self.tcp.accept(key.fileobj, *what)
                else:
                    orders = True
            # The selector names sockets in any order; packets are passed on in the order in which the kernel received them.
            arrived.sort(key=lambda item: item[0])
            for item in arrived:
                self.udp.accept(*item)
            network.run_due()
            if orders:  # after the packets that came before them
                self._take_orders()
            if time.monotonic() - settled > SETTLE_S:
                settled = time.monotonic()
                network.recorder.settle(time.time_ns())
                network.dropped.settle(time.time_ns())

    def farewell(self) -> None:
        self.network.recorder.flush()
        self.network.dropped.flush()


def main() -> None:
    pipe = Pipe()
    try:
        index, lock = lock_slot([(ip, port) for ip, port in pipe.config["locks"]])
        wire = Wire(pipe)
    except OSError as error:
        pipe.send({"error": error.strerror or str(error), "file": str(error.filename or "")})
        pipe.end()
        return
    # What the pipe's thread reads must not wait for the loop's turn at the interpreter.
    sys.setswitchinterval(0.0005)
    pipe.farewell = wire.farewell
    pipe.send({"slot": index, "laptop": LAPTOP, "lock": lock.getsockname()})
    threading.Thread(target=pipe.serve, args=(wire.handle,), daemon=True).start()
    wire.run()


if __name__ == "__main__":
    main()
