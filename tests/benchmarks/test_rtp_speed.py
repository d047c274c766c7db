"""RTP streams of a large capture: labkit beside ``tshark -z rtp,streams``, time and memory printed, figures compared.

100 000 packets; ``LABKIT_RTP_PACKETS=1000000`` takes more.  labkit runs in a process of its own, and its time counts from ``Capture.open``
to the table of streams: in a notebook the imports are done already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.benchmarks.rtp_load import write_rtp
from tests.capture.test_rtp import compare_streams

PACKETS = int(os.environ.get("LABKIT_RTP_PACKETS", "100000"))
STREAMS, ROUNDS = 40, 3
CODE = """
import sys, time
import pandas, babel.messages.pofile
import labkit.capture.rtp_find, labkit.capture.rtp_stream, labkit.capture.pcap
from labkit.capture.capture import Capture
began = time.perf_counter()
table = Capture.open(sys.argv[1]).rtp_streams
seconds = time.perf_counter() - began
try:
    memory = int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) / 1024
except OSError:
    memory = 0.0
print(seconds, table["Pkts"].sum(), memory)
"""


MEASURE = """
import resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""
"""By a small process between, since a child's largest size on Linux begins with that of its parent."""


def run(code: str, *arguments: str) -> list[str]:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120).stdout.split()


@pytest.mark.timeout(300)
def test_streams_of_a_large_capture(tool: Callable[[str], str], figure: Callable[[str], None], tmp_path: Path) -> None:
    tshark, path = tool("tshark"), write_rtp(tmp_path / "large.pcap", PACKETS, STREAMS)
    assert compare_streams(tshark, path) == STREAMS
    ours, theirs = [], []
    for _ in range(ROUNDS):
        seconds, packets, memory = run(CODE, str(path))
        assert int(packets) == PACKETS // STREAMS * STREAMS
        ours.append((float(seconds), float(memory)))
        spent, size = run(MEASURE, tshark, "-n", "-q", "-r", str(path), "-z", "rtp,streams")
        theirs.append((float(spent), float(size)))
    (mine, my_memory), (other, other_memory) = sorted(ours)[ROUNDS // 2], sorted(theirs)[ROUNDS // 2]
    figure(
        f"RTP streams of {PACKETS} packets, median of {ROUNDS}: labkit in process {mine:.2f} s, {my_memory:.0f} MB; "
        f"tshark {other:.2f} s, {other_memory:.0f} MB; {other / mine:.1f} times as fast (aim: 10)"
    )
