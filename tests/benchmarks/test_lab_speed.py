"""How fast the lab is, printed beside its aims and never asserted: other programs share the machine.

Each figure is the median of five.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from labkit import Lab

ROUNDS = 5


def test_import(figure: Callable[[str], None]) -> None:
    bare, whole = (
        statistics.median(_seconds(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True)) for _ in range(ROUNDS))
        for code in ("pass", "import labkit; labkit.Lab")
    )
    figure(f"import labkit and its Lab: {1000 * (whole - bare):.0f} ms beyond a bare Python's {1000 * bare:.0f} ms (aim: 300 ms)")


def test_lab_ready_registered_and_calling(figure: Callable[[str], None]) -> None:
    ready, registered, setup, jitter, relay = [], [], [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        lab = Lab()
        ready.append(time.perf_counter() - began)
        with lab:
            began = time.perf_counter()
            for phone in lab.phones:
                phone.register()
            registered.append(time.perf_counter() - began)
            bob, alice = lab.phone("BOB"), lab.phone("ALICE")
            for _ in range(3):
                began = time.perf_counter()
                call = bob.call("101")
                alice.answer()
                call.wait("connected")
                setup.append(time.perf_counter() - began)
                call.hang_up()
            call = bob.call("101")
            alice.answer()
            call.wait("connected").wait_seconds(2)
            jitter.append(call.statistics()["jitter_ms"])
            call.hang_up()
            relay.append(lab.wire.stats()["latency_us"])
    figure(f"Lab() ready: {statistics.median(ready):.3f} s (aim: 0.3 s)")
    figure(f"three phones registered: {statistics.median(registered):.3f} s more (aim: 0.05 s)")
    figure(f"call set-up through PBX and wire, call() to connected on both sides: {1000 * statistics.median(setup):.1f} ms (aim: 10 ms)")
    p50, p99 = (statistics.median(one[part] for one in relay) / 1000 for part in ("p50", "p99"))
    figure(f"the wire holds a datagram: p50 {p50:.2f} ms, p99 {p99:.2f} ms (aim: 1 ms at p99); jitter at the phone {statistics.median(jitter):.2f} ms")


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
