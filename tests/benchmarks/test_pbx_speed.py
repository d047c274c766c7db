"""How much the PBX carries, printed beside its peers in the same run and never asserted: other programs share the machine.

Short by default; ``LABKIT_BENCHMARK=long`` measures longer and compares memory over 10 000 calls.  The peers are measured where they are
installed (:mod:`tests.benchmarks.servers`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks import sip_load
from tests.benchmarks.servers import SERVERS, Address, running
from tests.processes import only_on_linux

LONG = os.environ.get("LABKIT_BENCHMARK") == "long"
TRY_S, TRIES = (5, 2) if LONG else (2, 1)
LATENCY_S = 20.0 if LONG else 4.0
MEMORY_RATE = 100
WARM_CALLS, MORE_CALLS = (4_000, 10_000) if LONG else (200, 300)
"""A server remembers each transaction for 32 s (64·T1), so only after 40 s it is as full as this rate will make it."""
REGISTRARS = ("labkit", "Kamailio")  # sippy's B2BUA has none

pytestmark = [only_on_linux, pytest.mark.timeout(1500 if LONG else 120)]


@pytest.mark.parametrize("name", SERVERS)
def test_calls_latency_registrations_memory(name: str, tool: Callable[[str], str], tmp_path: Path, figure: Callable[[str], None]) -> None:
    sipp = tool("sipp")
    with running(name, tmp_path) as server:
        if server is None:
            figure(f"{name}: not installed")
            return
        to = server.address
        first = server.memory_mb()
        sip_load.calls(sipp, to, tmp_path, MEMORY_RATE, WARM_CALLS)
        warm = server.memory_mb()
        load = sip_load.calls(sipp, to, tmp_path, MEMORY_RATE, MORE_CALLS)
        memory = f"{first:.1f} MB at first, {warm:.1f} MB after {WARM_CALLS} calls, {server.memory_mb():.1f} MB after {MORE_CALLS} more"
        figure(f"{name}: {memory} ({load.failed} failed)")
        figure(f"{name}: INVITE to 180 at 50 calls/s: {sip_load.latency(to, 50, LATENCY_S)}")
    figure(f"{name}: {highest(name, sip_load.calls, sipp, tmp_path)} calls/s without failure")
    if name in REGISTRARS:
        figure(f"{name}: {highest(name, sip_load.registrations, sipp, tmp_path)} registrations/s with digest")


def highest(name: str, load: Callable[[str, Address, Path, int, int], sip_load.Load], sipp: str, folder: Path) -> int:
    """The highest rate without failure, each tried with a new server: one that was overrun still repeats messages half a minute later."""

    def run(rate: int) -> sip_load.Load:
        with running(name, folder) as server:
            assert server is not None
            return load(sipp, server.address, folder, rate, rate * TRY_S)

    return sip_load.highest_rate(run, TRIES)
