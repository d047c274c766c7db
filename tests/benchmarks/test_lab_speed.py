"""How fast the lab is, printed beside its aims and never asserted: other programs share the machine.  Each figure is the median of five."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from labkit import Lab
from labkit.net.background import Background
from labkit.net.plan import Host
from labkit.phones.phone import Phone
from labkit.phones.process import PhoneConfig, PhoneProcess

ROUNDS = 5
TALK_S = 2.0


def test_import(figure: Callable[[str], None]) -> None:
    bare, whole = (statistics.median(_seconds(code) for _ in range(ROUNDS)) for code in ("pass", "import labkit; labkit.Lab"))
    figure(f"import labkit and its Lab: {1000 * (whole - bare):.0f} ms beyond a bare Python's {1000 * bare:.0f} ms (aim: 300 ms)")


def _seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def test_lab_ready_registered_and_calling(figure: Callable[[str], None], tmp_path: Path) -> None:
    ready, registered, setup, jitter, relay = [], [], [], [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        with Lab() as lab:
            ready.append(time.perf_counter() - began)
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
            jitter.append(_jitter_ms(bob, alice))
            relay.append(lab.wire.stats()["latency_us"])
    bare = [_jitter_without_a_wire(tmp_path) for _ in range(ROUNDS)]
    figure(f"Lab() ready: {statistics.median(ready):.3f} s (aim: 0.3 s)")
    figure(f"three phones registered: {statistics.median(registered):.3f} s more (aim: 0.05 s)")
    figure(f"call set-up through PBX and wire, call() to connected on both sides: {1000 * statistics.median(setup):.1f} ms (aim: 10 ms)")
    p50, p99 = (statistics.median(one[part] for one in relay) / 1000 for part in ("p50", "p99"))
    figure(f"the wire holds a datagram for {p50:.2f} ms (p50), {p99:.2f} ms (p99; aim: 1 ms)")
    through, without = statistics.median(jitter), statistics.median(bare)
    figure(f"RTP jitter at the phone: {through:.2f} ms through the wire, {without:.2f} ms without it")


def _jitter_ms(bob: Phone, alice: Phone) -> float:
    """The mean jitter (RFC 3550) that BOB's phone reports of a call of two seconds."""
    call = bob.call_direct(alice)
    alice.answer()
    call.wait("connected").wait_seconds(TALK_S)
    jitter = call.statistics()["jitter_ms"]
    call.hang_up()
    assert isinstance(jitter, float)
    return jitter


def _jitter_without_a_wire(folder: Path) -> float:
    """The same between two phones that are bound where they are seen."""
    background = Background()

    def phone(name: str, number: str) -> Phone:
        host = Host(name, f"127.9.8.{number}", f"127.9.8.{number}", 5080, range(40000, 40050))

        async def start(config: PhoneConfig) -> PhoneProcess:
            return await PhoneProcess.start(config, host, host.sip_port, host.rtp_ports, host.face, folder / f"{name}.log")

        return Phone(
            PhoneConfig(name, number, ""), address=host.sip_face, server=host.sip_face, folder=folder, runner=background, start=start
        )

    bob, alice = phone("BOB", "100"), phone("ALICE", "101")

    async def both(bob_does: object, alice_does: object) -> None:
        await asyncio.gather(bob_does, alice_does)  # type: ignore[call-overload]

    background.run(both(bob.plug_in(), alice.plug_in()))
    jitter = _jitter_ms(bob, alice)
    background.run(both(bob.close(), alice.close()))
    background.close()
    return jitter
