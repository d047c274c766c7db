"""A notebook computes while its phones talk: the voices go on, and "Interrupt kernel" reaches the cell alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from labkit import Capture
from tests.kernel import kernel
from tests.lab.test_lifetime import CALL, labkit_children
from tests.processes import only_on_linux

LATE_MS = 100
"""A usual jitter buffer: a packet that comes later than this after its turn is not heard."""
SORT = """
import random, time
numbers = [random.random() for _ in range(10_000_000)]
bob.play("data/audio/hello.wav", loop=True); alice.play("data/audio/hello-alice.wav", loop=True)
call.wait_seconds(1)
began = time.time()
sorted(numbers)
print(round(time.time() - began, 1), 's', call.state)
"""


@only_on_linux
def test_no_packet_is_lost_or_late_while_a_cell_sorts_ten_million_numbers(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with kernel(tmp_path) as running:
        assert running.run(CALL) == "connected\n"
        running.run("call.wait_seconds(3); lab.capture.save('idle.pcapng')")
        sorted_in = running.run(SORT, seconds=120)
        assert "connected" in sorted_in
        running.run("call.hang_up(); lab.capture.save('busy.pcapng')")
    delays = {}
    for name in ("idle", "busy"):
        streams = Capture.open(tmp_path / f"{name}.pcapng").streams
        assert len(streams) == 2
        arrivals: list[float] = []
        for stream in streams:
            assert stream.figures.lost == 0
            deltas = stream.analysis["Delta (ms)"].to_numpy()[1:]
            # How late each packet is against the 20 ms grid that its predecessors set.
            lateness = (deltas - 20).cumsum()
            assert (lateness - lateness.min()).max() < LATE_MS
            arrivals += abs(deltas - 20).tolist()
        arrivals.sort()
        delays[name] = {"p50": round(arrivals[len(arrivals) // 2], 3), "p99": round(arrivals[int(len(arrivals) * 0.99)], 3)}
    figure(f"RTP spacing off 20 ms while no cell runs: {json.dumps(delays['idle'])} ms")
    figure(f"RTP spacing off 20 ms while a cell sorts ({sorted_in.strip()}): {json.dumps(delays['busy'])} ms")


@only_on_linux
def test_an_interrupt_in_mid_call_kills_no_phone_and_no_wire(tmp_path: Path) -> None:
    with kernel(tmp_path) as running:
        assert running.run(CALL) == "connected\n"
        before = labkit_children(running.pid)
        cell = running.send("print('talking', flush=True)\ncall.wait_seconds(60)")
        running.wait_output("talking")
        running.interrupt()
        assert "KeyboardInterrupt" in running.finish(cell)
        assert labkit_children(running.pid) == before
        after = running.run(
            "call.wait_seconds(0.5); print(call.state, lab.wire.alive, bob.alive, alice.alive)\nbob.hang_up(); print(call.state)"
        )
        assert after == "connected True True True\nended\n"
